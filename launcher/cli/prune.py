"""`launcher prune`: removes what nobody uses."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from typing import Any

import click

from launcher.cli import asking, keeping, options, render, rm
from launcher.engine.fit import megabytes
from launcher.errors import PersonNeeded
from launcher.models.cache import Cache, Kind, Leftover
from launcher.models.inventory import Item, Place

_WHAT = {
    Kind.PARTIAL: "a download that was not finished",
    Kind.UNREFERENCED: "a file that no model needs",
    Kind.TEMPORARY: "left by a program that was killed",
}


@click.command("prune", short_help="Remove what nobody uses, by name.")
@click.option("--unused", type=options.DAYS, help="Also models not used for so long: 90d, 1y.")
@click.option("--dry-run", is_flag=True, help="Say what would go, and remove nothing.")
@click.option("-y", "--yes", is_flag=True, help="Remove without asking.")
@options.declaring
@options.as_json
def command(
    unused: float | None, *, dry_run: bool, yes: bool, as_json: bool, **values: Any
) -> None:
    """Remove downloads that were not finished, and with --unused models that nobody uses.

    \b
    launcher prune --dry-run
    launcher prune --unused 90d

    Everything is named before it goes. A use by another tool counts, as far as the disk
    keeps when files were read.
    """
    cache = Cache.from_environment()
    leftovers = list(cache.leftovers())
    old = _unused(keeping.items(options.asker(values)), unused)
    body = {
        "models": [{"name": item.name, "size": item.size} for item in old],
        "leftovers": [keeping.leftover_json(leftover) for leftover in leftovers],
    }
    going = bool(old or leftovers) and not dry_run
    if not as_json:
        click.echo("\n".join(_lines(old, leftovers)))
    if going and not yes:
        _confirm()
    freed = _remove(old, leftovers, cache) if going else 0
    if as_json:
        text = json.dumps({"schema": 1, **body, "freed": freed}, indent=2, ensure_ascii=False)
        click.echo(text)
    elif going:
        click.echo(f"{megabytes(freed)} freed.")


def _unused(items: Sequence[Item], days: float | None) -> list[Item]:
    if days is None:
        return []
    last = time.time() - days * keeping.DAY
    return [item for item in items if item.last_used < last and item.place is Place.CACHE]


def _confirm() -> None:
    if not asking.on_terminal():
        raise PersonNeeded("Nothing was removed: nobody is there to be asked", hint="Give --yes.")
    click.confirm("Remove all of it?", abort=True, err=True)


def _remove(items: Sequence[Item], leftovers: Sequence[Leftover], cache: Cache) -> int:
    freed = sum(rm.remove(item) for item in items)
    return freed + cache.remove_leftovers(leftovers)


def _lines(items: Sequence[Item], leftovers: Sequence[Leftover]) -> list[str]:
    lines = [
        f"{render.safe(item.name)} ({megabytes(item.size)}), last used "
        f"{keeping.ago(item.last_used)}"
        for item in items
    ]
    lines += [
        f"{render.safe(left.repository)} ({megabytes(left.size)}), {_WHAT[left.kind]}"
        for left in leftovers
    ]
    return lines or ["There is nothing to remove."]
