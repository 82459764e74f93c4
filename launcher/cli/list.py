"""`launcher list`: the models on this disk."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import click

from launcher import flow
from launcher.asker import Asker, Request
from launcher.cli import keeping, options, render
from launcher.engine.fit import megabytes
from launcher.errors import LauncherError
from launcher.models import catalogue, quants
from launcher.models.cache import Cache, Kind, Leftover
from launcher.models.inventory import Item


@click.command("list", short_help="List the models on this disk.")
@click.option("--all", "everything", is_flag=True, help="Also the names whose files are not here.")
@click.option("--path", "with_paths", is_flag=True, help="Also where their files lie.")
@options.declaring
@options.as_json
def command(*, everything: bool, with_paths: bool, as_json: bool, **values: Any) -> None:
    """List the models on this disk, with licence, verdict and last use.

    \b
    launcher list
    launcher list --all
    launcher list --path
    """
    asker = options.asker(values)
    items = keeping.items(asker)
    entries = [_entry(item.name, asker, item) for item in items]
    if everything:
        here = {item.name for item in items}
        absent = [name for name in catalogue.load().models if name not in here]
        entries += [_entry(name, asker) for name in absent]
    leftovers = list(Cache.from_environment().leftovers())
    if as_json:
        body = {
            "schema": 1,
            "models": entries,
            "leftovers": [keeping.leftover_json(leftover) for leftover in leftovers],
        }
        click.echo(json.dumps(body, indent=2, ensure_ascii=False))
        return
    click.echo(_table(entries, with_paths=with_paths))
    for leftover in leftovers:
        click.echo(_leftover_line(leftover), err=True)


def _table(entries: Sequence[dict[str, Any]], *, with_paths: bool) -> str:
    rows = [
        (
            entry["name"],
            megabytes(entry["size"]) if entry["here"] else "-",
            entry["quant"],
            entry["licence"],
            entry["verdict"] if entry["verdict"] != "ask" else f"ask ({entry['code']})",
            keeping.ago(entry["last_used"]) if entry["last_used"] else "-",
            *(["; ".join(entry["paths"])] if with_paths else []),
        )
        for entry in entries
    ]
    headings = ("NAME", "SIZE", "QUANT", "LICENCE", "VERDICT", "USED")
    return render.table(rows, (*headings, "PATH") if with_paths else headings)


def _leftover_line(leftover: Leftover) -> str:
    """What takes room beside the models, and what to do about it."""
    size, repository = megabytes(leftover.size), render.safe(leftover.repository)
    if leftover.kind is Kind.PARTIAL:
        again = render.pasteable(f"launcher pull hf.co/{leftover.repository}")
        return f"Not finished: {size} of {repository}. It goes on with: {again}"
    prune_it = render.pasteable("launcher prune")
    return f"No model needs {size} in {repository}. Clear up with: {prune_it}"


def _entry(name: str, asker: Asker, item: Item | None = None) -> dict[str, Any]:
    """One line of the list; a file that cannot be read is listed too, with what is wrong."""
    lies = {
        "name": name,
        "here": item is not None,
        "size": item.size if item is not None else 0,
        "last_used": round(item.last_used) if item is not None else 0,
        "paths": [str(path) for path in item.paths] if item is not None else [],
    }
    try:
        with flow.judged(Request(model=name), asker, quick=True) as judgement:
            headers = [part.header for part in judgement.bundle.parts if part.header]
            return {
                **lies,
                "quant": quants.held(headers),
                "licence": judgement.decision.licence,
                "verdict": str(judgement.decision.verdict),
                "code": judgement.decision.code,
            }
    except LauncherError as error:
        return {
            **lies,
            "quant": "-",
            "licence": "-",
            "verdict": error.message,
            "code": "broken",
        }
