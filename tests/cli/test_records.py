"""`launcher records`: what is shown of them, and what verifying them finds."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from launcher.paths import Places
from tests.command import Here
from tests.headers import SMALL, write_model

WHO = ("--as", "individual:DE")


@pytest.fixture
def history(here: Here, folders: Places, tmp_path: Path) -> list[str]:
    """One record of every kind that needs no engine; their lines."""
    path = write_model(tmp_path / "model.gguf", SMALL)
    here("declare", *WHO)
    here("licences", "accept", "llama3.2")
    here("licences", "accept", "gemma", "--reject")
    here("identify", path, "--licence", "mit", "--reason", "made it myself")
    here("run", "llama4:scout", "hi")
    here("run", "gemma2:2b", "hi")
    here("identify", path, "--withdraw")
    here("declare", "--withdraw")
    return folders.records.read_text().splitlines()


KINDS = ["declaration", "acceptance", "acceptance", "identification", "decision"]
KINDS += ["decision", "identification", "declaration"]


@pytest.mark.usefixtures("history")
def test_every_kind_is_listed_with_what_it_is_about(here: Here) -> None:
    lines = here("records", "list").out.splitlines()[1:]
    assert [line.split()[2] for line in lines] == KINDS
    shown = [" ".join(line.split()[3:]) for line in lines]
    assert shown[0] == "individual:DE"
    assert shown[1:3] == ["accepted llama3.2", "rejected gemma"]
    assert shown[3].endswith(" mit")
    assert shown[4] == "refuse llama4:scout (llama-eu-multimodal)"
    assert shown[7] == "withdrawn"


def test_a_refusal_is_recorded_with_what_it_rests_on(here: Here, history: list[str]) -> None:
    record = json.loads(history[4])
    assert (record["verdict"], record["code"]) == ("refuse", "llama-eu-multimodal")
    assert record["declaration"]["domicile"] == ["DE"]
    assert record["declaration"]["source"] == "user"
    assert set(record["policy"]) == {"version", "sha256", "highest"}
    assert record["evidence"]
    assert record["notes"] == []


def test_checking_records_nothing(here: Here, folders: Places) -> None:
    assert here("check", "llama4:scout", *WHO).code == 3
    assert not folders.records.exists()


def test_the_last_ones_can_be_asked_for(here: Here, history: list[str]) -> None:
    body = here("records", "list", "-n", "2", "--json").body
    assert body["records"] == [json.loads(line) for line in history[-2:]]


def test_all_of_them_can_be_exported(here: Here, history: list[str]) -> None:
    body = here("records", "export").body
    assert body["records"] == [json.loads(line) for line in history]
    assert body["head"] == here("records", "verify", "--json").body["head"]


def test_no_records_are_no_fault(here: Here) -> None:
    assert here("records", "verify", "--json").body == {
        "schema": 1,
        "records": 0,
        "head": "",
        "torn": False,
        "clock_set_back": 0,
    }
    assert here("records", "export").body["records"] == []


def edited(lines: list[str], how: str) -> list[str]:
    ways: dict[str, Any] = {
        "one changed": [*lines[:2], lines[2].replace("gemma", "llama4"), *lines[3:]],
        "one lost": [*lines[:2], *lines[3:]],
        "one twice": [*lines[:3], *lines[2:]],
        "two swapped": [*lines[:2], lines[3], lines[2], *lines[4:]],
        "the first lost": lines[1:],
        "one that is none": [*lines[:2], "hello", *lines[2:]],
        "the last changed": [*lines[:-1], lines[-1].replace("declaration", "declamation", 1)],
    }
    found: list[str] = ways[how]
    return found


HOW = ["one changed", "one lost", "one twice", "two swapped", "the first lost"]
HOW += ["one that is none", "the last changed"]


@pytest.mark.parametrize("how", HOW)
def test_a_chain_that_was_tampered_with_shows(
    here: Here, folders: Places, history: list[str], how: str
) -> None:
    assert here("records", "verify").code == 0
    folders.records.write_text("\n".join(edited(history, how)) + "\n")
    for verb in ("verify", "export"):
        result = here("records", verb)
        assert result.code == 6
        assert "line" in result.err


def test_a_head_from_before_is_found_as_long_as_its_record_is_there(
    here: Here, folders: Places, history: list[str]
) -> None:
    head = here("records", "verify", "--json").body["head"]
    here("declare", *WHO)
    assert here("records", "verify", "--anchor", head).code == 0
    folders.records.write_text("\n".join(history[:-1]) + "\n")
    assert here("records", "verify").code == 0
    gone = here("records", "verify", "--anchor", head)
    assert gone.code == 6
    assert head in gone.err
    folders.records.unlink()
    assert here("records", "verify", "--anchor", head).code == 6


def test_records_go_on_in_a_new_file_and_stay_one_chain(here: Here, folders: Places) -> None:
    folders.config.mkdir(parents=True)
    (folders.config / "settings.toml").write_text("records_size = 4096\n")
    for code in ("DE", "FR", "US", "GB", "NO", "CH", "KR", "JP") * 2:
        assert here("declare", "--as", f"individual:{code}").code == 0
    files = sorted(folders.state.glob("records*.jsonl"))
    assert len(files) > 2
    assert max(path.stat().st_size for path in files) <= 4096
    assert here("records", "verify", "--json").body["records"] == 16
    exported = here("records", "export", "--json").body["records"]
    assert [record["number"] for record in exported] == list(range(16))
    assert len(here("records", "list", "-n", "5").out.splitlines()) == 6
    files[1].unlink()
    assert here("records", "verify").code == 6
