"""The verdict, and the only key to a model's weights."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from launcher.engine.fit import Plan
    from launcher.models.bundle import Bundle


class Verdict(StrEnum):
    """What the gate says of one bundle and one declaration."""

    ALLOW = "allow"
    ASK = "ask"
    REFUSE = "refuse"


class Decided(Protocol):
    """As much of a decision as the key needs to know."""

    @property
    def verdict(self) -> Verdict: ...

    @property
    def subject(self) -> str:
        """The fingerprint of the bundle that was judged."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Cleared:
    """A bundle that the gate allowed, and how it is to be loaded.

    Whatever fetches or loads weights takes one of these. It cannot be made from a decision
    other than `allow`, nor from one that was made about another bundle.
    """

    bundle: Bundle
    decision: Decided
    plan: Plan
    record: str
    """The digest of the record of the decision; what is loaded is recorded as its follow-up."""

    def __post_init__(self) -> None:
        if self.decision.verdict is not Verdict.ALLOW:
            raise AssertionError(f"a bundle may not be cleared on '{self.decision.verdict}'")
        if self.decision.subject != self.bundle.fingerprint:
            raise AssertionError("the decision was made about another bundle")
