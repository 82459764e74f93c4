"""The Hugging Face cache on this disk, which other programs share: read, written, cleared up.

    models--owner--name/
      blobs/DIGEST                      the bytes, named by what the hub says of them
      blobs/DIGEST.launcher.incomplete  a download that is not done
      snapshots/COMMIT/FILE             a link to the blob; the blob itself where links cannot be
      refs/main                         the commit that a branch stood for
    .locks/models--owner--name/DIGEST.lock

No network is needed here, and nothing of the hub's client, which takes long to import. What
lies in `blobs` is only *called* by a digest: whoever loads it compares.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import re
import shutil
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from launcher.errors import LauncherError, NotFound
from launcher.files import locked, read_bounded, write_atomically
from launcher.models.refs import is_repository
from launcher.models.remote import RemoteFile, is_commit, is_revision, is_safe_name

MAIN = "main"
PARTIAL = ".launcher.incomplete"  # the hub's tools count and prune whatever ends in .incomplete
ORPHAN_AGE = 3600.0  # seconds; a writer that is still at work is younger than this
MAX_REF = 200  # bytes
MAX_MANIFEST = 1 << 20  # bytes
MAX_USES = 1 << 20  # bytes of the memory of last uses
KEPT_USES = 2000

_ON = ("1", "ON", "YES", "TRUE")
_BLOB = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_TAG = """Signature: 8a477f597d28d172789f06886806bc55
# This file is a cache directory tag.
# For information about cache directory tags, see https://bford.info/cachedir/
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class CachedFile:
    """A file that lies in the cache."""

    repository: str
    commit: str
    name: str
    path: Path
    """Under the name it has in its repository."""
    blob: Path
    """Where the bytes are; `path` itself where links cannot be."""
    size: int
    """Bytes."""
    last_used: float
    """Seconds since 1970; when it came, where nothing is known of a use."""

    @property
    def called(self) -> str:
        """The SHA-256 that it is called by; empty where it is called by something else."""
        return self.blob.name if _SHA256.fullmatch(self.blob.name) else ""


