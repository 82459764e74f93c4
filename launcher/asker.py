"""Who asks, and what for: what every way through the house begins with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from launcher.licensing.declaration import Stated
from launcher.paths import Places
from launcher.settings import Settings

if TYPE_CHECKING:
    from launcher.licensing.records import Log


def _silent(_: str) -> None:
    """Says nothing: the default for whoever has no one to tell."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asker:
    """Who asks, as far as the command line and the environment say, and where the rest lies."""

    places: Places
    settings: Settings
    stated: Stated
    variable: str | None = None
    """The value of `LAUNCHER_AS`."""
    offline: bool = False
    """Whether the network is to be left alone."""
    say: Callable[[str], None] = _silent
    """Told one sentence when something takes long or goes on in spite of a fault."""

    @property
    def log(self) -> Log:
        """Where the records go."""
        from launcher.licensing.records import Log

        return Log(self.places.records, self.settings.records_size)


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What is to be loaded together."""

    model: str
    quant: str = ""
    """The quant wanted; `auto` for the largest that fits; empty for the usual one."""
    mmproj: Path | str | None = None
    """The image half: a path, or a file of the hub as `model` has it."""
    adapters: tuple[Path, ...] = ()
    draft: str = ""
    """The model that drafts, in the same forms as `model`; empty for none."""
