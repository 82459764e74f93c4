"""`launcher rm MODEL...`: removes models from this disk."""

from __future__ import annotations

import json
from typing import Any

import click

from launcher.asker import Asker
from launcher.cli import keeping, options, render
from launcher.engine.fit import megabytes
from launcher.errors import LauncherError, NotFound
from launcher.models import library, refs
from launcher.models.cache import Cache, Leftover
from launcher.models.inventory import Item, Place


@click.command("rm", short_help="Remove models from this disk.")
@click.argument("models", metavar="MODEL...", nargs=-1, required=True)
@options.declaring
@options.as_json
def command(models: tuple[str, ...], *, as_json: bool, **values: Any) -> None:
    """Remove models from this disk, by the names that list shows.

    \b
    launcher rm llama3.2:1b
    launcher rm hf.co/owner/name:Q8_0

    What came from the hub lies in the cache that other tools share: they lose it, too.
    Nothing but what is named is removed.
    """
    asker = options.asker(values)
    removed = [_remove(model, asker) for model in models]
    if as_json:
        click.echo(json.dumps({"schema": 1, "removed": removed}, indent=2, ensure_ascii=False))
        return
    for entry in removed:
        click.echo(f"Removed {render.safe(entry['name'])} ({megabytes(entry['freed'])} freed).")


def _remove(model: str, asker: Asker) -> dict[str, Any]:
    try:
        item = keeping.named(model, asker)
    except NotFound:
        leftovers = _unfinished(model)
        if not leftovers:
            raise
        freed = Cache.from_environment().remove_leftovers(leftovers)
        return {"name": f"what was fetched of {model}", "freed": freed}
    return {"name": item.name, "freed": remove(item)}


def _unfinished(model: str) -> list[Leftover]:
    """Downloads of a repository that were not finished."""
    ref = refs.parse(model)
    if not isinstance(ref, refs.HubRef):
        return []
    leftovers = Cache.from_environment().leftovers()
    return [leftover for leftover in leftovers if leftover.repository == ref.repository]


def remove(item: Item) -> int:
    """Removes one model, and gives the bytes that became free."""
    if item.place is Place.PACKAGE:
        name = item.package.partition("==")[0]
        raise LauncherError(
            f"{item.name} belongs to an installed package",
            hint="It goes with the package:",
            commands=[f"pip uninstall {name}"],
        )
    if item.place is Place.LIBRARY:
        return library.remove(library.Kept(item.name, item.paths))
    return Cache.from_environment().remove(item.cached)