class Kind(StrEnum):
    """What something is that no model needs."""

    PARTIAL = "partial"
    """A download that was not finished, ours or another program's."""
    UNREFERENCED = "unreferenced"
    """Whole, but no file leads to it any more, or not yet."""
    TEMPORARY = "temporary"
    """Left by a program that was killed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Leftover:
    """What takes room and is no model."""

    kind: Kind
    repository: str
    path: Path
    size: int
    modified: float
    """Seconds since 1970."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cache:
    """The cache in one folder."""

    root: Path
    links: bool = True
    """False where links may not be made even if they can."""

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> Cache:
        """Where the hub's own client has it."""
        without_links = environment.get("HF_HUB_DISABLE_SYMLINKS", "").upper() in _ON
        return cls(root=_root(environment), links=not without_links)

    # --- Where things are -----------------------------------------------------------------------

    def folder(self, repository: str) -> Path:
        """Of a repository."""
        if not is_repository(repository):
            raise NotFound(f"'{repository}' is not the name of a repository")
        return self.root / f"models--{repository.replace('/', '--')}"

    def blob(self, file: RemoteFile) -> Path:
        """Where the bytes of a file belong."""
        return self.folder(file.repository) / "blobs" / file.etag

    def partial(self, file: RemoteFile) -> Path:
        """Where they are while they are not all here."""
        return self.folder(file.repository) / "blobs" / f"{file.etag}{PARTIAL}"

    def pointer(self, file: RemoteFile) -> Path:
        """Where the file is found under its own name."""
        return self._snapshot(file.repository, file.commit).joinpath(*file.name.split("/"))

    def turn(self, file: RemoteFile) -> Turn:
        """The right to write a file."""
        return self._turn(self.folder(file.repository), file.etag)

    def _turn(self, folder: Path, etag: str) -> Turn:
        return Turn(self.root / ".locks" / folder.name / f"{etag}.lock")

    def _snapshot(self, repository: str, commit: str) -> Path:
        return self.folder(repository) / "snapshots" / commit

    # --- What is here ---------------------------------------------------------------------------

    def commit(self, repository: str, revision: str = "") -> str:
        """The commit that a branch, a tag or a commit stood for when it was fetched.

        Empty where nothing of it is here.
        """
        revision = revision or MAIN
        if not is_revision(revision):
            return ""
        ref = self.folder(repository).joinpath("refs", *revision.split("/"))
        with contextlib.suppress(OSError, UnicodeDecodeError):
            text = read_bounded(ref, MAX_REF).decode("ascii").strip()
            return text if is_commit(text) else ""
        here = is_commit(revision) and self._snapshot(repository, revision).is_dir()
        return revision if here else ""

    def find(self, repository: str, revision: str, name: str) -> Path | None:
        """A file of a repository, under its own name; None where it is not here."""
        commit = self.commit(repository, revision)
        if not commit or not is_safe_name(name):
            return None
        path = self._snapshot(repository, commit).joinpath(*name.split("/"))
        return path if path.is_file() else None

    def present(self, file: RemoteFile) -> Path | None:
        """Where the bytes of a file lie already, linked or not; None where they do not."""
        places = (self.blob(file), self.pointer(file)) if file.etag else (self.pointer(file),)
        return next((path for path in places if path.is_file()), None)

    def files(
        self, repository: str = "", uses: Mapping[str, float] | None = None
    ) -> Iterator[CachedFile]:
        """Every GGUF file in the cache, or those of one repository.

        `uses` are our own notes of last uses: see `last_uses`.
        """
        folders = [self.folder(repository)] if repository else self._repositories()
        for folder in folders:
            for commit, name, path in _pointers(folder):
                if name.lower().endswith(".gguf"):
                    with contextlib.suppress(OSError):
                        yield _cached(folder, commit, name, path, uses or {})

    def leftovers(self) -> Iterator[Leftover]:
        """What takes room and is no model: of this program and of others."""
        for folder in self._repositories():
            needed = {_blob_of(path) for _, _, path in _pointers(folder)}
            candidates = [*_entries(folder / "blobs"), *_temporaries(folder)]
            for path in candidates:
                kind = _kind(path)
                if kind is not None and path not in needed:
                    with contextlib.suppress(OSError):
                        yield _leftover(kind, folder, path)

    def _repositories(self) -> Iterator[Path]:
        for folder in _entries(self.root):
            if folder.name.startswith("models--") and is_repository(_name_of(folder)):
                yield folder

    # --- What comes and goes --------------------------------------------------------------------

    def link(self, file: RemoteFile, revision: str = "") -> Path:
        """Gives the blob of a file its name; the blob itself moves there where links cannot be.

        Whoever calls this has the file's turn.
        """
        blob, pointer = self.blob(file), self.pointer(file)
        pointer.parent.mkdir(parents=True, exist_ok=True)
        if blob.is_file() and not (self.links and _link(blob, pointer)):
            blob.replace(pointer)
        self._note_ref(file, revision or MAIN)
        tag = self.root / "CACHEDIR.TAG"  # backups leave such folders out
        with contextlib.suppress(OSError):
            if not tag.exists():
                tag.write_text(_TAG, encoding="ascii")
        return pointer

    def _note_ref(self, file: RemoteFile, revision: str) -> None:
        if revision == file.commit or not is_revision(revision):
            return
        ref = self.folder(file.repository).joinpath("refs", *revision.split("/"))
        with contextlib.suppress(OSError):
            if read_bounded(ref, MAX_REF) == file.commit.encode():
                return
        ref.parent.mkdir(parents=True, exist_ok=True)
        temporary = ref.with_name(f"{ref.name}.{os.urandom(4).hex()}.tmp")
        temporary.write_text(file.commit, encoding="ascii")
        temporary.replace(ref)

    def discard(self, file: RemoteFile) -> None:
        """Removes the bytes of a file that are not what they are called, and every name of them."""
        folder = self.folder(file.repository)
        for _, _, path in list(_pointers(folder)):
            if path == self.pointer(file) or _blob_of(path) == self.blob(file):
                path.unlink(missing_ok=True)
                _remove_empty(path.parent, folder / "snapshots")
        self._remove_blob(self.blob(file))
        _tidy(folder)

    def remove(self, files: Iterable[CachedFile]) -> int:
        """Removes files, and gives the bytes that became free.

        What another commit uses stays, and nothing is left that leads nowhere. Raises
        `LauncherError` when one of them is being written.
        """
        return sum(self._remove(file) for file in files)

    def _remove(self, file: CachedFile) -> int:
        folder = self.folder(file.repository)
        with self._taken(folder, file.blob.name, file.name):
            freed = 0 if file.path != file.blob else _size(file.path)
            file.path.unlink(missing_ok=True)
            if file.path != file.blob and not _is_needed(folder, file.blob):
                freed += self._remove_blob(file.blob)
        _remove_empty(file.path.parent, folder / "snapshots")
        _tidy(folder)
        return freed

    def remove_leftovers(self, leftovers: Iterable[Leftover]) -> int:
        """Removes leftovers that nobody is writing, and gives the bytes that became free."""
        freed = 0
        for leftover in leftovers:
            folder = self.folder(leftover.repository)
            is_old = leftover.modified < time.time() - ORPHAN_AGE
            if leftover.kind is Kind.TEMPORARY:
                freed += _unlink(leftover.path) if is_old else 0
                continue
            with contextlib.suppress(LauncherError):
                freed += self._remove_leftover(folder, leftover.path)
            _tidy(folder)
        return freed

    def _remove_leftover(self, folder: Path, path: Path) -> int:
        with self._taken(folder, path.name.partition(".")[0], path.name):
            return 0 if _is_needed(folder, path) else self._remove_blob(path)

    def _remove_blob(self, blob: Path) -> int:
        """A blob may be a link itself, into the store that repositories share."""
        shared = _shared(blob, self.root)
        if shared is None:
            return _unlink(blob)
        blob.unlink(missing_ok=True)
        return _sweep_shared(shared, self.root)

    @contextlib.contextmanager
    def _taken(self, folder: Path, etag: str, name: str) -> Iterator[None]:
        with contextlib.closing(self._turn(folder, etag)) as turn:
            if not turn.take():
                raise LauncherError(
                    f"{name} is just being downloaded", hint="Stop the download first, or wait."
                )
            yield


