"""What the licences say, as data: `configs/licences/*.toml`.

A rule reads like its clause: when these facts hold, and unless those do, the licence does
this. The gate evaluates rules; it knows no licence by name.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from enum import StrEnum
from functools import cache, cached_property
from pathlib import PurePath
from typing import TypeAlias

from launcher.data import shipped, shipped_names
from launcher.errors import LauncherError
from launcher.licensing import regions
from launcher.licensing.regions import Region
from launcher.tables import Faults, Table, parse

CODE = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
SHA256 = re.compile(r"[0-9a-f]{64}")


class Effect(StrEnum):
    """What a rule does when it applies."""

    REFUSE = "refuse"
    ASK = "ask"


@dataclass(frozen=True, slots=True)
class Limit:
    """A number that must not be passed."""

    value: int
    reached_counts: bool
    """Whether the rule already applies at the number itself ("or more")."""
    counted: str
    """`at-release` (a test made once, for the month before the release) or `running`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Conditions:
    """Facts that must all hold. None, or empty: not asked about."""

    released_as: str = ""
    domicile: tuple[str, ...] = ()
    """Regions, any of them."""
    place_of_use: tuple[str, ...] = ()
    """Regions, any of them, for the model or its outputs."""
    person: str = ""
    role: str = ""
    commercial: bool | None = None
    monthly_active_users: Limit | None = None
    annual_revenue_usd: Limit | None = None

    @property
    def is_empty(self) -> bool:
        return self == Conditions()

    @property
    def declared(self) -> tuple[str, ...]:
        """The keys of a declaration that it asks about."""
        keys = {
            "domicile": bool(self.domicile),
            "place_of_use": bool(self.place_of_use),
            "as": bool(self.person),
            "role": bool(self.role),
            "commercial": self.commercial is not None,
            "monthly_active_users": self.monthly_active_users is not None,
            "annual_revenue_usd": self.annual_revenue_usd is not None,
        }
        return tuple(key for key, asked in keys.items() if asked)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One clause that withholds rights, or that needs an answer."""

    code: str
    effect: Effect
    when: Conditions
    unless: Conditions
    document: str
    clause: str
    quote: str
    text: str
    outputs: bool
    """Whether it speaks of what the model writes, too."""
    verified: bool
    """Whether the clause was read in the licensor's own text."""

    @property
    def is_territorial(self) -> bool:
        """Whether it shuts out by domicile or place of use."""
        return bool(self.when.domicile or self.when.place_of_use)


@dataclass(frozen=True, slots=True, kw_only=True)
class Duty:
    """What the licence asks of someone who passes the model, or a product with it, on."""

    code: str
    text: str
    document: str
    clause: str
    quote: str
    notice: str
    """The exact line that a file called "Notice" has to hold; empty where none is asked for."""
    display: str
    """The exact words to show where users see them; empty where none are asked for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """One text of a licence. The same words have several digests where copies differ in spaces."""

    id: str
    title: str
    url: str
    sha256: tuple[str, ...]
    source: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Licence:
    """A licence: its texts, what it withholds, what it asks for."""

    id: str
    title: str
    licensor: str
    released: date | None
    spellings: tuple[str, ...]
    """As the hub and model files write it, in `license` or `license_name`."""
    releases: tuple[str, ...]
    """Kinds of models released under it; empty where that is not known."""
    acceptance: bool
    """Whether it is to be accepted before the first load."""
    osi_approved: bool
    verified: bool
    """Whether its terms were read in the licensor's own text."""
    documents: tuple[Document, ...]
    rules: tuple[Rule, ...]
    duties: tuple[Duty, ...]

    def document(self, id: str) -> Document:
        return next(document for document in self.documents if document.id == id)

    @property
    def text_sha256(self) -> str:
        """Digest of the texts, for acceptances: another text has to be accepted anew."""
        lines = (
            f"{document.id} {document.sha256[0]}" for document in self.documents if document.sha256
        )
        return hashlib.sha256("\n".join(lines).encode()).hexdigest()


