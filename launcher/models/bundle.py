"""Every part that would be loaded together, and the open files they are pinned to."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import stat
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from launcher.errors import HeaderError, IntegrityError, NotFound
from launcher.models import gguf, gguf_rules
from launcher.models.card import Chain
from launcher.models.refs import Ref
from launcher.models.remote import RemoteFile


class Role(StrEnum):
    """What a part is for."""

    WEIGHTS = "weights"
    SHARD = "shard"
    MMPROJ = "mmproj"
    ADAPTER = "adapter"
    DRAFT = "draft"


@dataclass(frozen=True, slots=True)
class Stamp:
    """What changes when a file does."""

    device: int
    inode: int
    size: int
    modified_ns: int
    changed_ns: int

    @classmethod
    def of(cls, status: os.stat_result) -> Stamp:
        return cls(
            status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns
        )


@dataclass(frozen=True, slots=True)
class PinnedFile:
    """An open file: what is judged and what is loaded are the same bytes.

    A path can be made to point elsewhere between the judgement and the load; a descriptor
    cannot.
    """

    path: Path
    descriptor: int
    stamp: Stamp

    def read(self, offset: int, size: int) -> bytes:
        """Bytes of the file; fewer than asked for at its end.

        Raises `IntegrityError` when the disk cannot read them.
        """
        pieces = []
        try:
            # A network file system may give less than it was asked for, and more later.
            while piece := _read_at(self.descriptor, size, offset):
                pieces.append(piece)
                offset += len(piece)
                size -= len(piece)
        except OSError as error:
            raise IntegrityError(f"{self.path} cannot be read: {error.strerror}") from error
        return b"".join(pieces)

    def refuse_change(self) -> None:
        """Raises `IntegrityError` when the file was written to since it was opened."""
        if Stamp.of(os.fstat(self.descriptor)) != self.stamp:
            raise IntegrityError(
                f"{self.path} was changed while it was being loaded",
                hint="Nothing was loaded. Wait until whatever writes it is done, then try again.",
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One file of a bundle."""

    role: Role
    name: str
    """As shown to the user, and as evidence: the file's own name."""
    header: gguf.Header | None = None
    """None while the file is not here."""
    file: PinnedFile | None = None
    sha256: str = ""
    """Where it is known without reading the whole file, or was taken."""
    expected: str = ""
    """The SHA-256 that whoever published the file states; it must be so before it is loaded."""
    origin: RemoteFile | None = None
    """The file of the hub that it is, or would be once it is here."""
    fingerprint: str = ""
    """Of its norm tensors; see `fingerprint`."""
    chain: Chain | None = None
    """The cards of the repository it comes from, at a pinned commit."""

    @property
    def size(self) -> int:
        """Bytes; 0 where nobody said."""
        if self.file is not None:
            return self.file.stamp.size
        return self.origin.size if self.origin is not None else 0

    @property
    def is_as_published(self) -> bool:
        """Whether its bytes are those that its repository's cards speak of."""
        if self.file is None:
            return True  # what is known of it was read where it is published
        return bool(self.expected) and self.sha256 == self.expected


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A file beside the model, as it was asked for."""

    role: Role
    ref: Ref
    model: str = ""
    """The catalogue's name for it, where it has one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bundle:
    """What a reference stands for: every part that will be loaded."""

    ref: Ref
    parts: tuple[Part, ...]
    model: str = ""
    """The catalogue's name for it, where it has one."""
    obstacle: NotFound | None = None
    """Why it could not be looked at, where it is neither here nor to be had."""
    beside: tuple[Asked, ...] = ()
    """What was asked for beside the model, in the order of the parts."""

    @property
    def is_here(self) -> bool:
        """Whether every part lies on this disk."""
        return bool(self.parts) and all(part.file is not None for part in self.parts)

    @property
    def main(self) -> Part:
        """The part that says what the model is."""
        return self.parts[0]

    @property
    def sets(self) -> tuple[tuple[Part, ...], ...]:
        """The parts, those together that make one thing: a file, or all shards of one.

        The first is the model; the others are what was asked for beside it.
        """
        found: list[list[Part]] = []
        for part in self.parts:
            if part.role is not Role.SHARD or not found:
                found.append([])
            found[-1].append(part)
        return tuple(map(tuple, found))

    def having(self, role: Role) -> tuple[tuple[Part, ...], ...]:
        """The sets of a role."""
        return tuple(parts for parts in self.sets if parts[0].role is role)

    def asked(self, part: Part) -> Asked | None:
        """What a part was asked for as; None for later shards."""
        firsts = [parts[0] for parts in self.sets]
        main = Asked(role=Role.WEIGHTS, ref=self.ref, model=self.model)
        named = zip(firsts, (main, *self.beside), strict=False)
        return next((asked for first, asked in named if first is part), None)

    @property
    def size(self) -> int:
        """Bytes of all parts, as far as they are known."""
        return sum(part.size for part in self.parts)

    @property
    def to_fetch(self) -> tuple[RemoteFile, ...]:
        """The files that are still at the hub."""
        return tuple(p.origin for p in self.parts if p.file is None and p.origin is not None)

    @property
    def fingerprint(self) -> str:
        """Tells this bundle from any other, and from itself after a change."""
        parts = [
            (part.role.value, part.name, part.sha256, part.origin, part.file and part.file.stamp)
            for part in self.parts
        ]
        # Escaped: names may hold anything, line ends and broken UTF-8 too.
        whole = (self.ref, self.model, self.beside, parts)
        return hashlib.sha256(ascii(whole).encode()).hexdigest()


