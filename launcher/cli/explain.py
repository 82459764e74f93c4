"""`launcher explain CODE`: what a reason means, and where it is written."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from typing import Any, NoReturn

import click

from launcher.cli import options, render
from launcher.errors import ExitCode, NotFound
from launcher.licensing import policy
from launcher.licensing.decision import gate_reasons
from launcher.licensing.policy import Duty, Effect, Licence, Rule, all_rules


@click.command("explain", short_help="Explain a reason by its code.")
@click.argument("code", required=False)
@options.as_json
def command(code: str | None, as_json: bool) -> None:
    """Explain a reason by its code; without a code, list them all.

    \b
    launcher explain llama-eu-multimodal
    """
    if code is None:
        codes = sorted({*gate_reasons(), *(rule.code for _, rule in all_rules(policy.load()))})
        click.echo(json.dumps(codes) if as_json else "\n".join(codes))
        return
    found = entry(code)
    if as_json:
        click.echo(json.dumps(found, indent=2, ensure_ascii=False))
    else:
        click.echo(text(found, render.Paper.of(sys.stdout)))


def entry(code: str) -> dict[str, Any]:
    """What is known of a code. Raises `NotFound`."""
    plain = code.partition(":")[0]
    own = gate_reasons().get(plain)
    if own is not None:
        return {
            "schema": 1,
            "code": plain,
            "effect": str(own.effect),
            "exit_code": int(own.exit_code),
            "text": own.sentence,
            "more": own.more,
        }
    return _of_rules(plain) or _of_duties(plain) or _unknown(code)


def _of_rules(code: str) -> dict[str, Any] | None:
    found = [(licence, rule) for licence, rule in all_rules(policy.load()) if rule.code == code]
    if not found:
        return None
    refuses = found[0][1].effect is Effect.REFUSE
    exit_code = ExitCode.REFUSED if refuses else ExitCode.PERSON_NEEDED
    return {
        "schema": 1,
        "code": code,
        "effect": str(found[0][1].effect),
        "exit_code": int(exit_code),
        "clauses": [_clause(licence, rule) for licence, rule in found],
    }


def _of_duties(code: str) -> dict[str, Any] | None:
    """A duty decides nothing, so it has no exit code."""
    clauses = [
        _clause(licence, duty)
        for licence in policy.load().licences.values()
        for duty in licence.duties
        if duty.code == code
    ]
    return {"schema": 1, "code": code, "effect": "duty", "clauses": clauses} if clauses else None


def _clause(licence: Licence, entry: Rule | Duty) -> dict[str, str]:
    document = licence.document(entry.document)
    return {
        "licence": licence.id,
        "document": document.title,
        "clause": entry.clause,
        "quote": entry.quote,
        "text": entry.text,
        "source": document.url,
    }


def _unknown(code: str) -> NoReturn:
    raise NotFound(f"There is no reason with the code {code!a}", commands=["launcher explain"])


def text(found: dict[str, Any], paper: render.Paper) -> str:
    """An entry to be read."""
    return "\n".join(_lines(found, paper))


def _lines(found: dict[str, Any], paper: render.Paper) -> Iterator[str]:
    ends = f", exit code {found['exit_code']}" if "exit_code" in found else ""
    yield f"{found['code']} ({found['effect']}{ends})"
    if "more" in found:
        yield ""
        yield found["text"]
        yield ""
        yield found["more"]
    for clause in found.get("clauses", []):
        yield ""
        yield paper.fold(clause["text"])
        yield paper.fold(f"{clause['document']}, {clause['clause']}:", "  ")
        if clause["quote"]:
            yield paper.fold(f"“{clause['quote']}”", "  ")
        yield f"  {clause['source']}"
