"""Values into words and JSON. Pure: nothing here prints or reads."""

from __future__ import annotations

import sys
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from launcher.clearance import Verdict
from launcher.errors import LauncherError
from launcher.licensing.declaration import Declaration, Person, Role
from launcher.licensing.regions import name_of

if TYPE_CHECKING:
    from launcher.flow import Judgement
    from launcher.licensing.decision import Decision, Reason

WIDTH = 88  # columns of text on a terminal; a pipe gets whole lines

_PERSONS = {
    Person.INDIVIDUAL: "a private person",
    Person.COMPANY: "a company",
    Person.OTHER_BODY: "another body",
}


def safe(text: str) -> str:
    """Text from a file or from the net without characters that could steer a terminal."""
    return "".join(
        character
        if character in "\n\t" or unicodedata.category(character) not in ("Cc", "Cf", "Cs", "Co")
        else f"\\u{ord(character):04x}"
        for character in text
    )


def own_command() -> str:
    """How this program is called here, so that commands in messages can be pasted."""
    import shlex
    import shutil

    called = Path(sys.argv[0])
    if called.name == "__main__.py":
        return f"{shlex.quote(sys.executable)} -m launcher"
    found = shutil.which("launcher")
    if found and called.exists() and Path(found).samefile(called):
        return "launcher"
    return shlex.quote(str(called)) if called.name == "launcher" else "launcher"


def pasteable(command: str) -> str:
    """A command with the name of this program as it is called here."""
    name, _, rest = command.partition(" ")
    return f"{own_command()} {rest}" if name == "launcher" else command


def wrapped(text: str, indent: str = "", width: int = WIDTH) -> str:
    """Text folded to the width, each line indented."""
    import textwrap

    return "\n".join(
        textwrap.fill(line, width, initial_indent=indent, subsequent_indent=indent)
        for line in safe(text).splitlines()
    )


def table(rows: Iterable[Sequence[str]], headings: Sequence[str]) -> str:
    """Columns with a heading, as wide as they need."""
    lines = [list(headings), *([safe(cell) for cell in row] for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(headings))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )


def error_text(error: LauncherError) -> str:
    """One sentence, what helps, and the commands."""
    judgement = getattr(error, "judgement", None)  # flow.NotCleared, which is slow to import
    if judgement is not None:
        return decision_text(judgement)
    lines = [f"Error: {safe(error.message)}."] if error.message[-1:] not in ".!?…" else []
    lines = lines or [f"Error: {safe(error.message)}"]
    if error.hint:
        lines.append(safe(error.hint))
    lines += [f"  {pasteable(command)}" for command in error.commands]
    return "\n".join(lines) + "\n"


def error_json(error: LauncherError) -> dict[str, Any]:
    """An error as one object; a decision as its own."""
    judgement = getattr(error, "judgement", None)
    if judgement is not None:
        return decision_json(judgement)
    return {
        "schema": 1,
        "error": {
            "message": error.message,
            "hint": error.hint,
            "commands": list(error.commands),
            "exit_code": int(error.exit_code),
        },
    }


# --- Decisions --------------------------------------------------------------------------

_HEADS = {Verdict.ALLOW: "Allowed", Verdict.ASK: "Not yet", Verdict.REFUSE: "Refused"}


def decision_json(judgement: Judgement) -> dict[str, Any]:
    """The contract of `check --json`: equal inputs give equal bytes."""
    decision = judgement.decision
    return {
        "schema": 1,
        "verdict": str(decision.verdict),
        "code": decision.code,
        "exit_code": int(decision.exit_code),
        "model": {
            "ref": decision.ref,
            "title": decision.title,
            "family": decision.family,
            "candidates": list(decision.candidates),
            "licence": decision.licence,
            "licences": list(decision.licences),
            "modalities": list(decision.modalities),
            "evidence": [
                {"source": claim.source, "value": claim.value, "kind": str(claim.kind)}
                for claim in decision.evidence
            ],
        },
        "declaration": declaration_json(decision.declaration),
        "reasons": [_reason_json(reason) for reason in decision.reasons],
        "duties": [
            {"code": bound.duty.code, "licence": bound.licence, "text": bound.duty.text}
            for bound in decision.duties
        ],
        "remedies": list(judgement.remedies),
        "engine": {"supported": judgement.supported},
        "policy": {"version": decision.policy_version, "sha256": decision.policy_sha256},
    }


