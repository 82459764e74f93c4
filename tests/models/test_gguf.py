"""The header reader: what it reads, what it refuses, and what that costs."""

from __future__ import annotations

import hashlib
import os
import struct
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gguf as official
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from launcher.errors import HeaderError
from launcher.models import catalogue, gguf, gguf_rules
from launcher.models.bundle import pinned
from launcher.models.gguf import Entry, Header, PartialRead, Summary, ValueType
from launcher.models.sources import packaged_file
from tests import headers, mutations
from tests.headers import array, entry, header, padded, raw_entry, scalar, string, tensor

ARCHITECTURE = entry("general.architecture", "llama")


def read(data: bytes) -> Header:
    return gguf.read_header(lambda offset, size: data[offset : offset + size], len(data))


def read_file(path: Path) -> Header:
    with pinned(path) as file:
        return gguf.read_header(file.read, file.stamp.size)


# --- What it reads --------------------------------------------------------------------------

EVERY_TYPE = {
    "a.u8": Entry(ValueType.UINT8, 255),
    "a.i8": Entry(ValueType.INT8, -128),
    "a.u16": Entry(ValueType.UINT16, 65535),
    "a.i16": Entry(ValueType.INT16, -32768),
    "a.u32": Entry(ValueType.UINT32, 2**32 - 1),
    "a.i32": Entry(ValueType.INT32, -(2**31)),
    "a.f32": Entry(ValueType.FLOAT32, 0.5),
    "a.bool": Entry(ValueType.BOOL, True),
    "a.string": Entry(ValueType.STRING, "Grüße, 世界 🤗"),
    "a.u64": Entry(ValueType.UINT64, 2**64 - 1),
    "a.i64": Entry(ValueType.INT64, -(2**63)),
    "a.f64": Entry(ValueType.FLOAT64, 0.1),
    "an.array-of_bools": Entry(ValueType.BOOL, (True, False), is_array=True),
    "an.array.of.strings": Entry(ValueType.STRING, ("a", "", "ü"), is_array=True),
    "an.array.of.numbers": Entry(ValueType.INT8, (-1, 0, 1), is_array=True),
    "an.empty.array": Entry(ValueType.FLOAT32, (), is_array=True),
}


def test_every_type_of_value_is_read_as_it_was_written() -> None:
    found = read(header([entry(key, value) for key, value in EVERY_TYPE.items()]))
    assert found.metadata == EVERY_TYPE
    assert list(found.metadata) == list(EVERY_TYPE)


def test_types_have_the_numbers_of_the_official_package() -> None:
    official_types = {each.name: each.value for each in official.GGUFValueType}
    assert {each.name: each.value for each in ValueType} == official_types


def test_a_number_is_neither_a_truth_nor_a_fraction() -> None:
    found = read(header([entry(key, value) for key, value in EVERY_TYPE.items()]))
    assert found.number("a.u64") == 2**64 - 1
    for key in ("a.bool", "a.f32", "a.string", "an.array.of.numbers", "not.there"):
        assert found.number(key) is None


def test_a_text_is_one_string() -> None:
    found = read(header([entry(key, value) for key, value in EVERY_TYPE.items()]))
    assert found.text("a.string") == "Grüße, 世界 🤗"
    for key in ("a.u8", "an.array.of.strings", "not.there"):
        assert found.text(key) is None


def test_version_2_is_read_like_version_3() -> None:
    assert read(header([ARCHITECTURE], version=2)).metadata == read(header([ARCHITECTURE])).metadata


def test_a_string_that_is_not_utf_8_is_kept_as_it_is() -> None:
    found = read(header([entry("general.author", b"M\xfcller")])).text("general.author")
    assert found is not None
    assert found.encode("utf-8", "surrogateescape") == b"M\xfcller"


def test_a_long_array_is_summarised() -> None:
    for value in (3, "x"):
        kept, long = [value] * 1024, [value] * 1025
        found = read(header([entry("a.b", kept), entry("a.c", long), entry("a.d", 7)]))
        assert found.metadata["a.b"].value == tuple(kept)
        assert found.metadata["a.c"].value == Summary(found.metadata["a.b"].type, 1025)
        assert found.number("a.d") == 7


def test_a_string_of_more_than_a_mebibyte_is_not_kept() -> None:
    found = read(header([entry("a.b", "x" * (1 << 20)), entry("a.c", "x" * ((1 << 20) + 1))]))
    assert found.text("a.b") == "x" * (1 << 20)
    assert found.text("a.c") is None
    assert found.metadata["a.c"].value == Summary(ValueType.STRING, (1 << 20) + 1)


