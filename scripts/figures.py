"""What the measurements share: two sides that take turns, and a ratio with its interval."""

from __future__ import annotations

import random
import statistics
from collections.abc import Callable
from dataclasses import dataclass

WHO = "individual:DE"
WORDS = ("the", "a", "river", "house", "of", "to", "and", "walks", "sees", "five", "tree", "old")
RESAMPLINGS = 4000

Measure = Callable[[], float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """What came out of the rounds of one comparison."""

    ours: list[float]
    theirs: list[float]

    @property
    def ratio(self) -> float:
        return statistics.median(self.ours) / statistics.median(self.theirs)

    def interval(self) -> tuple[float, float]:
        """Of the ratio: the middle 95 % of what resampled rounds give."""
        chance = random.Random(1)
        pairs = list(zip(self.ours, self.theirs, strict=True))
        found = []
        for _ in range(RESAMPLINGS):
            ours, theirs = zip(*chance.choices(pairs, k=len(pairs)), strict=True)
            found.append(statistics.median(ours) / statistics.median(theirs))
        found.sort()
        return found[RESAMPLINGS // 40], found[-RESAMPLINGS // 40]


def paired(rounds: int, ours: Measure, theirs: Measure) -> Figure:
    """Lets both take turns; the first round only warms up."""
    figure = Figure(ours=[], theirs=[])
    sides = [(ours, figure.ours), (theirs, figure.theirs)]
    for turn in range(rounds + 1):
        for measure, values in sides if turn % 2 else reversed(sides):
            value = measure()
            if turn:
                values.append(value)
    return figure


def row(model: str, name: str, unit: str, figure: Figure) -> str:
    ours, theirs = statistics.median(figure.ours), statistics.median(figure.theirs)
    low, high = figure.interval()
    return (
        f"| {name} | {model} | {ours:.4g} {unit} | {theirs:.4g} {unit} "
        f"| {figure.ratio:.3f} | {low:.3f} to {high:.3f} |"
    )
