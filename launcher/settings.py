"""Settings: what ships, then the user's own, then the site's, which binds."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from launcher.data import shipped
from launcher.errors import LauncherError
from launcher.files import read_bounded
from launcher.paths import Places
from launcher.tables import Faults, Table, parse

NAME = "settings.toml"
MAX_SIZE = 64 << 10  # bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """See `configs/settings.toml`, which says what each is for."""

    records: str
    records_size: int
    hubs: tuple[str, ...] = ()

    @property
    def records_are_required(self) -> bool:
        return self.records == "required"


def load(folders: Places) -> Settings:
    """The settings in force. Raises `LauncherError` with every fault and its place."""
    values: dict[str, Any] = {}
    for data, file in (
        (shipped(NAME), f"configs/{NAME}"),
        *_own(folders.config / NAME),
        *_own(folders.site / NAME),
    ):
        values.update(_checked(data, file))
    return Settings(**values)


def _own(path: Path) -> list[tuple[bytes, str]]:
    try:
        return [(read_bounded(path, MAX_SIZE), str(path))]
    except FileNotFoundError:
        return []
    except OSError as error:
        raise LauncherError(f"The settings {path} cannot be read: {error.strerror}") from error


def _checked(data: bytes, file: str) -> dict[str, Any]:
    """The settings that a file gives, all of them valid."""
    faults = Faults(file)
    table = parse(data, faults)
    checks = {"records": _records, "records_size": _records_size, "hubs": _hubs}
    values = {key: check(table) for key, check in checks.items() if key in table}
    table.asked.update(checks)
    table.finish()
    faults.refuse(LauncherError, hint="The file was left as it is.")
    return values


def _records(table: Table) -> str:
    return table.choice("records", ("required", "best-effort"))


def _records_size(table: Table) -> int:
    size = table.number("records_size")
    if size < 4096:
        table.fault("records_size", "at least 4096")
    return size


def _hubs(table: Table) -> tuple[str, ...]:
    addresses = table.texts("hubs")
    for address in addresses:
        if not address.startswith(("https://", "http://127.0.0.1:", "http://localhost:")):
            table.fault("hubs", f"'{address}' is not an address that begins with https://")
    return tuple(address.rstrip("/") for address in addresses)
