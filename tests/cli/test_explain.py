"""`launcher explain`: every code that a user can meet is explained, and as the gate says it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from launcher.licensing import policy
from launcher.licensing.decision import gate_reasons
from launcher.licensing.policy import all_rules
from tests.command import Here, launcher
from tests.terminal import Start

ROOT = Path(__file__).resolve().parents[2]
LICENCES = policy.load().licences
RULES = sorted({rule.code for _, rule in all_rules(policy.load())})
DUTIES = sorted({duty.code for licence in LICENCES.values() for duty in licence.duties})


def test_without_a_code_all_reasons_are_listed(here: Here) -> None:
    codes = here("explain", "--json").body
    assert codes == sorted({*gate_reasons(), *RULES})
    assert here("explain").out.splitlines() == codes


@pytest.mark.parametrize("code", gate_reasons())
def test_every_reason_of_the_gate_is_explained(here: Here, code: str) -> None:
    reason = gate_reasons()[code]
    body = here("explain", code, "--json").body
    assert (body["code"], body["effect"]) == (code, str(reason.effect))
    assert body["exit_code"] == int(reason.exit_code)
    text = here("explain", code).out
    assert text.startswith(f"{code} ({reason.effect}, exit code {int(reason.exit_code)})\n")
    assert reason.more in text
    assert not re.search(r"[{}]", text)  # what the gate fills in is shown in capitals


@pytest.mark.parametrize("code", RULES)
def test_every_rule_is_explained_by_each_of_its_clauses(here: Here, code: str) -> None:
    body = here("explain", code, "--json").body
    places = [(licence, rule) for licence, rule in all_rules(policy.load()) if rule.code == code]
    assert [clause["licence"] for clause in body["clauses"]] == [place[0].id for place in places]
    text = here("explain", code).out
    for licence, rule in places:
        assert rule.text in text
        assert rule.quote in text
        assert licence.document(rule.document).url in text


@pytest.mark.parametrize("code", DUTIES)
def test_every_duty_is_explained_and_decides_nothing(here: Here, code: str) -> None:
    body = here("explain", code, "--json").body
    assert body["effect"] == "duty"
    assert "exit_code" not in body
    holders = [
        licence.id for licence in LICENCES.values() for duty in licence.duties if duty.code == code
    ]
    assert [clause["licence"] for clause in body["clauses"]] == holders
    assert here("explain", code).out.startswith(f"{code} (duty)\n")


def test_what_a_code_is_about_may_stand_behind_it(here: Here) -> None:
    assert here("explain", "territory-arguable:NC").out == here("explain", "territory-arguable").out


@pytest.mark.parametrize("code", ["no-such-code", "", ":", "\x1b[31m"])
def test_an_unknown_code_is_not_found(here: Here, code: str) -> None:
    result = here("explain", code)
    assert (result.code, result.out) == (10, "")
    assert "\x1b" not in result.err
    error = here("explain", code, "--json").body["error"]
    assert error["commands"] == ["launcher explain"]


def test_it_reads_like_this() -> None:
    assert launcher("explain", "hub-excludes-you").out == EXPLAINED


EXPLAINED = """\
hub-excludes-you (refuse, exit code 3)

You recorded that REPOSITORY shuts you out.

You answered `applies` to the question whether a repository's gate is meant for you. To change
that, declare another answer with `launcher declare --answer`.
"""


def test_on_a_terminal_it_is_folded(terminal: Start) -> None:
    screen = terminal("explain", "llama-eu-multimodal")
    lines = screen.expect("llama.com/llama4/use-policy").splitlines()
    assert max(map(len, lines)) <= 88


def test_every_code_is_in_the_reasons_of_the_docs() -> None:
    text = (ROOT / "docs" / "reasons.md").read_text(encoding="utf-8")
    assert sorted(re.findall(r"^### (\S+)$", text, re.MULTILINE)) == sorted(
        {*gate_reasons(), *RULES}
    )
