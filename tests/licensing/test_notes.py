"""What stands out about a load without standing against it."""

from __future__ import annotations

import ast
import inspect
import re
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest

from launcher.licensing import notes
from launcher.licensing.declaration import Declaration, Person, Role
from launcher.licensing.regions import Country

VERSION, SHA256 = "2026-11-21", "aa"
DAY = date.fromisoformat(VERSION)


def declared(**more: Any) -> Declaration:
    germany = (Country("DE"),)
    facts = {"person": Person.INDIVIDUAL, "domicile": germany, "place_of_use": germany}
    return Declaration(**{**facts, "source": "user", "path": "d.toml", **more})


def of_records(
    recent: list[dict[str, Any]], who: Declaration | None = None, computer: str = ""
) -> list[str]:
    found = notes.from_the_records(VERSION, SHA256, who, recent, computer)
    return [note.code for note in found]


@pytest.mark.parametrize(
    ("days", "codes"),
    [
        (-1, ["clock-early"]),
        (0, []),
        (180, []),
        (181, ["policy-old"]),
        (36500, ["policy-old"]),
    ],
)
def test_a_policy_is_old_after_180_days_and_a_clock_early_before_it(
    days: int, codes: list[str]
) -> None:
    found = notes.from_the_clock(VERSION, DAY + timedelta(days=days))
    assert [note.code for note in found] == codes


def policy(version: str, sha256: str = SHA256, highest: str = "") -> dict[str, Any]:
    return {"policy": {"version": version, "sha256": sha256, "highest": highest or version}}


@pytest.mark.parametrize(
    ("recent", "codes"),
    [
        ([], []),
        ([policy(VERSION)], []),
        ([policy("2026-01-01", "bb")], []),
        ([policy(VERSION, "bb")], ["policy-changed"]),
        ([policy(VERSION, "bb"), policy(VERSION)], []),
        ([policy("2027-01-01")], ["policy-older-than-before"]),
        ([policy(VERSION, SHA256, "2027-01-01")], ["policy-older-than-before"]),
        ([policy("2027-01-01"), {"kind": "load"}], ["policy-older-than-before"]),
    ],
)
def test_a_policy_is_compared_with_the_latest_that_was_used(
    recent: list[dict[str, Any]], codes: list[str]
) -> None:
    assert of_records(recent) == codes


def test_the_latest_policy_is_remembered_though_an_older_one_is_used() -> None:
    assert notes.highest_policy(VERSION, []) == VERSION
    assert notes.highest_policy(VERSION, [policy("2026-01-01")]) == VERSION
    assert notes.highest_policy(VERSION, [policy("2026-01-01", "b", "2027-01-01")]) == "2027-01-01"


def recorded(who: Declaration, source: str = "user") -> dict[str, Any]:
    return {"declaration": {"sha256": who.sha256, "source": source}}


OTHER = declared(domicile=(Country("US"),))


@pytest.mark.parametrize(
    ("recent", "codes"),
    [
        ([], ["declaration-not-made-here"]),
        ([{"declaration": None}], ["declaration-not-made-here"]),
        ([recorded(declared(), "option")], ["declaration-not-made-here"]),
        ([recorded(declared(), "")], []),
        ([recorded(declared())], []),
        ([recorded(OTHER)], ["declaration-changed"]),
        ([recorded(declared()), recorded(OTHER)], ["declaration-changed"]),
        ([recorded(OTHER), recorded(declared())], []),
        ([recorded(declared()), recorded(OTHER, "option")], []),
    ],
)
def test_a_declaration_is_compared_with_the_one_recorded_last(
    recent: list[dict[str, Any]], codes: list[str]
) -> None:
    assert of_records(recent, declared()) == codes


@pytest.mark.parametrize("source", ["option", "variable", "site"])
def test_only_the_users_own_file_can_have_been_changed(source: str) -> None:
    assert of_records([recorded(OTHER)], declared(source=source)) == []


def test_a_provisioned_declaration_need_not_have_been_made_here() -> None:
    assert of_records([], declared(declared_by="provisioned")) == []


def test_an_end_user_is_always_told_what_is_stated() -> None:
    who = declared(source="option", role=Role.END_USER, product="Kiosk", supplied_by="Example")
    (note,) = notes.from_the_records(VERSION, SHA256, who, [], "")
    assert note.code == "end-user-stated"
    assert "Kiosk, supplied by Example" in note.text


@pytest.mark.parametrize(
    ("before", "now", "codes"),
    [
        ("a", "a", []),
        ("a", "b", ["another-computer"]),
        ("", "b", []),
        ("a", "", []),
    ],
)
def test_another_computer_is_told_where_both_are_known(
    before: str, now: str, codes: list[str]
) -> None:
    assert of_records([{"computer": before}], computer=now) == codes


def test_what_is_declared_has_one_digest_wherever_it_stands() -> None:
    one = declared(domicile=(Country("DE"), Country("US")))
    same = declared(
        domicile=(Country("US"), Country("DE")), source="site", path="x", declared_at="now"
    )
    assert one.sha256 == same.sha256
    changes: list[dict[str, Any]] = [
        {"person": Person.COMPANY},
        {"domicile": (Country("US"),)},
        {"place_of_use": (Country("US"),)},
        {"role": Role.END_USER},
        {"product": "x"},
        {"supplied_by": "x"},
        {"commercial": False},
        {"monthly_active_users": 0},
        {"annual_revenue_usd": 0},
        {"answers": {"territory-arguable:NC": "inside"}},
    ]
    digests = {declared(**change).sha256 for change in changes}
    assert len(digests | {declared().sha256}) == len(changes) + 1


def test_every_note_is_listed_in_the_limits_and_nothing_else_is() -> None:
    """As the code names them: a note is made in one place, with its code in front."""
    made = [
        node.args[0].value
        for node in ast.walk(ast.parse(inspect.getsource(notes)))
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "Note"
        if isinstance(node.args[0], ast.Constant)
    ]
    limits = Path(__file__).resolve().parents[2] / "docs" / "limits.md"
    listed = re.findall(r"^\| `([a-z-]+)` \|", limits.read_text(encoding="utf-8"), re.MULTILINE)
    assert len(made) > 5
    assert sorted(listed) == sorted(str(code) for code in made)
