"""Whatever ends the engine, is it told rightly, recorded, and is no process left behind?

The launcher runs the real model as a user runs it; its worker is killed by each signal, or
refused memory, while it loads and in the middle of an answer, at random moments.
"""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from random import Random

from launcher.licensing import records
from launcher.paths import places
from tests.campaigns.campaign import Campaign, Tally
from tests.engine.processes import children, ended, family

MODEL = "smollm2:135m"
LIMIT = 60.0  # seconds for one run
LOADING = 0.3  # seconds in which the worker loads
ROUNDS = 20
LOG_SIZE = 8 << 20  # bytes


def _signal(name: str, worker: int, lot: Random) -> None:
    os.kill(worker, signal.Signals[name])


def _no_memory(worker: int, lot: Random) -> None:
    """Up to 64 MiB more, and then no more."""
    pages = int(Path(f"/proc/{worker}/statm").read_text().split()[0])
    room = pages * os.sysconf("SC_PAGE_SIZE") + lot.randrange(64 << 20)
    resource.prlimit(worker, resource.RLIMIT_AS, (room, room))


Blow = Callable[[int, Random], None]
BLOWS: dict[str, Blow] = {
    **{name: partial(_signal, name) for name in ("SIGILL", "SIGSEGV", "SIGABRT", "SIGKILL")},
    "no memory": _no_memory,
}
CASES = [(name, phase) for name in BLOWS for phase in ("load", "answer")]


def run(seed: int, count: int) -> Iterator[Tally]:
    """Goes through the cases in turns."""
    for number in range(count):
        name, phase = CASES[number % len(CASES)]
        yield one(name, phase, Random(f"{seed}/{number}"))


def one(name: str, phase: str, lot: Random) -> Tally:
    """One run of the launcher whose worker is hit."""
    tally = Tally()
    with tempfile.TemporaryDirectory() as home:
        code, error, left = _struck(Path(home), name, phase, lot)
        kinds = _recorded(Path(home))
    about = f"{name} while it {'loads' if phase == 'load' else 'answers'}"
    tally.counts[name] += 1
    tally.faults += [f"{about}: {fault}" for fault in _faults(name, code, error, left)]
    if "decision" not in kinds or (phase == "answer" and "load" not in kinds):
        tally.faults.append(f"{about}: the records are {kinds}")
    tally.counts[f"exit {code}"] += 1
    return tally


def _struck(home: Path, name: str, phase: str, lot: Random) -> tuple[int, str, list[int]]:
    """The exit code, what was said, and which processes were left."""
    with subprocess.Popen(
        [sys.executable, "-m", "launcher", "run", MODEL, "Tell a long story.", *_OPTIONS],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "LAUNCHER_HOME": str(home)},
    ) as launcher:
        assert launcher.stdout is not None
        worker = _worker(launcher.pid)
        if phase == "answer":
            launcher.stdout.read(1)
        time.sleep(lot.uniform(0, LOADING))
        all_of_it = family(launcher.pid)
        with contextlib.suppress(ProcessLookupError, FileNotFoundError):
            BLOWS[name](worker, lot)
        _, error = launcher.communicate(timeout=LIMIT)
    left = [] if ended(*all_of_it) else all_of_it
    return launcher.returncode, error.decode("utf-8", "replace"), left


# An answer that goes on for seconds, whatever the model would say: none is over before the blow.
_OPTIONS = ("--as", "individual:DE", "--ignore-eos", "-n", "250", "-c", "1024", "-t", "1")


def _worker(launcher: int) -> int:
    """The process that it starts for the engine, as soon as it is there."""
    deadline = time.monotonic() + LIMIT
    while time.monotonic() < deadline:
        for child in children(launcher):
            with contextlib.suppress(OSError):
                if b"launcher.engine.worker" in Path(f"/proc/{child}/cmdline").read_bytes():
                    return child
        time.sleep(0.002)
    raise AssertionError("the launcher has started no worker")


def _recorded(home: Path) -> list[str]:
    log = records.Log(places({"LAUNCHER_HOME": str(home)}).records, LOG_SIZE)
    return [str(record["kind"]) for record in records.recent(log)]


def _faults(name: str, code: int, error: str, left: list[int]) -> Iterator[str]:
    if left:
        yield f"of the processes {left} some are left"
    if "Traceback" in error:
        yield f"it ends with a trace: {error[-300:]}"
    if name == "no memory":
        # It may have had all that it needs; else what is said names the lack of memory.
        if code not in (0, 7, 9) or (code and "memory" not in error):
            yield f"exit code {code}: {error[-300:]}"
    elif code != 7 or name not in error:
        yield f"exit code {code}: {error[-300:]}"


def summary(counts: Counter[str]) -> str:
    """One line with the figures."""
    return f"{sum(counts[name] for name in BLOWS)} runs: " + ", ".join(
        f"{counts[name]} {name}" for name in sorted(counts)
    )


CAMPAIGN = Campaign(
    about="runs whose engine is killed: told rightly, recorded, nothing left",
    count=ROUNDS * len(CASES),
    run=run,
    summary=summary,
)
