#!/usr/bin/env python3
"""What the gate adds to a warm start; prints rows of a Markdown table.

    scripts/bench gate MODEL.gguf... [--rounds 15] [--threads N] [--accept LICENCE]

Whole processes of `launcher run` for 32 tokens, from which the time inside the gate is taken:
reading the header, judging, clearing, comparing digests and what the engine sees,
both records. `own` is all of
that. `added` is what a person waits for: of what comes before the load only as much as the
worker sat waiting for, since it starts at the same time; of what comes after it, all. That is
never too little, since the worker also waits for the command line to be imported.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench_engine import ANSWER, CONTEXT, QUESTION
from figures import WHO

from launcher.engine import machine, process

INSIDE = "LAUNCHER_BENCH_INSIDE"
BEFORE = (("launcher.flow", "clear"), ("launcher.flow", "verify"))
AFTER = (("launcher.engine.comparing", "refuse_difference"), ("launcher.recording", "loaded"))


# --- In the process that is measured --------------------------------------------------------------


def inside(file: Path) -> None:
    """Runs the command line as the program does, and writes down what the gate took."""
    process.start_early()
    from launcher import flow
    from launcher.cli import main as line

    found: dict[str, float] = {}
    for module, name in (*BEFORE, *AFTER):
        _time(module, name, found)
    judged, load = flow.judged, flow.load

    @contextlib.contextmanager
    def judging(*arguments: Any, **named: Any) -> Iterator[flow.Judgement]:
        began = time.perf_counter()
        with judged(*arguments, **named) as judgement:
            found["judged"] = time.perf_counter() - began
            yield judgement

    def loading(*arguments: Any, **named: Any) -> Any:
        engine = load(*arguments, **named)
        found["waited"] = engine.loaded.waited
        return engine

    flow.judged, flow.load = judging, loading
    with contextlib.suppress(SystemExit):
        line.main()
    file.write_text(json.dumps(found), encoding="utf-8")


def _time(module: str, name: str, found: dict[str, float]) -> None:
    """Has a function note how long it takes (seconds)."""
    owner = sys.modules.get(module) or __import__(module, fromlist=[name])
    function: Callable[..., Any] = getattr(owner, name)

    @functools.wraps(function)
    def timed(*arguments: Any, **named: Any) -> Any:
        began = time.perf_counter()
        try:
            return function(*arguments, **named)
        finally:
            found[name] = found.get(name, 0.0) + time.perf_counter() - began

    setattr(owner, name, timed)


# --- Around it ------------------------------------------------------------------------------------


def rounds(model: Path, threads: int, count: int, folder: Path) -> Iterator[tuple[float, ...]]:
    """Seconds of the whole process, of the gate, and of the gate as far as it was waited for."""
    file = folder / "found.json"
    command = [
        *(sys.executable, __file__, "run", str(model), QUESTION, "--as", WHO),
        *("-t", str(threads), "-c", str(CONTEXT), "-n", str(ANSWER), "--temp", "0"),
    ]
    for turn in range(count + 1):
        began = time.perf_counter()
        subprocess.run(
            command,
            check=True,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            env={**os.environ, INSIDE: str(file)},
        )
        took = time.perf_counter() - began
        found = json.loads(file.read_text(encoding="utf-8"))
        before = found["judged"] + sum(found[name] for _, name in BEFORE)
        after = sum(found[name] for _, name in AFTER)
        if turn:  # the first round reads the file for the first time
            yield took, before + after, min(before, found["waited"]) + after


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("models", type=Path, nargs="+")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--threads", type=int, default=machine.processors())
    parser.add_argument("--accept", action="append", default=[], help="a licence the models need")
    arguments = parser.parse_args()
    print("| model | process | own | added | share | shares |\n|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as name:
        os.environ["LAUNCHER_HOME"] = str(Path(name, "home"))
        for licence in arguments.accept:
            accept = [sys.executable, "-m", "launcher", "licences", "accept", licence, "--as", WHO]
            subprocess.run(accept, check=True, stdout=subprocess.DEVNULL)
        for model in arguments.models:
            found = rounds(model, arguments.threads, arguments.rounds, Path(name))
            print(row(model.stem, list(found)), flush=True)


def row(model: str, found: list[tuple[float, ...]]) -> str:
    took, own, added = (statistics.median(each) for each in zip(*found, strict=True))
    shares = sorted(100 * of_it / whole for whole, _, of_it in found)
    return (
        f"| {model} | {took:.2f} s | {1000 * own:.1f} ms | {1000 * added:.1f} ms "
        f"| {statistics.median(shares):.2f} % | {shares[0]:.2f} to {shares[-1]:.2f} % |"
    )


if __name__ == "__main__":
    if INSIDE in os.environ:
        inside(Path(os.environ.pop(INSIDE)))
    else:
        main()
