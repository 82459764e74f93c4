"""Every error that a user can meet, in one tree.

    LauncherError              1   failed
    ├── NotCleared             3, 4 or 5, as the decision says
    ├── ContextFull            1   a conversation that is longer than the context
    ├── Unanswerable           1   what was asked with a question cannot be kept to
    ├── PersonNeeded           4   a declaration, an acceptance or an answer is missing or wrong
    ├── IntegrityError         6   corrupt, hostile, wrong digest, changed while loading
    │   ├── HeaderError            the header of a GGUF file
    │   └── TemplateFailed         the chat template in one
    ├── EngineDied             7   the worker was ended by a signal
    ├── Unsupported            8   not supported by the engine or this processor
    ├── DoesNotFit             9   too big for this machine's memory
    └── NotFound               10  not here, or not reachable

A bug is not in this tree: it must look like a bug.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntEnum


class ExitCode(IntEnum):
    """What the process ends with. Scripts rely on these numbers."""

    DONE = 0
    FAILED = 1
    USAGE = 2
    REFUSED = 3
    PERSON_NEEDED = 4
    UNIDENTIFIED = 5
    INTEGRITY = 6
    ENGINE_DIED = 7
    UNSUPPORTED = 8
    DOES_NOT_FIT = 9
    NOT_FOUND = 10


class LauncherError(Exception):
    """One sentence that says what is wrong, what helps, and how the process ends.

    `commands` are remedies that can be pasted; each starts with `launcher` or with
    another program's name.
    """

    exit_code = ExitCode.FAILED

    def __init__(self, message: str, *, hint: str = "", commands: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.commands = tuple(commands)


class ContextFull(LauncherError):
    """A conversation has more tokens than the context holds."""


class Unanswerable(LauncherError):
    """What was asked with a question cannot be kept to: a grammar, a turn of the conversation."""


class PersonNeeded(LauncherError):
    """Something that only a person can supply is missing, invalid or in conflict."""

    exit_code = ExitCode.PERSON_NEEDED


class IntegrityError(LauncherError):
    """A file is corrupt, hostile, not what its digest says, or changed while in use."""

    exit_code = ExitCode.INTEGRITY


class HeaderError(IntegrityError):
    """A file's header is not one that may reach the engine."""


class TemplateFailed(IntegrityError):
    """The chat template in a model's file cannot render a conversation."""


class EngineDied(LauncherError):
    """The worker process was ended by a signal."""

    exit_code = ExitCode.ENGINE_DIED


class Unsupported(LauncherError):
    """The engine, or this processor, cannot run the model."""

    exit_code = ExitCode.UNSUPPORTED


class DoesNotFit(LauncherError):
    """The model needs more memory than this machine has to give."""

    exit_code = ExitCode.DOES_NOT_FIT


class NotFound(LauncherError):
    """The model, the file or the service is not here, or not reachable."""

    exit_code = ExitCode.NOT_FOUND
