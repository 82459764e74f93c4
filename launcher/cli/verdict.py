"""A decision in words."""

from __future__ import annotations

from collections.abc import Iterator

from launcher.clearance import Verdict
from launcher.cli import excerpt
from launcher.cli.render import Paper, pasteable, safe
from launcher.cli.who import declaration_line
from launcher.flow import Judgement
from launcher.licensing import passage
from launcher.licensing.decision import Decision, Reason

_HEADS = {Verdict.ALLOW: "Allowed", Verdict.ASK: "Not yet", Verdict.REFUSE: "Refused"}
_SHOWN = 12  # claims; --json has them all


def as_text(judgement: Judgement, paper: Paper) -> str:
    """A decision to be read."""
    return "\n".join(_lines(judgement, paper)) + "\n"


def _lines(judgement: Judgement, paper: Paper) -> Iterator[str]:
    decision = judgement.decision
    head = paper.strong(f"{_HEADS[decision.verdict]}: {safe(decision.title)}")
    yield f"{head} ({decision.code})"
    for reason in decision.reasons:
        yield ""
        yield from _reason_lines(reason, decision, paper)
    if decision.verdict is Verdict.ALLOW and not judgement.supported:
        yield ""
        yield paper.fold("The licence allows it, but this engine cannot run it.", "  ")
    yield ""
    yield from _seen_lines(decision, paper)
    if judgement.remedies:
        yield ""
        yield _remedy_head(decision)
        yield from (f"  {pasteable(command)}" for command in judgement.remedies)
    if decision.verdict is not Verdict.ALLOW:
        yield ""
        explain = pasteable(f"launcher explain {decision.code}")
        yield f"Exit code {int(decision.exit_code)}. More: {explain}"


def _remedy_head(decision: Decision) -> str:
    return "You may run instead:" if decision.verdict is Verdict.REFUSE else "What helps:"


def _reason_lines(reason: Reason, decision: Decision, paper: Paper) -> Iterator[str]:
    yield paper.fold(reason.text, "  ")
    if reason.quote:
        yield ""
        yield paper.fold(f"{reason.document}, {reason.clause}:", "  ")
        yield paper.fold(f"“{reason.quote}”", "    ")
    if reason.source:
        digest = f" (sha256 {reason.sha256[:16]}…)" if reason.sha256 and reason.quote else ""
        yield f"  {reason.source}{digest}"
    if paper.width and reason.turns_on and decision.declaration is not None:
        yield from excerpt.lines(decision.declaration, reason.turns_on)


def _seen_lines(decision: Decision, paper: Paper) -> Iterator[str]:
    licences = ", ".join(decision.licences) or "not known"
    yield f"  Licence:  {safe(licences)}"
    for claim in decision.evidence[:_SHOWN]:
        yield f"  Seen:     {safe(claim.source)} = {safe(claim.value)}"
    declaration = decision.declaration
    if declaration is not None:
        wanted = next((reason.turns_on for reason in decision.reasons if reason.turns_on), "")
        found = passage.find(declaration, wanted) if wanted else None
        yield f"  Declared: {declaration_line(declaration, found.number if found else None)}"
