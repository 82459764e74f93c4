"""`launcher licences`: list, show and accept licences."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from launcher.asker import Asker, Request
from launcher.cli import asking, options, render
from launcher.errors import LauncherError, NotFound, PersonNeeded
from launcher.files import write_atomically
from launcher.licensing import acceptance, declaration, policy
from launcher.licensing.acceptance import Acceptances
from launcher.licensing.declaration import Person
from launcher.licensing.policy import Conditions, Licence
from launcher.models import catalogue, sources

if TYPE_CHECKING:
    from launcher.licensing.duties import Supplement


@click.group("licences", short_help="List, show and accept licences.")
def command() -> None:
    """List, show and accept licences.

    \b
    launcher licences list
    launcher licences show llama3.2
    launcher licences accept llama3.2 --as individual:DE
    """


@command.command("list")
@options.declaring
@options.as_json
def list_(as_json: bool, **values: Any) -> None:
    """List the licences that the gate knows."""
    asker = options.asker(values)
    person, given = _person(asker), acceptance.load(asker.places)
    known = policy.load().licences.values()
    if as_json:
        body = {"schema": 1, "licences": [_brief(licence, person, given) for licence in known]}
        click.echo(json.dumps(body, indent=2, ensure_ascii=False))
        return
    rows = [
        (licence.id, licence.title, _state(licence, person, given), _withholds(licence))
        for licence in known
    ]
    click.echo(render.table(rows, ("LICENCE", "TITLE", "ACCEPTANCE", "TURNS ON")))


@command.command("show")
@click.argument("licence")
@options.declaring
@options.as_json
def show(licence: str, as_json: bool, **values: Any) -> None:
    """Show what a licence withholds, what it asks for, and where its texts are."""
    asker = options.asker(values)
    found = find(licence)
    person, given = _person(asker), acceptance.load(asker.places)
    if as_json:
        click.echo(json.dumps(_full(found, person, given), indent=2, ensure_ascii=False))
    else:
        click.echo("\n".join(_lines(found, person, given, render.Paper.of(sys.stdout))))


@command.command("accept")
@click.argument("licence")
@click.option("--reject", is_flag=True, help="Keep a no instead, so that nothing asks again.")
@options.declaring
def accept(licence: str, reject: bool, **values: Any) -> None:
    """Accept a licence, for the kind of person that you declared or that --as names.

    On a terminal the licence is shown and asked about; elsewhere calling this is the answer.
    """
    asker = options.asker(values)
    found, person = find(licence), _person(asker)
    if person is None:
        raise PersonNeeded(
            "It is not known who would accept",
            hint="COUNTRY is a code of two letters, such as DE or US.",
            commands=[f"launcher licences accept {found.id} --as individual:COUNTRY"],
        )
    if reject:
        asking.keep_acceptance(asker, found, person, accepted=False, by="option")
        accepted = False
    elif asking.on_terminal():
        accepted = asking.ask_acceptance(asker, [found], person)
    else:
        asking.keep_acceptance(asker, found, person, accepted=True, by="option")
        accepted = True
    click.echo(f"{'Accepted' if accepted else 'Not accepted'}: {found.title}.", err=True)


@command.command("duties")
@click.argument("model")
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, file_okay=False),
    help="The folder to write the texts, the notice and the words to show into.",
)
@options.declaring
@options.as_json
def duties_(model: str, output: Path | None, as_json: bool, **values: Any) -> None:
    """Show what to do when you pass a model or a device with it on, and write what goes with it.

    \b
    launcher licences duties llama3.2:1b -o supplement/
    """
    from launcher import flow
    from launcher.licensing import duties

    asker = options.asker(values)
    with flow.judged(Request(model=model), asker) as judgement:
        known = policy.load().licences
        bound = [known[id] for id in judgement.decision.licences]
        found = duties.supplement(bound, sources.folders_near(judgement.bundle))
    if output is not None:
        _write(output, found)
    if as_json:
        click.echo(json.dumps(_duties_json(model, bound, found), indent=2, ensure_ascii=False))
    else:
        _show_duties(bound, found)


def _show_duties(bound: Sequence[Licence], found: Supplement) -> None:
    paper = render.Paper.of(sys.stdout)
    if not bound:
        click.echo("No licence is known for it, so no duties are.", err=True)
    for licence in bound:
        click.echo(f"{licence.title}:")
        for duty in licence.duties:
            click.echo(paper.fold(f"- {duty.text}", "  "))
        if not licence.duties:
            click.echo("  It asks for nothing, as far as it was read.")
    for document in found.missing:
        click.echo(f"Not at hand, get it from: {document.url} ({document.title})", err=True)


def _duties_json(model: str, bound: Sequence[Licence], found: Supplement) -> dict[str, Any]:
    return {
        "schema": 1,
        "model": model,
        "licences": [licence.id for licence in bound],
        "duties": [
            {"code": duty.code, "licence": licence.id, "text": duty.text}
            | {"notice": duty.notice, "display": duty.display}
            for licence in bound
            for duty in licence.duties
        ],
        "files": list(found.files),
        "missing": [{"title": text.title, "url": text.url} for text in found.missing],
    }


def _write(output: Path, found: Supplement) -> None:
    try:
        output.mkdir(parents=True, exist_ok=True)
        for name, data in found.files.items():
            write_atomically(output / name, data, 0o644)
            click.echo(f"Wrote {output / name}", err=True)
    except OSError as error:
        raise LauncherError(f"{output} could not be written: {error.strerror or error}") from error


@command.command("check-policy")
@click.argument("file", type=click.Path(path_type=Path))
@options.as_json
def check_policy(file: Path, as_json: bool) -> None:
    """Check a policy of your own, which may only tighten; all faults are named at once."""
    from launcher.licensing import overlay

    families = frozenset(catalogue.load().families)
    found = overlay.read(file, policy.load(), families)
    if found is None:
        raise NotFound(f"There is no file {file}")
    if as_json:
        body = {"schema": 1, "file": str(file), "valid": True, "title": found.title}
        click.echo(json.dumps(body, indent=2, ensure_ascii=False))
    else:
        click.echo(f"{file}: valid. “{found.title}” only tightens.", err=True)


def find(text: str) -> Licence:
    """The licence of that id or spelling. Raises `NotFound`."""
    found = policy.load().find(text)
    if found is None:
        raise NotFound(
            f"There is no licence called {text!a} here", commands=["launcher licences list"]
        )
    return found


def _person(asker: Asker) -> Person | None:
    declared = declaration.load(asker.places, asker.stated, asker.variable)
    return declared.person if declared is not None else None


def _state(licence: Licence, person: Person | None, given: Acceptances) -> str:
    if not licence.acceptance:
        return "not needed"
    answer = given.answer(licence, person) if person is not None else None
    return {True: "accepted", False: "rejected", None: "needed"}[answer]


def _withholds(licence: Licence) -> str:
    """The facts that its rules turn on."""
    facts = dict.fromkeys(fact for rule in licence.rules for fact in _facts(rule.when))
    return ", ".join(facts) or "-"


def _facts(when: Conditions) -> Iterator[str]:
    if when.domicile:
        yield "domicile"
    if when.place_of_use:
        yield "place of use"
    if when.commercial is not None:
        yield "commerce"
    if when.monthly_active_users is not None:
        yield "users"
    if when.annual_revenue_usd is not None:
        yield "revenue"


def _brief(licence: Licence, person: Person | None, given: Acceptances) -> dict[str, Any]:
    return {
        "id": licence.id,
        "title": licence.title,
        "licensor": licence.licensor,
        "acceptance": _state(licence, person, given),
        "osi_approved": licence.osi_approved,
        "verified": licence.verified,
        "turns_on": [fact for fact in _withholds(licence).split(", ") if fact != "-"],
    }


def _full(licence: Licence, person: Person | None, given: Acceptances) -> dict[str, Any]:
    return {
        "schema": 1,
        **_brief(licence, person, given),
        "documents": [
            {"id": text.id, "title": text.title, "url": text.url, "sha256": list(text.sha256)}
            for text in licence.documents
        ],
        "rules": [
            {"code": rule.code, "document": rule.document, "clause": rule.clause}
            | {"quote": rule.quote, "text": rule.text, "verified": rule.verified}
            for rule in licence.rules
        ],
        "duties": [
            {"code": duty.code, "document": duty.document, "clause": duty.clause}
            | {"quote": duty.quote, "text": duty.text}
            for duty in licence.duties
        ],
    }


def _lines(
    licence: Licence, person: Person | None, given: Acceptances, paper: render.Paper
) -> Iterator[str]:
    yield f"{licence.title} ({licence.id})"
    yield f"  Licensor:   {licence.licensor}"
    yield f"  Acceptance: {_state(licence, person, given)}"
    yield f"  OSI:        {'approved' if licence.osi_approved else 'not approved'}"
    for document in licence.documents:
        yield f"  {document.title}: {document.url}"
    for rule in licence.rules:
        yield ""
        yield f"  {rule.code}"
        yield paper.fold(rule.text, "    ")
        where = f"{licence.document(rule.document).title}, {rule.clause}"
        yield paper.fold(f"“{rule.quote}” ({where})" if rule.quote else f"({where})", "    ")
    if licence.duties:
        yield ""
        yield "  If you pass the model on, or a product with it:"
    for duty in licence.duties:
        yield paper.fold(f"- {duty.text}", "    ")
