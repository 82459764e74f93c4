"""Headers that were read and checked, kept for a quick look.

A vocabulary of 128,000 tokens takes 70 ms to read, so a list of ten models would take most of
a second. What is kept serves `list`, `check` and `show`; a load reads the file itself.
"""

from __future__ import annotations

import contextlib
import hashlib
from pathlib import Path
from types import MappingProxyType
from typing import Any

from launcher.files import read_bounded, write_atomically
from launcher.models.bundle import PinnedFile, Stamp, read_header
from launcher.models.gguf import Entry, Header, Summary, Tensor, Value, ValueType

FORM = 2  # of the kept files; another number makes them all stale
KEPT = 200  # headers
MAX_SIZE = 8 << 20  # bytes of one


def known(folder: Path, file: PinnedFile) -> Header:
    """The header of an open file, from memory where it has not changed since."""
    import json  # slow to import, and not needed for a name of the catalogue

    path = folder / f"{_key(file.stamp)}.json"
    try:
        return _header(json.loads(read_bounded(path, MAX_SIZE)))
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        header = read_header(file)
    with contextlib.suppress(OSError):
        write_atomically(path, json.dumps(_table(header)).encode())
        _drop_oldest(folder)
    return header


def _key(stamp: Stamp) -> str:
    return hashlib.sha256(f"{FORM} {stamp!r}".encode()).hexdigest()[:32]


def _drop_oldest(folder: Path) -> None:
    found = sorted(folder.glob("*.json"), key=lambda path: path.stat().st_mtime)
    for path in found[:-KEPT]:
        path.unlink(missing_ok=True)


def _table(header: Header) -> dict[str, Any]:
    return {
        "version": header.version,
        "metadata": {key: _entry_table(entry) for key, entry in header.metadata.items()},
        "tensors": [[t.name, list(t.shape), t.type, t.offset] for t in header.tensors],
        "alignment": header.alignment,
        "data_offset": header.data_offset,
        "file_size": header.file_size,
    }


def _entry_table(entry: Entry) -> list[Any]:
    value = entry.value
    if isinstance(value, Summary):
        kept: Any = {
            "type": int(value.type),
            "length": value.length,
            "sha256": value.sha256,
            "distinct": value.distinct,
            "lacking": value.lacking,
        }
    else:
        kept = list(value) if isinstance(value, tuple) else value
    return [int(entry.type), entry.is_array, kept]


def _header(table: dict[str, Any]) -> Header:
    metadata = {key: _entry(*kept) for key, kept in table["metadata"].items()}
    return Header(
        version=table["version"],
        metadata=MappingProxyType(metadata),
        tensors=tuple(
            Tensor(name, tuple(shape), kind, offset)
            for name, shape, kind, offset in table["tensors"]
        ),
        alignment=table["alignment"],
        data_offset=table["data_offset"],
        file_size=table["file_size"],
    )


def _entry(kind: int, is_array: bool, kept: Any) -> Entry:
    value: Value = kept
    if isinstance(kept, dict):
        value = Summary(**{**kept, "type": ValueType(kept["type"])})
    elif isinstance(kept, list):
        value = tuple(kept)
    return Entry(ValueType(kind), value, is_array)
