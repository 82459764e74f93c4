"""What a chat knows of its model: what it is, and what its licence asks for."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from launcher.clearance import Cleared
from launcher.licensing.decision import BoundDuty, Decision


@dataclass(frozen=True, slots=True, kw_only=True)
class About:
    """A model, as a chat speaks of it."""

    ref: str
    title: str
    licences: tuple[str, ...]
    duties: tuple[BoundDuty, ...]

    @property
    def displays(self) -> Iterator[str]:
        """Words that the licence wants shown."""
        yield from dict.fromkeys(bound.duty.display for bound in self.duties if bound.duty.display)


def of(cleared: Cleared) -> About:
    """What a cleared bundle is."""
    decision = cleared.decision
    assert isinstance(decision, Decision)
    return About(
        ref=decision.ref,
        title=decision.title,
        licences=decision.licences,
        duties=decision.duties,
    )
