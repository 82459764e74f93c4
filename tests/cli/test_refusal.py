"""A refusal as it is read: on a terminal, in a pipe, and as an object."""

from __future__ import annotations

import re
import shlex
import sys
from pathlib import Path

import pytest

from launcher.cli import render
from launcher.paths import Places
from tests.command import Here, Result, launcher
from tests.headers import statements, write_model
from tests.terminal import Start

COMMAND = f"{shlex.quote(sys.executable)} -m launcher"
QUOTE = (
    "With respect to any multimodal models included in Llama 4, the rights granted under Section "
    "1(a) of the Llama 4 Community License Agreement are not being granted to you if you are an "
    "individual domiciled in, or a company with a principal place of business in, the European "
    "Union."
)


@pytest.fixture
def declared(here: Here, folders: Places) -> Path:
    """A declaration in a file, its domicile in line 3."""
    assert here("declare", "--as", "individual:DE").code == 0
    assert folders.declaration.read_text().splitlines()[2] == 'domicile = ["DE"]'
    return folders.declaration


def plain(result: Result) -> str:
    return result.out.replace(COMMAND, "launcher")


def test_in_a_pipe_it_is_whole_lines_with_the_place_of_what_was_declared(declared: Path) -> None:
    lines = plain(launcher("check", "llama4:scout")).splitlines()
    assert f"  Declared: a private person, Germany (DE) [{declared}:3]" in lines
    assert f"    “{QUOTE}”" in lines
    assert "\x1b" not in "".join(lines)
    assert not [line for line in lines if "^^^" in line]


def test_the_object_has_all_that_is_shown(here: Here, declared: Path, tmp_path: Path) -> None:
    path = write_model(tmp_path / "m.gguf", "llama-4-scout", metadata=statements(license="mit"))
    body = here("check", path, "--json").body
    (reason,) = body["reasons"]
    assert reason["quote"] == QUOTE
    assert reason["clause"] == "last paragraph before the reporting addresses"
    assert reason["document"] == "Llama 4 Acceptable Use Policy"
    assert re.fullmatch(r"[0-9a-f]{64}", reason["sha256"])
    assert reason["declared"] == {
        "key": "domicile",
        "source": "user",
        "file": str(declared),
        "line": 3,
    }
    seen = {claim["source"]: claim["value"] for claim in body["model"]["evidence"]}
    assert seen["gguf:general.architecture"] == "llama4"
    assert seen["gguf:general.license"] == "mit"
    assert (body["exit_code"], len(body["remedies"])) == (3, 2)
    text = here("check", path).out
    for value in (reason["text"], reason["quote"], reason["source"], reason["sha256"][:16]):
        assert value in text
    for source, value in seen.items():
        assert f"{source} = {value}" in text
    for remedy in body["remedies"]:
        assert render.pasteable(remedy) in text


@pytest.mark.parametrize(
    ("text", "model", "place"),
    [
        ('domicile = ["KR"]\nas = "company"\n', "hunyuan:7b", ("domicile", 2)),
        ('as = "company"\ndomicile = ["US"]\n  place_of_use=[ "KR" ] # Seoul\n', "hunyuan:7b",
         ("place_of_use", 4)),
        ('as = "company"\ndomicile = ["US"]\n\nmonthly_active_users = 800_000_000\n',
         "llama3.2:1b", ("monthly_active_users", 5)),
        ('as = "company"\n"domicile" = ["DE"]\n', "llama4:scout", None),
    ],
)  # fmt: skip
def test_the_line_is_that_of_what_the_reason_turns_on(
    here: Here, folders: Places, text: str, model: str, place: tuple[str, int] | None
) -> None:
    folders.config.mkdir(parents=True)
    folders.declaration.write_text(f"schema = 1\n{text}")
    result = here("check", model, "--json")
    assert result.code == 3
    said = result.body["reasons"][0]["declared"]
    assert (said["key"], said.get("line")) == (place or ("domicile", None))


def test_what_is_stated_for_one_run_has_no_line(here: Here, declared: Path) -> None:
    body = here("check", "llama4:scout", "--as", "individual:FR", "--json").body
    assert body["reasons"][0]["declared"] == {"key": "domicile", "source": "option"}


def test_on_a_terminal_it_is_folded_and_underlined(declared: Path, terminal: Start) -> None:
    screen = terminal("check", "llama4:scout")
    seen = screen.expect("More:").replace("\r\n", "\n")
    lines = re.sub(r"\x1b\[\d*m", "", seen).splitlines()
    assert lines[0] == "Refused: Llama 4 Scout Instruct (llama-eu-multimodal)"
    start = lines.index(f"   --> {declared}:3")
    assert lines[start + 1 : start + 3] == ['  3 | domicile = ["DE"]', "    |            ^^^^^^"]
    prose = [line for line in lines if COMMAND not in line and str(declared) not in line]
    assert max(map(len, prose)) <= 80
    assert screen.end() == 3


def test_without_colour_nothing_is_lost(
    declared: Path, terminal: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    screens = []
    for value in ("", "1"):
        monkeypatch.setenv("NO_COLOR", value)
        screens.append(terminal("check", "llama4:scout").expect("More:"))
    assert "\x1b[1m" in screens[0]
    assert "\x1b" not in screens[1]
    assert re.sub(r"\x1b\[\d*m", "", screens[0]) == screens[1]


def test_a_refused_run_says_the_same_on_standard_error(declared: Path) -> None:
    checked = launcher("check", "llama4:scout")
    run = launcher("run", "llama4:scout", "hi")
    assert (run.code, run.out) == (3, "")
    assert run.err == checked.out
