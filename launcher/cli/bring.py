"""`launcher import PATH`: takes a file in under a name of its own."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Any

import click

from launcher import flow
from launcher.asker import Request
from launcher.cli import options, render, verdict
from launcher.errors import LauncherError
from launcher.models import catalogue, library, refs


@click.command("import", short_help="Take a file in under a name of its own.")
@click.argument("path", type=click.Path(path_type=Path))
@click.option("--name", help="What to call it; else as the file is called.")
@click.option("--copy", is_flag=True, help="Copy it even where a link would do.")
@options.declaring
def command(path: Path, name: str | None, *, copy: bool, **values: Any) -> None:
    """Take a model's file in under a name of its own, all shards of it included.

    \b
    launcher import ~/Downloads/My-Model.Q4_K_M.gguf --name my-model
    launcher run my-model

    On the same disk the file is linked, so that nothing is stored twice and the original can
    be removed; from another disk it is copied.
    """
    asker = options.asker(values)
    chosen = _name(path, name)
    with flow.judged(Request(model=refs.typed(path)), asker) as judgement:
        files = [part.file.path for part in judgement.bundle.parts if part.file is not None]
        kept = library.keep(asker.places.library, chosen, files, copy=copy)
    for place in kept:
        click.echo(render.safe(str(place)))
    head = verdict.as_text(judgement, render.Paper.of(sys.stderr)).splitlines()[0]
    click.echo(head, err=True)
    click.echo(f"Run it with: {render.pasteable(f'launcher run {shlex.quote(chosen)}')}", err=True)


def _name(path: Path, name: str | None) -> str:
    """A name that is free and can be typed."""
    chosen = name.lower() if name is not None else library.name_for(path.name)
    if not library.is_name(chosen) or chosen.endswith(".gguf"):
        raise LauncherError(
            f"'{chosen}' cannot be the name of a model",
            hint="Names hold small letters, digits, points, dashes and underscores. Choose one:",
            commands=[f"launcher import {shlex.quote(str(path))} --name NAME"],
        )
    if catalogue.load().asked(chosen) is not None:
        raise LauncherError(
            f"'{chosen}' is the name of another model in the catalogue",
            hint="Choose another one:",
            commands=[f"launcher import {shlex.quote(str(path))} --name NAME"],
        )
    return chosen
