"""Who is asking: a person's own statement, kept on this computer and sent nowhere.

The site's file binds. A user's file, an option or a variable may fill in what it leaves
open, but whatever contradicts it is a conflict.
"""

from __future__ import annotations

import hashlib
import stat
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import Path

from launcher.errors import PersonNeeded
from launcher.files import read_bounded
from launcher.licensing.regions import Country, country
from launcher.paths import Places
from launcher.tables import Faults, Table, parse

VARIABLE = "LAUNCHER_AS"
SCHEMA = 1
MAX_SIZE = 64 << 10  # bytes


class Person(StrEnum):
    """Who a licence is granted to."""

    INDIVIDUAL = "individual"
    COMPANY = "company"
    OTHER_BODY = "other-body"


class Role(StrEnum):
    """How the person comes by the model."""

    LICENSEE = "licensee"
    END_USER = "end-user"


@dataclass(frozen=True, slots=True, kw_only=True)
class Declaration:
    """What a person stated. None: not asked, or not answered."""

    person: Person
    domicile: tuple[Country, ...]
    """For a company: its principal place of business."""
    place_of_use: tuple[Country, ...]
    role: Role = Role.LICENSEE
    product: str = ""
    supplied_by: str = ""
    commercial: bool | None = None
    monthly_active_users: int | None = None
    annual_revenue_usd: int | None = None
    answers: Mapping[str, str] = field(default_factory=dict)
    declared_at: str = ""
    declared_by: str = ""
    text_shown: str = ""
    source: str = ""
    """`site`, `user`, `option` or `variable`."""
    path: str = ""
    """The file it was read from."""

    @property
    def sha256(self) -> str:
        """Of what is declared, wherever it stands and whoever wrote it down."""
        facts = (
            *(str(getattr(self, name)) for name in ("person", "role", "product", "supplied_by")),
            *(sorted(set(countries)) for countries in (self.domicile, self.place_of_use)),
            *(getattr(self, name) for name in _FIGURES),
            sorted(self.answers.items()),
        )
        return hashlib.sha256(ascii(facts).encode()).hexdigest()


@dataclass(frozen=True, slots=True, kw_only=True)
class Stated:
    """What the command line or the environment states for one run; None: nothing."""

    who: tuple[Person, tuple[Country, ...]] | None = None
    source: str = "option"
    place_of_use: tuple[Country, ...] | None = None
    role: Role | None = None
    product: str | None = None
    supplied_by: str | None = None
    commercial: bool | None = None
    monthly_active_users: int | None = None
    annual_revenue_usd: int | None = None
    answers: Mapping[str, str] = field(default_factory=dict)

    @property
    def changes(self) -> dict[str, object]:
        """The fields besides who and where that are stated."""
        values = {name: getattr(self, name) for name in _STATABLE}
        return {name: value for name, value in values.items() if value is not None}


_FIGURES = ("commercial", "monthly_active_users", "annual_revenue_usd")
_STATABLE = ("place_of_use", "role", "product", "supplied_by", *_FIGURES)


def who(text: str) -> tuple[Person, tuple[Country, ...]]:
    """Reads `individual:DE`, `company:US,DE`. Raises `ValueError` with one sentence."""
    kind, colon, places = text.partition(":")
    if kind not in list(Person) or not colon:
        raise ValueError(f"{text!a} is not of the form individual:DE, company:US or other-body:FR")
    codes = tuple(dict.fromkeys(country(code) for code in places.split(",")))
    return Person(kind), codes


def load(folders: Places, stated: Stated, variable: str | None = None) -> Declaration | None:
    """The declaration in force, or None when nobody has declared.

    Raises `PersonNeeded` for one that is invalid or in conflict: never taken as missing.
    """
    site = read(folders.site_declaration, "site")
    user = read(folders.declaration, "user")
    stated = _with_variable(stated, variable)
    if site is not None:
        return bound_by(site, user, stated)
    if stated.who is not None:
        person, domicile = stated.who
        declared = Declaration(
            person=person, domicile=domicile, place_of_use=domicile, source=stated.source
        )
        return stated_over(declared, stated)
    return None if user is None else stated_over(user, stated)


