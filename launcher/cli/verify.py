"""`launcher verify`: reads models whole, and compares them with what was published."""

from __future__ import annotations

import json
import shlex
import sys
from typing import Any

import click

from launcher.asker import Asker
from launcher.cli import keeping, options, render
from launcher.engine.fit import megabytes
from launcher.errors import ExitCode
from launcher.models import catalogue, digests
from launcher.models.bundle import pinned
from launcher.models.inventory import Item


@click.command("verify", short_help="Read models whole, and compare them with what was published.")
@click.argument("models", metavar="[MODEL]...", nargs=-1)
@click.option("--all", "everything", is_flag=True, help="Every model on this disk.")
@options.declaring
@options.as_json
def command(models: tuple[str, ...], *, everything: bool, as_json: bool, **values: Any) -> None:
    """Read models whole, and compare every byte with what was published.

    \b
    launcher verify llama3.2:1b
    launcher verify --all

    Ends with 6 when one of them is not what it was. Of files that were brought in by hand
    nobody published a digest: theirs is shown.
    """
    if bool(models) == everything:
        raise click.UsageError("Name models, or give --all.")
    asker = options.asker(values)
    chosen = keeping.items(asker) if everything else [keeping.named(m, asker) for m in models]
    found = [entry for item in chosen for entry in _verified(item, asker)]
    if as_json:
        click.echo(json.dumps({"schema": 1, "files": found}, indent=2, ensure_ascii=False))
    else:
        for entry in found:
            _say(entry)
    wrong = any(entry["result"] == "wrong" for entry in found)
    sys.exit(ExitCode.INTEGRITY if wrong else ExitCode.DONE)


def _verified(item: Item, asker: Asker) -> list[dict[str, Any]]:
    found = []
    for index, path in enumerate(item.paths):
        with pinned(path) as file:
            if file.stamp.size > 512 << 20:
                asker.say(f"Reading {path.name} ({megabytes(file.stamp.size)}).")
            sha256 = digests.taken_anew(asker.places.digests, file)
        expected = _expected(item, index)
        result = ("right" if sha256 == expected else "wrong") if expected else "unknown"
        found.append(
            {"name": item.name, "path": str(path), "sha256": sha256, "expected": expected}
            | {"result": result}
        )
    return found


def _expected(item: Item, index: int) -> str:
    if item.cached:
        return item.cached[index].called
    model = catalogue.load().model(item.name) if item.package else None
    return model.usual.sha256 if model is not None else ""


def _say(entry: dict[str, Any]) -> None:
    name = render.safe(f"{entry['name']}: {entry['path']}")
    if entry["result"] == "right":
        click.echo(f"Right    {name}")
    elif entry["result"] == "unknown":
        click.echo(f"Unknown  {name} (sha256 {entry['sha256']})")
    else:
        model = shlex.quote(entry["name"])
        click.echo(f"WRONG    {name} (sha256 {entry['sha256']}, not {entry['expected']})")
        for command in (f"launcher rm {model}", f"launcher pull {model}"):
            click.echo(f"           {render.pasteable(command)}")
