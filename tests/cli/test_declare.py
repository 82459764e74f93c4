"""`launcher declare`, the declaration's file, and what happens when it is not right."""

from __future__ import annotations

import stat
import tomllib

import pytest

from launcher.paths import Places
from tests.command import Here, launcher

GOOD = """\
schema = 1
as = "individual"
domicile = ["DE"]
place_of_use = ["DE"]
role = "licensee"
"""


def write(folders: Places, text: str) -> None:
    folders.config.mkdir(parents=True, exist_ok=True)
    folders.declaration.write_text(text, encoding="utf-8")


def test_a_declaration_is_kept_for_this_user_alone(here: Here, folders: Places) -> None:
    assert here("declare", "--as", "individual:DE").code == 0
    assert stat.S_IMODE(folders.declaration.stat().st_mode) == 0o600
    kept = tomllib.loads(folders.declaration.read_text(encoding="utf-8"))
    assert kept["schema"] == 1
    assert (kept["as"], kept["domicile"], kept["place_of_use"]) == ("individual", ["DE"], ["DE"])
    assert kept["declared_by"] == "option"
    assert kept["text_shown"].startswith("sha256:")
    assert here("check", "smollm2:135m").code == 0


def test_it_says_where_it_is_kept_and_that_it_is_never_sent(here: Here, folders: Places) -> None:
    said = here("declare", "--as", "company:US,DE").err
    assert str(folders.declaration) in said
    assert "never sent anywhere" in said
    assert "Germany (DE)" in said


def test_without_a_terminal_it_names_the_exact_command(here: Here, folders: Places) -> None:
    result = launcher("declare")
    assert result.code == 4
    assert "declare --as individual:COUNTRY" in result.err
    assert not folders.declaration.exists()


@pytest.mark.parametrize("variable", ["CI", "YES", "DEBIAN_FRONTEND"])
def test_variables_of_automation_declare_nothing(variable: str) -> None:
    result = launcher("run", "smollm2:135m", "hi", variables={variable: "true"})
    assert result.code == 4


def test_single_facts_are_added_to_what_is_declared(here: Here, folders: Places) -> None:
    here("declare", "--as", "company:FR")
    here("declare", "--commercial", "no", "--annual-revenue-usd", "5000")
    kept = tomllib.loads(folders.declaration.read_text(encoding="utf-8"))
    assert (kept["commercial"], kept["annual_revenue_usd"]) == (False, 5000)
    assert (kept["as"], kept["domicile"]) == ("company", ["FR"])


def test_show_prints_what_is_in_force(here: Here) -> None:
    assert here("declare", "--show").code == 4
    here("declare", "--as", "individual:EL")
    assert "Greece (GR)" in here("declare", "--show").out
    assert here("declare", "--show", "--json").body["domicile"] == ["GR"]


def test_withdraw_removes_it(here: Here, folders: Places) -> None:
    here("declare", "--as", "individual:DE")
    assert here("declare", "--withdraw").code == 0
    assert not folders.declaration.exists()
    assert here("declare", "--withdraw").code == 4


def test_the_variable_declares_for_one_run(here: Here, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAUNCHER_AS", "individual:DE")
    body = here("check", "smollm2:135m", "--json").body
    assert body["declaration"]["source"] == "variable"
    assert here("check", "llama4:scout").code == 3
    monkeypatch.setenv("LAUNCHER_AS", "individual:EU")
    result = here("check", "smollm2:135m")
    assert result.code == 4
    assert "LAUNCHER_AS" in result.err


BROKEN = {
    "half written": ('schema = 1\nas = "indiv', "not valid TOML"),
    "empty": ("", "'schema'"),
    "unknown key": (GOOD + 'domicil = ["DE"]\n', "'domicil'"),
    "unknown country": (GOOD.replace('["DE"]\nplace', '["EU"]\nplace'), "'domicile'"),
    "no country": (GOOD.replace('domicile = ["DE"]', "domicile = []"), "'domicile'"),
    "another schema": (GOOD.replace("schema = 1", "schema = 2"), "'schema'"),
    "another person": (GOOD.replace("individual", "robot"), "'as'"),
    "a number for text": (GOOD.replace('"licensee"', "3"), "'role'"),
    "negative users": (GOOD + "monthly_active_users = -1\n", "'monthly_active_users'"),
    "truth for a number": (GOOD + "monthly_active_users = true\n", "'monthly_active_users'"),
    "unknown answer": (GOOD + '[answers]\n"weather" = "fine"\n', "weather"),
    "wrong word": (GOOD + '[answers]\n"territory-arguable:NC" = "maybe"\n', "maybe"),
    "two faults": (GOOD + "a = 1\nb = 2\n", "'b'"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_declaration_ends_with_4_and_is_left_alone(
    here: Here, folders: Places, name: str
) -> None:
    text, named = BROKEN[name]
    write(folders, text)
    for arguments in (
        ("check", "smollm2:135m"),
        ("run", "smollm2:135m", "hi"),
        ("declare", "--as", "individual:US"),
        ("list",),
    ):
        result = here(*arguments)
        if arguments[0] != "list":
            assert result.code == 4, (arguments, result)
            assert str(folders.declaration) in result.err
            assert named in result.err
        assert folders.declaration.read_text(encoding="utf-8") == text


def test_all_faults_of_a_file_are_named_at_once(here: Here, folders: Places) -> None:
    write(folders, GOOD.replace('"individual"', '"robot"') + "a = 1\nb = 2\n")
    said = here("check", "smollm2:135m").err
    for key in ("'as'", "'a'", "'b'"):
        assert key in said


@pytest.mark.parametrize("kind", ["folder", "binary", "huge"])
def test_what_is_no_declaration_at_all_ends_with_4(here: Here, folders: Places, kind: str) -> None:
    folders.config.mkdir(parents=True)
    if kind == "folder":
        folders.declaration.mkdir()
    else:
        data = b"\xff\xfe\x00" if kind == "binary" else b"#" * 200_000
        folders.declaration.write_bytes(data)
    assert here("check", "smollm2:135m").code == 4


def test_the_option_counts_for_one_run_over_the_file(here: Here, folders: Places) -> None:
    write(folders, GOOD)
    assert here("check", "llama4:scout").code == 3
    assert here("check", "llama4:scout", "--as", "individual:US").code == 4
    assert here("check", "llama4:scout").code == 3


def test_place_of_use_may_differ_for_one_run(here: Here, folders: Places) -> None:
    write(folders, GOOD)
    body = here("check", "smollm2:135m", "--use-in", "KR", "--json").body
    assert body["declaration"]["domicile"] == ["DE"]
    assert body["declaration"]["place_of_use"] == ["KR"]
