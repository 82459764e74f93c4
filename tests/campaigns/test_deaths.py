"""Each way to die, once; `scripts/campaign deaths` has them twenty times each."""

from __future__ import annotations

from collections import Counter

from tests.campaigns import deaths


def test_each_death_is_told_and_recorded_and_leaves_nothing() -> None:
    counts: Counter[str] = Counter()
    for tally in deaths.run(0, len(deaths.CASES)):
        assert not tally.faults, tally.faults
        counts += tally.counts
    assert counts["exit 7"] >= len(deaths.CASES) - 2
