"""The place in a declaration that a reason turns on, underlined as a compiler would."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from launcher.cli.render import safe
from launcher.licensing.declaration import VARIABLE, Declaration

# A declaration that does not say where models are used means: in the domicile.
_INSTEAD = {"place_of_use": "domicile"}


def lines(declaration: Declaration, key: str) -> Iterator[str]:
    """The line of the file, or the option, with carets under what matters."""
    if declaration.path:
        yield from _of_file(declaration, key)
    elif declaration.source in ("option", "variable"):
        yield from _of_option(declaration, key)


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


def _of_file(declaration: Declaration, key: str) -> Iterator[str]:
    found = find(declaration, key)
    if found is None:
        return
    margin = " " * len(str(found.number))
    yield ""
    yield f"  {margin}--> {safe(declaration.path)}:{found.number}"
    yield f"  {found.number} | {safe(found.line)}"
    yield f"  {margin} | {' ' * found.start}{'^' * found.length}"


def _of_option(declaration: Declaration, key: str) -> Iterator[str]:
    option = f"{declaration.person}:{','.join(declaration.domicile)}"
    head = f"{VARIABLE}=" if declaration.source == "variable" else "--as "
    marked = ",".join(declaration.domicile)
    if key == "place_of_use" and declaration.place_of_use != declaration.domicile:
        head, option = "--use-in ", " --use-in ".join(declaration.place_of_use)
        marked = option
    elif key not in ("domicile", "place_of_use"):
        return
    yield ""
    yield f"    {head}{option}"
    yield f"    {' ' * (len(head) + len(option) - len(marked))}{'^' * len(marked)}"
