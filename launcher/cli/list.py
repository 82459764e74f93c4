"""`launcher list`: the models on this disk."""

from __future__ import annotations

import json
from typing import Any

import click

from launcher import flow
from launcher.asker import Asker, Request
from launcher.cli import options, render
from launcher.cli.show import quant
from launcher.engine.fit import megabytes
from launcher.errors import LauncherError
from launcher.models import catalogue, sources


@click.command("list", short_help="List the models on this disk.")
@click.option("--all", "everything", is_flag=True, help="Also the names whose files are not here.")
@options.declaring
@options.as_json
def command(everything: bool, as_json: bool, **values: Any) -> None:
    """List the models on this disk, with licence and verdict."""
    asker = options.asker(values)
    known = catalogue.load().models.values()
    here = [model.name for model in known if everything or sources.packaged_file(model)]
    entries = [_entry(name, asker) for name in here]
    if as_json:
        body = {"schema": 1, "models": entries}
        click.echo(json.dumps(body, indent=2, ensure_ascii=False))
        return
    rows = [
        (
            entry["name"],
            megabytes(entry["size"]) if entry["here"] else "-",
            entry["quant"],
            entry["licence"],
            entry["verdict"] if entry["verdict"] != "ask" else f"ask ({entry['code']})",
        )
        for entry in entries
    ]
    click.echo(render.table(rows, ("NAME", "SIZE", "QUANT", "LICENCE", "VERDICT")))


def _entry(name: str, asker: Asker) -> dict[str, Any]:
    """One line of the list; a file that cannot be read is listed too, with what is wrong."""
    try:
        with flow.judged(Request(model=name), asker) as judgement:
            headers = [part.header for part in judgement.bundle.parts if part.header]
            return {
                "name": name,
                "here": judgement.bundle.is_here,
                "size": judgement.bundle.size,
                "quant": quant(headers),
                "licence": judgement.decision.licence,
                "verdict": str(judgement.decision.verdict),
                "code": judgement.decision.code,
            }
    except LauncherError as error:
        return {
            "name": name,
            "here": True,
            "size": 0,
            "quant": "-",
            "licence": "-",
            "verdict": error.message,
            "code": "broken",
        }