@dataclass(frozen=True, kw_only=True)
class Policy:
    """Every licence, the regions they speak of, and the digest of it all."""

    version: str
    sha256: str
    licences: Mapping[str, Licence]
    regions: Mapping[str, Region]

    def find(self, spelling: str) -> Licence | None:
        """The licence that a hub identifier or `license_name` stands for."""
        wanted = _spelled(spelling)
        id = wanted if wanted in self.licences else self.spellings.get(wanted)
        return self.licences[id] if id else None

    @cached_property
    def spellings(self) -> Mapping[str, str]:
        """Every spelling -> the licence's id. Raises `LauncherError` where two licences clash."""
        faults = Faults("the policy")
        found: dict[str, str] = {}
        for licence in self.licences.values():
            for spelling in map(_spelled, (licence.id, *licence.spellings)):
                if found.setdefault(spelling, licence.id) != licence.id:
                    faults.add(licence.id, f"'{spelling}' also stands for {found[spelling]}")
        faults.refuse(LauncherError)
        return found


def _spelled(text: str) -> str:
    return re.sub(r"[\s_]+", "-", text.strip().lower())


class _Shipped(Mapping[str, Licence]):
    """The shipped licences by id, each read when it is asked for: most commands need few."""

    def __init__(self, files: Mapping[str, bytes], known: Mapping[str, Region]) -> None:
        self._files = files
        self._regions = known
        self._read: dict[str, Licence] = {}

    def __getitem__(self, id: str) -> Licence:
        if id not in self._read:
            file = f"configs/licences/{id}.toml"
            self._read[id] = read_licence(self._files[id], file, self._regions)
        return self._read[id]

    def __contains__(self, id: object) -> bool:
        return id in self._files

    def __iter__(self) -> Iterator[str]:
        return iter(self._files)

    def __len__(self) -> int:
        return len(self._files)


# What decides besides the licences; all of it goes into the policy's digest.
_ALSO = ("regions.toml", "models.toml", "files.toml", "reasons.toml")


@cache
def load() -> Policy:
    """The shipped policy. Raises `LauncherError` with every fault in what is read of it."""
    names = shipped_names("licences")
    data = {name: shipped(name) for name in (*names, *_ALSO)}
    digest = hashlib.sha256()
    for name, content in data.items():
        digest.update(f"{name} {hashlib.sha256(content).hexdigest()}\n".encode())
    known = regions.load()
    files = {PurePath(name).stem: data[name] for name in names}
    return Policy(
        version=_version(),
        sha256=digest.hexdigest(),
        licences=_Shipped({id: files[id] for id in sorted(files)}, known),
        regions=known,
    )


def _version() -> str:
    faults = Faults("configs/policy.toml")
    table = parse(shipped("policy.toml"), faults)
    version = table.text("version")
    table.convert("version", version, date.fromisoformat, date.min)
    table.finish()
    faults.refuse(LauncherError)
    return version


def read_licence(data: bytes, file: str, known: Mapping[str, Region]) -> Licence:
    """One licence from TOML. Raises `LauncherError` with every fault in it."""
    faults = Faults(file)
    table = parse(data, faults)
    documents = tuple(_document(entry) for entry in table.tables("document"))
    ids = [document.id for document in documents]
    licence = Licence(
        id=table.text("id"),
        title=table.text("title"),
        licensor=table.text("licensor"),
        released=table.day("released") if "released" in table else None,
        spellings=table.texts("spellings", []),
        releases=table.texts("releases", []),
        acceptance=table.flag("acceptance"),
        osi_approved=table.flag("osi_approved"),
        verified=table.flag("verified"),
        documents=documents,
        rules=tuple(_rule(entry, ids, known) for entry in table.tables("rule")),
        duties=tuple(_duty(entry, ids) for entry in table.tables("duty")),
    )
    table.asked.add("released")
    table.text("note", "")
    table.finish()
    if licence.id != PurePath(file).stem:
        table.fault("id", f"'{licence.id}' is not the name of the file")
    _check_codes(table, licence)
    _check_acceptance(table, licence)
    faults.refuse(LauncherError)
    return licence


