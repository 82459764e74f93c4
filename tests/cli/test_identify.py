"""`launcher identify`: a person's statement on exactly these bytes, and how far it goes."""

from __future__ import annotations

import json
import os
import stat
import tomllib
from pathlib import Path
from typing import Any

import pytest

from launcher.paths import Places
from tests.command import Here, launcher
from tests.headers import SMALL, statements, write_model
from tests.terminal import Start

WHO = ("--as", "individual:DE")
WHY = ("--reason", "converted it from the release myself")
MOBILE = "mobilellm-r1"


@pytest.fixture
def mobile(tmp_path: Path) -> Path:
    """A small file of an architecture that Llama 4 has, too."""
    return write_model(tmp_path / "a mobile.gguf", "mobilellm-r1-140m")


def candidates(here: Here, path: Path) -> list[str]:
    found: list[str] = here("check", path, *WHO, "--json").body["model"]["candidates"]
    return found


def test_a_statement_settles_what_the_structure_leaves_open(
    here: Here, folders: Places, mobile: Path
) -> None:
    assert candidates(here, mobile) == ["llama-4", MOBILE]
    result = here("identify", mobile, "--family", MOBILE, *WHY, "--by", "A. Person", "--json")
    assert result.code == 0
    body = here("check", mobile, *WHO, "--json").body
    assert body["model"]["candidates"] == [MOBILE]
    said = body["model"]["evidence"][0]
    assert said["kind"] == "identification"
    assert "by A. Person: converted it from the release myself" in said["value"]
    (kept,) = tomllib.loads(folders.identifications.read_text())["identification"]
    assert kept["sha256"] == result.body["sha256"]
    assert stat.S_IMODE(folders.identifications.stat().st_mode) == 0o600


def test_it_is_shown_in_every_decision_and_recorded(
    here: Here, folders: Places, mobile: Path
) -> None:
    here("identify", mobile, "--family", MOBILE, *WHY)
    assert "converted it from the release myself" in here("check", mobile, *WHO).out
    (record,) = map(json.loads, folders.records.read_text().splitlines())
    assert (record["kind"], record["family"]) == ("identification", MOBILE)


def test_a_file_of_the_same_name_and_size_is_not_meant_by_it(here: Here, mobile: Path) -> None:
    here("identify", mobile, "--family", MOBILE, *WHY)
    assert candidates(here, mobile) == [MOBILE]
    before = mobile.stat()
    with mobile.open("r+b") as stream:
        stream.seek(-9, os.SEEK_END)
        stream.write(b"\1")
    os.utime(mobile, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert mobile.stat().st_size == before.st_size
    assert candidates(here, mobile) == ["llama-4", MOBILE]


def test_a_copy_of_the_same_bytes_is_meant_by_it(here: Here, mobile: Path, tmp_path: Path) -> None:
    here("identify", mobile, "--family", MOBILE, *WHY)
    copy = write_model(tmp_path / "copy.gguf", "mobilellm-r1-140m")
    assert candidates(here, copy) == [MOBILE]


def test_it_can_be_taken_back(here: Here, folders: Places, mobile: Path) -> None:
    here("identify", mobile, "--family", MOBILE, *WHY)
    assert here("identify", mobile, "--withdraw").code == 0
    assert candidates(here, mobile) == ["llama-4", MOBILE]
    assert here("identify", mobile, "--withdraw").code == 10
    kinds = [json.loads(line) for line in folders.records.read_text().splitlines()]
    assert [record.get("withdrawn", False) for record in kinds] == [False, True]


def test_the_last_statement_on_a_file_counts(here: Here, folders: Places, mobile: Path) -> None:
    for family in (MOBILE, "llama-4"):
        here("identify", mobile, "--family", family, *WHY)
    assert candidates(here, mobile) == ["llama-4"]
    assert len(tomllib.loads(folders.identifications.read_text())["identification"]) == 1


def test_a_family_of_another_architecture_cannot_be_stated(
    here: Here, folders: Places, tmp_path: Path
) -> None:
    path = write_model(tmp_path / "m.gguf", SMALL, architecture="llama4")
    result = here("identify", path, "--family", "smollm2", *WHY)
    assert result.code == 6
    assert "llama4" in result.err
    assert not folders.identifications.exists()


def test_a_statement_by_hand_on_another_architecture_settles_nothing(
    here: Here, folders: Places, tmp_path: Path
) -> None:
    path = write_model(tmp_path / "m.gguf", SMALL, architecture="llama4")
    digest = here("identify", path, "--family", "llama-4", *WHY, "--json").body["sha256"]
    folders.identifications.write_text(
        f'schema = 1\n[[identification]]\nsha256 = "{digest}"\nfamily = "smollm2"\nreason = "x"\n'
    )
    assert here("check", path, *WHO).code == 3


def test_a_licence_alone_takes_no_family_out(here: Here, mobile: Path) -> None:
    assert here("identify", mobile, "--licence", "mit", *WHY).code == 0
    assert candidates(here, mobile) == ["llama-4", MOBILE]
    assert here("check", mobile, *WHO).code == 5


def test_a_licence_is_enough_where_no_family_fits(here: Here, tmp_path: Path) -> None:
    path = write_model(tmp_path / "m.gguf", SMALL, metadata=statements(license="my-own-licence"))
    assert here("check", path, *WHO).code == 5
    assert here("identify", path, "--license", "Apache 2.0", *WHY).code == 0
    body = here("check", path, *WHO, "--json").body
    assert (body["verdict"], body["model"]["licence"]) == ("allow", "apache-2.0")


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        ((), 4),
        (("--family", MOBILE), 4),
        (("--family", MOBILE, "--reason", " "), 4),
        (("--family", MOBILE, "--licence", "mit", *WHY), 4),
        (("--family", "no-such-family", *WHY), 10),
        (("--licence", "no-such-licence", *WHY), 10),
    ],
)
def test_half_a_statement_is_none(
    folders: Places, mobile: Path, arguments: tuple[str, ...], code: int
) -> None:
    result = launcher("identify", mobile, *arguments)
    assert result.code == code
    assert not folders.identifications.exists()


