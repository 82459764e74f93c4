"""The whole way to a loaded model, with what is asked and said on it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

from launcher import flow, shortfalls
from launcher.asker import Asker, Request
from launcher.cli import asking, obtaining, settling
from launcher.engine.fit import Wishes
from launcher.licensing import notes, policy, records
from launcher.reach import Look

if TYPE_CHECKING:
    from launcher.clearance import Cleared
    from launcher.engine.client import Engine


_REACHED = {
    "device": "confined, but for what a graphics driver needs,",
    "partial": "only in part confined",
    "none": "not confined",
}


@contextlib.contextmanager
def opened(
    request: Request, asker: Asker, wishes: Wishes, *, set_up: bool = False, confined: bool = False
) -> Iterator[tuple[Engine, Cleared]]:
    """The whole way: judged, asked about, cleared, loaded.

    The worker starts at once: it holds nothing before it is given something to load.
    """
    from launcher.engine.client import Worker

    if set_up:
        _set_up(request, asker)
    with (
        contextlib.closing(Worker(require_sandbox=confined)) as worker,
        flow.judged(request, asker, Look.HUB) as judgement,
    ):
        judgement = settling.settle(judgement, asker)
        if asking.on_terminal():
            _say_dates()
        cleared = flow.clear(judgement, wishes, asker)
        shortfalls.refuse_missing_engine()  # before anything is fetched for it
        with obtaining.obtained(cleared, wishes, asker) as obtained:
            here = flow.calibrated(obtained, wishes, worker, asker)
            with flow.load(here, worker, asker) as engine:
                _say_level(engine, asker)
                yield engine, here


def _say_level(engine: Engine, asker: Asker) -> None:
    """Says once, not with every run, that the engine is not confined here."""
    from launcher.engine.sandbox import Level

    level = engine.loaded.sandbox
    loads = [record for record in records.recent(asker.log) if record.get("kind") == "load"]
    if level is Level.FULL or level in [load.get("sandbox") for load in loads[:-1]]:
        return
    reached = _REACHED[level]
    asker.say(f"Note: The engine is {reached} on this system (launcher doctor).")


def _set_up(request: Request, asker: Asker) -> None:
    """Builds what is missing, once the gate has said that it is worth the wait."""
    from launcher.engine import process
    from launcher.installation import build

    if build.is_ready():
        return
    process.discard()  # it was started without the engine
    with flow.judged(request, asker, Look.HUB) as judgement:
        flow.refuse(settling.settle(judgement, asker), asker)
    build.ensure()


def _say_dates() -> None:
    """What hangs on the clock is said to people only: a device may have none."""
    for note in notes.from_the_clock(policy.load().version, records.today()):
        click.echo(f"Note: {note.text}", err=True)
