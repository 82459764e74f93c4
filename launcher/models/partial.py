"""A file that grows on the disk: what is certain of it after a kill or a power cut."""

from __future__ import annotations

import contextlib
import hashlib
import os
import sys
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from launcher.errors import IntegrityError
from launcher.models.bundle import Stamp
from launcher.models.remote import RemoteFile

READ = 4 << 20  # bytes; of what is here already


def resumable(size: int, chunk: int) -> int:
    """How many bytes of a partial file are certain to have reached the disk.

    What lies two steps of half a chunk back was waited for before anything was written after
    it; see `Partial`.
    """
    step = chunk // 2
    return max(0, -(-size // step) - 2) * step


class Digest:
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


class Partial:
    """A file that grows, and what is certain of it.

    Every half chunk is a step. The bytes of a step are sent to the disk in the background, and
    before anything is written beyond the next step they must have arrived there. So whatever
    size a power cut leaves behind, the bytes up to `resumable(size)` are good. Nothing is cut
    off: on a disk whose locks do not work, two writers then write the same bytes.
    """

    def __init__(
        self, path: Path, file: RemoteFile, chunk: int, sync: Callable[[int], None] | None = None
    ) -> None:
        self.path = path
        self.file = file
        self.position = 0
        self.digest = Digest(file)
        self._step = chunk // 2
        self._sync = sync or sync_file
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
        self.digest = Digest(self.file)

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
                self._syncing = self._background.submit(self._sync, self._stream.fileno())

    def finish(self, blob: Path) -> None:
        """Gives the file its name, if it is what the hub published; else deletes it."""
        self._wait()
        if not self.digest.matches():
            self.path.unlink(missing_ok=True)
            raise self.digest.mismatch()
        self._sync(self._stream.fileno())
        self.path.replace(blob)
        sync_folder(blob.parent)

    def stamp(self) -> Stamp:
        """What changes when the file does."""
        return Stamp.of(os.fstat(self._stream.fileno()))

    def close(self) -> None:
        """Leaves what is here for the next try; nothing, where nothing is here."""
        self._background.shutdown()
        if not os.fstat(self._stream.fileno()).st_size:
            self.path.unlink(missing_ok=True)
        self._stream.close()

    def _wait(self) -> None:
        if self._syncing is not None:
            self._syncing.result()
            self._syncing = None


if sys.platform == "win32":

    def sync_file(descriptor: int) -> None:
        """Waits until the bytes of a file are on the disk."""
        os.fsync(descriptor)

    def sync_folder(folder: Path) -> None:
        """Windows has no way to sync a folder; the replace itself is journalled."""
else:

    def sync_file(descriptor: int) -> None:
        """Waits until the bytes of a file are on the disk."""
        if sys.platform == "darwin":
            import fcntl

            fcntl.fcntl(descriptor, fcntl.F_FULLFSYNC)  # fsync alone stops at the drive's cache
        else:
            os.fdatasync(descriptor)

    def sync_folder(folder: Path) -> None:
        """Not all disks can; a power cut then costs the name of the file, not its bytes."""
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            with contextlib.suppress(OSError):
                os.fsync(descriptor)
        finally:
            os.close(descriptor)
