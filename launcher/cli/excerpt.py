"""The place in a declaration that a reason turns on, underlined as a compiler would."""

from __future__ import annotations

from collections.abc import Iterator

from launcher.cli.render import safe
from launcher.licensing import passage
from launcher.licensing.declaration import VARIABLE, Declaration


def lines(declaration: Declaration, key: str) -> Iterator[str]:
    """The line of the file, or the option, with carets under what matters."""
    if declaration.path:
        yield from _of_file(declaration, key)
    elif declaration.source in ("option", "variable"):
        yield from _of_option(declaration, key)


def _of_file(declaration: Declaration, key: str) -> Iterator[str]:
    found = passage.find(declaration, key)
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
