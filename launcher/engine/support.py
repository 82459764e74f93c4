"""Which architectures the engine can run; known without loading it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

from launcher.data import shipped
from launcher.errors import LauncherError
from launcher.tables import Faults, parse


@dataclass(frozen=True, slots=True)
class Support:
    """What one version of the engine can run."""

    engine: str
    architectures: frozenset[str]
    elsewhere: Mapping[str, str]
    """Architecture -> which other engine runs it."""


@cache
def load() -> Support:
    """The shipped list. Raises `LauncherError` with every fault in it."""
    faults = Faults("configs/engine.toml")
    table = parse(shipped("engine.toml"), faults)
    elsewhere = table.table("elsewhere")
    support = Support(
        engine=table.text("engine"),
        architectures=frozenset(table.texts("architectures")),
        elsewhere={name: elsewhere.text(name) for name in elsewhere.rest()},
    )
    table.finish()
    faults.refuse(LauncherError)
    return support
