"""Damages headers where it hurts: field by field, and always in the same way for the same seed.

Random bytes hardly ever get past the first check. So the header is taken apart into its
fields first, and a mutation picks a kind of field, one field of it, and a way to damage it.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from random import Random
from typing import TypeAlias

_SIZES = (1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8)  # bytes of a value, by its type
_STRING, _ARRAY = 8, 9


@dataclass(frozen=True, slots=True)
class Field:
    """A stretch of a header that means one thing."""

    kind: str
    label: str
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Mutant:
    """A damaged header, and what was done to it."""

    data: bytes
    changes: tuple[str, ...]

    def write(self, path: Path, hole: int) -> Path:
        """Writes it as a file with this many bytes of nothing for weights."""
        path.write_bytes(self.data)
        os.truncate(path, len(self.data) + hole)
        return path


def mutants(header: bytes, seed: int, count: int) -> Iterator[Mutant]:
    """Damaged forms of a good header, given up to where its weights start."""
    for index in range(count):
        yield mutate(header, seed + index)


def mutate(header: bytes, seed: int) -> Mutant:
    """One damaged form: mostly one change, sometimes two or three."""
    random = Random(seed)
    changes = []
    data = header
    for _ in range(random.choices((1, 2, 3), (6, 2, 1))[0]):
        field = _pick(header, random)
        change = random.choice(_changes(field))
        # The fields are those of the whole header: later changes may hit beside the mark.
        data = change(data, header, field, random)
        changes.append(f"{change.__name__.strip('_')} {field.kind} of {field.label}")
    return Mutant(data, tuple(changes))


def _pick(header: bytes, random: Random) -> Field:
    by_kind = _by_kind(header)
    return random.choice(by_kind[random.choice(list(by_kind))])


@lru_cache(maxsize=64)
def _by_kind(header: bytes) -> dict[str, list[Field]]:
    by_kind: dict[str, list[Field]] = {}
    for field in fields(header):
        by_kind.setdefault(field.kind, []).append(field)
    return by_kind


# --- Taking a good header apart -------------------------------------------------------------


def fields(header: bytes) -> list[Field]:
    """Every field of a good header, in order."""
    return list(_Walk(header).all())


class _Walk:
    def __init__(self, header: bytes) -> None:
        self.header = header
        self.position = 0

    def all(self) -> Iterator[Field]:
        yield self.field("magic", "the file", 4)
        yield self.field("version", "the file", 4)
        tensors, entries = self.number(8), self.number(8, 8)
        yield self.field("count", "tensors", 8)
        yield self.field("count", "entries", 8)
        for _ in range(entries):
            yield from self.entry()
        for _ in range(tensors):
            yield from self.tensor()
        if self.position < len(self.header):
            yield Field("padding", "the file", self.position, len(self.header))

    def number(self, size: int, ahead: int = 0) -> int:
        start = self.position + ahead
        return int.from_bytes(self.header[start : start + size], "little")

    def field(self, kind: str, label: str, size: int) -> Field:
        field = Field(kind, label, self.position, self.position + size)
        self.position += size
        return field

    def string(self, kind: str, label: str) -> Iterator[Field]:
        size = self.number(8)
        yield Field(f"whole {kind}", label, self.position, self.position + 8 + size)
        yield self.field(f"{kind} length", label, 8)
        if size:
            yield self.field(kind, label, size)

    def entry(self) -> Iterator[Field]:
        start = self.position
        size = self.number(8)
        key = self.header[start + 8 : start + 8 + size].decode("ascii")
        yield from self.string("key", key)
        kind = self.number(4)
        yield self.field("type", key, 4)
        if kind == _ARRAY:
            yield from self.array(key)
        elif kind == _STRING:
            yield from self.string("string", key)
        else:
            yield self.field("number", key, _SIZES[kind])
        yield Field("entry", key, start, self.position)

    def array(self, key: str) -> Iterator[Field]:
        kind, length = self.number(4), self.number(8, 4)
        yield self.field("element type", key, 4)
        yield self.field("array length", key, 8)
        for _ in range(length):
            if kind == _STRING:
                yield from self.string("token" if key.endswith(".tokens") else "element", key)
            else:
                yield self.field("numeric element", key, _SIZES[kind])

    def tensor(self) -> Iterator[Field]:
        start = self.position
        size = self.number(8)
        name = self.header[start + 8 : start + 8 + size].decode("ascii")
        yield from self.string("name", name)
        dimensions = self.number(4)
        yield self.field("dimensions", name, 4)
        for _ in range(dimensions):
            yield self.field("dimension", name, 8)
        yield self.field("tensor type", name, 4)
        yield self.field("offset", name, 8)
        yield Field("tensor", name, start, self.position)


# --- Ways to damage a field -----------------------------------------------------------------

Change: TypeAlias = Callable[[bytes, bytes, Field, Random], bytes]


def _changes(field: Field) -> tuple[Change, ...]:
    if field.kind in ("entry", "tensor"):
        return (_remove, _repeat, _swap)
    if field.kind.startswith("whole "):
        return (_copy, _swap, _empty)
    if field.end - field.start in (4, 8) and field.kind not in _TEXTS:
        return (_flip, _set, _nudge, _swap, _copy, _remove)
    return (_flip, _nul, _fill, _insert, _remove, _cut, _swap)


_TEXTS = ("magic", "key", "string", "token", "element", "name", "padding")


def _replaced(data: bytes, field: Field, content: bytes) -> bytes:
    return data[: field.start] + content + data[field.end :]


def _flip(data: bytes, _header: bytes, field: Field, random: Random) -> bytes:
    content = bytearray(data[field.start : field.end])
    if content:
        content[random.randrange(len(content))] ^= 1 << random.randrange(8)
    return _replaced(data, field, bytes(content))


def _nul(data: bytes, _header: bytes, field: Field, random: Random) -> bytes:
    content = bytearray(data[field.start : field.end])
    if content:
        content[random.randrange(len(content))] = 0
    return _replaced(data, field, bytes(content))


def _fill(data: bytes, _header: bytes, field: Field, random: Random) -> bytes:
    return _replaced(data, field, random.randbytes(field.end - field.start))


def _set(data: bytes, _header: bytes, field: Field, random: Random) -> bytes:
    """A number from where number ranges end."""
    size = field.end - field.start
    edge = 1 << random.choice((0, 1, 3, 5, 6, 7, 8, 9, 10, 15, 16, 20, 31, 32, 40, 47, 62, 63))
    number = random.choice((0, -1, edge, edge - 1, -edge)) % (1 << 8 * size)
    return _replaced(data, field, number.to_bytes(size, "little"))


def _nudge(data: bytes, _header: bytes, field: Field, random: Random) -> bytes:
    size = field.end - field.start
    number = int.from_bytes(data[field.start : field.end], "little")
    number = (number + random.choice((-32, -8, -1, 1, 8, 32))) % (1 << 8 * size)
    return _replaced(data, field, number.to_bytes(size, "little"))


def _other(header: bytes, field: Field, random: Random) -> Field:
    return random.choice(_by_kind(header)[field.kind])


def _copy(data: bytes, header: bytes, field: Field, random: Random) -> bytes:
    """Puts what another field of this kind holds in its place."""
    other = _other(header, field, random)
    return _replaced(data, field, header[other.start : other.end])


def _swap(data: bytes, header: bytes, field: Field, random: Random) -> bytes:
    other = _other(header, field, random)
    first, second = sorted((field, other), key=lambda each: each.start)
    if first.end > second.start:
        return data
    parts = (
        data[: first.start],
        data[second.start : second.end],
        data[first.end : second.start],
        data[first.start : first.end],
        data[second.end :],
    )
    return b"".join(parts)


def _empty(data: bytes, _header: bytes, field: Field, random: Random) -> bytes:
    return _replaced(data, field, bytes(8))


def _insert(data: bytes, _header: bytes, field: Field, random: Random) -> bytes:
    return data[: field.start] + random.randbytes(random.randint(1, 9)) + data[field.start :]


def _remove(data: bytes, _header: bytes, field: Field, random: Random) -> bytes:
    """Takes it out; where it is a whole entry or tensor, the count follows."""
    return _recounted(_replaced(data, field, b""), field, -1)


def _repeat(data: bytes, _header: bytes, field: Field, random: Random) -> bytes:
    content = data[field.start : field.end]
    return _recounted(_replaced(data, field, content + content), field, 1)


def _recounted(data: bytes, field: Field, by: int) -> bytes:
    place = {"tensor": 8, "entry": 16}.get(field.kind)
    if place is None or len(data) < 24:
        return data
    count = (int.from_bytes(data[place : place + 8], "little") + by) % (1 << 64)
    return data[:place] + struct.pack("<Q", count) + data[place + 8 :]


def _cut(data: bytes, _header: bytes, field: Field, random: Random) -> bytes:
    """Ends the file in the middle of it."""
    return data[: random.randint(field.start, field.end)]
