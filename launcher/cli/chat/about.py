"""What a chat knows of its model: what it is, and what its licence asks for."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from launcher.clearance import Cleared
from launcher.cli.chat.thinking import begins_thinking
from launcher.licensing.decision import BoundDuty, Decision

_TEMPLATE = "tokenizer.chat_template"


@dataclass(frozen=True, slots=True, kw_only=True)
class About:
    """A model, as a chat speaks of it."""

    ref: str
    title: str
    licences: tuple[str, ...]
    duties: tuple[BoundDuty, ...]
    begins_thinking: bool
    """Whether its template opens the reasoning, so that an answer only closes it."""

    @property
    def displays(self) -> Iterator[str]:
        """Words that the licence wants shown."""
        yield from dict.fromkeys(bound.duty.display for bound in self.duties if bound.duty.display)


def of(cleared: Cleared) -> About:
    """What a cleared bundle is."""
    decision = cleared.decision
    assert isinstance(decision, Decision)
    header = cleared.bundle.main.header
    template = header.metadata.get(_TEMPLATE) if header is not None else None
    source = template.value if template is not None else ""
    return About(
        ref=decision.ref,
        title=decision.title,
        licences=decision.licences,
        duties=decision.duties,
        begins_thinking=isinstance(source, str) and begins_thinking(source),
    )
