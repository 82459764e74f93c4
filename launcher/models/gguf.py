"""Reads the header of a GGUF file, and nothing else of it.

The file is hostile until the header has been read: every length is checked against what is
left of the file before it is used, memory grows only with bytes that are really there, and
whatever is wrong raises `HeaderError`. What is refused here never reaches the engine.

Format: ggml-org/ggml docs/gguf.md; limits as in llama.cpp's ggml/src/gguf.cpp.
"""

from __future__ import annotations

import hashlib
import re
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import IntEnum
from types import MappingProxyType
from typing import TypeAlias

from launcher.errors import HeaderError
from launcher.models import ggml

MAGIC = b"GGUF"
FIRST_WINDOW = 1 << 20  # bytes read at first; doubled as the header asks for more
MAX_HEADER = 64 << 20  # bytes; the largest vocabularies known need about 20 MiB
MAX_ENTRIES = 1 << 16  # metadata entries, and tensors
MAX_TOKENS = 1 << 20  # the largest vocabularies known have about 262,000
MAX_KEPT_STRING = 1 << 20  # bytes; longer strings are skipped, not kept
MAX_KEPT_ARRAY = 1024  # elements; longer arrays are summarised, not kept
MAX_KEPT_ELEMENTS = 1 << 16  # in all arrays together: in memory each takes many times its bytes
MAX_NAME = 63  # bytes in a tensor's name; GGML_MAX_NAME holds one more for the NUL
MAX_DIMENSIONS = 4
DEFAULT_ALIGNMENT = 32  # bytes
MAX_ALIGNMENT = 1 << 20  # bytes

_KEY = re.compile(rb"[A-Za-z0-9_.\-]{1,127}")
_UTF8 = frozenset(range(0xF5)) - {0xC0, 0xC1}  # the bytes that occur in it (RFC 3629, 4)
_TENSOR_NAME = re.compile(rb"[\x21-\x7e]{1,63}")


class ValueType(IntEnum):
    """The type of a metadata value, as the format numbers them."""

    UINT8 = 0
    INT8 = 1
    UINT16 = 2
    INT16 = 3
    UINT32 = 4
    INT32 = 5
    FLOAT32 = 6
    BOOL = 7
    STRING = 8
    ARRAY = 9
    UINT64 = 10
    INT64 = 11
    FLOAT64 = 12


_SCALARS = {
    ValueType.UINT8: struct.Struct("<B"),
    ValueType.INT8: struct.Struct("<b"),
    ValueType.UINT16: struct.Struct("<H"),
    ValueType.INT16: struct.Struct("<h"),
    ValueType.UINT32: struct.Struct("<I"),
    ValueType.INT32: struct.Struct("<i"),
    ValueType.FLOAT32: struct.Struct("<f"),
    ValueType.BOOL: struct.Struct("<?"),
    ValueType.UINT64: struct.Struct("<Q"),
    ValueType.INT64: struct.Struct("<q"),
    ValueType.FLOAT64: struct.Struct("<d"),
}
_LENGTH = struct.Struct("<Q")
_COUNT = struct.Struct("<I")
_PREAMBLE = struct.Struct("<4sIQQ")

TOKENS = "tokenizer.ggml.tokens"


@dataclass(frozen=True, slots=True)
class Summary:
    """An array or a string too long to keep: what it is, not what is in it."""

    type: ValueType
    """Of the elements; `STRING` with a length of bytes for a long string."""
    length: int
    sha256: str = ""
    """Of the bytes in the file (strings with their length before them); only for the tokens."""
    distinct: int = -1
    """How many tokens the engine can tell apart; -1 where that was not counted."""
    lacking: int = 0
    """How many bytes of texts in UTF-8 have no token of their own; only for the tokens."""


Scalar: TypeAlias = bool | int | float | str
Value: TypeAlias = Scalar | tuple[Scalar, ...] | Summary


@dataclass(frozen=True, slots=True)
class Entry:
    """One metadata value and the type it is stored as."""

    type: ValueType
    """Of the value; of the elements for an array."""
    value: Value
    is_array: bool = False


