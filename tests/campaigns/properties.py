"""Do the laws of the gate hold for whatever hypothesis can think of?

Each law of `tests/licensing/test_properties.py` is tried with so many examples, by pytest.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from tests.campaigns.campaign import Campaign, Tally, spread
from tests.licensing import test_properties

FILE = Path(test_properties.__file__)
ROOT = FILE.parents[2]
TAIL = 40  # lines of what pytest says of a law that does not hold
_TRIED = re.compile(r"- (\d+) passing, (\d+) failing, and (\d+) invalid")


def laws() -> list[str]:
    """The names of all laws."""
    return [name for name in vars(test_properties) if name.startswith("test_")]


def tried(seed: int, count: int, law: str) -> Tally:
    """One law, with so many examples that fit it; hypothesis itself says how many it tried."""
    tally = Tally()
    arguments = (
        "--hypothesis-show-statistics",
        f"--hypothesis-seed={seed}",
        "-p",
        "no:cacheprovider",
    )
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", *arguments, f"{FILE}::{law}"],
        cwd=ROOT,
        env={**os.environ, "HYPOTHESIS_EXAMPLES": str(count)},
        capture_output=True,
        text=True,
        encoding="utf-8",
        check=False,
    )
    tally.counts["laws"] += 1
    for passing, _, invalid in _TRIED.findall(done.stdout):
        tally.counts["examples"] += int(passing)
        tally.counts["examples that did not fit"] += int(invalid)
    if done.returncode:
        tail = "\n".join(done.stdout.splitlines()[-TAIL:])
        tally.faults.append(f"{law} does not hold:\n{tail}\n{done.stderr}")
    elif tally.counts["examples"] < count:
        tally.faults.append(f"{law}: {tally.counts['examples']} examples, not {count}")
    return tally


def run(seed: int, count: int) -> Iterator[Tally]:
    """Every law with `count` examples."""
    yield from spread(partial(tried, seed, count), laws())


def summary(counts: Counter[str]) -> str:
    return (
        f"{counts['laws']} laws, {counts['examples']} examples that they held for "
        f"({counts['examples that did not fit']} more did not fit the law)"
    )


CAMPAIGN = Campaign(
    about="The laws of the gate hold, with so many examples each.",
    count=10_000,
    run=run,
    summary=summary,
)