def test_many_short_arrays_are_not_all_kept() -> None:
    """Small numbers take eighteen times their bytes once they are Python's."""
    values = Entry(ValueType.UINT16, tuple(range(1000)), is_array=True)
    entries = [entry(f"a.{index}", values) for index in range(100)]
    found = read(header(entries)).metadata.values()
    kept = [value for value in found if isinstance(value.value, tuple)]
    assert len(kept) == gguf.MAX_KEPT_ELEMENTS // 1000


@pytest.mark.parametrize("shift", range(17))
def test_strings_are_read_across_the_end_of_what_was_fetched(shift: int) -> None:
    """Wherever it falls: in a length, in a string, between two."""
    fill = entry("a.fill", "x" * (gguf.FIRST_WINDOW - 40_000 + shift))
    names = [f"{index:09}" for index in range(5000)]
    payload = array(ValueType.STRING, names)
    for key in ("a.skipped", gguf.TOKENS):
        data = header([fill, raw_entry(key, ValueType.ARRAY, payload), entry("a.b", 7)])
        found = read(data)
        assert found.number("a.b") == 7
        assert len(data) > gguf.FIRST_WINDOW
    digest = hashlib.sha256(payload[12:]).hexdigest()
    assert found.metadata[gguf.TOKENS].value == Summary(ValueType.STRING, 5000, digest, 5000, 243)


def test_tokens_are_counted_and_hashed_but_not_kept() -> None:
    tokens = ("<unk>", "<s>", "ü")
    found = read(header([entry(gguf.TOKENS, tokens)]))
    digest = hashlib.sha256(b"".join(string(token) for token in tokens)).hexdigest()
    assert found.metadata[gguf.TOKENS].value == Summary(ValueType.STRING, 3, digest, 3, 243)
    assert found.vocabulary == 3


@pytest.mark.parametrize(
    ("tokens", "distinct"),
    [
        pytest.param([b"a", b"b", b"a"], 2, id="the same token twice"),
        pytest.param([b"a\0b", b"a\0c"], 1, id="the same up to a NUL"),
        pytest.param([b"a", b"a\0"], 1, id="with a NUL and without"),
        pytest.param([b"", b"a", b""], 3, id="empty tokens, which get names of their own"),
        pytest.param([b"", b"\0x"], 2, id="nothing before a NUL, which is empty too"),
        pytest.param([b"", b"[EMPTY_0]"], 1, id="a token with the name that an empty one gets"),
    ],
)
def test_tokens_are_told_apart_as_the_engine_does_it(tokens: list[bytes], distinct: int) -> None:
    value = read(header([entry(gguf.TOKENS, tokens)])).metadata[gguf.TOKENS].value
    assert isinstance(value, Summary)
    assert (value.length, value.distinct) == (len(tokens), distinct)


@pytest.mark.parametrize(
    ("tokens", "lacking"),
    [
        pytest.param([b"<0x%02X>" % byte for byte in range(256)], 0, id="every byte by its number"),
        pytest.param([bytes([byte]) for byte in range(1, 256)], 1, id="as it is, all but the NUL"),
        pytest.param([b"<0x%02X>" % byte for byte in range(128)], 115, id="ASCII alone"),
        pytest.param([b"<0x%02x>" % byte for byte in range(0xF5)], 143, id="in small letters"),
        pytest.param([b"abc"], 243, id="none: all that UTF-8 has"),
    ],
)
def test_bytes_without_a_token_are_counted(tokens: list[bytes], lacking: int) -> None:
    value = read(header([entry(gguf.TOKENS, tokens)])).metadata[gguf.TOKENS].value
    assert isinstance(value, Summary)
    assert value.lacking == lacking


def test_without_tokens_the_vocabulary_is_what_the_header_says() -> None:
    assert read(header([ARCHITECTURE, entry("llama.vocab_size", 32000)])).vocabulary == 32000
    assert read(header([ARCHITECTURE])).vocabulary is None


def test_tensors_are_read_with_shape_type_and_place() -> None:
    infos = [tensor("a", (64, 2), headers.Q8_0), tensor("b", (), headers.F32, 160)]
    found = read(padded(header([ARCHITECTURE], infos)) + bytes(164))
    assert found.tensors == (gguf.Tensor("a", (64, 2), 8, 0), gguf.Tensor("b", (), 0, 160))
    assert [each.size for each in found.tensors] == [136, 4]
    assert found.parameters == 129


