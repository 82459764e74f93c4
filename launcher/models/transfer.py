"""Brings files of the hub into the cache: whole, verified, and from where a broken try ended.

A file grows in the cache as `DIGEST.launcher.incomplete` and gets its name when all of it has
arrived and its digest, taken while it came, is the one that the hub published. After a kill
or a power cut the next try goes on from there: what may not have reached the disk, at most one
chunk, is fetched again.
"""

from __future__ import annotations

import contextlib
import random
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from launcher.errors import IntegrityError
from launcher.models import digests, layout
from launcher.models.bundle import Stamp, pinned
from launcher.models.cache import Cache
from launcher.models.disk import disk_failure, disk_failures, refuse_full_disk
from launcher.models.hub import Hub
from launcher.models.hub_failures import TryLater, dropped
from launcher.models.partial import READ, Digest, Partial, resumable, sync_folder
from launcher.models.progress import Progress, Report, Silent, Tap
from launcher.models.remote import RemoteFile, is_commit, is_safe_name
from launcher.models.turn import Turn

__all__ = [
    "Options",
    "Patience",
    "Progress",
    "Silent",
    "disk_failure",
    "download",
    "resumable",
]

CHUNK = 4 << 20  # bytes; what a power cut may cost
SPAN = 16 << 30  # bytes asked for at once: stores do not give more than 50 GB in one answer
LOOK = 0.2  # seconds between two looks whether it is our turn
FAREWELL = 5.0  # seconds that other files get to stop, when one has failed


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How long a download is kept up when the line or the hub does not."""

    total: float = 24 * 3600.0
    """Seconds without one new byte before it is given up."""
    first: float = 1.0
    """Seconds before the second try; doubled each time."""
    longest: float = 300.0
    """Seconds between two tries at most, unless the hub asks for more."""
    stall: float = 60.0
    """Seconds of silence after which a line counts as lost."""

    def pause(self, failures: int, asked: float, chance: float) -> float:
        """Seconds before the next try; `chance`, 0 to 1, keeps many from coming back at once."""
        grown = min(self.first * 2.0 ** min(failures - 1, 40), self.longest)
        return max(asked, grown * (1 + chance) / 2)


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """How a download is done."""

    limit_rate: float = 0.0
    """Bytes in a second, all files together; 0: as many as come."""
    parallel: int = 3
    """Files at a time."""
    patience: Patience = field(default_factory=Patience)
    chunk: int = CHUNK


def download(
    files: Sequence[RemoteFile],
    hub: Hub,
    cache: Cache,
    *,
    revision: str = "",
    options: Options | None = None,
    progress: Progress | None = None,
    memory: Path | None = None,
) -> tuple[Path, ...]:
    """Brings files into the cache, and gives their paths there; asks nothing for those in it.

    `revision` is what the commit was asked for as; `memory` is where digests are remembered.
    Raises `IntegrityError` for bytes that are not what the hub published (they are deleted),
    `NotFound` for what cannot be had, `LauncherError` where the disk does not take them.
    """
    for file in files:
        _refuse_unsafe(file)
    options, stop = options or Options(), threading.Event()
    work = _Work(
        hub=hub,
        cache=cache,
        revision=revision,
        options=options,
        report=Report(progress or Silent()),
        tap=Tap(options.limit_rate, stop),
        memory=memory,
        stop=stop,
    )
    with disk_failures(cache.root):
        return _all(files, work)


# --- All files ----------------------------------------------------------------------------------


class _Stopped(Exception):
    """Another file has failed, or the user had enough: this one is left as it is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Work:
    """What the files of one download share."""

    hub: Hub
    cache: Cache
    revision: str
    options: Options
    report: Report
    tap: Tap
    memory: Path | None
    stop: threading.Event


def _all(files: Sequence[RemoteFile], work: _Work) -> tuple[Path, ...]:
    distinct = list(dict.fromkeys(files))
    here = {file: _here(file, work) for file in distinct}
    total = sum(file.size for file in distinct)
    refuse_full_disk(work.cache.root, total - sum(here.values()))
    work.report.started(total, here)
    found: dict[RemoteFile, Path] = {}
    if len(distinct) == 1 or work.options.parallel == 1:
        found = {file: _bring(file, work) for file in distinct}
    else:
        _side_by_side(distinct, work, found)
    work.report.finished()
    return tuple(found[file] for file in files)


def _here(file: RemoteFile, work: _Work) -> int:
    """Bytes that need not be fetched, as far as can be seen now."""
    if work.cache.present(file) is not None:
        return file.size
    return min(resumable(layout.size(work.cache.partial(file)), work.options.chunk), file.size)


