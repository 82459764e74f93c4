"""The keys that clients show: a file with a line for each, `name: key` or just the key."""

from __future__ import annotations

import hashlib
import hmac
import os
import re
import shlex
import stat
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from launcher.errors import ExitCode, LauncherError

SHORTEST = 16  # characters; what is shorter can be guessed
_LARGEST_FILE = 64 << 10  # bytes
_PAUSE = 1.0  # seconds between looks at the file
_LINE = re.compile(r"(?:(?P<name>[A-Za-z0-9._-]{1,64}):[ \t]*)?(?P<key>[!-9;-~]+)")

Stamp = tuple[int, int, int]


class KeysUnusable(LauncherError):
    """A file of keys cannot be used as it is."""

    exit_code = ExitCode.USAGE


@dataclass(frozen=True, slots=True)
class Key:
    """A key, as far as it is kept: its name and its digest."""

    name: str
    digest: bytes


def parse(text: str, place: str) -> tuple[Key, ...]:
    """The keys in the text of a file. Raises `KeysUnusable` for the first line that is none."""
    keys: list[Key] = []
    for number, line in enumerate(text.splitlines(), 1):
        stripped = line.strip()
        if not stripped or stripped.startswith("#"):
            continue
        key = _key(stripped, f"{place}, line {number}", len(keys) + 1)
        if any(key.name == other.name or key.digest == other.digest for other in keys):
            raise KeysUnusable(f"{place}, line {number}: this name or key is there twice")
        keys.append(key)
    if not keys:
        raise KeysUnusable(f"{place} has no key in it", commands=[_make(place)])
    return tuple(keys)


def _key(line: str, place: str, number: int) -> Key:
    match = _LINE.fullmatch(line)
    if match is None:
        raise KeysUnusable(
            f"{place} is not `name: key`, nor a key: keys are plain characters without spaces"
        )
    if len(match["key"]) < SHORTEST:
        raise KeysUnusable(
            f"{place}: the key is shorter than {SHORTEST} characters, so it could be guessed",
            hint="This makes one that cannot:",
            commands=["openssl rand -hex 24"],
        )
    return Key(match["name"] or f"key{number}", _digest(match["key"]))


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode()).digest()


def _make(place: str) -> str:
    return f"openssl rand -hex 24 > {shlex.quote(place)}"


def owner_of(keys: Sequence[Key], shown: str) -> str | None:
    """The name of the key that is shown. Takes as long for a wrong key as for a right one."""
    digest = hashlib.sha256(shown.encode()).digest()
    found = None
    for key in keys:
        if hmac.compare_digest(key.digest, digest):
            found = key.name
    return found


class KeyFile:
    """Keys that are read again when their file changes.

    A new file that cannot be used is said once, and the keys before it stay.
    """

    def __init__(self, path: Path, say: Callable[[str], None]) -> None:
        self._path, self._say = path, say
        self._stamp: Stamp | None
        self._keys, self._stamp = _read(path)
        self._looked = time.monotonic()

    def owner(self, shown: str) -> str | None:
        """The name of the key that is shown, or None."""
        self._refresh()
        return owner_of(self._keys, shown)

    def _refresh(self) -> None:
        now = time.monotonic()
        if now < self._looked + _PAUSE:
            return
        self._looked = now
        stamp = _stamp_of(self._path)
        if stamp == self._stamp:
            return
        try:
            self._keys, self._stamp = _read(self._path)
        except KeysUnusable as error:
            self._stamp = stamp
            self._say(f"{error.message}. The keys from before still hold.")
        else:
            self._say(f"Read {len(self._keys)} keys again from {self._path}.")


def _stamp_of(path: Path) -> Stamp | None:
    try:
        return _stamp(path.stat())
    except OSError:
        return None


def _stamp(status: os.stat_result) -> Stamp:
    return status.st_mtime_ns, status.st_size, status.st_ino


def _read(path: Path) -> tuple[tuple[Key, ...], Stamp]:
    try:
        with path.open("rb") as stream:
            status = os.fstat(stream.fileno())
            _refuse_shared(status, path)
            data = stream.read(_LARGEST_FILE + 1)
    except FileNotFoundError:
        raise KeysUnusable(
            f"There is no file {path}", hint="This makes one:", commands=[_make(str(path))]
        ) from None
    except OSError as error:
        raise KeysUnusable(f"{path} cannot be read: {error.strerror}") from error
    if len(data) > _LARGEST_FILE:
        raise KeysUnusable(f"{path} is too long to be a file of keys")
    try:
        return parse(data.decode("ascii"), str(path)), _stamp(status)
    except UnicodeDecodeError:
        raise KeysUnusable(f"{path} holds more than plain characters") from None


def _refuse_shared(status: os.stat_result, path: Path) -> None:
    """Only the owner and, to read, the group may get at keys."""
    if not stat.S_ISREG(status.st_mode):
        raise KeysUnusable(f"{path} is not a file")
    if status.st_mode & (stat.S_IRWXO | stat.S_IWGRP) and os.name == "posix":
        raise KeysUnusable(
            f"{path} can be read or changed by other users of this computer",
            hint="This keeps it to its owner:",
            commands=[f"chmod 600 {shlex.quote(str(path))}"],
        )
