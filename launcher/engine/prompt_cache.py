"""Keeps on disk what the engine computed of a system prompt, so that the next start need not.

The engine trusts a state that it is given as it trusts its own memory. So a state comes back
only with a seal by a key that never leaves the user's private folder, and only for the same
file, engine and settings that it was computed with. Anything else is thrown away unread.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import os
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from launcher.files import make_private_folder, write_atomically

LONG = 1000  # characters of a system prompt that is worth it
TOTAL = 1 << 30  # bytes of all states together
LARGEST = TOTAL // 2
_KEY = 32  # bytes
_SEAL = hashlib.sha256().digest_size
_PIECE = 1 << 20
_ORPHAN_AGE = 3600.0  # seconds


class PromptCache:
    """States of the engine in a folder, the latest used ones."""

    def __init__(self, folder: Path, key: Path) -> None:
        self._folder = folder
        self._key_path = key

    def name(self, *facts: Any) -> str:
        """What a state is kept under: all that it depends on."""
        return hashlib.sha256(ascii(facts).encode()).hexdigest()

    @contextlib.contextmanager
    def found(self, name: str) -> Iterator[int | None]:
        """An open file, at the beginning of the state that was kept; None where there is none."""
        try:
            descriptor = os.open(self._path(name), os.O_RDONLY)
        except OSError:
            yield None
            return
        try:
            yield descriptor if self._is_ours(name, descriptor) else None
        finally:
            os.close(descriptor)

    def keep(self, name: str, size: int, pieces: Iterable[bytes]) -> None:
        """Keeps a state; what cannot be written is no reason to stop. Takes all the pieces."""
        left = iter(pieces)
        with contextlib.suppress(OSError):
            if 0 < size <= LARGEST:
                self._write(name, left)
                self._make_room()
        for _ in left:  # nobody else would take them off the line
            pass

    def _write(self, name: str, pieces: Iterator[bytes]) -> None:
        make_private_folder(self._folder)
        seal = self._seal(name)
        path = self._path(name)
        temporary = path.with_name(f"{name}.{os.urandom(4).hex()}.tmp")
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            with os.fdopen(descriptor, "wb") as stream:
                stream.write(bytes(_SEAL))
                for piece in pieces:
                    seal.update(piece)
                    stream.write(piece)
                stream.seek(0)
                stream.write(seal.digest())
            temporary.replace(path)  # not synced: half of it would not have the right seal
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise

    def _is_ours(self, name: str, descriptor: int) -> bool:
        """Whether it is what was kept; leaves the file at the beginning of the state."""
        with contextlib.suppress(OSError):
            seal = self._seal(name)
            known = os.read(descriptor, _SEAL)
            while piece := os.read(descriptor, _PIECE):
                seal.update(piece)
            os.lseek(descriptor, _SEAL, os.SEEK_SET)
            if hmac.compare_digest(known, seal.digest()):
                os.utime(descriptor)
                return True
            self._path(name).unlink(missing_ok=True)
        return False

    def _seal(self, name: str) -> hmac.HMAC:
        return hmac.new(self._key(), name.encode(), "sha256")

    def _key(self) -> bytes:
        with contextlib.suppress(FileNotFoundError):
            key = self._key_path.read_bytes()
            if len(key) == _KEY:
                return key
        key = os.urandom(_KEY)
        write_atomically(self._key_path, key)
        return key

    def _make_room(self) -> None:
        """Drops the states that were not used for the longest time."""
        files = []
        for path in self._folder.iterdir():
            with contextlib.suppress(OSError):
                files.append((path.stat().st_mtime, path.stat().st_size, path))
        total = 0
        for modified, size, path in sorted(files, reverse=True):
            total += size
            orphan = path.suffix == ".tmp" and modified < time.time() - _ORPHAN_AGE
            if total > TOTAL or orphan:
                path.unlink(missing_ok=True)

    def _path(self, name: str) -> Path:
        return self._folder / f"{name}.state"
