"""How the engine computes, as a load tells it: threads, flash attention, how things are kept."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Computing:
    """Settings of a context; a load that says nothing of one gets what stands here."""

    threads: int
    threads_batch: int = 0
    """For steps of more than one token; 0: as many."""
    flash_attention: str = "auto"
    """`on`, `off`, or `auto`: where the engine has it for this model."""
    type_k: str = "f16"
    type_v: str = "f16"

    @classmethod
    def of(cls, message: Mapping[str, Any]) -> Computing:
        """As much of a load's message as a context is made with."""
        return cls(**{name: message[name] for name in cls.__dataclass_fields__ if name in message})

    def batch_of(self, threads: int) -> int:
        """Threads for many tokens when there are so many left for one."""
        return max(1, (self.threads_batch or self.threads) - (self.threads - threads))
