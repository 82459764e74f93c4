"""A batcher in this process, and what it has said."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from launcher.engine.messages import Message
from launcher.engine.sampling import Sampling
from launcher.engine.worker import llama
from launcher.engine.worker.batching import Batcher, Prepared
from launcher.engine.worker.sampler import Sampler
from launcher.engine.worker.slots import Slots

GREEDY = Sampling(temperature=0.0)


def slots_of(path: Path, **how: Any) -> Slots:
    """Slots over the model in a file; `llama.start` comes before."""
    return Slots(llama.Model([str(path)]), **how)


class House:
    """A batcher, and what it has said."""

    def __init__(self, slots: Slots) -> None:
        slots.forget()
        self.slots = slots
        self.said: list[list[Message]] = []
        self.batcher = Batcher(slots, lambda said: self.said.append(list(said)))

    def ask(self, number: int, question: str, count: int = 12, sampling: Sampling = GREEDY) -> None:
        text = f"<|im_start|>user\n{question}<|im_end|>\n<|im_start|>assistant\n"
        self.batcher.add(
            Prepared(
                number=number,
                prompt=self.slots.model.tokens(text, add_special=False, parse_special=True),
                sampler=Sampler(self.slots, sampling),
                max_tokens=count,
                stops=(),
                shown=(),
                opening="",
                since=time.perf_counter(),
            )
        )

    def finish(self) -> None:
        while not self.batcher.is_idle:
            self.batcher.step()

    def text(self, number: int) -> str:
        return "".join(said["text"] for said in self._of(number) if said["type"] == "text")

    def done(self, number: int) -> dict[str, Any]:
        (done,) = [said for said in self._of(number) if said["type"] == "done"]
        return done

    def _of(self, number: int) -> Sequence[Message]:
        return [said for step in self.said for said in step if said["number"] == number]
