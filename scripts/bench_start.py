#!/usr/bin/env python3
"""How long commands take as whole processes, and how long a decision takes.

    scripts/bench start [--runs 21]

Files are warm, as for whoever has used launcher before. Each command takes its turn in every
round, so that a busy moment hits all of them. Bare Python that imports click is what no
command can be quicker than.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tests.headers import statements, write_model

WHO = ("--as", "individual:DE")
DECISIONS = 2000
MODELS = ("llama-4-scout", "llama-3.1-8b", "hunyuan-7b", "smollm2-135m")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=21)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        os.environ |= {"LAUNCHER_HOME": str(folder / "home"), "HF_HOME": str(folder / "hf")}
        for title, times in _processes(folder, arguments.runs).items():
            shown = f"{statistics.median(times):.3f} s ({min(times):.3f} to {max(times):.3f})"
            print(f"{title:44} {shown}")
        for model, microseconds in _decisions(folder):
            print(f"decide, {model:36} {microseconds:.0f} microseconds")


def _commands(folder: Path) -> dict[str, list[str]]:
    """What is timed, by how it is called."""
    said = statements(name="Llama 3.1 8B Instruct", license="llama3.1")
    file = write_model(folder / "Llama-3.1-8B.gguf", "llama-3.1-8b", metadata=said)
    launcher = [sys.executable, "-m", "launcher"]
    new = str(folder / "new.gguf")
    return {
        "python -c 'import click'": [sys.executable, "-c", "import click"],
        "launcher --help": [*launcher, "--help"],
        "launcher licences list": [*launcher, "licences", "list"],
        "launcher check llama3.2:1b": [*launcher, "check", "llama3.2:1b", *WHO],
        "launcher check FILE (128k tokens)": [*launcher, "check", str(file), *WHO],
        "launcher check FILE, for the first time": [*launcher, "check", new, *WHO],
        "launcher list": [*launcher, "list", *WHO],
    }


def _processes(folder: Path, runs: int) -> dict[str, list[float]]:
    commands = _commands(folder)
    times: dict[str, list[float]] = {title: [] for title in commands}
    for turn in range(runs + 1):
        _copy(folder / "Llama-3.1-8B.gguf", folder / "new.gguf")  # nothing of it is remembered
        for title, command in commands.items():
            start = time.perf_counter()
            subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            if turn:  # the first round warms the disk's cache
                times[title].append(time.perf_counter() - start)
    return times


def _copy(file: Path, new: Path) -> None:
    """The header, and a hole as large as the one in the original."""
    with file.open("rb") as stream:
        new.write_bytes(stream.read(16 << 20))
    os.truncate(new, file.stat().st_size)


def _decisions(folder: Path) -> Iterator[tuple[str, float]]:
    """Microseconds that the gate itself takes, once everything has been read."""
    from launcher import flow, settings
    from launcher.asker import Asker, Request
    from launcher.licensing import gate
    from launcher.licensing.declaration import Stated, who
    from launcher.paths import places

    found = places()
    stated = Stated(who=who("individual:DE"))
    asker = Asker(places=found, settings=settings.load(found), stated=stated)
    for model in MODELS:
        file = write_model(folder / f"{model}.gguf", model)
        with flow.judged(Request(model=str(file)), asker) as judgement:
            start = time.perf_counter()
            for _ in range(DECISIONS):
                gate.decide(judgement.case)
            yield model, (time.perf_counter() - start) / DECISIONS * 1e6


if __name__ == "__main__":
    main()