def test_without_a_terminal_it_names_commands_that_work(mobile: Path) -> None:
    error = launcher("identify", mobile, "--json").body["error"]
    assert len(error["commands"]) == 2
    assert all(f"'{mobile}'" in command for command in error["commands"])


def test_on_a_terminal_it_asks_which_and_why(
    here: Here, folders: Places, mobile: Path, terminal: Start
) -> None:
    screen = terminal("identify", str(mobile))
    screen.expect("2  MobileLLM-R1")
    screen.expect("Which is it?")
    screen.type("2\n")
    screen.expect("How do you know?")
    screen.type("from its makers\n")
    assert screen.end() == 0
    (kept,) = tomllib.loads(folders.identifications.read_text())["identification"]
    assert (kept["family"], kept["reason"]) == (MOBILE, "from its makers")


def test_what_is_not_here_cannot_be_identified(here: Here) -> None:
    result = here("identify", "llama4:scout", "--family", "llama-4", *WHY)
    assert result.code == 10


BROKEN = {
    "half written": ('schema = 1\n[[identification]]\nsha256 = "', "not valid TOML"),
    "both": (
        '[[identification]]\nsha256 = "a"\nfamily = "x"\nlicence = "y"\nreason = "z"\n',
        "exactly one",
    ),
    "no reason": ('[[identification]]\nsha256 = "a"\nfamily = "x"\n', "'reason'"),
    "unknown key": ("schema = 1\nhurry = true\n", "'hurry'"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_file_of_statements_ends_with_4_and_is_left_alone(
    here: Here, folders: Places, name: str, mobile: Path
) -> None:
    text, named = BROKEN[name]
    folders.config.mkdir(parents=True)
    folders.identifications.write_text(text)
    calls: list[tuple[Any, ...]] = [
        ("check", "smollm2:135m", *WHO),
        ("identify", mobile, "--family", MOBILE, *WHY),
        ("run", "smollm2:135m", "hi", *WHO),
    ]
    for arguments in calls:
        result = here(*arguments)
        assert result.code == 4, result
        assert str(folders.identifications) in result.err
        assert named in result.err
    assert folders.identifications.read_text() == text