def _check_codes(table: Table, licence: Licence) -> None:
    codes = [rule.code for rule in licence.rules] + [duty.code for duty in licence.duties]
    for code in sorted({code for code in codes if codes.count(code) > 1}):
        table.faults.add(code, "this code occurs twice")


def _check_acceptance(table: Table, licence: Licence) -> None:
    """Accepting is where a person states to be below a limit, or to have read the terms."""
    if licence.acceptance:
        return
    if not licence.verified:
        table.fault("acceptance", "a licence that is not verified has to be accepted")
    for rule in licence.rules:
        if rule.when.monthly_active_users or rule.when.annual_revenue_usd:
            table.fault("acceptance", "a licence with a limit has to be accepted")


def _document(table: Table) -> Document:
    document = Document(
        id=table.text("id"),
        title=table.text("title"),
        url=table.text("url"),
        sha256=table.texts("sha256", []),
        source=table.text("source"),
    )
    for digest in document.sha256:
        if not SHA256.fullmatch(digest):
            table.fault("sha256", f"'{digest}' is not a SHA-256 digest")
    table.finish()
    return document


def _rule(table: Table, documents: list[str], known: Mapping[str, Region]) -> Rule:
    rule = Rule(
        code=_code(table),
        effect=table.member("effect", Effect),
        when=_conditions(table.table("when"), known),
        unless=_conditions(table.table("unless"), known),
        document=table.choice("document", documents),
        clause=table.text("clause"),
        quote=table.text("quote"),
        text=table.text("text"),
        outputs=table.flag("outputs", False),
        verified=table.flag("verified", True),
    )
    if rule.when.is_empty:
        table.fault("when", "missing: a rule must say when it applies")
    table.finish()
    return rule


def _duty(table: Table, documents: list[str]) -> Duty:
    duty = Duty(
        code=_code(table),
        text=table.text("text"),
        document=table.choice("document", documents),
        clause=table.text("clause"),
        quote=table.text("quote", ""),
        notice=table.text("notice", ""),
        display=table.text("display", ""),
    )
    table.finish()
    return duty


def _code(table: Table) -> str:
    code = table.text("code")
    if "code" in table and not CODE.fullmatch(code):
        table.fault("code", f"'{code}' is not a code: small letters, digits and hyphens only")
    return code


def _conditions(table: Table, known: Mapping[str, Region]) -> Conditions:
    conditions = Conditions(
        released_as=table.choice("released_as", ("text", "multimodal"), ""),
        domicile=_regions(table, "domicile", known),
        place_of_use=_regions(table, "place_of_use", known),
        person=table.choice("as", ("individual", "company"), ""),
        role=table.choice("role", ("licensee", "end-user"), ""),
        commercial=table.flag("commercial") if "commercial" in table else None,
        monthly_active_users=_limit(table, "monthly_active_users"),
        annual_revenue_usd=_limit(table, "annual_revenue_usd"),
    )
    table.asked.add("commercial")
    table.finish()
    return conditions


def _regions(table: Table, key: str, known: Mapping[str, Region]) -> tuple[str, ...]:
    if isinstance(table.values.get(key), str):
        names: tuple[str, ...] = (table.text(key),)
    else:
        names = table.texts(key, [])
    for name in names:
        if name not in known:
            table.fault(key, f"'{name}' is not a region (known: {', '.join(known)})")
    return tuple(name for name in names if name in known)


def _limit(table: Table, key: str) -> Limit | None:
    if key not in table:
        table.asked.add(key)
        return None
    limit = table.table(key)
    if ("above" in limit) == ("at_least" in limit):
        limit.fault("above", "exactly one of 'above' and 'at_least' is needed")
        return None
    reached = "at_least" in limit
    value = limit.number("at_least" if reached else "above")
    counted = limit.choice("counted", ("at-release", "running"))
    limit.asked.update(("above", "at_least"))
    limit.finish()
    return Limit(value, reached, counted)


Place: TypeAlias = tuple[Licence, Rule]


def all_rules(policy: Policy) -> Iterator[Place]:
    """Every rule with its licence."""
    for licence in policy.licences.values():
        for rule in licence.rules:
            yield licence, rule
