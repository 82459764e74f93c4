"""Digests of whole files, taken once and remembered until the file changes.

A file of many gigabytes takes seconds to minutes to hash, so a digest is taken only where it
could settle something, and kept by what changes when the file does.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from launcher.files import locked, read_bounded, write_atomically
from launcher.models.bundle import PinnedFile, Stamp

CHUNK = 4 << 20  # bytes
KEPT = 2000  # files
MAX_SIZE = 4 << 20  # bytes of the memory itself


def remembered(memory: Path, file: PinnedFile) -> str:
    """The digest taken of this very file before; empty when there is none."""
    return str(_read(memory).get(_key(file.stamp), ""))


def take(memory: Path, file: PinnedFile, progress: Callable[[int], None] | None = None) -> str:
    """The file's SHA-256, from memory or by reading all of it.

    `progress` is called with the bytes read so far. Raises `IntegrityError` when the file
    changes meanwhile.
    """
    known = remembered(memory, file)
    if known:
        return known
    digest = hashlib.sha256()
    position = 0
    while data := file.read(position, CHUNK):
        digest.update(data)
        position += len(data)
        if progress is not None:
            progress(position)
    file.refuse_change()
    remember(memory, file.stamp, digest.hexdigest())
    return digest.hexdigest()


def remember(memory: Path, stamp: Stamp, sha256: str) -> None:
    """Keeps a digest; a memory that cannot be written is no reason to stop."""
    try:
        with locked(memory):
            known = {key: value for key, value in _read(memory).items() if key != _key(stamp)}
            known[_key(stamp)] = sha256
            kept = dict(list(known.items())[-KEPT:])
            write_atomically(memory, json.dumps(kept, indent=0).encode())
    except OSError:
        return


def _key(stamp: Stamp) -> str:
    return f"{stamp.device}:{stamp.inode}:{stamp.size}:{stamp.modified_ns}:{stamp.changed_ns}"


def _read(memory: Path) -> dict[str, Any]:
    """A memory that is missing or broken is empty: everything in it can be made again."""
    try:
        known = json.loads(read_bounded(memory, MAX_SIZE))
    except (OSError, json.JSONDecodeError, UnicodeDecodeError):
        return {}
    return known if isinstance(known, dict) else {}
