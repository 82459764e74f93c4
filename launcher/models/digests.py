"""Digests of whole files, taken once and remembered until the file changes.

A file of many gigabytes takes seconds to minutes to hash, so a digest is taken only where it
could settle something, and kept by what changes when the file does.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from launcher.memory import Memory
from launcher.models.bundle import PinnedFile, Stamp

CHUNK = 4 << 20  # bytes
KEPT = 2000  # files


def remembered(memory: Path, file: PinnedFile) -> str:
    """The digest taken of this very file before; empty when there is none."""
    return str(Memory(memory, KEPT).get(_key(file.stamp)) or "")


def take(memory: Path, file: PinnedFile) -> str:
    """The file's SHA-256, from memory or by reading all of it.

    Raises `IntegrityError` when the file changes meanwhile.
    """
    return remembered(memory, file) or taken_anew(memory, file)


def taken_anew(memory: Path, file: PinnedFile) -> str:
    """The file's SHA-256 by reading all of it, whatever is remembered."""
    digest = hashlib.sha256()
    position = 0
    while data := file.read(position, CHUNK):
        digest.update(data)
        position += len(data)
    file.refuse_change()
    remember(memory, file.stamp, digest.hexdigest())
    return digest.hexdigest()


def remember(memory: Path, stamp: Stamp, sha256: str) -> None:
    """Keeps a digest."""
    Memory(memory, KEPT).note(_key(stamp), sha256)


def _key(stamp: Stamp) -> str:
    return f"{stamp.device}:{stamp.inode}:{stamp.size}:{stamp.modified_ns}:{stamp.changed_ns}"
