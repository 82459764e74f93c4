"""The place in a declaration's file that a reason turns on."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from launcher.licensing.declaration import Declaration

# A declaration that does not say where models are used means: in the domicile.
_INSTEAD = {"place_of_use": "domicile"}


@dataclass(frozen=True, slots=True)
class Place:
    """Where a declaration's file says what a reason turns on."""

    key: str
    number: int
    """Of the line, from 1."""
    line: str
    start: int
    """Of the value in the line."""
    length: int


def find(declaration: Declaration, key: str) -> Place | None:
    """The line of the declaration's file that has the key, or what stands for it."""
    try:
        text = Path(declaration.path).read_text(encoding="utf-8") if declaration.path else ""
    except (OSError, UnicodeDecodeError):
        return None  # it was readable a moment ago; the excerpt is a courtesy
    for wanted in (key, _INSTEAD.get(key, key)):
        for number, line in enumerate(text.splitlines(), start=1):
            match = re.match(rf"\s*{wanted}\s*=\s*(.*?)\s*(#.*)?$", line)
            if match:
                return Place(wanted, number, line, match.start(1), len(match[1]))
    return None