# --- Whose turn it is ---------------------------------------------------------------------------


class Turn:
    """The right to write one blob: an advisory lock, the same that the hub's client takes."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor = -1

    def take(self) -> bool:
        """Whether it is ours now; does not wait. On a disk without locks it always is."""
        if self._descriptor >= 0:
            return True
        self._path.parent.mkdir(parents=True, exist_ok=True)
        flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0)
        descriptor = os.open(self._path, flags, 0o664)
        try:
            is_ours = _try_lock(descriptor) and os.fstat(descriptor).st_nlink > 0
            if is_ours:
                os.truncate(descriptor, 0)
                os.write(descriptor, b"%d" % os.getpid())
                self._descriptor, descriptor = descriptor, -1
        finally:
            if descriptor >= 0:
                os.close(descriptor)
        return is_ours

    def holder(self) -> str:
        """Who has it, as far as is known: `process 4242`, or nothing."""
        with contextlib.suppress(OSError):
            text = read_bounded(self._path, 20)
            return f"process {int(text)}" if text.isdigit() else ""
        return ""

    def close(self) -> None:
        """Gives it back, if it is ours."""
        if self._descriptor >= 0:
            with contextlib.suppress(OSError):
                os.truncate(self._descriptor, 0)
            os.close(self._descriptor)
            self._descriptor = -1


if sys.platform == "win32":
    import msvcrt

    def _try_lock(descriptor: int) -> bool:
        try:
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        return True
else:
    import fcntl

    _HELD = (errno.EACCES, errno.EAGAIN, errno.EWOULDBLOCK)

    def _try_lock(descriptor: int) -> bool:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            return error.errno not in _HELD
        return True


# --- Last uses ----------------------------------------------------------------------------------


def note_use(memory: Path, path: Path, now: float) -> None:
    """Notes that a file was used; a memory that cannot be written is no reason to stop."""
    try:
        with locked(memory):
            uses = {key: value for key, value in last_uses(memory).items() if key != str(path)}
            uses[str(path)] = now
            kept = dict(list(uses.items())[-KEPT_USES:])
            write_atomically(memory, json.dumps(kept, indent=0).encode())
    except OSError:
        return


def last_uses(memory: Path) -> dict[str, float]:
    """When files were used, in seconds since 1970, by the path of their blob."""
    try:
        known = json.loads(read_bounded(memory, MAX_USES))
    except (OSError, ValueError, RecursionError):
        return {}
    if not isinstance(known, dict):
        return {}
    return {key: float(value) for key, value in known.items() if isinstance(value, int | float)}


# --- Reading folders ----------------------------------------------------------------------------


def _root(environment: Mapping[str, str]) -> Path:
    """As the hub's client finds it; a variable that is empty counts as not set."""
    for name in ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"):
        if environment.get(name):
            return _expanded(environment[name])
    home = environment.get("HF_HOME")
    if not home:
        above = environment.get("XDG_CACHE_HOME") or "~/.cache"
        home = os.path.join(above, "huggingface")  # noqa: PTH118  # expanded as a text
    return _expanded(home) / "hub"


def _expanded(text: str) -> Path:
    return Path(os.path.expandvars(os.path.expanduser(text))).absolute()  # noqa: PTH111  # as the client does


def _entries(folder: Path) -> list[Path]:
    try:
        return sorted(folder.iterdir())
    except OSError:
        return []


def _name_of(folder: Path) -> str:
    return folder.name.removeprefix("models--").replace("--", "/")


def _pointers(folder: Path) -> Iterator[tuple[str, str, Path]]:
    """Commit, name and path of everything in a repository's snapshots."""
    for snapshot in _entries(folder / "snapshots"):
        for parent, _, names in os.walk(snapshot):
            for name in sorted(names):
                path = Path(parent, name)
                yield snapshot.name, path.relative_to(snapshot).as_posix(), path