@pytest.mark.parametrize("alignment", [1, 8, 32, 4096])
def test_the_weights_start_at_a_multiple_of_the_alignment(alignment: int) -> None:
    data = header([entry("general.alignment", alignment)], [tensor("a")])
    found = read(padded(data, alignment) + bytes(128))
    assert found.data_offset == len(padded(data, alignment))


def test_without_tensors_nothing_is_padded() -> None:
    data = header([ARCHITECTURE])
    assert read(data).data_offset == len(data)


def test_the_header_is_read_in_pieces_as_they_are_needed() -> None:
    """Of a terabyte with 3 MiB of header, at most twice the header is asked for."""
    asked: list[int] = []
    data = header([entry("a.b", "x" * (3 << 20)), ARCHITECTURE])

    def fetch(offset: int, size: int) -> bytes:
        asked.append(size)
        return data[offset : offset + size].ljust(size, b"\0")

    assert gguf.read_header(fetch, 1 << 40).architecture == "llama"
    assert asked[0] == gguf.FIRST_WINDOW
    assert sum(asked) <= 2 * len(data)


# --- The official package as a second opinion -----------------------------------------------


def agrees(found: Header, reader: Any) -> bool:
    """Asserts that both saw the same file."""
    fields = {key: field for key, field in reader.fields.items() if not key.startswith("GGUF.")}
    assert list(found.metadata) == list(fields)
    for key, field in fields.items():
        same_value(found.metadata[key], field)
    assert found.alignment == reader.alignment
    assert [
        (each.name, each.shape, each.type, each.size, found.data_offset + each.offset)
        for each in found.tensors
    ] == [
        (each.name, tuple(each.shape), each.tensor_type, each.n_bytes, each.data_offset)
        for each in reader.tensors
    ]
    assert found.parameters == sum(int(each.n_elements) for each in reader.tensors)
    return True


def same_value(ours: Entry, field: Any) -> None:
    assert ours.is_array == (field.types[0] == official.GGUFValueType.ARRAY)
    contents = field.contents()
    if not ours.is_array or contents:
        assert ours.type == field.types[-1]
    if isinstance(ours.value, Summary):
        assert ours.value.length == len(contents)
        assert ours.value.distinct in (-1, len(set(contents)))
    elif isinstance(ours.value, tuple):
        assert list(ours.value) == contents
    else:
        assert ours.value == contents


def test_the_official_reader_agrees_on_every_type(tmp_path: Path) -> None:
    path = tmp_path / "types.gguf"
    kept = {key: value for key, value in EVERY_TYPE.items() if key != "an.empty.array"}
    infos = [tensor("a", (64, 2), headers.Q8_0), tensor("b", (3,), headers.F32, 160)]
    entries = [entry(key, value) for key, value in kept.items()]
    path.write_bytes(padded(header(entries, infos)) + bytes(192))
    assert agrees(read_file(path), official.GGUFReader(path))


@pytest.mark.parametrize("model", ["small", "experts", "gemma2", "phi3", "qwen2", "lfm2"])
def test_the_official_reader_agrees_on_models(model: str, tmp_path: Path) -> None:
    """Also proof that `tests.headers` writes what it means to."""
    more: dict[str, object] = {"architecture": model}
    if model in ("small", "experts"):
        more = {"experts": 4, "expert_feed_forward": 32} if model == "experts" else {}
    if model == "lfm2":
        more["kv_heads"] = (0, 2)
    path = headers.write_model(tmp_path / "model.gguf", **more)  # type: ignore[arg-type]
    assert agrees(read_file(path), official.GGUFReader(path))


def test_the_official_reader_agrees_on_projectors_adapters_and_shards(tmp_path: Path) -> None:
    paths = [
        headers.write_projector(tmp_path / "mmproj.gguf"),
        headers.write_adapter(tmp_path / "adapter.gguf"),
        *headers.write_shards(tmp_path, count=3),
    ]
    assert len(paths) == 5
    assert all(agrees(read_file(path), official.GGUFReader(path)) for path in paths)


