"""`launcher` on a pseudo-terminal, typed at and read from as a person does."""

from __future__ import annotations

import os
import pty
import select
import subprocess
import sys
import time
from typing import Protocol


class Terminal:
    """`launcher` on a pseudo-terminal, typed at and read from."""

    def __init__(self, *arguments: str) -> None:
        self.process, self.ours = self._start(arguments)
        self.seen = ""

    @staticmethod
    def _start(arguments: tuple[str, ...]) -> tuple[subprocess.Popen[bytes], int]:
        ours, theirs = pty.openpty()
        process = subprocess.Popen(
            [sys.executable, "-m", "launcher", *arguments],
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            start_new_session=True,
            preexec_fn=lambda: os.close(os.open(os.ttyname(0), os.O_RDWR)),
        )
        os.close(theirs)
        return process, ours

    def expect(self, text: str, seconds: float = 60) -> str:
        """Waits until a text appears; returns all up to and with it."""
        deadline = time.monotonic() + seconds
        while text not in self.seen:
            left = deadline - time.monotonic()
            assert left > 0, f"{text!r} did not appear in {self.seen!r}"
            self.read(left)
        before, found, self.seen = self.seen.partition(text)
        return before + found

    def read(self, seconds: float) -> None:
        if select.select([self.ours], [], [], seconds)[0]:
            try:
                data = os.read(self.ours, 65536)
            except OSError:  # the other side is gone
                data = b""
            assert data, f"it ended after {self.seen!r}"
            self.seen += data.decode("utf-8", "replace")

    def type(self, text: str) -> None:
        os.write(self.ours, text.encode())

    def kill(self) -> None:
        """Ends it, whatever it does, and lets go of the terminal."""
        self.process.kill()
        self.process.wait()
        os.close(self.ours)

    def end(self, seconds: float = 30) -> int:
        """Waits for the end and gives the exit code."""
        return self.process.wait(seconds)


class Start(Protocol):
    """Starts `launcher` with these arguments; the fixture ends it after the test."""

    def __call__(self, *arguments: str) -> Terminal: ...
