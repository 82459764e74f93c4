"""A context that several answers share: each has a slot with a KV cache of its own.

A slot keeps what was computed in it when its answer is over: the next prompt that begins alike
goes on from there, and a prompt that begins like another slot's takes over a copy.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from launcher.engine.worker.llama import Context, DecodeFailed, Model, lib, log_lines

# The share of the processors that threads get beside a server and clients that take and show
# each token; what really competes leaves them less.
LEAST = 0.7


def alike(first: Sequence[int], second: Sequence[int]) -> int:
    """How many tokens two lists begin with alike.

    >>> alike([1, 2, 3], [1, 2, 4, 5])
    2
    """
    low, high = 0, min(len(first), len(second))
    while low < high:
        middle = (low + high + 1) // 2
        if first[low:middle] == second[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low


@dataclass(slots=True, eq=False)
class Slot:
    """A place for one sequence, and the tokens that are computed in it."""

    number: int
    held: list[int] = field(default_factory=list)
    used: int = 0
    """When an answer was last begun here, by count."""


@dataclass(frozen=True, slots=True)
class Row:
    """One token of a step: where it belongs, and whether its scores are wanted."""

    slot: Slot
    token: int
    scored: bool


class Slots(Context):
    """The KV caches over a model, computed together step by step."""

    def __init__(self, model: Model, *, slots: int, **how: Any) -> None:
        """As a `Context` with so many slots. Raises `LoadFailed`."""
        super().__init__(model, slots=slots, **how)
        self.pace.least = LEAST
        self._batch = lib.llama_batch_init(self.batch, 0, 1)
        self.all = [Slot(number) for number in range(slots)]

    def shorten(self, slot: Slot, length: int) -> None:
        """Drops a slot's tokens from a place on; all of them where they cannot be parted."""
        if length >= len(slot.held):
            return
        if not lib.llama_memory_seq_rm(self._memory, slot.number, length, -1):
            lib.llama_memory_seq_rm(self._memory, slot.number, -1, -1)
            length = 0
        del slot.held[length:]

    def copy(self, source: Slot, target: Slot, length: int) -> None:
        """Takes the first tokens of another slot over."""
        self.shorten(target, 0)
        lib.llama_memory_seq_cp(self._memory, source.number, target.number, -1, -1)
        target.held[:] = source.held
        self.shorten(target, length)

    def forget(self) -> None:
        """Empties all slots: after a failed step nobody knows what is in them."""
        lib.llama_memory_clear(self._memory, True)
        for slot in self.all:
            slot.held.clear()

    def compute(self, rows: Sequence[Row]) -> None:
        """One step. Raises `DecodeFailed`; then all slots are empty."""
        batch = self._batch
        batch.n_tokens = len(rows)
        for at, row in enumerate(rows):
            slot = row.slot
            batch.token[at] = row.token
            batch.pos[at] = len(slot.held)
            batch.n_seq_id[at] = 1
            batch.seq_id[at][0] = slot.number
            batch.logits[at] = row.scored
            slot.held.append(row.token)
        self.pace.begin()
        status = lib.llama_decode(self._context, batch)
        self.pace.end()
        if status:
            self.forget()
            raise DecodeFailed(f"llama_decode gave {status}: {' '.join(log_lines[-2:])}")
