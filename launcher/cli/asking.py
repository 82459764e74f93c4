"""The questions a person is asked on a terminal, and what becomes of the answers.

Everything is asked on standard error: standard output is for the model's text.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import replace

import click

from launcher.asker import Asker
from launcher.cli import render, who
from launcher.errors import LauncherError
from launcher.files import locked, write_atomically
from launcher.licensing import acceptance, declaration, records
from launcher.licensing.declaration import Declaration, Person
from launcher.licensing.policy import Licence
from launcher.licensing.regions import Country, country, find_country, name_of
from launcher.paths import Places

NOTICE = """\
Before the first model is loaded, two questions. Some licences give no rights to people or
companies in some countries, so the launcher has to know who uses the models, and where.

Your answers stay on this computer, in {path}
They are never sent anywhere. You can change them at any time with: {command}
"""
WHO = """\
1. Who uses the models?
     1  a private person
     2  a company
     3  another body: a university, an association, a public office
   Whoever uses them for an employer answers for the employer.
"""
WHERE = {
    Person.INDIVIDUAL: "2. In which country do you have your home (domicile)?",
    Person.COMPANY: "2. In which country is the company's principal place of business?",
    Person.OTHER_BODY: "2. In which country is the body's principal seat?",
}
KEPT = "Kept in {path}. It is never sent anywhere. Change it with: {command}"


def on_terminal() -> bool:
    """Whether a person can be asked: both ends are a terminal, whatever `CI` or `-y` say."""
    return sys.stdin.isatty() and sys.stderr.isatty()


def text_shown() -> str:
    """The digest of the questions and the notice, without the parts that differ by computer."""
    text = "\n".join((NOTICE, WHO, *WHERE.values()))
    return "sha256:" + hashlib.sha256(text.encode()).hexdigest()


# --- The declaration ----------------------------------------------------------------------


def ask_declaration(places: Places) -> Declaration:
    """The two questions; the answers are not kept yet."""
    command = render.pasteable("launcher declare")
    click.echo(NOTICE.format(path=places.declaration, command=command), err=True)
    click.echo(WHO, err=True, nl=False)
    kinds = {"1": Person.INDIVIDUAL, "2": Person.COMPANY, "3": Person.OTHER_BODY}
    choice = click.prompt("   Your answer", type=click.Choice(list(kinds)), err=True)
    person = kinds[choice]
    click.echo(err=True)
    domicile = _ask_country(WHERE[person])
    click.echo(err=True)
    return Declaration(
        person=person,
        domicile=(domicile,),
        place_of_use=(domicile,),
        declared_by="interactive",
        text_shown=text_shown(),
    )


def _ask_country(question: str) -> Country:
    click.echo(question, err=True)
    while True:
        text = click.prompt("   Name or code, such as Germany or DE", err=True)
        chosen = _confirmed(find_country(text), text)
        if chosen is not None:
            return chosen


def _confirmed(found: Sequence[Country], text: str) -> Country | None:
    """A code is echoed; a name is confirmed; several matches are put to the choice."""
    if not found:
        try:
            country(text.strip())
        except ValueError as error:
            click.echo(f"   {render.safe(str(error))}", err=True)
        return None
    if len(found) > 1:
        names = "; ".join(f"{name_of(code)} ({code})" for code in found[:8])
        click.echo(f"   That could be: {names}. Please be more exact.", err=True)
        return None
    if len(text.strip()) == 2:
        click.echo(f"   {name_of(found[0])} ({found[0]})", err=True)
        return found[0]
    question = f"   {name_of(found[0])} ({found[0]}), is that right?"
    return found[0] if click.confirm(question, default=True, err=True) else None


def keep_declaration(asker: Asker, made: Declaration) -> Declaration:
    """Writes the user's declaration and records that it was made.

    Raises `PersonNeeded` when it contradicts the device's own, or when a broken file lies in
    its place: nothing is overwritten then.
    """
    places = asker.places
    made = replace(made, declared_at=records.now())
    site = declaration.read(places.site_declaration, "site")
    if site is not None:
        declaration.bound_by(site, replace(made, path="Your declaration"))
    try:
        with locked(places.declaration):
            declaration.read(places.declaration, "user")  # a broken file is mended by a person
            write_atomically(places.declaration, declaration.to_toml(made))
    except OSError as error:
        raise LauncherError(
            f"The declaration could not be written to {places.declaration}: "
            f"{error.strerror or error}",
            hint="Nothing was changed.",
        ) from error
    with suppress(LauncherError):
        records.append(asker.log, "declaration", {"declaration": records.declared(made)})
    return made


def say_kept(places: Places, made: Declaration) -> None:
    """What was understood, and where it is kept."""
    kept = replace(made, path="")
    click.echo(f"Declared: {who.declaration_line(replace(kept, source='kept'))}", err=True)
    command = render.pasteable("launcher declare")
    click.echo(KEPT.format(path=places.declaration, command=command), err=True)


# --- Acceptance ---------------------------------------------------------------------------


def acceptance_screen(
    licences: Sequence[Licence], person: Person, changed: Sequence[str] = ()
) -> str:
    """One screen: the rules that bite, the duties, where the texts are, what has changed."""
    return "\n".join(_acceptance_lines(licences, person, changed)) + "\n"


def _acceptance_lines(
    licences: Sequence[Licence], person: Person, changed: Sequence[str]
) -> Iterator[str]:
    paper = render.Paper.of(sys.stderr)
    for licence in licences:
        yield f"{licence.title} ({licence.licensor})"
        for document in licence.documents:
            yield f"  {document.title}: {document.url}"
            if document.title in changed:
                yield "    This text has changed since you accepted it."
        for rule in licence.rules:
            yield paper.fold(f"- {rule.text}", "  ")
        if licence.duties:
            yield "  If you pass the model on, or a product with it:"
        for duty in licence.duties:
            yield paper.fold(f"- {duty.text}", "    ")
        yield ""
    who = {Person.INDIVIDUAL: "a private person"}.get(person, f"a {person}".replace("-", " "))
    if any(limit for licence in licences for limit in _limits(licence)):
        yield "Accepting includes the statement that you are below the limits named above."
    yield f"You would accept as {who}."


def _limits(licence: Licence) -> Iterator[object]:
    for rule in licence.rules:
        yield from filter(None, (rule.when.monthly_active_users, rule.when.annual_revenue_usd))


def ask_acceptance(asker: Asker, licences: Sequence[Licence], person: Person) -> bool:
    """Shows the screen, asks, and keeps the answer, also when it is no."""
    given = acceptance.load(asker.places)
    changed = [title for licence in licences for title in given.changed(licence, person)]
    click.echo(acceptance_screen(licences, person, changed), err=True, nl=False)
    plural = "these licences" if len(licences) > 1 else "this licence"
    accepted = click.confirm(f"Do you accept {plural}?", default=False, err=True)
    for licence in licences:
        keep_acceptance(asker, licence, person, accepted=accepted, by="interactive")
    return accepted


def keep_acceptance(
    asker: Asker, licence: Licence, person: Person, *, accepted: bool, by: str
) -> None:
    """Keeps one answer and records it."""
    places = asker.places
    answer = acceptance.Acceptance(
        licence=licence.id,
        text_sha256=licence.text_sha256,
        person=person,
        accepted=accepted,
        at=records.now(),
        by=by,
        texts={text.id: text.sha256[0] for text in licence.documents if text.sha256},
    )
    try:
        acceptance.add(places, answer)
    except OSError as error:
        raise LauncherError(
            f"The answer could not be written to {places.acceptances}: {error.strerror or error}"
        ) from error
    body = {"licence": licence.id, "text_sha256": licence.text_sha256, "as": str(person)}
    with suppress(LauncherError):
        records.append(asker.log, "acceptance", {**body, "accepted": accepted, "by": by})
