"""Ctrl-C while the engine is at work."""

from __future__ import annotations

import contextlib
import signal
import sys
import time
from collections.abc import Callable, Iterator

TWICE = 0.5  # seconds; what follows sooner is the same press


@contextlib.contextmanager
def interruptible(stop: Callable[[], None]) -> Iterator[Callable[[], bool]]:
    """The first Ctrl-C ends the answer by `stop`, a later one the program.

    Yields a function that says whether Ctrl-C was pressed.
    """
    pressed: list[float] = []

    def press(number: int, frame: object) -> None:
        now = time.monotonic()
        if not pressed:
            pressed.append(now)
            stop()
        elif now - pressed[0] > TWICE:
            raise KeyboardInterrupt

    before = signal.signal(signal.SIGINT, press)
    try:
        yield lambda: bool(pressed)
    finally:
        signal.signal(signal.SIGINT, before)


@contextlib.contextmanager
def unseen_keys() -> Iterator[None]:
    """What is typed while an answer comes does not show in the midst of it; it is not lost."""
    try:
        import termios
    except ImportError:  # Windows shows no keys that nobody reads
        yield
        return
    try:
        before = termios.tcgetattr(sys.stdin)
    except (termios.error, ValueError):  # no terminal
        yield
        return
    quiet = [*before[:3], before[3] & ~termios.ECHO, *before[4:]]
    termios.tcsetattr(sys.stdin, termios.TCSANOW, quiet)
    try:
        yield
    finally:
        termios.tcsetattr(sys.stdin, termios.TCSANOW, before)
