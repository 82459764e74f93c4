"""Brings files of the hub into the cache: whole, verified, and from where a broken try ended.

A file grows in the cache as `DIGEST.launcher.incomplete` and gets its name when all of it has
arrived and its digest, taken while it came, is the one that the hub published. After a kill
or a power cut the next try goes on from there: what may not have reached the disk, at most one
chunk, is fetched again.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import random
import shutil
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from launcher.errors import IntegrityError, LauncherError
from launcher.models import digests
from launcher.models.bundle import Stamp, pinned
from launcher.models.cache import Cache, Turn
from launcher.models.hub import Hub
from launcher.models.hub_failures import TryLater, dropped
from launcher.models.remote import RemoteFile

CHUNK = 4 << 20  # bytes; what a power cut may cost
SPAN = 16 << 30  # bytes asked for at once: stores do not give more than 50 GB in one answer
READ = 4 << 20  # bytes; of what is here already
LOOK = 0.2  # seconds between two looks whether it is our turn
FAREWELL = 5.0  # seconds that other files get to stop, when one has failed


class Progress(Protocol):
    """Told how a download goes. Called by one thread at a time, but not always the same."""

    def started(self, total: int, done: int) -> None:
        """So many bytes are wanted in all, and so many are here."""

    def advanced(self, size: int) -> None:
        """So many more bytes are here; fewer, where something must be fetched again."""

    def waiting(self, reason: str, seconds: float) -> None:
        """Nothing comes for a while; 0 seconds where nobody knows how long."""

    def finished(self) -> None:
        """Everything is here."""


class Silent:
    """Progress that nobody is told of."""

    def started(self, total: int, done: int) -> None: ...

    def advanced(self, size: int) -> None: ...

    def waiting(self, reason: str, seconds: float) -> None: ...

    def finished(self) -> None: ...


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
        _refuse_unverifiable(file)
    options, stop = options or Options(), threading.Event()
    work = _Work(
        hub=hub,
        cache=cache,
        revision=revision,
        options=options,
        report=_Report(progress or Silent()),
        tap=Tap(options.limit_rate, stop),
        memory=memory,
        stop=stop,
    )
    with _disk_failures(cache.root):
        return _all(files, work)


def resumable(size: int, chunk: int) -> int:
    """How many bytes of a partial file are certain to have reached the disk.

    What lies two steps of half a chunk back was waited for before anything was written after
    it; see `_Partial`.
    """
    step = chunk // 2
    return max(0, -(-size // step) - 2) * step


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
    report: _Report
    tap: Tap
    memory: Path | None
    stop: threading.Event


def _all(files: Sequence[RemoteFile], work: _Work) -> tuple[Path, ...]:
    distinct = list(dict.fromkeys(files))
    here = {file: _here(file, work) for file in distinct}
    total = sum(file.size for file in distinct)
    _refuse_full_disk(work.cache.root, total - sum(here.values()))
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
    return min(resumable(_size(work.cache.partial(file)), work.options.chunk), file.size)


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
                work.stop.set()

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
            work.cache.link(file, work.revision)
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
        work.report.has(file, min(_size(work.cache.partial(file)), file.size))
        if work.stop.wait(LOOK):
            raise _Stopped


def _verify(path: Path, file: RemoteFile, work: _Work) -> None:
    """Compares what is in the cache already, whoever brought it; reads it once."""
    with pinned(path) as here:
        known = digests.remembered(work.memory, here) if work.memory else ""
        if file.sha256 and known == file.sha256:
            return
        work.report.waiting(f"comparing the digest of {file.name}", 0.0)
        digest = _Digest(file)
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
    with contextlib.closing(_Partial(path, file, work.options.chunk)) as partial:
        if partial.kept:
            work.report.waiting(f"reading what is here of {file.name}", 0.0)
            partial.resume()
        work.report.has(file, partial.position)
        _fill(partial, work)
        partial.finish(work.cache.blob(file))
        found = work.cache.link(file, work.revision)
        _sync_folder(found.parent)
        _remember(work.memory, partial.stamp(), partial.digest)
        return found


def _fill(partial: _Partial, work: _Work) -> None:
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


def _stream(partial: _Partial, work: _Work) -> None:
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


def _remember(memory: Path | None, stamp: Stamp, digest: _Digest) -> None:
    if memory is not None:
        digests.remember(memory, stamp, digest.sha256)


def _refuse_unverifiable(file: RemoteFile) -> None:
    if not file.etag:
        raise IntegrityError(
            f"The hub states no digest for {file}, so nobody can tell whether it arrives whole",
            hint="Nothing was downloaded.",
        )


# --- Bytes on the disk --------------------------------------------------------------------------


class _Digest:
    """What the bytes of a file are, in the words of the hub and in ours."""

    def __init__(self, file: RemoteFile) -> None:
        self._file = file
        self._sha256 = hashlib.sha256()
        # Git's digest finds faults of the line; nobody trusts it with more.
        self._git = hashlib.sha1(b"blob %d\0" % file.size, usedforsecurity=False)

    def update(self, data: bytes) -> None:
        self._sha256.update(data)
        if not self._file.sha256:
            self._git.update(data)

    @property
    def sha256(self) -> str:
        return self._sha256.hexdigest()

    @property
    def _found(self) -> str:
        return self.sha256 if self._file.sha256 else self._git.hexdigest()

    def matches(self) -> bool:
        """Whether it is what the hub published."""
        return self._found == self._file.etag

    def mismatch(self) -> IntegrityError:
        return IntegrityError(
            f"{self._file} is not what the hub published: its digest is {self._found[:16]}…, "
            f"not {self._file.etag[:16]}…",
            hint="It was deleted. Fetch it again; if that ends the same way, the line, the disk "
            "or the hub's store alters it.",
        )


class _Partial:
    """A file that grows, and what is certain of it.

    Every half chunk is a step. The bytes of a step are sent to the disk in the background, and
    before anything is written beyond the next step they must have arrived there. So whatever
    size a power cut leaves behind, the bytes up to `resumable(size)` are good. Nothing is cut
    off: on a disk whose locks do not work, two writers then write the same bytes.
    """

    def __init__(self, path: Path, file: RemoteFile, chunk: int) -> None:
        self.path = path
        self.file = file
        self.position = 0
        self.digest = _Digest(file)
        self._step = chunk // 2
        flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)
        self._stream = os.fdopen(os.open(path, flags, 0o666), "r+b", buffering=0)
        self._background = ThreadPoolExecutor(max_workers=1)
        self._syncing: Future[None] | None = None
        size = os.fstat(self._stream.fileno()).st_size
        self.kept = resumable(size, chunk) if size <= file.size else 0
        """Bytes of an earlier try that are good."""
        if size > file.size:
            os.truncate(self._stream.fileno(), 0)

    def resume(self) -> None:
        """Reads what an earlier try left, for the digest."""
        while self.position < self.kept:
            data = self._stream.read(min(READ, self.kept - self.position))
            if not data:
                break
            self.digest.update(data)
            self.position += len(data)

    def restart(self) -> None:
        """Forgets what is here: the server only gives whole files."""
        self._wait()
        self.position = self._stream.seek(0)
        self.digest = _Digest(self.file)

    def write(self, data: bytes) -> None:
        """Adds bytes at the end."""
        self.digest.update(data)
        rest = memoryview(data)
        while rest:
            room = self._step - self.position % self._step
            written = self._stream.write(rest[:room])
            self.position += written
            rest = rest[written:]
            if self.position % self._step == 0:
                self._wait()
                self._syncing = self._background.submit(_sync, self._stream.fileno())

    def finish(self, blob: Path) -> None:
        """Gives the file its name, if it is what the hub published; else deletes it."""
        self._wait()
        if not self.digest.matches():
            self.path.unlink(missing_ok=True)
            raise self.digest.mismatch()
        _sync(self._stream.fileno())
        self.path.replace(blob)
        _sync_folder(blob.parent)

    def stamp(self) -> Stamp:
        return Stamp.of(os.fstat(self._stream.fileno()))

    def close(self) -> None:
        self._background.shutdown()
        self._stream.close()

    def _wait(self) -> None:
        if self._syncing is not None:
            self._syncing.result()
            self._syncing = None


if sys.platform == "win32":

    def _sync(descriptor: int) -> None:
        os.fsync(descriptor)

    def _sync_folder(folder: Path) -> None:
        """Windows has no way to sync a folder; the replace itself is journalled."""
else:

    def _sync(descriptor: int) -> None:
        if sys.platform == "darwin":
            import fcntl

            fcntl.fcntl(descriptor, fcntl.F_FULLFSYNC)  # fsync alone stops at the drive's cache
        else:
            os.fdatasync(descriptor)

    def _sync_folder(folder: Path) -> None:
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _size(path: Path) -> int:
    try:
        return path.lstat().st_size
    except OSError:
        return 0


# --- What the disk says -------------------------------------------------------------------------


@contextlib.contextmanager
def _disk_failures(root: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise disk_failure(error, root) from error


def disk_failure(error: OSError, root: Path) -> LauncherError:
    """What it means that something could not be written into the cache."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return _full(root, "")
    if error.errno == errno.EFBIG:
        return LauncherError(
            f"The disk under {root} does not take files as large as this one",
            hint=f"FAT takes 4 GB at most. {_ELSEWHERE}",
        )
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return LauncherError(f"You may not write to {error.filename or root}", hint=_ELSEWHERE)
    if isinstance(error, FileNotFoundError):
        return LauncherError(
            f"{error.filename or root} was removed while it was being written",
            hint="Another program clears up there. Run the same command again.",
        )
    return LauncherError(f"{error.filename or root} cannot be written: {error.strerror}")


