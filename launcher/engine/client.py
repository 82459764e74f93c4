"""The launcher's side of the worker: starts it, hands it open files, reads its answers.

A worker that dies takes nothing with it. Its death becomes an `EngineDied` that names the
signal; what it wrote to its standard error is kept for the message.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import IO, Any

from launcher.clearance import Cleared
from launcher.engine import environment
from launcher.engine.messages import Channel, Closed, Message
from launcher.engine.sandbox import Level
from launcher.errors import (
    DoesNotFit,
    EngineDied,
    IntegrityError,
    LauncherError,
    Unsupported,
)
from launcher.models.bundle import Bundle, Role
from launcher.models.gguf import Header

TAIL = 4096  # bytes of the worker's last words that are kept
PATIENCE = 10.0  # seconds for a worker that has hung up to be gone
_SMALLER = "Try a shorter context (--ctx-size), a smaller model or quant."
# What Python, C++, ggml and OpenMP say when they are refused memory.
_NO_MEMORY = (
    "MemoryError",
    "bad_alloc",
    "out of memory",
    "failed to allocate",
    "unable to allocate",
    "Cannot allocate",
    "mem_buffer != NULL",
    "can't start new thread",
    "Thread creation failed",
)
REBUILD = "launcher doctor --rebuild"


@dataclass(frozen=True, slots=True, kw_only=True)
class Text:
    """A piece of the answer."""

    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """The end of an answer."""

    reason: str
    """`end`, `length`, `context` (the context is full) or `stopped`."""
    prompt_tokens: int
    prompt_computed: int
    """Of those, how many were not already in the cache."""
    tokens: int
    prompt_seconds: float
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """What the engine says of what it loaded."""

    context: int
    seconds: float
    metadata: Mapping[str, str | None]
    """As the engine read it; only what the header's values were compared with."""
    sizes: Mapping[str, int]
    """As the engine computes with them."""
    sandbox: Level
    """How far the worker was confined before it looked at the files."""


def is_installed() -> bool:
    """Whether the engine's package is there; says nothing about whether it works."""
    return importlib.util.find_spec("llama_cpp") is not None


class Worker:
    """A worker process. It can be started before anything is known about the model.

    A process takes one model in its life: for the next there is a new one, so that no file
    meets what another has left.
    """

    def __init__(self, *, require_sandbox: bool = False) -> None:
        self._require_sandbox = require_sandbox
        self._start()

    def _start(self) -> None:
        self._used = False
        ours, theirs = socket.socketpair()
        self._errors: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115  # closed by `close`
        number = theirs.fileno()
        self.process = subprocess.Popen(
            [sys.executable, "-I", "-m", "launcher.engine.worker", str(number)],
            stdin=subprocess.DEVNULL,
            stdout=self._errors,
            stderr=self._errors,
            env=environment.for_the_worker(),
            pass_fds=[number],
            start_new_session=True,  # Ctrl-C in the terminal is for the launcher
        )
        theirs.close()
        self.channel = Channel(ours)

    def load(self, message: Message, files: Sequence[int]) -> Message:
        """Loads open files in the place of what was loaded before; gives the answer."""
        if self._used:
            self.close()
            self._start()
        self._used = True
        required = {"require_sandbox": self._require_sandbox}
        self.send({**message, **required, "type": "load"}, files)
        return self.receive()

    def send(self, message: Message, files: Sequence[int] = ()) -> None:
        try:
            self.channel.send(message, files)
        except Closed:
            raise self._death() from None

    def receive(self) -> Message:
        """The next message. Raises `EngineDied` when the worker is gone."""
        try:
            return self.channel.receive()[0]
        except Closed:
            raise self._death() from None

    def close(self) -> None:
        """Ends the worker, and waits until it is gone."""
        self.channel.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(timeout=2)
        if self.process.returncode is None:
            self.process.kill()
            self.process.wait()
        self._errors.close()

    def _death(self) -> EngineDied:
        try:
            status = self.process.wait(timeout=PATIENCE)
        except subprocess.TimeoutExpired:
            self.process.kill()
            status = self.process.wait()
        self._errors.seek(0, os.SEEK_END)
        self._errors.seek(max(0, self._errors.tell() - TAIL))
        return _died(status, self._errors.read().decode("utf-8", "replace").strip())


class Engine:
    """A loaded model. Only a cleared bundle gets this far."""

    def __init__(self, cleared: Cleared, worker: Worker) -> None:
        """Loads the bundle into the worker.

        Raises `IntegrityError` when the engine sees another model than the header shows, or
        cannot load the files, `EngineDied`, `Unsupported` or `DoesNotFit`.
        """
        self._worker = worker
        self._number = 0
        bundle, plan = cleared.bundle, cleared.plan
        files = [part.file for part in bundle.parts if part.file is not None]
        header = bundle.main.header
        if header is None or len(files) != len(bundle.parts):
            raise AssertionError("a bundle that is not here was cleared for loading")
        reply = worker.load(
            {
                "context": plan.context,
                "threads": plan.threads,
                "extra_buffers": True,
                "compare": [key for key, _ in _comparable(header)],
            },
            [file.descriptor for file in files],
        )
        if reply["type"] == "failed" and reply["kind"] == "sandbox":
            raise _not_confined(reply["message"])
        if reply["type"] == "failed":
            raise _load_error(bundle, reply["message"])
        for file in files:
            file.refuse_change()
        _refuse_difference(bundle, header, reply)
        self.loaded = Loaded(
            context=reply["context"],
            seconds=reply["seconds"],
            metadata=reply["metadata"],
            sizes=reply["sizes"],
            sandbox=Level(reply["sandbox"]),
        )

    def generate(
        self,
        messages: Sequence[dict[str, str]],
        *,
        sampling: dict[str, Any],
        max_tokens: int | None,
    ) -> Iterator[Text | Done]:
        """Asks for the answer to a conversation; it comes piece by piece, and a `Done` ends it."""
        self._number += 1
        self._worker.send(
            {
                "type": "generate",
                "number": self._number,
                "messages": list(messages),
                "sampling": sampling,
                "max_tokens": max_tokens,
            }
        )
        return self._events()

    def _events(self) -> Iterator[Text | Done]:
        while True:
            reply = self._worker.receive()
            if reply["type"] == "text":
                yield Text(text=reply["text"])
            elif reply["type"] == "done":
                del reply["type"]
                yield Done(**reply)
                return
            else:
                raise _generation_error(reply)

    def stop(self) -> None:
        """Ends the answer that was asked for last; what was generated so far still arrives."""
        self._worker.send({"type": "stop", "number": self._number})

    def __enter__(self) -> Engine:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._worker.close()


