"""What the campaigns share: shares of work on every processor, and what came of them.

A campaign is a proof too long for every run of the tests; they run a seeded share of it.
"""

from __future__ import annotations

import multiprocessing
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from launcher.engine import machine

T = TypeVar("T")
ALL = sys.maxsize  # as many cases as there are


@dataclass(slots=True)
class Tally:
    """What came of a share of the work."""

    counts: Counter[str] = field(default_factory=Counter)
    """How often each thing happened."""
    faults: list[str] = field(default_factory=list)
    """Everything that was wrong: one is enough for the proof to fail."""
    notes: list[str] = field(default_factory=list)
    """What is worth a look, and may happen."""

    def add(self, other: Tally) -> None:
        self.counts += other.counts
        self.faults += other.faults
        self.notes += other.notes


@dataclass(frozen=True, slots=True, kw_only=True)
class Campaign:
    """One proof, and how long it is in full."""

    about: str
    count: int
    run: Callable[[int, int], Iterator[Tally]]
    """Called with a seed and a count; gives the tally of each share as it is done."""
    summary: Callable[[Counter[str]], str]
    """One line with the figures."""
    fails: Callable[[Counter[str]], str] = lambda counts: ""
    """What is wrong with the figures as a whole, such as a rate; empty where nothing is."""


def spread(work: Callable[[T], Tally], shares: Sequence[T]) -> Iterator[Tally]:
    """Does the shares, one process to each usable processor, and gives each tally as it comes."""
    with multiprocessing.get_context("fork").Pool(machine.processors()) as pool:
        yield from pool.imap_unordered(work, shares)


def ranges(start: int, count: int, size: int) -> list[range]:
    """The numbers from `start` on, in shares of a size."""
    end = start + count
    return [range(first, min(first + size, end)) for first in range(start, end, size)]
