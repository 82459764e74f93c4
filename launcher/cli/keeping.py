"""What lies on this disk, found by the name that was typed."""

from __future__ import annotations

import shlex
import time
from typing import Any

from launcher.asker import Asker
from launcher.errors import LauncherError, NotFound
from launcher.models import catalogue, inventory, refs
from launcher.models.cache import Cache, Leftover
from launcher.models.inventory import Item
from launcher.models.uses import last_uses

DAY = 86_400.0  # seconds


def items(asker: Asker) -> tuple[Item, ...]:
    """Every model on this disk."""
    places = asker.places
    return inventory.items(
        catalogue.load(), Cache.from_environment(), places.library, last_uses(places.uses)
    )


def named(text: str, asker: Asker) -> Item:
    """The model of a name, as `list` shows it or as it can be run.

    Raises `NotFound` where there is none, `LauncherError` where several could be meant.
    """
    ref = refs.parse(text)
    if isinstance(ref, refs.PathRef):
        raise NotFound(
            f"{ref} is a file of your own",
            hint="Models that launcher keeps are named as this lists them:",
            commands=["launcher list"],
        )
    found = [item for item in items(asker) if _is(item, ref)]
    if not found:
        raise NotFound(f"{ref} is not on this disk", commands=["launcher list"])
    if len(found) > 1:
        raise LauncherError(
            f"{len(found)} models on this disk are called so",
            hint="Name one of them:",
            commands=[shlex.quote(item.name) for item in found],
        )
    return found[0]


def _is(item: Item, ref: refs.Ref) -> bool:
    if item.name == str(ref):
        return True
    if isinstance(ref, refs.CatalogueRef):
        asked = catalogue.load().asked(ref.name)
        name = f"{asked[0].name}-{asked[1].lower()}" if asked and asked[1] else ""
        return asked is not None and item.name == (name or asked[0].name)
    if not isinstance(ref, refs.HubRef) or item.repository != ref.repository:
        return False
    cached = item.cached[0]
    quant = refs.parse(item.name)
    by_quant = isinstance(quant, refs.HubRef) and quant.quant.upper() == ref.quant.upper()
    return (
        (not ref.revision or cached.commit.startswith(ref.revision))
        and (not ref.file or ref.file in [file.name for file in item.cached])
        and (not ref.quant or by_quant)
    )


def ago(then: float) -> str:
    """How long ago something was, for people."""
    days = int((time.time() - then) / DAY)
    if days < 1:
        return "today"
    return "yesterday" if days == 1 else f"{days} days ago"


def leftover_json(leftover: Leftover) -> dict[str, Any]:
    """What takes room and is no model."""
    return {
        "repository": leftover.repository,
        "kind": str(leftover.kind),
        "size": leftover.size,
        "path": str(leftover.path),
    }