@dataclass(frozen=True, slots=True)
class Tensor:
    """One tensor as the header announces it."""

    name: str
    shape: tuple[int, ...]
    """Elements in each dimension, fastest first."""
    type: int
    """ggml's number of the quantisation type."""
    offset: int
    """Bytes from the start of the data section."""

    @property
    def size(self) -> int:
        """Bytes it takes in the file, without padding."""
        return ggml.tensor_size(self.type, self.shape)


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """What a GGUF file says of itself."""

    version: int
    metadata: Mapping[str, Entry]
    tensors: tuple[Tensor, ...]
    alignment: int
    data_offset: int
    """Bytes from the start of the file to the data section."""
    file_size: int
    complete: bool = True
    """False when it was read in part only, from a distance."""

    def text(self, key: str) -> str | None:
        """The string under a key, or None when there is none."""
        entry = self.metadata.get(key)
        return entry.value if entry is not None and isinstance(entry.value, str) else None

    def number(self, key: str) -> int | None:
        """The whole number under a key, or None when there is none."""
        entry = self.metadata.get(key)
        if entry is None or isinstance(entry.value, bool) or not isinstance(entry.value, int):
            return None
        return entry.value

    @property
    def architecture(self) -> str:
        """`general.architecture`; empty in the later shards of a split file."""
        return self.text("general.architecture") or ""

    def parameter(self, name: str) -> int | None:
        """A whole-number hyper-parameter of the architecture, such as `block_count`."""
        return self.number(f"{self.architecture}.{name}")

    @property
    def vocabulary(self) -> int | None:
        """How many tokens the vocabulary has, or None where the header does not say."""
        tokens = self.metadata.get(TOKENS)
        if tokens is not None and isinstance(tokens.value, Summary):
            return tokens.value.length
        return self.parameter("vocab_size")

    @property
    def parameters(self) -> int:
        """How many numbers the tensors hold."""
        return sum(ggml.elements(tensor.shape) for tensor in self.tensors)


class PartialRead(Exception):
    """Raised by a `fetch` that will not read further; what was parsed so far is kept."""


def read_header(
    fetch: Callable[[int, int], bytes], file_size: int, first_window: int = FIRST_WINDOW
) -> Header:
    """Reads a header through `fetch(offset, size)`, which gives exactly those bytes of the file.

    A `fetch` may raise `PartialRead`; then the header holds what came before and is not
    `complete`. Only the preamble must be there. `first_window` is how many bytes are asked for
    at first. Raises `HeaderError` when the file is not one that may reach the engine.
    """
    reader = _Reader(_Window(fetch, file_size, first_window))
    version, tensor_count, entry_count = reader.preamble()
    metadata: dict[str, Entry] = {}
    tensors: list[Tensor] = []
    complete = True
    try:
        reader.metadata(entry_count, metadata)
        reader.tensors(tensor_count, tensors)
    except PartialRead:
        complete = False
    alignment = _alignment(metadata)
    return Header(
        version=version,
        metadata=MappingProxyType(metadata),
        tensors=tuple(tensors),
        alignment=alignment,
        data_offset=_padded(reader.position, alignment) if tensors else reader.position,
        file_size=file_size,
        complete=complete,
    )


def _alignment(metadata: Mapping[str, Entry]) -> int:
    entry = metadata.get("general.alignment")
    if entry is None:
        return DEFAULT_ALIGNMENT
    value = entry.value
    if entry.type is not ValueType.UINT32 or not isinstance(value, int):
        raise HeaderError("'general.alignment' is not an unsigned 32-bit number")
    if value == 0 or value & (value - 1) or value > MAX_ALIGNMENT:
        raise HeaderError(f"'general.alignment' is {value}, not a power of two up to 1 MiB")
    return value


