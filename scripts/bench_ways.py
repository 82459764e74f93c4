#!/usr/bin/env python3
"""What launcher's own ways to be quick are worth; prints rows of a Markdown table.

    scripts/bench ways MODEL.gguf [--rounds 7] [--only copy,free,crowded,prompt]
    scripts/bench ways MODEL.gguf --draft OTHER.gguf --only draft

Both sides take turns, with a figure as in bench_engine.py. `copy` and `free`: tokens/s with guesses
against without, where the answer repeats the prompt and where it does not. `draft`: where it does
not, with guesses of a second model. `crowded`: tokens/s with all threads asked for and another
process spinning, against one thread undisturbed. `prompt`: seconds to the first token of a whole
process with a system prompt of 1,000 words, with what is kept of it against without.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from figures import WHO, WORDS, Figure, paired, row

from launcher.engine import machine
from launcher.engine.client import Worker

TEXT = (
    "The old river runs past the green mill. Anna counts seven stones, puts them into a basket "
    "and walks home along the dusty road before the sun goes down over the hills. Her brother "
    "waits at the gate with two lamps, a loaf of bread and a letter from the city."
)
COPY = f"Repeat this text exactly:\n{TEXT}"
FREE = "Write a long story about a fox and a hen who travel around the world."
COUNT = {COPY: 60, FREE: 96}  # tokens
CONTEXT = 4096  # tokens
SPIN = "print(flush=True)\nwhile True: pass"


@contextlib.contextmanager
def loaded(model: Path, threads: int, draft: Path | None = None) -> Iterator[Worker]:
    """A worker with a model; no gate: the same file goes through it in bench_engine.py."""
    sets: list[dict[str, object]] = [{"role": "weights", "files": 1, "compare": []}]
    if draft is not None:
        sets.append({"role": "draft", "files": 1, "compare": [], "same_tokens": False})
    load = {"context": CONTEXT, "threads": threads, "extra_buffers": True, "sets": sets}
    with contextlib.ExitStack() as stack:
        worker = stack.enter_context(contextlib.closing(Worker()))
        files = [stack.enter_context(path.open("rb")) for path in (model, draft) if path]
        if worker.load(load, [file.fileno() for file in files])["type"] != "ready":
            raise SystemExit("the model was not loaded")
        yield worker


def speed(worker: Worker, question: str, *, guesses: bool = False) -> float:
    """Tokens per second of a greedy answer."""
    wanted = {
        "type": "generate",
        "number": 1,
        "messages": [{"role": "user", "content": question}],
        "sampling": {"temperature": 0.0},
        "max_tokens": COUNT[question],
        "guesses": guesses,
    }
    worker.send(wanted)
    while (reply := worker.receive())["type"] == "text":
        pass
    if reply["type"] != "done":
        raise SystemExit(str(reply))
    return float((reply["tokens"] - 1) / reply["seconds"])


def guessing(model: Path, rounds: int, question: str, draft: Path | None = None) -> Figure:
    with loaded(model, machine.processors(), draft) as worker:
        return paired(
            rounds,
            lambda: speed(worker, question, guesses=True),
            lambda: speed(worker, question),
        )


def crowded(model: Path, rounds: int) -> Figure:
    with loaded(model, machine.processors()) as many, loaded(model, 1) as one:
        return paired(rounds, lambda: _beside(many), lambda: speed(one, FREE))


def _beside(worker: Worker) -> float:
    with subprocess.Popen([sys.executable, "-c", SPIN], stdout=subprocess.PIPE) as spinning:
        assert spinning.stdout is not None
        spinning.stdout.readline()
        try:
            return speed(worker, FREE)
        finally:
            spinning.kill()


def prompt(model: Path, rounds: int) -> Figure:
    system = " ".join(random.Random(3).choices(WORDS, k=1000))
    command = [
        *(sys.executable, "-m", "launcher", "run", str(model), "Hello", "--as", WHO),
        *("--temp", "0", "-n", "4", "-c", str(CONTEXT), "-s", system),
    ]
    return paired(rounds, _first(command), _first([*command, "--no-prompt-cache"]))


def _first(command: list[str]) -> Callable[[], float]:
    """Seconds to the first letter."""

    def measure() -> float:
        start = time.perf_counter()
        with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE) as running:
            assert running.stdout is not None
            if not running.stdout.read(1):
                raise SystemExit("there was no answer")
            passed = time.perf_counter() - start
            running.stdout.read()
        return passed

    return measure


FIGURES: dict[str, tuple[str, Callable[[Path, Path | None, int], Figure]]] = {
    "copy": ("tokens/s", lambda model, _, rounds: guessing(model, rounds, COPY)),
    "free": ("tokens/s", lambda model, _, rounds: guessing(model, rounds, FREE)),
    "crowded": ("tokens/s", lambda model, _, rounds: crowded(model, rounds)),
    "draft": ("tokens/s", lambda model, draft, rounds: guessing(model, rounds, FREE, draft)),
    "prompt": ("s", lambda model, _, rounds: prompt(model, rounds)),
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("model", type=Path)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--only", default="copy,free,crowded,prompt")
    parser.add_argument("--draft", type=Path)
    arguments = parser.parse_args()
    print("| figure | model | with | without | ratio | 95 % |\n|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as name:
        os.environ["LAUNCHER_HOME"] = name
        for title in arguments.only.split(","):
            unit, measure = FIGURES[title]
            figure = measure(arguments.model, arguments.draft, arguments.rounds)
            print(row(arguments.model.stem, title, unit, figure), flush=True)


if __name__ == "__main__":
    main()
