"""What was typed in chats before: kept between them, for this user alone."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterable, Iterator
from pathlib import Path

from prompt_toolkit.history import History

from launcher.files import append_durably, locked, read_bounded, write_atomically

KEPT = 1000  # entries that a chat begins with
MAX_SIZE = 4 << 20  # bytes; a larger file is cut to its newest entries


class PrivateHistory(History):
    """A file with an entry a line, as JSON, since an entry may have several lines."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._path = path

    def load_history_strings(self) -> Iterable[str]:
        """The entries, the newest first."""
        try:
            data = read_bounded(self._path, 2 * MAX_SIZE)
        except OSError:
            return []
        entries = [entry for line in data.splitlines() for entry in _entry(line)][-KEPT:]
        if len(data) > MAX_SIZE:
            self._shorten(entries)
        return reversed(entries)

    def store_string(self, string: str) -> None:
        """Keeps an entry. A disk that takes none is no reason to end a chat."""
        with contextlib.suppress(OSError), locked(self._path):
            append_durably(self._path, _line(string))

    def _shorten(self, entries: list[str]) -> None:
        with contextlib.suppress(OSError), locked(self._path):
            write_atomically(self._path, b"".join(map(_line, entries)))


def _line(entry: str) -> bytes:
    return json.dumps(entry).encode() + b"\n"


def _entry(line: bytes) -> Iterator[str]:
    """The entry that a line holds; none where it was damaged."""
    with contextlib.suppress(ValueError, RecursionError):
        entry = json.loads(line)
        if isinstance(entry, str):
            yield entry
