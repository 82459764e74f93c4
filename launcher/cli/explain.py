"""`launcher explain CODE`: what a reason means, and where it is written."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from typing import Any

import click

from launcher.cli import options, render
from launcher.errors import ExitCode, NotFound
from launcher.licensing import policy
from launcher.licensing.decision import gate_reasons
from launcher.licensing.policy import Effect, all_rules


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
            "text": own.text,
            "more": own.more,
        }
    found = [(licence, rule) for licence, rule in all_rules(policy.load()) if rule.code == plain]
    if not found:
        raise NotFound(f"There is no reason with the code {code!a}", commands=["launcher explain"])
    clauses = [
        {
            "licence": licence.id,
            "document": licence.document(rule.document).title,
            "clause": rule.clause,
            "quote": rule.quote,
            "text": rule.text,
            "source": licence.document(rule.document).url,
        }
        for licence, rule in found
    ]
    refuses = found[0][1].effect is Effect.REFUSE
    exit_code = ExitCode.REFUSED if refuses else ExitCode.PERSON_NEEDED
    head = {"schema": 1, "code": plain, "effect": str(found[0][1].effect)}
    return {**head, "exit_code": int(exit_code), "clauses": clauses}


def text(found: dict[str, Any], paper: render.Paper) -> str:
    """An entry to be read."""
    return "\n".join(_lines(found, paper))


def _lines(found: dict[str, Any], paper: render.Paper) -> Iterator[str]:
    yield f"{found['code']} ({found['effect']}, exit code {found['exit_code']})"
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
