"""Asks a person what still stands between a model and its load, point by point."""

from __future__ import annotations

import sys
from dataclasses import replace

import click

from launcher import flow
from launcher.asker import Asker
from launcher.clearance import Verdict
from launcher.cli import asking, render
from launcher.flow import Judgement
from launcher.licensing import declaration, policy
from launcher.licensing.declaration import Declaration


def settle(judgement: Judgement, asker: Asker) -> Judgement:
    """Asks what a person can answer here and now, until nothing of that kind is open."""
    return settled(judgement, asker)[0]


def settled(judgement: Judgement, asker: Asker) -> tuple[Judgement, Asker]:
    """The same, with the asker as the answers left them: for whoever judges again later."""
    while judgement.decision.verdict is Verdict.ASK and asking.on_terminal():
        answered = _ask_next(judgement, asker)
        if answered is None:
            break
        asker = answered
        judgement = flow.judge(judgement.bundle, asker)
    return judgement, asker


def _ask_next(judgement: Judgement, asker: Asker) -> Asker | None:
    """Asks for the first open point; None when there is nothing that a question would solve."""
    decision = judgement.decision
    code, _, about = decision.code.partition(":")
    if code == "declaration-missing":
        made = asking.keep_declaration(asker, asking.ask_declaration(asker.places))
        asking.say_kept(asker.places, made)
        return asker
    declared = decision.declaration
    if declared is None:
        return None
    if code == "acceptance-needed":
        wanted = [r.licence for r in decision.reasons if r.code == "acceptance-needed"]
        licences = [policy.load().licences[id] for id in wanted]
        asking.ask_acceptance(asker, licences, declared.person)
        return asker
    if code == "commercial-use-undeclared":
        answer = click.confirm("Is the use commercial?", default=None, err=True)
        return _with(asker, declared, replace(declared, commercial=answer))
    if code in declaration.ANSWERS:
        click.echo(render.Paper.of(sys.stderr).fold(decision.reasons[0].text), err=True)
        choices = click.Choice(declaration.ANSWERS[code])
        word = click.prompt("How do you read it?", type=choices, err=True)
        answers = {**declared.answers, f"{code}:{about}": word}
        return _with(asker, declared, replace(declared, answers=answers))
    return None


def _with(asker: Asker, before: Declaration, after: Declaration) -> Asker:
    """Keeps an answer where the declaration is kept; one made for this run stays with it."""
    if before.source == "user":
        asking.keep_declaration(asker, after)
        return asker
    stated = replace(asker.stated, commercial=after.commercial, answers=after.answers)
    return replace(asker, stated=stated)
