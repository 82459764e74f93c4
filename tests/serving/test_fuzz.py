"""A seeded share of the campaign that makes requests from the interface's own description."""

from __future__ import annotations

from tests.campaigns import http_fuzz
from tests.campaigns.test_campaigns import SEED, total


def test_what_the_description_allows_and_forbids_is_answered_as_it_says() -> None:
    counts = total(http_fuzz.run(SEED, 4)).counts
    assert counts["requests"] > 40
    assert counts["wrong"] == counts["5xx"] == 0
    assert min(counts["2xx"], counts["4xx"]) > 5
