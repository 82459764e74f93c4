"""What has to be fetched, and how that goes for whoever watches: a person, a log, a program."""

from __future__ import annotations

import contextlib
import json
import sys
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import click

from launcher import flow
from launcher.asker import Asker
from launcher.clearance import Cleared
from launcher.cli.render import safe
from launcher.engine.fit import Wishes, megabytes

if TYPE_CHECKING:
    from rich.progress import Progress as Rich
    from rich.progress import TaskID

    from launcher.models.progress import Progress
    from launcher.models.transfer import Options

PAUSE = 0.5  # seconds between two lines for a program


@contextlib.contextmanager
def obtained(
    cleared: Cleared,
    wishes: Wishes,
    asker: Asker,
    pace: Options | None = None,
    *,
    as_json: bool = False,
) -> Iterator[Cleared]:
    """`flow.obtained`, with a progress that is shown."""
    watch = shown(cleared.bundle.main.name, as_json=as_json)
    with contextlib.ExitStack() as stack:
        try:
            with contextlib.closing(watch):
                obtained = flow.obtained(cleared, wishes, asker, pace, watch)
                here = stack.enter_context(obtained)
        except KeyboardInterrupt:
            text = "Stopped. What was fetched is kept: the same command goes on with it."
            click.echo(text, err=True)
            raise
        yield here


def shown(title: str, *, as_json: bool = False) -> Progress:
    """What fits standard error, or lines of JSON on standard output."""
    if as_json:
        return Lines()
    return Bar(title) if sys.stderr.isatty() else Log(title)


class Bar:
    """A bar with speed and time left, on a terminal."""

    def __init__(self, title: str) -> None:
        self._title = safe(title)
        self._bar: Rich | None = None
        self._task: TaskID | None = None

    def started(self, total: int, done: int) -> None:
        if done >= total:
            return
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            DownloadColumn,
            TextColumn,
            TimeRemainingColumn,
            TransferSpeedColumn,
        )
        from rich.progress import Progress as Rich

        self._bar = Rich(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            DownloadColumn(),
            TransferSpeedColumn(),
            TimeRemainingColumn(),
            console=Console(stderr=True),
            transient=True,
        )
        self._task = self._bar.add_task(self._title, total=total, completed=done)
        self._bar.start()

    def advanced(self, size: int) -> None:
        if self._bar is not None and self._task is not None:
            self._bar.advance(self._task, size)
            self._bar.update(self._task, description=self._title)

    def waiting(self, reason: str, seconds: float) -> None:
        if self._bar is not None and self._task is not None:
            text = f"{self._title}: {safe(reason)}"
            again = f", again in {seconds:.0f} s" if seconds >= 1 else ""
            self._bar.update(self._task, description=text + again)

    def finished(self) -> None:
        self.close()

    def close(self) -> None:
        """Takes the bar away, however the download ended."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None


class Log:
    """A line at the start, one for each long wait: what a log can bear."""

    def __init__(self, title: str) -> None:
        self._title = safe(title)
        self._said = ""

    def started(self, total: int, done: int) -> None:
        if done < total:
            rest = f", {megabytes(done)} of it are here" if done else ""
            click.echo(f"Fetching {self._title} ({megabytes(total)}{rest}).", err=True)

    def advanced(self, size: int) -> None:
        """Says nothing."""

    def waiting(self, reason: str, seconds: float) -> None:
        if reason != self._said and seconds:
            self._said = reason
            click.echo(f"Waiting: {safe(reason)}. It is tried again.", err=True)

    def finished(self) -> None:
        """Says nothing: what was fetched is said by whoever asked for it."""

    def close(self) -> None:
        """Has nothing to take away."""


class Lines:
    """A JSON object a line, on standard output."""

    def __init__(self) -> None:
        self._total = self._done = 0
        self._last = 0.0

    def started(self, total: int, done: int) -> None:
        self._total, self._done = total, done
        self._print("started")

    def advanced(self, size: int) -> None:
        self._done += size
        if time.monotonic() >= self._last + PAUSE:
            self._print("progress")

    def waiting(self, reason: str, seconds: float) -> None:
        self._print("waiting", reason=reason, seconds=round(seconds, 1))

    def finished(self) -> None:
        self._print("fetched")

    def close(self) -> None:
        """Has nothing to take away."""

    def _print(self, event: str, **more: Any) -> None:
        self._last = time.monotonic()
        line = {"event": event, "done": self._done, "total": self._total, **more}
        click.echo(json.dumps(line, ensure_ascii=False))
