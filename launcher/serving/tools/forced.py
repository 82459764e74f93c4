"""Reads an answer that a grammar forces to be one call: its arguments come as they are written."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator

from launcher.serving.tools.deltas import CallArguments, CallBegun, Content, Delta

_BEGINNING = re.compile(r'\s*\{\s*"name"\s*:\s*"([^"\\]*)"\s*,\s*"arguments"\s*:\s*(?=\S)')


class ForcedReader:
    """Reads `{"name": ..., "arguments": ...}`; what was cut off within the name is content."""

    is_over = False

    def __init__(self, ids: Callable[[], str]) -> None:
        self.calls = 0
        self._ids = ids
        self._pending = ""
        self._arguments = ""

    def feed(self, text: str) -> Iterator[Delta]:
        self._pending += text
        if not self.calls:
            found = _BEGINNING.match(self._pending)
            if found is None:
                return
            self._pending = self._pending[found.end() :]
            self.calls = 1
            yield CallBegun(0, self._ids(), found[1])
        yield from self._told(len(self._pending.rstrip("} \t\r\n")))  # the last is not theirs

    def finish(self) -> Iterator[Delta]:
        if not self.calls:
            if self._pending:
                yield Content(self._pending)
            return
        inner = self._pending.rstrip().removesuffix("}").rstrip()
        if self._pending.rstrip().endswith("}") and _is_whole(self._arguments + inner):
            self._pending = inner
        yield from self._told(len(self._pending))

    def _told(self, size: int) -> Iterator[Delta]:
        told, self._pending = self._pending[:size], self._pending[size:]
        self._arguments += told
        if told:
            yield CallArguments(0, told)


def _is_whole(text: str) -> bool:
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True
