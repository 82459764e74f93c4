"""Files that must never be half-written, and folders that two processes share."""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path

PRIVATE = 0o600
_ORPHAN_AGE = 3600.0  # seconds; a writer that is still at work is younger than this


def read_bounded(path: Path, limit: int) -> bytes:
    """The bytes of a small regular file; raises OSError when it is larger than `limit` bytes."""
    with path.open("rb") as stream:
        data = stream.read(limit + 1)
    if len(data) > limit:
        raise OSError(f"larger than {limit} bytes")
    return data


def write_atomically(path: Path, data: bytes, mode: int = PRIVATE, *, durable: bool = True) -> None:
    """Replaces a file's contents so that a reader, or a power cut, sees the old or the new.

    The folder is made if need be. Temporary files that killed writers left are swept. What is
    not `durable` may be empty after a power cut; it does not wait for the disk.
    """
    make_private_folder(path.parent)
    _sweep_orphans(path)
    temporary = path.with_name(f".{path.name}.{os.urandom(6).hex()}.tmp")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    try:
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(data)
            stream.flush()
            if durable:
                os.fsync(stream.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    if durable:
        _sync_folder(path.parent)


def make_private_folder(folder: Path) -> None:
    """Makes a folder, and those above it, for this user alone."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Holds an advisory lock beside `path` while the block runs; waits for other holders.

    The lock is a file of its own, since `path` itself is replaced by a write.
    """
    make_private_folder(path.parent)
    lock = path.with_name(f".{path.name}.lock")
    descriptor = os.open(lock, os.O_RDWR | os.O_CREAT, PRIVATE)
    try:
        _lock(descriptor)
        yield
    finally:
        os.close(descriptor)  # which also lets the lock go


def append_durably(path: Path, line: bytes) -> None:
    """Adds one line, whole or not at all, and waits for the disk. The caller holds the lock."""
    make_private_folder(path.parent)
    existed = path.exists()
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, PRIVATE)
    try:
        before = os.fstat(descriptor).st_size
        try:
            _write_all(descriptor, line)
            os.fsync(descriptor)
        except BaseException:
            os.ftruncate(descriptor, before)  # a disk that fills up takes the first part of it
            raise
    finally:
        os.close(descriptor)
    if not existed:
        _sync_folder(path.parent)


def _write_all(descriptor: int, data: bytes) -> None:
    left = memoryview(data)
    while left:
        left = left[os.write(descriptor, left) :]


def _sweep_orphans(path: Path) -> None:
    horizon = time.time() - _ORPHAN_AGE
    for orphan in path.parent.glob(f".{path.name}.*.tmp"):
        with contextlib.suppress(OSError):
            if orphan.stat().st_mtime < horizon:
                orphan.unlink()


if sys.platform == "win32":
    import msvcrt

    def _lock(descriptor: int) -> None:
        msvcrt.locking(descriptor, msvcrt.LK_LOCK, 1)

    def _sync_folder(folder: Path) -> None:
        """Windows has no way to sync a folder; the replace itself is journalled."""
else:
    import fcntl

    def _lock(descriptor: int) -> None:
        fcntl.flock(descriptor, fcntl.LOCK_EX)

    def _sync_folder(folder: Path) -> None:
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def free_room(folder: Path) -> int:
    """Bytes that are free where a folder is, or would be."""
    import shutil

    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    return shutil.disk_usage(folder).free