if sys.platform == "win32":

    def _read_at(descriptor: int, size: int, offset: int) -> bytes:
        os.lseek(descriptor, offset, os.SEEK_SET)
        return os.read(descriptor, size)
else:
    _read_at = os.pread


@contextlib.contextmanager
def pinned(path: Path, *, unnoticed: bool = False) -> Iterator[PinnedFile]:
    """Opens a regular file for reading and keeps it open while the block runs.

    `unnoticed` does not count as a use of the file, where the system can tell the two apart.

    Raises `NotFound` for what is not there or may not be read, `IntegrityError` for what is
    not a regular file. Never waits: a FIFO without a writer does not block.
    """
    try:
        descriptor = _open(path, unnoticed=unnoticed)
    except OSError as error:
        raise _cannot_open(path, error) from error
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise IntegrityError(f"{path} is {_kind(status.st_mode)}, not a GGUF file")
        yield PinnedFile(path, descriptor, Stamp.of(status))
    finally:
        os.close(descriptor)


def _open(path: Path, *, unnoticed: bool) -> int:
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    if unnoticed and hasattr(os, "O_NOATIME"):
        with contextlib.suppress(PermissionError):  # only an owner may ask for that
            return os.open(path, flags | os.O_NOATIME)
    return os.open(path, flags)


def read_header(file: PinnedFile) -> gguf.Header:
    """The checked header of an open file; the error of a bad one names the file."""
    try:
        header = gguf.read_header(file.read, file.stamp.size)
        gguf_rules.check(header)
    except HeaderError as error:
        raise HeaderError(
            f"{file.path} cannot be loaded: {error.message}",
            hint=error.hint or "Nothing was loaded. Get the file again from where it came from.",
        ) from error
    return header


def _cannot_open(path: Path, error: OSError) -> NotFound | IntegrityError:
    if error.errno in (errno.ENXIO, errno.ENODEV, errno.EOPNOTSUPP):  # a socket, a dead device
        return IntegrityError(f"{path} is not a regular file, so not a GGUF file")
    if error.errno == errno.ENOENT:
        return NotFound(
            f"There is no file {path}", hint="Check the path; names of models need no path."
        )
    if error.errno == errno.EACCES:
        return NotFound(f"{path} may not be read by you", hint="Check the permissions of the file.")
    return NotFound(f"{path} cannot be opened: {error.strerror}")


def _kind(mode: int) -> str:
    for test, name in (
        (stat.S_ISDIR, "a folder"),
        (stat.S_ISFIFO, "a named pipe"),
        (stat.S_ISSOCK, "a socket"),
        (stat.S_ISCHR, "a device"),
        (stat.S_ISBLK, "a device"),
    ):
        if test(mode):
            return name
    return "not a regular file"
