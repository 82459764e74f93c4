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
import os
import re
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from launcher.errors import LauncherError, NotFound
from launcher.files import read_bounded
from launcher.models import layout, shared
from launcher.models.disk import disk_failures
from launcher.models.refs import is_repository
from launcher.models.remote import RemoteFile, is_commit, is_revision, is_safe_name
from launcher.models.turn import Turn
from launcher.models.uses import last_uses, note_use

__all__ = ["Cache", "CachedFile", "Kind", "Leftover", "Turn", "last_uses", "note_use"]

MAIN = "main"
PARTIAL = ".launcher.incomplete"  # the hub's tools count and prune whatever ends in .incomplete
ORPHAN_AGE = 3600.0  # seconds; a writer that is still at work is younger than this

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
        return cls(root=layout.root(environment), links=not without_links)

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
            text = read_bounded(ref, layout.MAX_REF).decode("ascii").strip()
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
            for commit, name, path in layout.pointers(folder):
                if name.lower().endswith(".gguf"):
                    with contextlib.suppress(OSError):
                        yield _cached(folder, commit, name, path, uses or {})

    def leftovers(self) -> Iterator[Leftover]:
        """What takes room and is no model: of this program and of others."""
        for folder in self._repositories():
            needed = {layout.blob_of(path) for _, _, path in layout.pointers(folder)}
            candidates = [*layout.entries(folder / "blobs"), *layout.temporaries(folder)]
            for path in candidates:
                kind = _kind(path)
                if kind is not None and path not in needed:
                    with contextlib.suppress(OSError):
                        yield _leftover(kind, folder, path)

    def _repositories(self) -> Iterator[Path]:
        for folder in layout.entries(self.root):
            if folder.name.startswith("models--") and is_repository(layout.name_of(folder)):
                yield folder

    # --- What comes and goes --------------------------------------------------------------------

    def link(self, file: RemoteFile, revision: str = "") -> Path:
        """Gives the blob of a file its name; the blob itself moves there where links cannot be.

        Whoever calls this has the file's turn.
        """
        blob, pointer = self.blob(file), self.pointer(file)
        pointer.parent.mkdir(parents=True, exist_ok=True)
        if blob.is_file() and not (self.links and layout.link(blob, pointer)):
            blob.replace(pointer)
        self.note_revision(file, revision)
        tag = self.root / "CACHEDIR.TAG"  # backups leave such folders out
        with contextlib.suppress(OSError):
            if not tag.exists():
                tag.write_text(_TAG, encoding="ascii")
        return pointer

    def note_revision(self, file: RemoteFile, revision: str = "") -> None:
        """Keeps what a branch stood for when the commit of a file was asked for by its name."""
        revision = revision or MAIN
        if revision == file.commit or not is_revision(revision):
            return
        ref = self.folder(file.repository).joinpath("refs", *revision.split("/"))
        with contextlib.suppress(OSError):
            if read_bounded(ref, layout.MAX_REF) == file.commit.encode():
                return
        ref.parent.mkdir(parents=True, exist_ok=True)
        temporary = layout.temporary_beside(ref)
        temporary.write_text(file.commit, encoding="ascii")
        temporary.replace(ref)

    def discard(self, file: RemoteFile) -> None:
        """Removes the bytes of a file that are not what they are called, and every name of them."""
        folder = self.folder(file.repository)
        for _, _, path in list(layout.pointers(folder)):
            if path == self.pointer(file) or layout.blob_of(path) == self.blob(file):
                path.unlink(missing_ok=True)
                layout.remove_empty(path.parent, folder / "snapshots")
        self._remove_blob(self.blob(file))
        layout.tidy(folder)

    def remove(self, files: Iterable[CachedFile]) -> int:
        """Removes files, and gives the bytes that became free.

        What another commit uses stays, and nothing is left that leads nowhere. Raises
        `LauncherError` when one of them is being written.
        """
        with disk_failures(self.root):
            return sum(self._remove(file) for file in files)

    def _remove(self, file: CachedFile) -> int:
        folder = self.folder(file.repository)
        with self._taken(folder, file.blob.name, file.name):
            freed = 0 if file.path != file.blob else layout.size(file.path)
            file.path.unlink(missing_ok=True)
            # A person may have put a link here that leads to a file of theirs.
            is_ours = file.path != file.blob and file.blob.parent == folder / "blobs"
            if is_ours and not layout.is_needed(folder, file.blob):
                freed += self._remove_blob(file.blob)
        layout.remove_empty(file.path.parent, folder / "snapshots")
        layout.tidy(folder)
        return freed

    def remove_leftovers(self, leftovers: Iterable[Leftover]) -> int:
        """Removes leftovers that nobody is writing, and gives the bytes that became free."""
        freed = 0
        for leftover in leftovers:
            folder = self.folder(leftover.repository)
            is_old = leftover.modified < time.time() - ORPHAN_AGE
            if leftover.kind is Kind.TEMPORARY:
                with disk_failures(self.root):
                    freed += layout.unlink(leftover.path) if is_old else 0
                continue
            with contextlib.suppress(LauncherError), disk_failures(self.root):
                freed += self._remove_leftover(folder, leftover.path)
            layout.tidy(folder)
        return freed

    def _remove_leftover(self, folder: Path, path: Path) -> int:
        with self._taken(folder, path.name.partition(".")[0], path.name):
            return 0 if layout.is_needed(folder, path) else self._remove_blob(path)

    def _remove_blob(self, blob: Path) -> int:
        """A blob may be a link itself, into the store that repositories share."""
        entry = shared.entry_of(blob, self.root)
        if entry is None:
            return layout.unlink(blob)
        blob.unlink(missing_ok=True)
        return shared.sweep(entry, self.root)

    @contextlib.contextmanager
    def _taken(self, folder: Path, etag: str, name: str) -> Iterator[None]:
        with contextlib.closing(self._turn(folder, etag)) as turn:
            if not turn.take():
                raise LauncherError(
                    f"{name} is just being downloaded", hint="Stop the download first, or wait."
                )
            yield


# --- What one thing in it is --------------------------------------------------------------------


def _cached(
    folder: Path, commit: str, name: str, path: Path, uses: Mapping[str, float]
) -> CachedFile:
    blob, status = layout.blob_of(path), path.stat()
    return CachedFile(
        repository=layout.name_of(folder),
        commit=commit,
        name=name,
        path=path,
        blob=blob,
        size=status.st_size,
        last_used=max(status.st_atime, status.st_mtime, uses.get(str(blob), 0.0)),
    )


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
        repository=layout.name_of(folder),
        path=path,
        size=status.st_size,
        modified=status.st_mtime,
    )
