"""Which licences were accepted, by what kind of licensee, on which texts.

An acceptance holds for one licence, the digest of its texts and one kind of person: another
text, or acting as a company, asks anew. A refusal is kept too.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from launcher.errors import PersonNeeded
from launcher.files import locked, read_bounded, write_atomically
from launcher.licensing.declaration import Person
from launcher.licensing.policy import Licence
from launcher.paths import Places
from launcher.tables import Faults, parse

MAX_SIZE = 1 << 20  # bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Acceptance:
    """One answer to one licence."""

    licence: str
    text_sha256: str
    person: Person
    accepted: bool
    at: str
    by: str
    """`interactive`, `option` or `provisioned`."""
    texts: Mapping[str, str] = field(default_factory=dict)
    """Document's id -> SHA-256 of the text that was accepted."""


@dataclass(frozen=True, slots=True)
class Acceptances:
    """Every answer that was given, the latest last."""

    given: tuple[Acceptance, ...] = ()

    def answer(self, licence: Licence, person: Person) -> bool | None:
        """True, False, or None when this licence's texts were not yet put to this person."""
        wanted = (licence.id, licence.text_sha256, person)
        for given in reversed(self.given):
            if (given.licence, given.text_sha256, given.person) == wanted:
                return given.accepted
        return None

    def changed(self, licence: Licence, person: Person) -> tuple[str, ...]:
        """The titles of the texts that are not those which this person accepted last."""
        for given in reversed(self.given):
            if given.licence == licence.id and given.person == person and given.accepted:
                return tuple(
                    document.title
                    for document in licence.documents
                    if document.sha256 and given.texts.get(document.id) != document.sha256[0]
                )
        return ()


def load(folders: Places) -> Acceptances:
    """The answers of the site and of the user. Raises `PersonNeeded` for a broken file.

    The user may decline what the site has accepted, and not accept what it has declined.
    """
    site = _read(folders.site / "acceptances.toml")
    declined = (answer for answer in site if not answer.accepted)
    return Acceptances((*site, *_read(folders.acceptances), *declined))


def add(folders: Places, acceptance: Acceptance) -> None:
    """Keeps one more answer; the earlier ones stay."""
    import tomli_w

    with locked(folders.acceptances):
        given = (*_read(folders.acceptances), acceptance)
        data = tomli_w.dumps({"schema": 1, "acceptance": [_table(answer) for answer in given]})
        write_atomically(folders.acceptances, data.encode())


def _table(acceptance: Acceptance) -> dict[str, object]:
    return {
        "licence": acceptance.licence,
        "text_sha256": acceptance.text_sha256,
        "as": str(acceptance.person),
        "accepted": acceptance.accepted,
        "at": acceptance.at,
        "by": acceptance.by,
        "texts": dict(acceptance.texts),
    }


def _read(path: Path) -> tuple[Acceptance, ...]:
    try:
        data = read_bounded(path, MAX_SIZE)
    except FileNotFoundError:
        return ()
    except OSError as error:
        raise PersonNeeded(
            f"The acceptances {path} cannot be read: {error.strerror or error}"
        ) from error
    return tuple(from_toml(data, str(path)))


def from_toml(data: bytes, file: str) -> Iterable[Acceptance]:
    """Acceptances from TOML. Raises `PersonNeeded` with every fault and its place."""
    faults = Faults(file)
    top = parse(data, faults)
    top.number("schema")
    found = []
    for table in top.tables("acceptance"):
        texts = table.table("texts")
        found.append(
            Acceptance(
                licence=table.text("licence"),
                text_sha256=table.text("text_sha256"),
                person=table.member("as", Person),
                accepted=table.flag("accepted"),
                at=table.text("at", ""),
                by=table.text("by", ""),
                texts={id: texts.text(id) for id in texts.rest()},
            )
        )
        table.finish()
    top.finish()
    faults.refuse(PersonNeeded, hint="The file was left as it is. Mend it, or move it away.")
    return found
