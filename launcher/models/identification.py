"""A person's recorded statement of what exactly a file is.

It is pinned to the file's SHA-256: another file, or the same one changed, is not meant by it.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from launcher.errors import PersonNeeded
from launcher.files import locked, read_bounded, write_atomically
from launcher.tables import Faults, parse

MAX_SIZE = 1 << 20  # bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Identification:
    """What somebody said a file is, and why."""

    sha256: str
    family: str
    """A family's id; empty where only the licence is known."""
    licence: str
    """A licence's id; empty where the family says it."""
    reason: str
    at: str
    by: str
    """Who said so: a person's or an organisation's own words, or `user`."""


def load(*paths: Path) -> dict[str, Identification]:
    """The statements in these files by digest; later files and entries come first.

    Raises `PersonNeeded` for a broken file: never taken as empty.
    """
    return {known.sha256: known for path in paths for known in _read(path)}


def add(path: Path, made: Identification) -> None:
    """Keeps one more statement; an earlier one of the same file is replaced."""
    import tomli_w

    with locked(path):
        kept = [known for known in _read(path) if known.sha256 != made.sha256]
        table = {"schema": 1, "identification": [_table(known) for known in (*kept, made)]}
        write_atomically(path, tomli_w.dumps(table).encode())


def remove(path: Path, sha256: str) -> bool:
    """Takes a statement back; False when there was none."""
    import tomli_w

    with locked(path):
        known = _read(path)
        kept = [entry for entry in known if entry.sha256 != sha256]
        if len(kept) == len(known):
            return False
        table = {"schema": 1, "identification": [_table(entry) for entry in kept]}
        write_atomically(path, tomli_w.dumps(table).encode())
    return True


def _table(made: Identification) -> dict[str, str]:
    values = {
        "sha256": made.sha256,
        "family": made.family,
        "licence": made.licence,
        "reason": made.reason,
        "at": made.at,
        "by": made.by,
    }
    return {key: value for key, value in values.items() if value}


def _read(path: Path) -> list[Identification]:
    try:
        data = read_bounded(path, MAX_SIZE)
    except FileNotFoundError:
        return []
    except OSError as error:
        raise PersonNeeded(
            f"The identifications {path} cannot be read: {error.strerror or error}"
        ) from error
    return from_toml(data, str(path))


def from_toml(data: bytes, file: str) -> list[Identification]:
    """Statements from TOML. Raises `PersonNeeded` with every fault and its place."""
    faults = Faults(file)
    top = parse(data, faults)
    top.number("schema")
    found = []
    for table in top.tables("identification"):
        made = Identification(
            sha256=table.text("sha256"),
            family=table.text("family", ""),
            licence=table.text("licence", ""),
            reason=table.text("reason"),
            at=table.text("at", ""),
            by=table.text("by", ""),
        )
        if bool(made.family) == bool(made.licence):
            table.fault("family", "exactly one of 'family' and 'licence' is needed")
        table.finish()
        found.append(made)
    top.finish()
    faults.refuse(PersonNeeded, hint="The file was left as it is. Mend it, or move it away.")
    return found