def _comparable(header: Header) -> Iterator[tuple[str, str]]:
    """All that the engine keeps as text too: every value but arrays and fractions.

    The sizes and the statements that a decision rests on are among them.
    """
    for key, entry in header.metadata.items():
        if isinstance(entry.value, bool):
            yield key, "true" if entry.value else "false"
        elif isinstance(entry.value, (str, int)):
            yield key, str(entry.value)


def _refuse_difference(bundle: Bundle, header: Header, reply: Message) -> None:
    """Ends the load when the engine sees another model than the one that was judged."""
    seen = reply["metadata"]
    differences = [
        f"{key} is {ours!a} in the header, {seen.get(key)!a} in the engine"
        for key, ours in _comparable(header)
        if seen.get(key) != ours
    ]
    vocabulary = header.vocabulary
    if vocabulary is not None and reply["sizes"]["vocabulary"] != vocabulary:
        differences.append(
            f"{vocabulary} tokens in the header, {reply['sizes']['vocabulary']} in the engine"
        )
    if differences:
        raise IntegrityError(
            f"{bundle.main.name} shows the engine another model than it shows the gate: "
            + "; ".join(differences),
            hint="Nothing was generated. Do not use this file.",
        )


def _not_confined(level: str) -> Unsupported:
    reached = {"partial": "only in part", "none": "not at all"}[level]
    return Unsupported(
        f"The engine can be confined {reached} on this system, and --require-sandbox was given",
        hint="It takes Linux 5.13 or newer with Landlock and seccomp. Nothing was loaded.",
    )


def _load_error(bundle: Bundle, words: str) -> LauncherError:
    """The engine's own words on a failed load, sorted by what can be done about it."""
    last = _telling(words)
    if "unknown model architecture" in words:
        line = _first(words, "unknown model architecture")
        return Unsupported(f"The engine cannot run {bundle.main.name}: {line}")
    if any(said in words for said in _NO_MEMORY):
        return DoesNotFit(
            f"There was not enough memory to load {bundle.main.name}",
            hint=_SMALLER,
        )
    if any(part.role is Role.SHARD for part in bundle.parts) and "split" in words:
        return IntegrityError(f"The shards of {bundle.main.name} do not belong together: {last}")
    return IntegrityError(
        f"The engine could not load {bundle.main.name}: {last}",
        hint="The file is damaged or incomplete. Get it again from where it came from.",
    )


def _telling(words: str) -> str:
    """The line that says what was wrong, not the one that says that something was."""
    lines = words.splitlines()
    causes = [line for line in lines if "error loading model" in line]
    line = (causes or lines or ["it gave no reason"])[-1]
    return line.partition("error loading model: ")[2] or line


def _first(words: str, wanted: str) -> str:
    return next((line for line in words.splitlines() if wanted in line), wanted)


def _generation_error(reply: Message) -> LauncherError:
    if reply["kind"] == "context":
        return LauncherError(
            _sentence(reply["message"]),
            hint="Use a longer context (--ctx-size), or a shorter text. Nothing was cut off.",
        )
    if reply["kind"] == "template":
        return _template_error(reply["cause"], reply["message"])
    return LauncherError(f"The engine could not answer: {reply['message']}")


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]


def _template_error(cause: str, message: str) -> LauncherError:
    if cause == "refused":
        return LauncherError(_sentence(message))
    return IntegrityError(
        _sentence(message),
        hint="The template is a part of the model's file. Get the file from elsewhere.",
    )


def _died(status: int, last_words: str) -> EngineDied:
    """The worker's end as a sentence and a remedy."""
    last = last_words.splitlines()[-1] if last_words else ""
    if any(words in last_words for words in _NO_MEMORY):
        return _out_of_memory(f" and was ended by {_name(-status)}" if status < 0 else "")
    if status >= 0:
        return EngineDied(f"The engine ended unexpectedly: {last or f'exit code {status}'}")
    name = _name(-status)
    if name == "SIGKILL":
        return EngineDied(
            "The engine was ended by SIGKILL, most likely because the system ran out of memory",
            hint=_SMALLER,
        )
    if name == "SIGILL":
        return EngineDied(
            "The engine was ended by SIGILL: it was built with instructions that fail on this "
            "processor",
            hint="Build it again with those switched off:",
            commands=[REBUILD],
        )
    return EngineDied(
        f"The engine was ended by {name}{f': {last}' if last else ''}",
        hint="The file may be damaged or made to do this, or the engine badly built. Nothing "
        "else was harmed. If other files die, too, build the engine again:",
        commands=[REBUILD],
    )


def _out_of_memory(how: str) -> EngineDied:
    return EngineDied(f"The engine ran out of memory{how}", hint=_SMALLER)


def _name(number: int) -> str:
    """A signal's name."""
    return signal.Signals(number).name if number in list(signal.Signals) else f"signal {number}"
