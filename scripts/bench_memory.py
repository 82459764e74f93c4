"""Compares what a load is expected to take with what its worker took at most.

    scripts/bench memory model.gguf ... --contexts 512,2048,8192

Each model is loaded at each context and reads a long prompt. The gate is left out: this is for
files made by scripts/make_model.py and others of one's own.
"""

from __future__ import annotations

import argparse
import contextlib
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from launcher.clearance import Cleared
from launcher.engine import fit, machine, peaks
from launcher.engine.client import Engine, Worker
from launcher.engine.fit import Wishes, megabytes
from launcher.models import catalogue, sources
from launcher.models.refs import PathRef
from tests.campaigns.parser_agreement import Permit

PROMPT = 600  # words, less where the context is shorter


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("models", nargs="+", type=Path)
    parser.add_argument("--contexts", default="512,2048,8192")
    arguments = parser.parse_args()
    for path in arguments.models:
        for context in map(int, arguments.contexts.split(",")):
            expected, taken = measured(path, context)
            print(
                f"{path.name}, context {context}: {megabytes(expected)} expected, "
                f"{megabytes(taken)} taken, ratio {expected / taken:.3f}",
                flush=True,
            )


def measured(path: Path, context: int) -> tuple[int, int]:
    """Bytes that a load is expected to take, and that its worker took at most."""
    words = "word " * min(PROMPT, context - 60)
    with sources.resolved(PathRef(path), catalogue.load()) as bundle:
        headers = [part.header for part in bundle.parts if part.header is not None]
        wishes = Wishes(context=context, force=True)
        plan = fit.plan(headers, bundle.size, machine.measure(), wishes)
        permit = Permit(bundle.fingerprint)
        cleared = Cleared(bundle=bundle, decision=permit, plan=plan, record="")
        with contextlib.closing(Worker()) as worker, Engine(cleared, worker) as engine:
            question = [{"role": "user", "content": words}]
            list(engine.generate(question, sampling={"temperature": 0.0}, max_tokens=4))
            return plan.memory.total, peaks.of_process(worker.process.pid)


if __name__ == "__main__":
    main()
