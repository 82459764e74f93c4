"""How many threads compute: fewer while other processes hold processors, all when they are free.

The engine's threads wait for each other several hundred times a token, and wait by spinning.
Where one of them is off its processor, all the others burn theirs: two threads beside one
other busy process are ten times slower than one thread alone. So what a step got is watched:
threads that have a processor each use as many seconds of it as pass on the clock.
"""

from __future__ import annotations

import hashlib
import sys
import threading
import time
from collections.abc import Callable

WINDOW = 0.05  # seconds of computing that are judged together
_LEAST = 0.85  # the share of their processors that two threads get where nothing disturbs them
_LEAST_OF_MANY = 0.9
_FREE = 0.9  # the share that a thread on a free processor gets
_LOOK = 0.008  # seconds that it takes to see whether a processor is free; several time slices
_MORE_LOOKS = 2  # before a machine is believed to be busy
_REST = 1.0  # seconds without a step, after which it is looked again
_FIRST_PAUSE, _LONGEST_PAUSE = 0.25, 4.0  # seconds between two looks
_BLOCK = bytes(1 << 16)  # what a look computes with, while other threads can go on


def page_faults() -> int:
    """Of this process, those that waited for the disk."""
    if sys.platform == "win32":
        return 0
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_majflt


class Look:
    """Tries whether processors are free, by as many threads that compute for a moment."""

    def __init__(self, count: int) -> None:
        self.free = 0
        self._threads = [threading.Thread(target=self._try, daemon=True) for _ in range(count)]
        for thread in self._threads:
            thread.start()

    @property
    def is_done(self) -> bool:
        return not any(thread.is_alive() for thread in self._threads)

    def wait(self) -> None:
        for thread in self._threads:
            thread.join()

    def _try(self) -> None:
        began, used = time.perf_counter(), time.thread_time()
        while (passed := time.perf_counter() - began) < _LOOK:
            hashlib.sha256(_BLOCK).digest()
        if time.thread_time() - used >= _FREE * passed:
            self.free += 1


class Pace:
    """The number of threads, as the machine has room for them."""

    def __init__(self, most: int, use: Callable[[int], None]) -> None:
        """`use` sets the number; `most` is set already."""
        self.threads = self.most = most
        self._uses = [use]
        self.least = _LEAST if most == 2 else _LEAST_OF_MANY
        """The share of their processors that threads get where nothing disturbs them."""
        self._wall = self._cpu = 0.0
        self._pause = _FIRST_PAUSE
        self._next = 0.0
        self._look: Look | None = None
        self._busy = 0
        self._ended = -_REST  # when the last step did
        self._faults = page_faults()  # what came before says nothing of the steps

    def share(self, use: Callable[[int], None]) -> None:
        """Sets the number for something else, too, that computes in turn with the first."""
        self._uses.append(use)
        use(self.threads)

    def look_around(self, busy: int) -> None:
        """Looks whether processors are free besides the `busy` ones that this process uses."""
        if busy < self.most:
            self._busy, self._look = busy, Look(self.most - busy)

    def settle(self) -> None:
        """Looks around before the first step after a rest, and waits for what is looked at.

        Not sooner: while a model is loaded, the launcher itself keeps a processor busy.
        """
        rested = time.perf_counter() > self._ended + _REST
        if rested and self._look is None and self.most > 1:
            self._busy, self._look = 0, self._best_look()
        if self._look is not None:
            self._look.wait()
            self._take(time.perf_counter())

    def _best_look(self) -> Look:
        """Of a few: what stops the whole machine for a moment is no contention."""
        look = Look(self.most)
        look.wait()
        for _ in range(_MORE_LOOKS):
            if look.free < self.most:
                look = Look(self.most)
                look.wait()
        return look

    def begin(self) -> None:
        """A step begins."""
        self._began, self._used = time.perf_counter(), time.process_time()

    def end(self, threads: int = 0) -> None:
        """A step is over, that took so many threads (0: as many as are used for one token)."""
        if self.most > 1:
            now = self._ended = time.perf_counter()
            cpu = time.process_time() - self._used
            self.note(now, now - self._began, cpu * self.threads / (threads or self.threads))

    def note(self, now: float, wall: float, cpu: float) -> None:
        """What a step took, by the clock and of all processors (seconds)."""
        if self._look is not None:
            if self._look.is_done:
                self._take(now)
            return
        if self.threads < self.most and now >= self._next:
            self.look_around(self.threads)
        elif self.threads > 1:
            self._wall, self._cpu = self._wall + wall, self._cpu + cpu
            if self._wall >= WINDOW:
                self._judge(now)

    def _judge(self, now: float) -> None:
        least = min(self.least, _LEAST) if self.threads == 2 else self.least
        share = self._cpu / (self._wall * self.threads)
        before, self._faults = self._faults, page_faults()
        self._wall = self._cpu = 0.0
        if share < least and self._faults == before:
            self._set(self.threads - 1)
            self._wait(now)
        elif share >= least and self.threads == self.most:
            self._pause = _FIRST_PAUSE

    def _take(self, now: float) -> None:
        """Uses the processors that were found free."""
        assert self._look is not None
        self._set(max(self._busy + self._look.free, 1))
        if self.threads < self.most and not (self._busy and self._look.free):
            self._wait(now)
        self._look = None

    def _wait(self, now: float) -> None:
        """For the next look, longer each time."""
        self._next = now + self._pause
        self._pause = min(2 * self._pause, _LONGEST_PAUSE)

    def _set(self, threads: int) -> None:
        if threads != self.threads:
            self.threads = threads
            self._wall = self._cpu = 0.0
            for use in self._uses:
                use(threads)
