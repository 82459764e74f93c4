"""A grammar whose first letter opens more ways than anybody could follow."""

from __future__ import annotations

import time
from pathlib import Path

from tests.serving.running import MODEL, running

SOME = " ".join(["[a-z]?"] * 8)
AMBIGUOUS = f"root ::= {' '.join(['a'] * 20)}\na ::= {SOME}"


def test_a_worker_that_could_not_go_on_ends_itself_and_comes_again(tmp_path: Path) -> None:
    wish = {"model": MODEL, "prompt": "One, two,", "temperature": 0, "max_tokens": 4}
    with running(tmp_path) as server:
        refused = server.post("/v1/completions", {**wish, "grammar": AMBIGUOUS})
        assert refused.status_code in (400, 503)
        assert "too many ways open" in refused.json()["error"]["message"]
        deadline = time.monotonic() + 60
        while (found := server.post("/v1/completions", wish)).status_code != 200:
            assert int(found.headers["retry-after"]) > 0
            assert time.monotonic() < deadline
            time.sleep(0.1)
