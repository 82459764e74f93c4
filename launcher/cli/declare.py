"""`launcher declare`: make, show and withdraw the declaration."""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import replace
from typing import Any

import click

from launcher.asker import Asker
from launcher.cli import asking, options, who
from launcher.errors import LauncherError, PersonNeeded
from launcher.licensing import contract, declaration, records
from launcher.licensing.declaration import Declaration, Stated
from launcher.paths import Places


@click.command("declare", short_help="Say who uses the models, and where.")
@options.declaring
@click.option("--show", is_flag=True, help="Show the declaration in force.")
@click.option("--withdraw", is_flag=True, help="Remove the declaration from this computer.")
@options.as_json
def command(show: bool, withdraw: bool, as_json: bool, **values: Any) -> None:
    """Say who uses the models, and where. Asked once; kept on this computer, sent nowhere.

    \b
    launcher declare
    launcher declare --as individual:DE
    launcher declare --commercial no
    """
    asker = options.asker(values)
    if withdraw:
        _withdraw(asker)
        return
    if not show:
        _make(asker)
    in_force = declaration.load(asker.places, Stated(), asker.variable)
    if in_force is None and show:
        raise _nothing_declared(asker.places)
    if as_json:
        click.echo(json.dumps(contract.declaration_json(in_force), indent=2, ensure_ascii=False))
    elif show and in_force is not None:
        click.echo(who.declaration_line(in_force))


def _make(asker: Asker) -> None:
    places, stated = asker.places, asker.stated
    kept = declaration.read(places.declaration, "user")
    if stated.who is not None:
        person, domicile = stated.who
        made = Declaration(person=person, domicile=domicile, place_of_use=domicile)
    elif kept is not None and (stated.changes or stated.answers):
        made = kept
    elif asking.on_terminal():
        made = asking.ask_declaration(places)
    else:
        raise PersonNeeded(
            "There is no terminal to ask the two questions on",
            hint="Answer them with an option. COUNTRY is a code of two letters, such as DE or US.",
            commands=[
                "launcher declare --as individual:COUNTRY",
                "launcher declare --as company:COUNTRY",
            ],
        )
    made = declaration.stated_over(made, stated)
    if made.declared_by != "interactive":
        made = replace(made, declared_by="option", text_shown=asking.text_shown())
    asking.say_kept(places, asking.keep_declaration(asker, made))


def _withdraw(asker: Asker) -> None:
    places = asker.places
    if not places.declaration.exists():
        raise _nothing_declared(places)
    try:
        places.declaration.unlink()
    except OSError as error:
        raise LauncherError(f"{places.declaration} cannot be removed: {error.strerror}") from error
    with suppress(LauncherError):
        records.append(asker.log, "declaration", {"declaration": None})
    click.echo(f"Removed {places.declaration}.", err=True)


def _nothing_declared(places: Places) -> PersonNeeded:
    return PersonNeeded(
        f"Nothing is declared: there is no {places.declaration}", commands=["launcher declare"]
    )
