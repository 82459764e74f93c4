"""The worker's process, which takes longer to start than the launcher takes to judge.

So it can be started before anything is known but that a model will be wanted: it holds
nothing, and whoever needs no worker after all ends it. Imported before the command line is, it
imports little itself.
"""

from __future__ import annotations

import socket
import subprocess
import sys
import tempfile
from typing import IO

from launcher.engine import environment


class Process:
    """A process that waits for a model, and the line to it."""

    def __init__(self) -> None:
        self.line, theirs = socket.socketpair()
        self.errors: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115  # closed by `close`
        number = theirs.fileno()
        self.running = subprocess.Popen(
            [sys.executable, "-I", "-m", "launcher.engine.worker", str(number)],
            stdin=subprocess.DEVNULL,
            stdout=self.errors,
            stderr=self.errors,
            env=environment.for_the_worker(),
            pass_fds=[number],
            start_new_session=True,  # Ctrl-C in the terminal is for the launcher
        )
        theirs.close()

    def kill(self) -> None:
        """Ends it, and waits until it is gone."""
        self.running.kill()
        self.running.wait()


_early: list[Process] = []


def start_early() -> None:
    """Starts a process for whoever calls `taken` first."""
    _early.append(Process())


def taken() -> Process:
    """The process that was started early, or a new one."""
    return _early.pop() if _early else Process()


def discard() -> None:
    """Ends what was started early and nobody took."""
    while _early:
        process = _early.pop()
        process.line.close()
        process.kill()
        process.errors.close()
