"""Shares of the campaigns of the server; `scripts/campaign` has the rest."""

from __future__ import annotations

from collections import Counter

import pytest

from tests.campaigns import batched, server_deaths


def test_workers_that_are_killed_under_load_come_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_deaths, "LONGEST", 1.0)
    counts: Counter[str] = Counter()
    for tally in server_deaths.run(0, 3):
        assert not tally.faults, tally.faults
        counts += tally.counts
    assert sum(counts[name] for name in server_deaths.SIGNALS) == 3
    assert counts["told"] > 0


def test_answers_say_the_same_alone_and_together() -> None:
    (tally,) = batched.run(0, 4)
    assert tally.counts["same"] == tally.counts["questions"] == 4, tally.notes