def stated_over(declared: Declaration, stated: Stated) -> Declaration:
    """A declaration with what is stated for one run in place of its own."""
    answers = {**declared.answers, **stated.answers}
    return replace(declared, answers=answers, **stated.changes)  # type: ignore[arg-type]  # by name


def _with_variable(stated: Stated, variable: str | None) -> Stated:
    """The option comes before the variable."""
    if stated.who is not None or not variable:
        return stated
    try:
        return replace(stated, who=who(variable), source="variable")
    except ValueError as error:
        raise PersonNeeded(
            f"The variable {VARIABLE} cannot be used: {error}",
            commands=[f"export {VARIABLE}=individual:COUNTRY"],
            hint="COUNTRY is a code of two letters, such as DE or US.",
        ) from error


def bound_by(
    site: Declaration, user: Declaration | None, stated: Stated | None = None
) -> Declaration:
    """The site's declaration, with what it leaves open filled in by the user.

    Raises `PersonNeeded` where they contradict each other.
    """
    stated = stated or Stated()
    filled = site
    if user is not None:
        _refuse_conflict(site, "person", site.person, user.person, user.path)
        _refuse_conflict(site, "domicile", site.domicile, user.domicile, user.path)
        _refuse_conflict(site, "place_of_use", site.place_of_use, user.place_of_use, user.path)
        _refuse_conflict(site, "role", site.role, user.role, user.path)
        filled = _fill(filled, user)
    other = f"the {stated.source}" if stated.source == "option" else f"the variable {VARIABLE}"
    if stated.who is not None:
        _refuse_conflict(site, "person", site.person, stated.who[0], other)
        _refuse_conflict(site, "domicile", site.domicile, stated.who[1], other)
    for name, value in stated.changes.items():
        known = getattr(filled, name)
        if known not in (None, ""):
            _refuse_conflict(site, name, known, value, other)
        filled = replace(filled, **{name: value})  # type: ignore[arg-type]  # by name
    for key, value in stated.answers.items():
        _refuse_conflict(site, f"answers.{key}", site.answers.get(key, value), value, other)
    return replace(filled, answers={**stated.answers, **filled.answers})


def _fill(site: Declaration, user: Declaration) -> Declaration:
    for name in _FIGURES:
        ours, theirs = getattr(site, name), getattr(user, name)
        if ours is not None and theirs is not None:
            _refuse_conflict(site, name, ours, theirs, user.path)
        elif ours is None:
            site = replace(site, **{name: theirs})
    for key, value in user.answers.items():
        _refuse_conflict(site, f"answers.{key}", site.answers.get(key, value), value, user.path)
    return replace(site, answers={**user.answers, **site.answers})


def _refuse_conflict(
    site: Declaration, name: str, ours: object, theirs: object, other: str
) -> None:
    same = (
        set(ours) == set(theirs)
        if isinstance(ours, tuple) and isinstance(theirs, tuple)
        else ours == theirs
    )
    if not same:
        raise PersonNeeded(
            f"{other} says {_shown(theirs)} for '{name}', but this device's own declaration "
            f"{site.path} says {_shown(ours)}",
            hint="The device's declaration binds. Whoever looks after the device can change it.",
        )


def _shown(value: object) -> str:
    if isinstance(value, tuple):
        return ", ".join(str(item) for item in value)
    return str(value)


def read(path: Path, source: str) -> Declaration | None:
    """The declaration in a file, or None when there is no file. Raises `PersonNeeded`."""
    try:
        if source == "site":
            _refuse_foreign_site(path)
        data = read_bounded(path, MAX_SIZE)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise PersonNeeded(
            f"The declaration {path} cannot be read: {error.strerror or error}",
            hint="It was left as it is.",
        ) from error
    return replace(from_toml(data, str(path)), source=source, path=str(path))


def _refuse_foreign_site(path: Path) -> None:
    """A site's file that a user can write binds nobody, so it is an error."""
    status = path.stat()
    if sys.platform == "win32":
        return
    if status.st_uid != 0 or status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise PersonNeeded(
            f"The device's declaration {path} can be written by others than root",
            commands=[f"sudo chown root:root {path} && sudo chmod 644 {path}"],
        )


