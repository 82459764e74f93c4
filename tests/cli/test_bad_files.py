"""Files that are no models, given as one: one sentence, the right code, nothing loaded."""

from __future__ import annotations

import os
import struct
from collections.abc import Callable
from pathlib import Path

import pytest

from launcher.paths import Places
from tests.command import Here
from tests.headers import entry, statements, write_model

WHO = ("--as", "individual:DE")


def good(path: Path) -> bytes:
    return write_model(path, metadata=statements(license="mit")).read_bytes()


def missing(path: Path) -> None:
    assert not path.exists()


def folder(path: Path) -> None:
    path.mkdir()


def pipe(path: Path) -> None:
    os.mkfifo(path)


def empty(path: Path) -> None:
    path.touch()


def text(path: Path) -> None:
    path.write_text("This is no model.\n" * 100)


def truncated(path: Path) -> None:
    path.write_bytes(good(path)[:2000])


def without_its_weights(path: Path) -> None:
    os.truncate(write_model(path), path.stat().st_size - 100_000)


def lengths_beyond_the_file(path: Path) -> None:
    data = bytearray(good(path))
    struct.pack_into("<Q", data, 24, 1 << 62)  # the length of the first key
    path.write_bytes(data)


def a_key_twice(path: Path) -> None:
    data = bytearray(good(path))
    (count,) = struct.unpack_from("<Q", data, 16)
    struct.pack_into("<Q", data, 16, count + 1)
    path.write_bytes(bytes(data[:24]) + entry("general.architecture", "qwen2") + bytes(data[24:]))


def a_key_with_a_nul(path: Path) -> None:
    data = bytearray(good(path))
    (count,) = struct.unpack_from("<Q", data, 16)
    struct.pack_into("<Q", data, 16, count + 1)
    odd = entry(b"general.architecture\0", "qwen2")
    path.write_bytes(bytes(data[:24]) + odd + bytes(data[24:]))


def big_endian(path: Path) -> None:
    data = bytearray(good(path))
    struct.pack_into(">I", data, 4, 3)
    path.write_bytes(data)


def version_one(path: Path) -> None:
    data = bytearray(good(path))
    struct.pack_into("<I", data, 4, 1)
    path.write_bytes(data)


CASES: dict[Callable[[Path], None], int] = {
    missing: 10,
    folder: 6,
    pipe: 6,
    empty: 6,
    text: 6,
    truncated: 6,
    without_its_weights: 6,
    lengths_beyond_the_file: 6,
    a_key_twice: 6,
    a_key_with_a_nul: 6,
    big_endian: 6,
    version_one: 6,
}


@pytest.mark.parametrize("make", CASES, ids=lambda make: make.__name__)
def test_it_gets_one_sentence_and_nothing_is_loaded(
    make: Callable[[Path], None], here: Here, tmp_path: Path, folders: Places
) -> None:
    path = tmp_path / "model.gguf"
    make(path)
    for verb in (("run", path, "hi"), ("check", path), ("show", path), ("import", path)):
        result = here(*verb, *WHO)
        assert result.code == CASES[make], result.err
        assert result.out == ""
        first, *rest = result.err.splitlines()
        assert first.startswith("Error: ")
        assert str(path) in first
        assert first.endswith(".")
        assert len(rest) <= 3
        assert "Traceback" not in result.err
    assert not folders.records.exists()
    assert not folders.library.exists() or not list(folders.library.iterdir())


def test_other_verbs_say_the_same(here: Here, tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    text(path)
    for verb in (
        ("identify", path, "--family", "llama-3.2", "--reason", "x"),
        ("licences", "duties", path, "-o", tmp_path / "out"),
    ):
        assert here(*verb, *WHO).code == 6, verb
