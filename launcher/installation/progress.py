"""How the set-up shows that it moves."""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol, TextIO

from launcher import files

_PIPED_EVERY = 30.0  # seconds between lines where nothing can be rewritten in place
_SOON = 1.0  # seconds that a lock may take without a word


class Progress(Protocol):
    """Where the set-up says what it does."""

    def say(self, text: str) -> None:
        """A line that stays."""

    def show(self, text: str) -> None:
        """What is going on now; takes the place of what was shown before."""

    def clear(self) -> None:
        """Nothing is going on any more."""


class Lines:
    """Progress on standard error: one line rewritten in place, or a line now and then."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = sys.stderr if stream is None else stream
        self._rewrites = self._stream.isatty() and os.environ.get("TERM") != "dumb"
        self._width = 0
        self._shown = -_PIPED_EVERY

    def say(self, text: str) -> None:
        self.clear()
        self._write(f"{text}\n")

    def show(self, text: str) -> None:
        now = time.monotonic()
        if self._rewrites:
            line = text[: shutil.get_terminal_size().columns - 1]
            self._write(f"\r{line.ljust(self._width)}")
            self._width = len(line)
        elif now - self._shown >= _PIPED_EVERY:
            self._write(f"{text}\n")
            self._shown = now

    def clear(self) -> None:
        if self._width:
            self._write(f"\r{' ' * self._width}\r")
        self._width = 0
        self._shown = -_PIPED_EVERY

    def _write(self, text: str) -> None:
        self._stream.write(text)
        self._stream.flush()


@contextlib.contextmanager
def one_at_a_time(path: Path, progress: Progress) -> Iterator[None]:
    """Holds the lock beside `path` while the block runs; says so when another holds it.

    Programs that `pip.run` starts hold it too: where a set-up is killed and its pip lives on,
    the next one waits until that has ended.
    """
    waiting = threading.Timer(
        _SOON, progress.say, ["Another set-up is at work here; waiting for it to finish."]
    )
    waiting.start()
    try:
        with _locked(path):
            waiting.cancel()
            yield
    finally:
        waiting.cancel()


if sys.platform == "win32":
    _locked = files.locked
else:
    import fcntl

    @contextlib.contextmanager
    def _locked(path: Path) -> Iterator[None]:
        lock = path.with_name(f".{path.name}.lock")
        descriptor = os.open(lock, os.O_RDWR | os.O_CREAT, files.PRIVATE)
        try:
            os.set_inheritable(descriptor, True)
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)
