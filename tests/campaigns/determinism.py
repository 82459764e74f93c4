"""Do equal questions get equal bytes, whatever the surroundings?

Commands that write nothing are called under other seeds of Python's hashes, other locales and
other time zones. The Turkish locales matter: there, the small letter of I is none of ASCII,
and one of them has no quotation marks. They are compiled where the system can; else the
figures say how many were left out.
"""

from __future__ import annotations

import hashlib
import itertools
import os
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from random import Random

from launcher.licensing import policy
from launcher.models import catalogue
from tests.campaigns.campaign import Campaign, Tally, ranges, spread
from tests.headers import statements, write_model

TIMEOUT = 60.0  # seconds
SEEDS = ("0", "1", "4242")
LOCALES = ("C", "C.UTF-8", "tr_TR.UTF-8", "tr_TR.ISO-8859-9")
# Written out, so that no tables of the system are needed.
ZONES = ("UTC0", "NZST-12NZDT,M9.5.0,M4.1.0/3", "<-0930>9:30")
PLAIN = {"PYTHONHASHSEED": "0", "LC_ALL": "C.UTF-8", "TZ": "UTC0"}
WHO = ("individual:DE", "company:US", "individual:TR,FR")


def compiled(folder: Path) -> list[str]:
    """The locales that can be had; those that are no part of Python are compiled."""
    return [name for name in LOCALES if "_" not in name or _compile(folder, name)]


def _compile(folder: Path, name: str) -> bool:
    language, charset = name.split(".")
    command = ["localedef", "-i", language, "-f", charset, str(folder / name)]
    try:
        subprocess.run(command, capture_output=True, timeout=TIMEOUT, check=True)
    except (OSError, subprocess.SubprocessError):
        return False
    return True


def commands(file: Path) -> list[tuple[str, ...]]:
    """Every question whose answer rests on the question alone."""
    names = list(catalogue.load().models)
    return [
        *((*check, *end) for check in _checks(names, file) for end in ((), ("--json",))),
        *(("licences", "show", id) for id in policy.load().licences),
        *(("explain", rule.code) for _, rule in policy.all_rules(policy.load())),
        ("licences", "list"),
        ("--help",),
        ("check", "llama3.2:1bb"),
    ]


def _checks(names: list[str], file: Path) -> Iterator[tuple[str, ...]]:
    for subject, who in itertools.product((*names, str(file)), WHO):
        yield ("check", subject, "--as", who)


def answer(arguments: tuple[str, ...], variables: Mapping[str, str]) -> str:
    """Everything that a command says, and how it ends."""
    done = subprocess.run(
        [sys.executable, "-m", "launcher", *arguments],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=TIMEOUT,
        env={**os.environ, **variables},
        check=False,
    )
    if b"Traceback" in done.stderr:
        return done.stderr.decode("utf-8", "replace")
    said = hashlib.sha256(done.stdout + b"\0" + done.stderr).hexdigest()
    return f"exit code {done.returncode}, {said}"


def surroundings(folder: Path, locales: list[str]) -> list[dict[str, str]]:
    """Every locale with every zone, under the seeds in turn; a home and the locales below."""
    kept = {"LAUNCHER_HOME": str(folder / "home"), "LOCPATH": str(folder)}
    pairs = itertools.product(enumerate(locales), enumerate(ZONES))
    return [
        kept
        | {"PYTHONHASHSEED": SEEDS[(first + second) % len(SEEDS)], "LC_ALL": locale, "TZ": zone}
        for (first, locale), (second, zone) in pairs
    ]


def share(every: list[tuple[str, ...]], around: list[dict[str, str]], numbers: range) -> Tally:
    """The commands of these numbers, each under all surroundings."""
    tally = Tally()
    for number in numbers:
        arguments = every[number]
        wanted = answer(arguments, {**around[0], **PLAIN})
        tally.counts["commands"] += 1
        for variables in around:
            found = answer(arguments, variables)
            tally.counts["answers"] += 1
            if found != wanted:
                tally.counts["other bytes"] += 1
                tally.faults.append(f"{' '.join(arguments)}: {variables}: {found}, not {wanted}")
    return tally


def run(seed: int, count: int) -> Iterator[Tally]:
    """So many of the commands, drawn by the seed, each under all surroundings."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        file = write_model(folder / "model.gguf", metadata=statements(license="mit"))
        drawn = commands(file)
        drawn = Random(seed).sample(drawn, min(count, len(drawn)))
        locales = compiled(folder)
        around = surroundings(folder, locales)
        yield Tally(Counter({"surroundings": len(around), "locales": len(locales)}))
        yield from spread(partial(share, drawn, around), ranges(0, len(drawn), 5))


def summary(counts: Counter[str]) -> str:
    return (
        f"{counts['commands']} commands under {counts['surroundings']} surroundings "
        f"({counts['locales']} of {len(LOCALES)} locales): {counts['answers']} answers, "
        f"{counts['other bytes']} of other bytes"
    )


CAMPAIGN = Campaign(
    about="Equal questions get equal bytes, whatever the hashes, the locale and the zone.",
    count=100,
    run=run,
    summary=summary,
)