@pytest.mark.parametrize("alignment", [32, 64, 2048])
def test_what_the_official_writer_writes_is_read(alignment: int, tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    writer = official.GGUFWriter(path, "llama")
    writer.add_custom_alignment(alignment)
    writer.add_name("A name")
    writer.add_block_count(1)
    writer.add_token_list(["a", "b", "ü"])
    writer.add_token_types([1, 1, 6])
    writer.add_tags(["text-generation"])
    writer.add_tensor("token_embd.weight", np.ones((3, 32), dtype=np.float16))
    writer.add_tensor("output_norm.weight", np.ones(3, dtype=np.float32))
    writer.add_tensor("scale", np.float32(2.0).reshape(()))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    found = read_file(path)
    gguf_rules.check(found)
    assert found.text("general.name") == "A name"
    assert found.vocabulary == 3
    assert [each.shape for each in found.tensors] == [(32, 3), (3,), ()]
    assert found.data_offset % alignment == 0


@pytest.fixture(scope="module")
def smollm2() -> Path:
    path = packaged_file(catalogue.load().models["smollm2:135m"])
    assert path is not None
    return path


def test_the_official_reader_agrees_on_a_real_model(smollm2: Path) -> None:
    found = read_file(smollm2)
    assert (len(found.metadata), len(found.tensors), found.vocabulary) == (33, 272, 49152)
    assert agrees(found, official.GGUFReader(smollm2))


# --- What it refuses ------------------------------------------------------------------------
#
# Each case is a header with one thing that is right in one form and wrong in another; the
# right form must pass, so that nothing else is wrong with it.

LAST = "z.last"  # its value ends the file: one more byte is beyond the end


def with_key(key: str | bytes) -> bytes:
    return header([ARCHITECTURE, entry(key, 1)])


def with_key_length(length: int) -> bytes:
    key = string("general.name", length)
    return header([key + struct.pack("<I", ValueType.STRING) + string("a")])


def with_value_type(kind: int) -> bytes:
    return header([raw_entry(LAST, kind, bytes(4))])


def with_string_length(length: int) -> bytes:
    return header([raw_entry(LAST, ValueType.STRING, string("four", length))])


def with_element_type(kind: int) -> bytes:
    payload = struct.pack("<IQ", kind, 1) + bytes(4)
    return header([raw_entry(LAST, ValueType.ARRAY, payload)])


def with_strings(length: int) -> bytes:
    return header([raw_entry(LAST, ValueType.ARRAY, array(ValueType.STRING, ["", "", ""], length))])


def with_many_strings(length: int) -> bytes:
    values = [""] * 2000
    return header([raw_entry(LAST, ValueType.ARRAY, array(ValueType.STRING, values, length))])


def with_long_strings(kind: str) -> Callable[[int], bytes]:
    """So long that the file could hold many more of the shortest."""
    key, count = {"token": (gguf.TOKENS, 3), "kept": (LAST, 3), "skipped": (LAST, 1025)}[kind]

    def build(more: int) -> bytes:
        payload = array(ValueType.STRING, ["long enough"] * count, count + more)
        return header([raw_entry(key, ValueType.ARRAY, payload)])

    return build


def with_tokens(length: int) -> bytes:
    payload = array(ValueType.STRING, ["", "", ""], length)
    return header([raw_entry(gguf.TOKENS, ValueType.ARRAY, payload)])


def with_bools(length: int) -> bytes:
    return header([raw_entry(LAST, ValueType.ARRAY, array(ValueType.BOOL, [True] * 3, length))])


def with_numbers(length: int) -> bytes:
    return header([raw_entry(LAST, ValueType.ARRAY, array(ValueType.UINT64, [1, 2, 3], length))])


def with_last_string(kind: str) -> Callable[[int], bytes]:
    """The length of one string in an array, with the file's end after its four bytes."""
    key, before = {"token": (gguf.TOKENS, 1), "kept": (LAST, 1), "skipped": (LAST, 1024)}[kind]

    def build(length: int) -> bytes:
        payload = struct.pack("<IQ", ValueType.STRING, before + 1)
        payload += string("x") * before + string("four", length)
        return header([raw_entry(key, ValueType.ARRAY, payload)])

    return build


def with_alignment(value: Entry) -> bytes:
    return padded(header([entry("general.alignment", value)], [tensor("a")]), 1 << 20)


def with_tensor_name(name: str | bytes) -> bytes:
    return padded(header([ARCHITECTURE], [tensor("a"), tensor(name)])) + bytes(256)


def with_dimensions(count: int) -> bytes:
    info = string("a") + struct.pack("<I", count) + struct.pack("<Q", 1) * min(count, 9)
    return padded(header([ARCHITECTURE], [info + struct.pack("<IQ", 0, 0)])) + bytes(32)


def with_name_length(length: int) -> bytes:
    info = string("a", length) + struct.pack("<IQIQ", 1, 32, 0, 0)
    return padded(header([ARCHITECTURE], [info])) + bytes(128)


def with_second_key(key: str) -> bytes:
    return header([ARCHITECTURE, entry("a.b", 1), entry(key, "qwen2")])


def big_endian(order: str) -> bytes:
    return b"GGUF" + struct.pack(f"{order}IQQ", 3, 0, 0)


u32 = ValueType.UINT32

WRONG: list[tuple[Callable[[Any], bytes], Any, Any, str]] = [
    (lambda magic: header([ARCHITECTURE], magic=magic), b"GGUF", b"GGML", "start with 'GGUF'"),
    (lambda magic: header([ARCHITECTURE], magic=magic), b"GGUF", b"PK\x03\x04", "start with"),
    (lambda magic: header([ARCHITECTURE], magic=magic), b"GGUF", b"FUGG", "start with 'GGUF'"),
    (lambda data: data, header(), b"", "too short"),
    (lambda data: data, header(), header()[:23], "too short"),
    (lambda data: data, header(), b"# A model card, long enough to be one\n", "start with 'GGUF'"),
    (lambda version: header([ARCHITECTURE], version=version), 2, 1, "version 1 of GGUF"),
    (lambda version: header([ARCHITECTURE], version=version), 3, 0, "version 0 of GGUF"),
    (lambda version: header([ARCHITECTURE], version=version), 3, 4, "version 4 of GGUF"),
    (lambda version: header([ARCHITECTURE], version=version), 3, 2**32 - 1, "version 4294967295"),
    (big_endian, "<", ">", "big-endian"),
    (lambda count: header([ARCHITECTURE], entry_count=count), 1, 2, "ends in the middle"),
    (lambda count: header([ARCHITECTURE], entry_count=count), 1, 65536, "ends in the middle"),
    (lambda count: header([ARCHITECTURE], entry_count=count), 1, 65537, "65537 metadata entries"),
    (lambda count: header([ARCHITECTURE], entry_count=count), 1, 2**63, "entries are announced"),
    (lambda count: header([ARCHITECTURE], tensor_count=count), 0, 1, "ends in the middle"),
    (lambda count: header([ARCHITECTURE], tensor_count=count), 0, 65537, "65537 tensors"),
    (lambda count: header([ARCHITECTURE], tensor_count=count), 0, 2**63, "tensors are announced"),
    (with_key, "a", "", "is not a metadata key"),
    (with_key, "a.b", "a b", "is not a metadata key"),
    (with_key, "a.b", "a/b", "is not a metadata key"),
    (with_key, "a.b", "a.b\n", "is not a metadata key"),
    (with_key, "a.u", "a.ü", "is not a metadata key"),
    (with_key, "a.b", b"a.\xff", "is not a metadata key"),
    (with_key, "general.architectur", "general.architecture\0", "is not a metadata key"),
    (with_key, "general.architectur", "general.architecture\0zzz", "is not a metadata key"),
    (with_key, "a" * 127, "a" * 128, "at most 127 may be"),
    (with_second_key, "a.c", "a.b", "'a.b' occurs twice"),
    (with_second_key, "a.c", "general.architecture", "'general.architecture' occurs twice"),
    (with_key_length, 12, 2**63, "at most 127 may be"),
    (with_key_length, 12, 2**40, "at most 127 may be"),
    (with_key_length, 12, 60, "ends in the middle"),
    (with_key_length, 12, 13, "is not a metadata key"),
    (with_value_type, u32, 13, "unknown type 13"),
    (with_value_type, u32, 2**32 - 1, "unknown type 4294967295"),
    (with_value_type, u32, ValueType.UINT64, "ends in the middle"),
    (with_string_length, 4, 5, "ends in the middle"),
    (with_string_length, 4, 2**40, "ends in the middle"),
    (with_string_length, 4, 2**63, "ends in the middle"),
    (with_string_length, 4, 2**64 - 1, "ends in the middle"),
    (with_element_type, u32, ValueType.ARRAY, "array of arrays"),
    (with_element_type, u32, 13, "unknown type 13"),
    (with_element_type, u32, 2**31, "unknown type 2147483648"),
    *(
        (build, right, wrong, "announces")
        for build, right in (
            (with_strings, 3),
            (with_many_strings, 2000),
            (with_tokens, 3),
            (with_bools, 3),
            (with_numbers, 3),
        )
        for wrong in (right + 1, 2**40, 2**61, 2**63, 2**64 - 1)
    ),
    *(
        (with_last_string(kind), 4, wrong, "ends in the middle")
        for kind in ("token", "kept", "skipped")
        for wrong in (5, 2**40, 2**63, 2**64 - 1)
    ),
    (with_long_strings("token"), 0, 1, "ends in the middle"),
    (with_long_strings("kept"), 0, 1, "ends in the middle"),
    (with_long_strings("skipped"), 0, 1, "ends in the middle"),
    (with_alignment, Entry(u32, 32), Entry(ValueType.UINT64, 32), "unsigned 32-bit"),
    (with_alignment, Entry(u32, 32), Entry(ValueType.INT32, 32), "unsigned 32-bit"),
    (with_alignment, Entry(u32, 32), Entry(ValueType.STRING, "32"), "unsigned 32-bit"),
    (with_alignment, Entry(u32, 32), Entry(u32, (32,), is_array=True), "unsigned 32-bit"),
    (with_alignment, Entry(u32, 32), Entry(u32, 0), "power of two"),
    (with_alignment, Entry(u32, 32), Entry(u32, 48), "power of two"),
    (with_alignment, Entry(u32, 1 << 20), Entry(u32, 1 << 21), "power of two"),
    (with_tensor_name, "b", "a", "'a' occurs twice"),
    (with_tensor_name, "b", "", "not a tensor's name"),
    (with_tensor_name, "b", "b c", "not a tensor's name"),
    (with_tensor_name, "b", "a\0", "not a tensor's name"),
    (with_tensor_name, "b", "ü", "not a tensor's name"),
    (with_tensor_name, "b" * 63, "b" * 64, "at most 63 may be"),
    (with_name_length, 1, 2, "not a tensor's name"),
    (with_name_length, 1, 2**40, "at most 63 may be"),
    (with_name_length, 1, 2**63, "at most 63 may be"),
    (with_dimensions, 4, 5, "5 dimensions"),
    (with_dimensions, 4, 2**32 - 1, "dimensions; up to 4"),
]


@pytest.mark.parametrize(("build", "right", "wrong", "words"), WRONG)
def test_a_header_that_is_wrong_in_one_way_is_refused(
    build: Callable[[Any], bytes], right: Any, wrong: Any, words: str
) -> None:
    read(build(right))
    with pytest.raises(HeaderError, match=words):
        read(build(wrong))


def test_a_vocabulary_of_more_than_a_million_tokens_is_refused() -> None:
    empty = bytes(8 * (gguf.MAX_TOKENS + 1))

    def build(count: int) -> bytes:
        return header(
            [raw_entry(gguf.TOKENS, 9, struct.pack("<IQ", 8, count) + empty[: 8 * count])]
        )

    assert read(build(gguf.MAX_TOKENS)).vocabulary == gguf.MAX_TOKENS
    with pytest.raises(HeaderError, match="tokens; at most 1048576 may be"):
        read(build(gguf.MAX_TOKENS + 1))


def test_a_header_of_more_than_64_mebibytes_is_refused() -> None:
    def read_with(length: int) -> Header:
        data = header([raw_entry(LAST, ValueType.STRING, string("", length))])

        def fetch(offset: int, size: int) -> bytes:
            return data[offset : offset + size].ljust(size, b"\0")

        return gguf.read_header(fetch, 1 << 40)

    assert read_with(60 << 20).metadata[LAST].value == Summary(ValueType.STRING, 60 << 20)
    with pytest.raises(HeaderError, match="larger than 64 MiB"):
        read_with(64 << 20)


def test_a_file_that_becomes_shorter_while_it_is_read_is_refused() -> None:
    data = header([ARCHITECTURE, entry("a.b", "x" * (2 << 20))])
    with pytest.raises(HeaderError, match="became shorter"):
        gguf.read_header(lambda offset, size: data[offset : offset + size - 1], len(data))


def test_a_header_cut_anywhere_is_refused() -> None:
    infos = [tensor("a", (40,)), tensor("b", (3,), headers.F32, 160)]
    entries = [
        ARCHITECTURE,
        entry("llama.block_count", 2),
        entry("a.strings", ["one", "two"]),
        entry("a.numbers", [1, 2, 3]),
        entry(gguf.TOKENS, ["a", "b"]),
    ]
    whole = padded(header(entries, infos)) + bytes(160 + 12)
    gguf_rules.check(read(whole))
    for length in range(len(whole)):
        with pytest.raises(HeaderError):
            gguf_rules.check(read(whole[:length]))


@pytest.mark.parametrize(
    ("raw", "shown"),
    [
        (b"plain", "'plain'"),
        (b"\x1b[31mred\n\0", "'\\x1b[31mred\\n\\x00'"),
        (b"x" * 60, f"'{'x' * 60}'"),
        (b"x" * 61, f"'{'x' * 60}'…"),
    ],
)
def test_bytes_from_a_file_are_shown_escaped_and_short(raw: bytes, shown: str) -> None:
    assert gguf.printable(raw) == shown


# --- Reading in part ------------------------------------------------------------------------


def first(data: bytes, limit: int) -> Header:
    """What is read when no more than the first bytes may be."""

    def fetch(offset: int, size: int) -> bytes:
        if offset >= limit:
            raise PartialRead
        return data[offset : min(offset + size, limit)].ljust(size, b"\0")

    return gguf.read_header(fetch, len(data))


def test_what_came_before_a_partial_read_is_kept() -> None:
    long = entry("a.long", "x" * (2 << 20))
    data = padded(header([ARCHITECTURE, long, entry("a.late", 1)], [tensor("a")])) + bytes(128)
    found = first(data, gguf.FIRST_WINDOW)
    assert not found.complete
    assert list(found.metadata) == ["general.architecture"]
    assert found.tensors == ()
    gguf_rules.check(found)
    assert first(data, len(data)).complete


def test_the_first_mebibyte_of_a_real_model_says_what_it_is(tmp_path: Path) -> None:
    path = headers.write_model(tmp_path / "model.gguf", "llama-3.2-1b")
    with path.open("rb") as file:
        found = first(file.read(4 << 20), gguf.FIRST_WINDOW)
    gguf_rules.check(found)
    assert not found.complete
    assert (found.architecture, found.parameter("block_count")) == ("llama", 16)
    assert found.vocabulary == 128256


def test_without_a_preamble_there_is_nothing_to_keep() -> None:
    with pytest.raises(PartialRead):
        first(header([ARCHITECTURE]), 0)


# --- What it costs --------------------------------------------------------------------------


def peak_of_reading(path: Path) -> int:
    tracemalloc.start()
    try:
        with pytest.raises(HeaderError):
            read_file(path)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    ("key", "kind", "count", "hole"),
    [
        (LAST, ValueType.UINT8, 2**40, 0),
        (LAST, ValueType.FLOAT64, 2**40, 0),
        (LAST, ValueType.STRING, 2**40, 0),
        (gguf.TOKENS, ValueType.STRING, 2**40, 0),
        # In a hole of 64 GiB there is room for what is announced.
        (LAST, ValueType.UINT8, 2**35, 2**36),
        (LAST, ValueType.FLOAT64, 2**32, 2**36),
        (gguf.TOKENS, ValueType.STRING, 2**32, 2**36),
    ],
)
def test_an_announced_length_takes_no_memory(
    key: str, kind: ValueType, count: int, hole: int, tmp_path: Path
) -> None:
    path = tmp_path / "model.gguf"
    data = header([raw_entry(key, ValueType.ARRAY, struct.pack("<IQ", kind, count))])
    path.write_bytes(data.ljust(200, b"\0"))
    os.truncate(path, 200 + hole)
    assert peak_of_reading(path) < 4 << 20


