"""The place in a declaration that a reason turns on, underlined as a compiler would."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from launcher.cli.render import safe
from launcher.licensing.declaration import VARIABLE, Declaration

# A declaration that does not say where models are used means: in the domicile.
_INSTEAD = {"place_of_use": "domicile"}


def lines(declaration: Declaration, key: str) -> Iterator[str]:
    """The line of the file, or the option, with carets under what matters."""
    if declaration.path:
        yield from _of_file(Path(declaration.path), key)
    elif declaration.source in ("option", "variable"):
        yield from _of_option(declaration, key)


def _of_file(path: Path, key: str) -> Iterator[str]:
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return  # it was readable a moment ago; the excerpt is a courtesy
    for wanted in (key, _INSTEAD.get(key, key)):
        for number, line in enumerate(text.splitlines(), start=1):
            match = re.match(rf"\s*{wanted}\s*=\s*(.*?)\s*(#.*)?$", line)
            if match:
                margin = len(str(number))
                yield ""
                yield f"  {' ' * margin}--> {safe(str(path))}:{number}"
                yield f"  {number} | {safe(line)}"
                yield f"  {' ' * margin} | {' ' * match.start(1)}{'^' * len(match[1])}"
                return


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