def from_toml(data: bytes, file: str) -> Declaration:
    """A declaration from TOML. Raises `PersonNeeded` with every fault and its place."""
    faults = Faults(file)
    table = parse(data, faults)
    schema = table.number("schema")
    if "schema" in table and schema != SCHEMA:
        table.fault("schema", f"this launcher reads schema {SCHEMA}")
    domicile = _countries(table, "domicile")
    declaration = Declaration(
        person=table.member("as", Person),
        domicile=domicile,
        place_of_use=_countries(table, "place_of_use", domicile),
        role=table.member("role", Role, Role.LICENSEE),
        product=table.text("product", ""),
        supplied_by=table.text("supplied_by", ""),
        commercial=table.flag("commercial") if "commercial" in table else None,
        monthly_active_users=_count(table, "monthly_active_users"),
        annual_revenue_usd=_count(table, "annual_revenue_usd"),
        answers=_answers(table.table("answers")),
        declared_at=table.text("declared_at", ""),
        declared_by=table.text("declared_by", ""),
        text_shown=table.text("text_shown", ""),
    )
    table.asked.add("commercial")
    table.finish()
    faults.refuse(
        PersonNeeded,
        hint="Nothing was loaded, and the file was left as it is. Mend it, or move it away and "
        "declare anew.",
        commands=["launcher declare"],
    )
    return declaration


def _countries(
    table: Table, key: str, default: Sequence[Country] | None = None
) -> tuple[Country, ...]:
    codes: list[Country] = []
    for text in table.texts(key, default):
        try:
            codes.append(country(text))
        except ValueError as error:
            table.fault(key, str(error))
    if key in table and table.values[key] == []:
        table.fault(key, "at least one country is needed")
    return tuple(dict.fromkeys(codes))


def _count(table: Table, key: str) -> int | None:
    table.asked.add(key)
    if key not in table:
        return None
    value = table.number(key)
    if value < 0:
        table.fault(key, "cannot be negative")
    return value


def _answers(table: Table) -> dict[str, str]:
    answers = {key: table.text(key) for key in table.rest()}
    for key, value in answers.items():
        try:
            check_answer(key, value)
        except ValueError as error:
            table.fault(key, str(error))
    return answers


# The points that a person may settle, and the words for it.
ANSWERS = {
    "territory-arguable": ("inside", "outside"),
    "rule-unverified": ("applies", "does-not-apply"),
    "hub-excludes-region": ("applies", "does-not-apply"),
}


def check_answer(key: str, value: str) -> None:
    """Raises `ValueError` with one sentence for an answer to a point that nobody asks about."""
    code, _, about = key.partition(":")
    if code not in ANSWERS or not about:
        raise ValueError(f"'{key}' is no open point; they look like territory-arguable:NC")
    if code == "territory-arguable":
        country(about)
    if value not in ANSWERS[code]:
        raise ValueError(f"'{value}' is neither {' nor '.join(ANSWERS[code])}")


def to_toml(declaration: Declaration) -> bytes:
    """The declaration as its file holds it, one key a line: people read and edit it."""
    import tomli_w

    def written(value: object) -> str:
        return tomli_w.dumps({"key": value}).removeprefix("key = ").rstrip("\n")

    def codes(countries: Sequence[Country]) -> str:
        return f"[{', '.join(map(written, countries))}]"

    lines = [
        f"schema = {SCHEMA}",
        f"as = {written(str(declaration.person))}",
        f"domicile = {codes(declaration.domicile)}",
        f"place_of_use = {codes(declaration.place_of_use)}",
        f"role = {written(str(declaration.role))}",
    ]
    for name in ("product", "supplied_by", *_FIGURES, "declared_at", "declared_by", "text_shown"):
        value = getattr(declaration, name)
        if value not in (None, ""):
            lines.append(f"{name} = {written(value)}")
    text = "\n".join(lines) + "\n"
    if declaration.answers:
        text += "\n" + tomli_w.dumps({"answers": dict(sorted(declaration.answers.items()))})
    return text.encode()