def _blob_of(pointer: Path) -> Path:
    """One step only: a blob can be a link itself."""
    if not pointer.is_symlink():
        return pointer
    return Path(os.path.abspath(pointer.parent / pointer.readlink()))  # noqa: PTH100  # as it is spelt


def _cached(
    folder: Path, commit: str, name: str, path: Path, uses: Mapping[str, float]
) -> CachedFile:
    blob, status = _blob_of(path), path.stat()
    return CachedFile(
        repository=_name_of(folder),
        commit=commit,
        name=name,
        path=path,
        blob=blob,
        size=status.st_size,
        last_used=max(status.st_atime, status.st_mtime, uses.get(str(blob), 0.0)),
    )


def _temporaries(folder: Path) -> Iterator[Path]:
    for below in ("refs", "snapshots"):
        yield from sorted((folder / below).glob("**/*.tmp"))


def _kind(path: Path) -> Kind | None:
    """What a thing beside the models is; None where nothing is known of it."""
    if path.name.endswith(".incomplete"):
        return Kind.PARTIAL
    if _BLOB.fullmatch(path.name):
        return Kind.UNREFERENCED
    if path.name.startswith("tmp_") or path.name.endswith((".tmp", ".shared")):
        return Kind.TEMPORARY
    return None


def _leftover(kind: Kind, folder: Path, path: Path) -> Leftover:
    status = path.lstat()
    return Leftover(
        kind=kind,
        repository=_name_of(folder),
        path=path,
        size=status.st_size,
        modified=status.st_mtime,
    )


# --- Writing folders ----------------------------------------------------------------------------


def _link(blob: Path, pointer: Path) -> bool:
    """Makes a name lead to a blob, at once; False where the disk has no links."""
    target = os.path.relpath(blob, pointer.parent)
    if pointer.is_symlink() and os.readlink(pointer) == target:  # noqa: PTH115  # compared as texts
        return True
    temporary = pointer.with_name(f".{os.urandom(6).hex()}.tmp")
    try:
        temporary.symlink_to(target)
    except OSError:
        return False
    temporary.replace(pointer)
    return True


def _is_needed(folder: Path, blob: Path) -> bool:
    return any(_blob_of(path) == blob for _, _, path in _pointers(folder))


def _size(path: Path) -> int:
    try:
        return path.lstat().st_size
    except OSError:
        return 0


def _unlink(path: Path) -> int:
    """Removes a file, and gives its size."""
    size = _size(path)
    path.unlink(missing_ok=True)
    return size


def _remove_empty(below: Path, top: Path) -> None:
    """Removes folders that became empty, up to but without `top`."""
    while top in below.parents:
        try:
            below.rmdir()
        except OSError:
            return
        below = below.parent


def _tidy(folder: Path) -> None:
    """Removes the names of commits that are gone, and a repository of which nothing is left."""
    snapshots = folder / "snapshots"
    for ref in sorted((folder / "refs").glob("**/*")):
        with contextlib.suppress(OSError, UnicodeDecodeError):
            if not (snapshots / read_bounded(ref, MAX_REF).decode()).is_dir():
                ref.unlink()
    if not _entries(snapshots) and not _entries(folder / "blobs"):
        shutil.rmtree(folder, ignore_errors=True)


# --- The store that repositories share ----------------------------------------------------------
#
# The hub's client keeps files of its own transfer protocol once for all repositories, as
# blobs/ab/HASH, with HASH.refs listing the blobs that lead there. Its rule is kept: what the
# list does not prove to be unused stays.


def _shared(blob: Path, root: Path) -> Path | None:
    """The entry of the shared store that a blob leads to."""
    if not blob.is_symlink():
        return None
    entry = _blob_of(blob)
    in_store = entry.parent.parent == root / "blobs" and _SHA256.fullmatch(entry.name)
    return entry if in_store and entry.is_file() else None


def _sweep_shared(entry: Path, root: Path) -> int:
    """Removes an entry that no blob leads to any more, and gives its size."""
    manifest = entry.with_name(f"{entry.name}.refs")
    with contextlib.closing(Turn(entry.with_name(f"{entry.name}.lock"))) as turn:
        try:
            lines = read_bounded(manifest, MAX_MANIFEST).decode("utf-8").splitlines()
        except (OSError, UnicodeDecodeError):
            return 0
        if not turn.take() or any(_leads_to(root / line, entry) for line in lines):
            return 0
        manifest.unlink(missing_ok=True)
        return _unlink(entry)


def _leads_to(blob: Path, entry: Path) -> bool:
    return blob.is_symlink() and _blob_of(blob) == entry
