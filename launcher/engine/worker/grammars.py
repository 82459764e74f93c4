"""Grammars: what reading one may take, and what each token of a stranger's may.

The engine reads a grammar by recursion and without bounds, and holds an answer to it by trying
every way in which it could go on: a few lines can take all memory or never come to an end. So a
grammar is read first in a process made for it (`helper`), and an answer whose grammar takes
too long is ended. What takes long all of a sudden cannot be ended; then the worker ends itself.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from typing import NoReturn

LONGEST = 1 << 20  # characters of a grammar made of a schema
LONGEST_GIVEN = 1 << 16  # and of one that was sent
TOKEN_SECONDS = 1.0  # of a processor, for one token of an answer
LAST_SECONDS = 5.0  # of a processor, after which the worker ends itself
_LOOKS = 1.0  # seconds between two looks at the clock
TOO_SLOW = "its grammar leaves too many ways open, and takes too long"


def is_readable(grammar: str) -> bool:
    """Whether the engine can read a grammar; only for a process that may be lost by it."""
    from launcher.engine.worker.llama import lib

    data = grammar.encode("utf-8", "surrogatepass")
    return bool(lib.llama_sampler_init_grammar(None, data, b"root"))


class Clock:
    """Times how long the thread that made it takes for a token; ends the process in the end."""

    def __init__(self) -> None:
        self._began: float | None = None

    def watch(self) -> None:
        """Has a thread look at it, where the system tells the time of another's thread."""
        ident = threading.get_ident()
        if hasattr(time, "pthread_getcpuclockid"):
            clock = time.pthread_getcpuclockid(ident)
            threading.Thread(target=self._look, args=[clock], daemon=True).start()

    def begin(self) -> None:
        self._began = time.thread_time()

    def end(self) -> float:
        """Seconds of a processor since `begin`."""
        began, self._began = self._began, None
        return 0.0 if began is None else time.thread_time() - began

    def _look(self, clock: int) -> None:
        while True:
            time.sleep(_LOOKS)
            began = self._began
            if began is not None and time.clock_gettime(clock) - began > LAST_SECONDS:
                _end()


def _end() -> NoReturn:
    print(f"an answer was not to be ended: {TOO_SLOW}", file=sys.stderr, flush=True)  # noqa: T201
    os._exit(1)
