"""`launcher identify FILE`: a person's recorded statement of what exactly a file is."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import Any

import click

from launcher import flow
from launcher.asker import Asker, Request
from launcher.cli import asking, options, render
from launcher.errors import IntegrityError, LauncherError, NotFound, PersonNeeded
from launcher.flow import Judgement
from launcher.licensing import policy, records
from launcher.models import catalogue, digests, identification
from launcher.models.bundle import Part
from launcher.models.identification import Identification
from launcher.models.identity import is_plausible

_NO_REASONS = ("", "REASON", "...")  # the second as our own messages write it


@click.command("identify", short_help="Record what exactly a file is, and why you know.")
@click.argument("file")
@click.option("--family", help="The family it belongs to (see: launcher list --all --json).")
@click.option("--licence", "--license", "licence", help="Its licence, where no family fits.")
@click.option("--reason", help="How you know: where the file comes from, how it was made.")
@click.option("--by", default="user", help="Who states it.")
@click.option("--withdraw", is_flag=True, help="Take an earlier statement on this file back.")
@options.declaring
@options.as_json
def command(file: str, as_json: bool, withdraw: bool, **values: Any) -> None:
    """Record what exactly a file is, and why you know.

    The statement is pinned to the file's SHA-256, shown in every decision that rests on it,
    and void when the file changes. It is you who answers for it.

    \b
    launcher identify ./model.gguf --family hy-mt2 --reason "converted from tencent/Hy-MT2-7B"
    """
    asker = options.asker(values)
    with flow.judged(Request(model=file), asker) as judgement:
        part = judgement.bundle.main
        if part.file is None:
            raise NotFound(f"{judgement.decision.title} is not on this disk")
        made = None if withdraw else _made(judgement, part, values)
        asker.say(f"Reading {part.name} to take its digest.")
        sha256 = digests.take(asker.places.digests, part.file)
        if made is None:
            _withdraw(asker, sha256, part)
            return
        made = replace(made, sha256=sha256)
        _keep(asker, made)
    if as_json:
        click.echo(json.dumps({"schema": 1, **_json(made)}, indent=2, ensure_ascii=False))
    else:
        click.echo(
            f"Recorded: {render.safe(part.name)} is {made.family or made.licence}.", err=True
        )


def _made(judgement: Judgement, part: Part, values: dict[str, Any]) -> Identification:
    """What is stated, yet without the digest: reading a large file takes minutes."""
    family, licence, reason = values["family"], values["licence"], values["reason"]
    if not (family or licence) and asking.on_terminal():
        family = _ask_family(judgement)
    if not reason and asking.on_terminal():
        reason = click.prompt("How do you know?", err=True)
    if bool(family) == bool(licence) or (reason or "").strip() in _NO_REASONS:
        raise _incomplete(judgement)
    known = policy.load().find(licence) if licence else None
    if family:
        _check_family(family, part)
    elif known is None:
        raise NotFound(
            f"There is no licence called {licence!a} here", commands=["launcher licences list"]
        )
    return Identification(
        sha256="",
        family=family or "",
        licence=known.id if known is not None else "",
        reason=reason,
        at=records.now(),
        by=values["by"],
    )


def _check_family(family: str, part: Part) -> None:
    """Only what the file's architecture leaves possible can be stated."""
    known = catalogue.load().families.get(family)
    if known is None:
        raise NotFound(
            f"There is no family called {family!a} here",
            hint="The families are in: launcher list --all --json",
        )
    if not is_plausible(known, part):
        architecture = part.header.architecture if part.header else ""
        raise IntegrityError(
            f"{part.name} has the architecture {architecture}, which {known.title} does not have",
            hint="Nothing was recorded.",
        )


def _ask_family(judgement: Judgement) -> str:
    candidates = judgement.decision.candidates
    if not candidates:
        raise _incomplete(judgement)
    click.echo(f"{render.safe(judgement.decision.title)} could be:", err=True)
    for number, id in enumerate(candidates, start=1):
        click.echo(f"  {number}  {catalogue.load().families[id].title} ({id})", err=True)
    choice = click.prompt("Which is it?", type=click.IntRange(1, len(candidates)), err=True)
    return candidates[choice - 1]


def _incomplete(judgement: Judgement) -> PersonNeeded:
    path = shlex.quote(judgement.decision.ref)
    stated = [f"--family {id}" for id in judgement.decision.candidates] or ["--licence LICENCE"]
    return PersonNeeded(
        "A family or a licence is needed, and the reason why you know",
        commands=[f"launcher identify {path} {each} --reason REASON" for each in stated],
    )


def _keep(asker: Asker, made: Identification) -> None:
    with _written(asker):
        identification.add(asker.places.identifications, made)
    with suppress(LauncherError):
        records.append(asker.log, "identification", _json(made))


def _withdraw(asker: Asker, sha256: str, part: Part) -> None:
    with _written(asker):
        removed = identification.remove(asker.places.identifications, sha256)
    if not removed:
        raise NotFound(f"Nothing was stated about {part.name}")
    with suppress(LauncherError):
        records.append(asker.log, "identification", {"sha256": sha256, "withdrawn": True})
    click.echo(f"Taken back: nothing is stated about {render.safe(part.name)} now.", err=True)


@contextmanager
def _written(asker: Asker) -> Iterator[None]:
    """What a disk has against it becomes an error that names the file."""
    try:
        yield
    except OSError as error:
        raise LauncherError(
            f"{asker.places.identifications} could not be written: {error.strerror or error}",
            hint="Nothing was changed.",
        ) from error


def _json(made: Identification) -> dict[str, str]:
    return {
        "sha256": made.sha256,
        "family": made.family,
        "licence": made.licence,
        "reason": made.reason,
        "by": made.by,
    }