def _side_by_side(files: Sequence[RemoteFile], work: _Work, found: dict[RemoteFile, Path]) -> None:
    """Brings files in threads that end with the program, whatever they wait for."""
    left, failed = list(reversed(files)), list[BaseException]()

    def bring() -> None:
        while left and not work.stop.is_set():
            try:
                file = left.pop()
                found[file] = _bring(file, work)
            except (IndexError, _Stopped):
                return
            except BaseException as error:  # noqa: BLE001  # raised again by whoever waits
                failed.append(error)

    count = min(work.options.parallel, len(files))
    threads = [threading.Thread(target=bring, daemon=True) for _ in range(count)]
    for thread in threads:
        thread.start()
    try:
        for thread in threads:
            while thread.is_alive() and not failed:
                thread.join(LOOK)
    finally:
        work.stop.set()
        end = time.monotonic() + FAREWELL
        for thread in threads:
            thread.join(max(0.0, end - time.monotonic()))
    if failed:
        raise failed[0]


# --- One file -----------------------------------------------------------------------------------


def _bring(file: RemoteFile, work: _Work) -> Path:
    pointer = work.cache.pointer(file)
    if pointer.is_file():  # nothing has to be written, so a cache that is read-only will do
        _verify(pointer, file, work)
        with contextlib.suppress(OSError):
            work.cache.note_revision(file, work.revision)
        work.report.has(file, file.size)
        return pointer
    with contextlib.closing(work.cache.turn(file)) as turn:
        _await_turn(turn, file, work)
        path = work.cache.present(file)
        if path is None:
            path = _fetch(file, work)
        else:
            _verify(path, file, work)
            path = work.cache.link(file, work.revision)
        work.report.has(file, file.size)
        return path


def _await_turn(turn: Turn, file: RemoteFile, work: _Work) -> None:
    """Waits while another program writes the file, and shows how far it is."""
    told = False
    while not turn.take():
        if not told:
            who = turn.holder() or "another program"
            work.report.waiting(f"{who} is downloading {file.name}", 0.0)
            told = True
        work.report.has(file, min(layout.size(work.cache.partial(file)), file.size))
        if work.stop.wait(LOOK):
            raise _Stopped


def _verify(path: Path, file: RemoteFile, work: _Work) -> None:
    """Compares what is in the cache already, whoever brought it; reads it once."""
    with pinned(path) as here:
        known = digests.remembered(work.memory, here) if work.memory else ""
        if file.sha256 and known == file.sha256:
            return
        work.report.waiting(f"comparing the digest of {file.name}", 0.0)
        digest = Digest(file)
        position = 0
        while data := here.read(position, READ):
            digest.update(data)
            position += len(data)
        here.refuse_change()
        if not digest.matches():
            with contextlib.suppress(OSError):
                work.cache.discard(file)
            raise digest.mismatch()
        _remember(work.memory, here.stamp, digest)


def _fetch(file: RemoteFile, work: _Work) -> Path:
    path = work.cache.partial(file)
    path.parent.mkdir(parents=True, exist_ok=True)
    with contextlib.closing(Partial(path, file, work.options.chunk)) as partial:
        if partial.kept:
            work.report.waiting(f"reading what is here of {file.name}", 0.0)
            partial.resume()
        work.report.has(file, partial.position)
        _fill(partial, work)
        partial.finish(work.cache.blob(file))
        found = work.cache.link(file, work.revision)
        sync_folder(found.parent)
        _remember(work.memory, partial.stamp(), partial.digest)
        return found


def _fill(partial: Partial, work: _Work) -> None:
    """Fetches what is missing, as long as there is hope."""
    patience, file = work.options.patience, partial.file
    failures, furthest, last = 0, partial.position, time.monotonic()
    while partial.position < file.size:
        try:
            _stream(partial, work)
        except TryLater as failure:
            if partial.position > furthest:
                failures, furthest, last = 0, partial.position, time.monotonic()
            failures += 1
            pause = patience.pause(failures, failure.after, random.random())  # noqa: S311  # no secret
            hopeless = failure.tries is not None and failures >= failure.tries
            if hopeless or time.monotonic() + pause > last + patience.total:
                raise failure.error from failure
            work.report.waiting(failure.reason, pause)
            if work.stop.wait(pause):
                raise _Stopped from failure


def _stream(partial: Partial, work: _Work) -> None:
    """Writes what one answer brings."""
    file, start = partial.file, partial.position
    end = min(start + SPAN, file.size)
    with work.hub.body(file, start, end, work.options.patience.stall) as body:
        if body.start != start:
            partial.restart()
        for piece in body.pieces:
            work.tap.take(len(piece))
            partial.write(piece)
            work.report.has(file, partial.position)
            if work.stop.is_set():
                raise _Stopped
    if partial.position < end:
        raise dropped(work.hub.host, "the line was cut")


def _remember(memory: Path | None, stamp: Stamp, digest: Digest) -> None:
    if memory is not None:
        digests.remember(memory, stamp, digest.sha256)


def _refuse_unsafe(file: RemoteFile) -> None:
    if not is_safe_name(file.name) or not is_commit(file.commit):
        raise IntegrityError(f"{str(file)!a} is not the name of a file that can be kept")
    if not file.etag:
        raise IntegrityError(
            f"The hub states no digest for {file}, so nobody can tell whether it arrives whole",
            hint="Nothing was downloaded.",
        )