def _padded(position: int, alignment: int) -> int:
    return -(-position // alignment) * alignment


class _Window:
    """The first bytes of the file, grown as the header asks for more."""

    __slots__ = ("data", "fetch", "file_size", "first")

    def __init__(
        self, fetch: Callable[[int, int], bytes], file_size: int, first: int = FIRST_WINDOW
    ) -> None:
        self.fetch = fetch
        self.file_size = file_size
        self.first = first
        self.data = b""

    def reach(self, end: int) -> bytes:
        """The data, at least up to `end`; refuses to look beyond the file or the limit."""
        have = len(self.data)
        if end <= have:
            return self.data
        if end > self.file_size:
            raise HeaderError("the file ends in the middle of its header")
        if end > MAX_HEADER:
            raise HeaderError(f"the header is larger than {MAX_HEADER >> 20} MiB")
        target = min(self.file_size, MAX_HEADER, max(end, 2 * have, self.first))
        more = self.fetch(have, target - have)
        if len(more) != target - have:
            raise HeaderError("the file became shorter while it was read")
        self.data += more
        return self.data


class _Reader:
    """Walks through the header, one item after the other."""

    __slots__ = ("position", "room", "window")

    def __init__(self, window: _Window) -> None:
        self.window = window
        self.position = 0
        self.room = MAX_KEPT_ELEMENTS

    def preamble(self) -> tuple[int, int, int]:
        if self.window.file_size < _PREAMBLE.size:
            raise HeaderError("not a GGUF file: it is too short to be one")
        data = self.window.reach(_PREAMBLE.size)
        magic, version, tensor_count, entry_count = _PREAMBLE.unpack_from(data)
        if magic != MAGIC:
            raise HeaderError("not a GGUF file: it does not start with 'GGUF'")
        if version and version & 0xFFFF == 0:
            raise HeaderError("this GGUF file was written for a big-endian computer")
        if version not in (2, 3):
            raise HeaderError(f"version {version} of GGUF is not supported, only 2 and 3")
        for what, count in (("tensors", tensor_count), ("metadata entries", entry_count)):
            if count > MAX_ENTRIES:
                raise HeaderError(f"{count} {what} are announced; at most {MAX_ENTRIES} may be")
        self.position = _PREAMBLE.size
        return version, tensor_count, entry_count

    def metadata(self, count: int, into: dict[str, Entry]) -> None:
        for _ in range(count):
            key = self._key()
            if key in into:
                raise HeaderError(f"the key '{key}' occurs twice")
            into[key] = self._entry(key)

    def tensors(self, count: int, into: list[Tensor]) -> None:
        seen: set[str] = set()
        for _ in range(count):
            tensor = self._tensor()
            if tensor.name in seen:
                raise HeaderError(f"the tensor '{tensor.name}' occurs twice")
            seen.add(tensor.name)
            into.append(tensor)

    def _take(self, layout: struct.Struct) -> int | float | bool:
        data = self.window.reach(self.position + layout.size)
        (value,) = layout.unpack_from(data, self.position)
        self.position += layout.size
        return value  # type: ignore[no-any-return]  # struct knows, mypy does not

    def _unsigned(self, layout: struct.Struct) -> int:
        return int(self._take(layout))

    def _bytes(self, limit: int, what: str) -> bytes:
        size = self._unsigned(_LENGTH)
        if size > limit:
            raise HeaderError(f"{what} is {size} bytes long; at most {limit} may be")
        data = self.window.reach(self.position + size)
        value = data[self.position : self.position + size]
        self.position += size
        return value

    def _key(self) -> str:
        raw = self._bytes(127, "a metadata key")
        if not _KEY.fullmatch(raw):
            raise HeaderError(
                f"{printable(raw)} is not a metadata key: letters, digits, '_', '.', '-' only"
            )
        return raw.decode("ascii")

    def _value_type(self, key: str) -> ValueType:
        number = self._unsigned(_COUNT)
        try:
            return ValueType(number)
        except ValueError as error:
            raise HeaderError(f"the value of '{key}' has the unknown type {number}") from error

    def _entry(self, key: str) -> Entry:
        kind = self._value_type(key)
        if kind is ValueType.ARRAY:
            return self._array(key)
        if kind is ValueType.STRING:
            return Entry(kind, self._string())
        return Entry(kind, self._take(_SCALARS[kind]))

    def _string(self) -> Value:
        size = self._unsigned(_LENGTH)
        end = self.position + size
        data = self.window.reach(end)
        start, self.position = self.position, end
        if size > MAX_KEPT_STRING:
            return Summary(ValueType.STRING, size)
        # A string that is not UTF-8 stays readable; gguf_rules refuses it where it matters.
        return data[start:end].decode("utf-8", "surrogateescape")

    def _array(self, key: str) -> Entry:
        kind = self._value_type(key)
        length = self._unsigned(_LENGTH)
        if kind is ValueType.ARRAY:
            raise HeaderError(f"'{key}' is an array of arrays, which models do not have")
        smallest = 8 if kind is ValueType.STRING else _SCALARS[kind].size
        left = self.window.file_size - self.position
        if length > left // smallest:
            raise HeaderError(f"'{key}' announces {length} elements, more than the file can hold")
        if kind is ValueType.STRING:
            return Entry(kind, self._strings(key, length), is_array=True)
        return Entry(kind, self._numbers(kind, length), is_array=True)

    def _numbers(self, kind: ValueType, length: int) -> Value:
        layout = _SCALARS[kind]
        size = length * layout.size
        data = self.window.reach(self.position + size)
        start = self.position
        self.position += size
        if not self._keeps(length):
            return Summary(kind, length)
        return tuple(value for (value,) in layout.iter_unpack(data[start : start + size]))

    def _keeps(self, length: int) -> bool:
        """Whether an array is kept; takes its room if so."""
        if length > min(MAX_KEPT_ARRAY, self.room):
            return False
        self.room -= length
        return True

    def _strings(self, key: str, length: int) -> Value:
        if key == TOKENS:
            return self._vocabulary(length)
        if not self._keeps(length):
            self._skip_strings(length)
            return Summary(ValueType.STRING, length)
        return tuple(raw.decode("utf-8", "surrogateescape") for raw in self._kept_strings(length))

    def _skip_strings(self, length: int) -> None:
        """Steps over strings; the loop is tight since merges run to 300,000 and more."""
        unpack, reach = _LENGTH.unpack_from, self.window.reach
        data, position = self.window.data, self.position
        have = len(data)
        for _ in range(length):
            if position + 8 > have:
                data = reach(position + 8)
                have = len(data)
            position += 8 + unpack(data, position)[0]
            if position > have:
                data = reach(position)
                have = len(data)
        self.position = position

    def _vocabulary(self, length: int) -> Summary:
        if length > MAX_TOKENS:
            raise HeaderError(f"the vocabulary has {length} tokens; at most {MAX_TOKENS} may be")
        start = self.position
        different = _different(self._kept_strings(length))
        digest = hashlib.sha256(self.window.data[start : self.position]).hexdigest()
        return Summary(ValueType.STRING, length, digest, len(different), _lacking(different))

    def _kept_strings(self, length: int) -> list[bytes]:
        """Reads strings; the loop is as tight as that of `_skip_strings`."""
        unpack, reach = _LENGTH.unpack_from, self.window.reach
        data, position = self.window.data, self.position
        have = len(data)
        kept: list[bytes] = []
        add = kept.append
        for _ in range(length):
            if position + 8 > have:
                data = reach(position + 8)
                have = len(data)
            start = position + 8
            position = start + unpack(data, position)[0]
            if position > have:
                data = reach(position)
                have = len(data)
            add(data[start:position])
        self.position = position
        return kept

    def _tensor(self) -> Tensor:
        raw = self._bytes(MAX_NAME, "a tensor's name")
        if not _TENSOR_NAME.fullmatch(raw):
            raise HeaderError(f"{printable(raw)} is not a tensor's name")
        name = raw.decode("ascii")
        dimensions = self._unsigned(_COUNT)
        if dimensions > MAX_DIMENSIONS:  # a single number has none
            raise HeaderError(f"the tensor '{name}' has {dimensions} dimensions; up to 4 may be")
        shape = tuple(self._unsigned(_LENGTH) for _ in range(dimensions))
        kind = self._unsigned(_COUNT)
        return Tensor(name, shape, kind, self._unsigned(_LENGTH))


def _different(tokens: list[bytes]) -> set[bytes]:
    """The tokens that are left when the engine cuts them at a NUL and names the empty ones."""
    different = set(tokens)
    if b"" in different or b"\0" in b"".join(different):
        seen = (token.partition(b"\0")[0] for token in tokens)
        different = {token or b"[EMPTY_%d]" % index for index, token in enumerate(seen)}
    return different


def _lacking(tokens: set[bytes]) -> int:
    """How many bytes of UTF-8 are no token, neither as `<0x0A>` nor as they are."""
    return sum(b"<0x%02X>" % byte not in tokens and bytes([byte]) not in tokens for byte in _UTF8)


def printable(raw: bytes) -> str:
    """Bytes from a file in a form that is safe to show: quoted, escaped, shortened."""
    return ascii(raw[:60])[1:] + ("…" if len(raw) > 60 else "")
