"""Do the gate and the oracle agree on every question?

The tests ask all of them in every run; this says the figures.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterator
from functools import partial
from random import Random

from tests.campaigns.campaign import ALL, Campaign, Tally, spread
from tests.licensing.asked import answered
from tests.licensing.test_exhaustive import by_country, pairwise
from tests.oracle.cases import MODELS, Outcome
from tests.oracle.oracle import expected


def agreed(seed: int, count: int, model: str) -> Tally:
    """So many questions about one release, drawn by the seed; all where there are no more."""
    tally = Tally()
    every = list(itertools.chain(by_country((model,)), pairwise((model,))))
    for question in Random(seed).sample(every, min(count, len(every))):
        ours, theirs = answered(question), expected(question)
        tally.counts["questions"] += 1
        tally.counts[ours.value] += 1
        if ours is not theirs:
            tally.counts["disagreements"] += 1
            tally.faults.append(f"gate {ours.value}, oracle {theirs.value}: {question}")
    return tally


def run(seed: int, count: int) -> Iterator[Tally]:
    """At most `count` questions, of each release as many."""
    yield from spread(partial(agreed, seed, count // len(MODELS)), MODELS)


def summary(counts: Counter[str]) -> str:
    answers = ", ".join(f"{counts[outcome.value]} {outcome.value}" for outcome in Outcome)
    return (
        f"{counts['questions']} questions, {counts['disagreements']} disagreements "
        f"(the answers: {answers})"
    )


CAMPAIGN = Campaign(
    about="The gate and the oracle agree on every question.",
    count=ALL,
    run=run,
    summary=summary,
)
