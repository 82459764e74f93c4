"""How fast a download may go, and who is told how it goes."""

from __future__ import annotations

import threading
import time
from typing import Protocol

from launcher.models.remote import RemoteFile


class Progress(Protocol):
    """Told how a download goes. Called by one thread at a time, but not always the same."""

    def started(self, total: int, done: int) -> None:
        """So many bytes are wanted in all, and so many are here."""

    def advanced(self, size: int) -> None:
        """So many more bytes are here; fewer, where something must be fetched again."""

    def waiting(self, reason: str, seconds: float) -> None:
        """Nothing comes for a while; 0 seconds where nobody knows how long."""

    def finished(self) -> None:
        """Everything is here."""

    def close(self) -> None:
        """The download is over, however it ended."""


class Silent:
    """Progress that nobody is told of."""

    def started(self, total: int, done: int) -> None: ...

    def advanced(self, size: int) -> None: ...

    def waiting(self, reason: str, seconds: float) -> None: ...

    def finished(self) -> None: ...

    def close(self) -> None: ...


class Tap:
    """Lets so many bytes a second through, for all threads together."""

    def __init__(self, rate: float, stop: threading.Event) -> None:
        self._rate = rate
        self._stop = stop
        self._lock = threading.Lock()
        self._free_at = 0.0

    def take(self, size: int) -> None:
        """Waits until so many bytes may pass."""
        if not self._rate:
            return
        with self._lock:
            now = time.monotonic()
            # What was not used for a while is not saved up.
            self._free_at = max(self._free_at, now) + size / self._rate
            pause = self._free_at - now
        self._stop.wait(pause)


class Report:
    """Adds up what several threads do, for a `Progress` that need not care."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._lock = threading.Lock()
        self._here: dict[RemoteFile, int] = {}

    def started(self, total: int, here: dict[RemoteFile, int]) -> None:
        self._here = dict(here)
        self._progress.started(total, sum(here.values()))

    def has(self, file: RemoteFile, size: int) -> None:
        """So many bytes of a file are here now."""
        with self._lock:
            change = size - self._here.get(file, 0)
            self._here[file] = size
            if change:
                self._progress.advanced(change)

    def waiting(self, reason: str, seconds: float) -> None:
        with self._lock:
            self._progress.waiting(reason, seconds)

    def finished(self) -> None:
        self._progress.finished()