def _reason_json(reason: Reason) -> dict[str, str]:
    return {
        "code": reason.code,
        "effect": str(reason.effect),
        "licence": reason.licence,
        "document": reason.document,
        "clause": reason.clause,
        "quote": reason.quote,
        "text": reason.text,
        "source": reason.source,
        "sha256": reason.sha256,
    }


def declaration_json(declaration: Declaration | None) -> dict[str, Any] | None:
    """A declaration as the contract has it."""
    if declaration is None:
        return None
    body: dict[str, Any] = {
        "as": str(declaration.person),
        "domicile": list(declaration.domicile),
        "place_of_use": list(declaration.place_of_use),
        "role": str(declaration.role),
        "source": declaration.source,
    }
    for name in ("product", "supplied_by", "commercial", "monthly_active_users"):
        if getattr(declaration, name) not in (None, ""):
            body[name] = getattr(declaration, name)
    if declaration.annual_revenue_usd is not None:
        body["annual_revenue_usd"] = declaration.annual_revenue_usd
    if declaration.answers:
        body["answers"] = dict(sorted(declaration.answers.items()))
    return body


def decision_text(judgement: Judgement) -> str:
    """A decision to be read."""
    return "\n".join(_decision_lines(judgement)) + "\n"


def _decision_lines(judgement: Judgement) -> Iterator[str]:
    decision = judgement.decision
    yield f"{_HEADS[decision.verdict]}: {safe(decision.title)} ({decision.code})"
    for reason in decision.reasons:
        yield ""
        yield from _reason_lines(reason)
    if decision.verdict is Verdict.ALLOW and not judgement.supported:
        yield ""
        yield wrapped("The licence allows it, but this engine cannot run it.", "  ")
    yield ""
    yield from _seen_lines(decision)
    if judgement.remedies:
        refused = decision.verdict is Verdict.REFUSE
        yield ""
        yield "You may run instead:" if refused else "What helps:"
        yield from (f"  {pasteable(command)}" for command in judgement.remedies)


def _reason_lines(reason: Reason) -> Iterator[str]:
    yield wrapped(reason.text, "  ")
    if reason.quote:
        yield ""
        yield wrapped(f"{reason.document}, {reason.clause}:", "  ")
        yield wrapped(f"“{reason.quote}”", "    ")
    if reason.source:
        yield f"  {reason.source}"


def _seen_lines(decision: Decision) -> Iterator[str]:
    licences = ", ".join(decision.licences) or "not known"
    yield f"  Licence:  {safe(licences)}"
    for claim in decision.evidence[:8]:
        yield f"  Seen:     {safe(claim.source)} = {safe(claim.value)}"
    if decision.declaration is not None:
        yield f"  Declared: {declaration_line(decision.declaration)}"


def declaration_line(declaration: Declaration) -> str:
    """A declaration in one line."""
    places = ", ".join(f"{name_of(code)} ({code})" for code in declaration.domicile)
    text = f"{_PERSONS[declaration.person]}, {places}"
    if declaration.place_of_use != declaration.domicile:
        used = ", ".join(f"{name_of(code)} ({code})" for code in declaration.place_of_use)
        text += f"; used in {used}"
    if declaration.role is Role.END_USER:
        text += f"; end user of {declaration.product or '?'} by {declaration.supplied_by or '?'}"
    return safe(f"{text} [{declaration.path or declaration.source}]")
