"""A declaration in words."""

from __future__ import annotations

from launcher.cli.render import safe
from launcher.licensing.declaration import Declaration, Person, Role
from launcher.licensing.regions import name_of

PERSONS = {
    Person.INDIVIDUAL: "a private person",
    Person.COMPANY: "a company",
    Person.OTHER_BODY: "another body",
}


def declaration_line(declaration: Declaration, line: int | None = None) -> str:
    """A declaration in one line, with the line of its file that matters, where one does."""
    places = ", ".join(f"{name_of(code)} ({code})" for code in declaration.domicile)
    text = f"{PERSONS[declaration.person]}, {places}"
    if declaration.place_of_use != declaration.domicile:
        used = ", ".join(f"{name_of(code)} ({code})" for code in declaration.place_of_use)
        text += f"; used in {used}"
    if declaration.role is Role.END_USER:
        text += f"; end user of {declaration.product or '?'} by {declaration.supplied_by or '?'}"
    where = declaration.path or declaration.source
    return safe(f"{text} [{where}{f':{line}' if line else ''}]")