@pytest.mark.parametrize("size", [2**40, 2**63])
def test_an_announced_string_takes_no_memory(size: int, tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    path.write_bytes(header([raw_entry(LAST, ValueType.STRING, string("", size))]))
    assert peak_of_reading(path) < 4 << 20


def test_a_vocabulary_of_128256_tokens_is_read_in_no_time(tmp_path: Path) -> None:
    """The aim is 0.15 s; the bound leaves room for a slow computer that is busy."""
    path = headers.write_model(tmp_path / "model.gguf", "llama-3.2-1b", merges=280_147)
    best = 10.0
    for _ in range(3):
        start = time.process_time()
        gguf_rules.check(read_file(path))
        best = min(best, time.process_time() - start)
    assert best < 0.5


# --- Anything at all ------------------------------------------------------------------------


def readable(data: bytes) -> bool:
    """Whether a header is accepted. Anything but a `HeaderError` is a fault."""
    try:
        gguf_rules.check(read(data))
    except HeaderError:
        return False
    return True


SMALL_MODEL = header(
    [
        ARCHITECTURE,
        entry("general.name", "A name"),
        entry("general.tags", ["one", "two"]),
        entry("llama.block_count", 2),
        entry("llama.attention.head_count_kv", [2, 2]),
        entry("llama.attention.layer_norm_rms_epsilon", 0.5),
        entry("llama.rope.scaling.type", "yarn"),
        entry("llama.expert_count", 4),
        entry("llama.expert_used_count", 2),
        entry("split.no", Entry(ValueType.UINT16, 0)),
        entry("split.count", Entry(ValueType.UINT16, 1)),
        entry("general.alignment", 32),
        entry("tokenizer.ggml.model", "gpt2"),
        entry(gguf.TOKENS, ["<unk>", "a", "b"]),
        entry("tokenizer.ggml.scores", [0.0, 1.0, 2.0]),
        entry("tokenizer.ggml.bos_token_id", 1),
    ],
    [tensor("a", (64, 2), headers.Q8_0), tensor("rope_freqs.weight", (3,), headers.F32, 160)],
)
SMALL_MODEL = padded(SMALL_MODEL) + bytes(192)

Edit = tuple[str, float, bytes]
edits = st.lists(
    st.tuples(
        st.sampled_from(["flip", "replace", "insert", "delete", "repeat"]),
        st.floats(0, 1),
        st.binary(min_size=1, max_size=12),
    ),
    min_size=1,
    max_size=4,
)


def edited(data: bytes, changes: list[Edit]) -> bytes:
    for what, where, content in changes:
        place = int(where * len(data))
        rest = data[place:]
        if what == "flip":
            mask = int.from_bytes(content, "little")
            end = place + len(content)
            number = int.from_bytes(data[place:end].ljust(len(content), b"\0"), "little") ^ mask
            rest = number.to_bytes(len(content), "little") + data[end:]
        elif what == "replace":
            rest = content + rest[len(content) :]
        elif what == "insert":
            rest = content + rest
        elif what == "delete":
            rest = rest[len(content) :]
        else:
            rest = rest[: 8 * len(content)] + rest
        data = data[:place] + rest
    return data


@settings(max_examples=400, deadline=None)
@given(changes=edits)
@example(changes=[])
def test_whatever_is_done_to_a_header_it_is_read_or_refused(changes: list[Edit]) -> None:
    accepted = readable(edited(SMALL_MODEL, changes))
    assert accepted or changes


@settings(max_examples=100, deadline=None)
@given(data=st.binary(max_size=200))
def test_any_bytes_after_the_magic_are_read_or_refused(data: bytes) -> None:
    readable(b"GGUF" + data)
    readable(b"GGUF" + struct.pack("<IQQ", 3, 1, 2) + data)


def test_whatever_field_is_damaged_the_header_is_read_or_refused() -> None:
    """Some of a thousand mutants survive; none of them breaks the reader."""
    end = read(SMALL_MODEL).data_offset
    outcomes = [
        readable(mutant.data + bytes(192))
        for mutant in mutations.mutants(SMALL_MODEL[:end], seed=1, count=1000)
    ]
    assert 50 < sum(outcomes) < 950


def test_the_same_seed_damages_in_the_same_way() -> None:
    assert mutations.mutate(SMALL_MODEL, 7) == mutations.mutate(SMALL_MODEL, 7)
    assert mutations.mutate(SMALL_MODEL, 7) != mutations.mutate(SMALL_MODEL, 8)


def test_every_byte_of_a_header_is_part_of_a_field() -> None:
    covered: set[int] = set()
    for field in mutations.fields(SMALL_MODEL):
        covered.update(range(field.start, field.end))
    assert covered == set(range(len(SMALL_MODEL)))


def test_scalars_are_written_in_little_endian() -> None:
    """The writer of these tests, against the format's own words."""
    assert scalar(ValueType.UINT32, 258) == b"\x02\x01\x00\x00"
    assert string("ab") == b"\x02\0\0\0\0\0\0\0ab"