_ELSEWHERE = "HF_HUB_CACHE names a folder on another disk, for models that are yet to come."


def _full(root: Path, how_much: str) -> LauncherError:
    return LauncherError(
        f"There is too little room on the disk under {root}{how_much}",
        hint=f"What is here is kept. Make room, then run the same command again. {_ELSEWHERE}",
        commands=["launcher list"],
    )


def _refuse_full_disk(root: Path, needed: int) -> None:
    folder = root
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise _full(root, f": {needed / 1e9:.2f} GB more are needed, {free / 1e9:.2f} GB are free")


# --- Pace and progress --------------------------------------------------------------------------


class Tap:
    """Lets so many bytes a second through, for all threads together."""

    def __init__(self, rate: float, stop: threading.Event) -> None:
        self._rate = rate
        self._stop = stop
        self._lock = threading.Lock()
        self._free_at = 0.0

    def take(self, size: int) -> None:
        """Waits until so many bytes may pass."""
        if not self._rate:
            return
        with self._lock:
            now = time.monotonic()
            # What was not used for a while is not saved up.
            self._free_at = max(self._free_at, now) + size / self._rate
            pause = self._free_at - now
        self._stop.wait(pause)


class _Report:
    """Adds up what several threads do, for a `Progress` that need not care."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._lock = threading.Lock()
        self._here: dict[RemoteFile, int] = {}

    def started(self, total: int, here: dict[RemoteFile, int]) -> None:
        self._here = dict(here)
        self._progress.started(total, sum(here.values()))

    def has(self, file: RemoteFile, size: int) -> None:
        """So many bytes of a file are here now."""
        with self._lock:
            change = size - self._here.get(file, 0)
            self._here[file] = size
            if change:
                self._progress.advanced(change)

    def waiting(self, reason: str, seconds: float) -> None:
        with self._lock:
            self._progress.waiting(reason, seconds)

    def finished(self) -> None:
        self._progress.finished()
