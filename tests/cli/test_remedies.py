"""What a decision says would help, done: every command is run as it stands, and leads on."""

from __future__ import annotations

import dataclasses
import itertools
import os
import shlex
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from launcher.clearance import Verdict
from launcher.errors import ExitCode
from launcher.licensing import acceptance, declaration, gate, policy
from launcher.licensing.decision import gate_reasons
from launcher.licensing.declaration import Declaration, Person, Role, Stated
from launcher.licensing.gate import Case
from launcher.licensing.regions import Country
from launcher.licensing.remedies import remedies
from launcher.models.bundle import Bundle, Part
from launcher.models.bundle import Role as PartRole
from launcher.models.card import Card, Chain
from launcher.models.identity import identify
from launcher.models.refs import HubRef
from launcher.paths import Places, places
from tests.command import Here, Result, launcher
from tests.headers import SMALL, statements, write_adapter, write_model, write_projector
from tests.licensing.asked import header, identified, known
from tests.oracle.cases import MODELS, Evidence

Files = Callable[[Path], Sequence[object]]
"""Writes the files of a case, and gives what follows `launcher check`."""

GERMANY, NEW_CALEDONIA = ("--as", "individual:DE"), ("--as", "individual:NC")
WORDS = {"COUNTRY": "DE", "LICENCE": "mit", "REASON": "made it myself", "NUMBER": "5"}


def named(name: str, *options: object) -> Files:
    return lambda folder: (name, *options)


def small(**said: Any) -> Files:
    return lambda folder: (write_model(folder / "a model.gguf", metadata=statements(**said)),)


def with_adapter(**said: Any) -> Files:
    def files(folder: Path) -> Sequence[object]:
        model = write_model(folder / "model.gguf", SMALL, metadata=statements(license="mit"))
        return model, "--lora", write_adapter(folder / "adapter.bin", SMALL, statements(**said))

    return files


def with_projector(folder: Path) -> Sequence[object]:
    model = write_model(folder / "model.gguf", SMALL, metadata=statements(license="mit"))
    return model, "--mmproj", write_projector(folder / "eye.gguf", "mlp")


def mobile(folder: Path) -> Sequence[object]:
    said = statements(name="MobileLLM R1 140M", license="fair-noncommercial-research-license")
    return (write_model(folder / "m.gguf", "mobilellm-r1-140m", metadata=said),)


# code: what was declared before, and what is checked
ASKED: dict[str, tuple[Sequence[str], Files]] = {
    "declaration-missing": ((), named("smollm2:135m")),
    "acceptance-needed": (GERMANY, named("llama3.2:1b")),
    "acceptance-refused": (GERMANY, named("gemma2:2b")),
    "commercial-use-undeclared": (GERMANY, named("qwen2.5:3b")),
    "territory-arguable": (NEW_CALEDONIA, named("llama4:scout")),
    "rule-unverified": (GERMANY, small(license="minimax-h3")),
    "end-user-incomplete": ((*GERMANY, "--role", "end-user"), named("llama4:scout")),
    "needs-identification": (GERMANY, mobile),
    "unknown-model": (GERMANY, small()),
    "unknown-licence": (GERMANY, small(license="my-own-licence")),
    "kind-of-release-unknown": (GERMANY, small(license="llama3.2")),
}
BESIDE: dict[str, Files] = {
    "an adapter that says nothing": with_adapter(),
    "an adapter of an unknown licence": with_adapter(license="my-own-licence"),
    "an adapter that names only a licence": with_adapter(license="llama3.2"),
    "a projector that says nothing": with_projector,
}
# These cannot come up through the command line: no repository's card is read there, and
# accepting a licence with a limit includes the statement that one is below it.
BY_HAND = {"hub-excludes-region", "monthly-users-undeclared", "annual-revenue-undeclared"}


def homes(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Places]:
    """One empty home after another."""
    for number in itertools.count():
        monkeypatch.setenv("LAUNCHER_HOME", str(folder / f"home {number}"))
        yield places()


def done(remedy: str) -> Result:
    """What becomes of a remedy, its words in capitals replaced."""
    for word, meant in WORDS.items():
        remedy = remedy.replace(word, shlex.quote(meant))
    name, *arguments = shlex.split(remedy)
    assert name == "launcher"
    return launcher(*arguments, "--json") if arguments[0] == "check" else launcher(*arguments)


def codes(result: Result) -> list[str]:
    return [reason["code"].partition(":")[0] for reason in result.body["reasons"]]


def moved_on(before: Result, after: Result) -> bool:
    """Whether at least one point is settled that was open before."""
    return bool({*codes(before)} - {*codes(after)})


def follow_each(
    here: Here,
    fresh: Iterator[Places],
    declared: Sequence[str],
    checked: Sequence[object],
    code: str,
) -> list[str]:
    """Does every remedy from the same start; each must settle something."""

    def begin() -> Result:
        next(fresh)
        if declared:
            assert here("declare", *declared).code == 0
        if code == "acceptance-refused":
            here("licences", "accept", "gemma", "--reject")
        return here("check", *checked, "--json")

    offered: list[str] = begin().body["remedies"]
    assert offered
    for remedy in offered:
        before = begin()
        assert code in codes(before)
        result = done(remedy)
        after = result if " check " in remedy else here("check", *checked, "--json")
        assert result.code == 0 or result is after, (remedy, result)
        assert moved_on(before, after), remedy
    return offered


@pytest.mark.parametrize("code", ASKED)
def test_every_remedy_of_a_question_leads_on(
    here: Here, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: str
) -> None:
    declared, files = ASKED[code]
    checked = files(tmp_path)
    seen = follow_each(here, homes(tmp_path, monkeypatch), declared, checked, code)
    assert not [remedy for remedy in seen if "end-user" in remedy]


@pytest.mark.parametrize("code", ["territory-arguable", "commercial-use-undeclared"])
def test_a_declaration_for_one_run_is_not_kept_by_what_helps(
    here: Here, tmp_path: Path, folders: Places, code: str
) -> None:
    declared, files = ASKED[code]
    before = here("check", *files(tmp_path), *declared, "--json")
    settling = [remedy for remedy in before.body["remedies"] if "accept" not in remedy]
    assert len(settling) == 2
    for remedy in settling:
        assert code not in codes(done(remedy))
    assert not folders.declaration.exists()


@pytest.mark.parametrize("what", BESIDE)
def test_what_stands_beside_a_model_is_identified_itself(
    here: Here, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    checked = BESIDE[what](tmp_path)
    monkeypatch.chdir(tmp_path)
    relative = [Path(item).name if isinstance(item, Path) else item for item in checked]
    code = codes(here("check", *relative, *GERMANY, "--json"))[0]
    seen = follow_each(here, homes(tmp_path, monkeypatch), GERMANY, relative, code)
    assert not [remedy for remedy in seen if "model.gguf" in remedy]


def test_a_reason_that_nobody_gave_is_not_recorded(
    here: Here, tmp_path: Path, folders: Places
) -> None:
    path = write_model(tmp_path / "model.gguf")
    (remedy,) = here("check", path, *GERMANY, "--json").body["remedies"]
    result = launcher(*shlex.split(remedy.replace("LICENCE", "mit"))[1:])
    assert result.code == 4
    assert not folders.identifications.exists()


def test_remedies_can_be_pasted_whatever_the_file_is_called(here: Here, tmp_path: Path) -> None:
    path = write_model(tmp_path / "it's; rm -rf $HOME `now`.gguf")
    (remedy,) = here("check", path, *GERMANY, "--json").body["remedies"]
    assert shlex.split(remedy)[2] == str(path)


def test_remedies_do_not_steer_the_terminal(here: Here, tmp_path: Path) -> None:
    path = write_model(tmp_path / "m\x1b[2Jx\u202e.gguf")
    result = here("check", path, *GERMANY)
    assert "launcher" in result.out.rpartition("What helps")[2]
    assert "\x1b" not in result.out
    assert "\u202e" not in result.out


# --- Points that only a card or another policy could raise ----------------------------------------


def flagged_case(declared: Declaration | None) -> Case:
    card = Card(repository="acme/mild", licences=("mit",), gated=True, eu_disallowed=True)
    part = Part(
        role=PartRole.WEIGHTS,
        name="mild.gguf",
        header=header(SMALL, {"general.license": "mit"}),
        chain=Chain(cards=(card,)),
    )
    return case_of(Bundle(ref=HubRef("acme/mild"), parts=(part,)), declared)


def limited_case(declared: Declaration | None) -> Case:
    """A licence with limits that nobody has to accept; the shipped ones are not like this."""
    bundle, identities = identified("llama-3.2-1b", Evidence.NAMED)
    shipped = policy.load()
    rule = next(rule for rule in shipped.licences["llama3.2"].rules if not rule.is_territorial)
    limit = rule.when.monthly_active_users
    revenue = dataclasses.replace(
        rule, code="some-revenue", when=type(rule.when)(annual_revenue_usd=limit)
    )
    free = dataclasses.replace(
        shipped.licences["llama3.2"], acceptance=False, rules=(rule, revenue)
    )
    other = dataclasses.replace(shipped, licences={**shipped.licences, "llama3.2": free})
    return dataclasses.replace(case_of(bundle, declared), policy=other, identities=identities)


def case_of(bundle: Bundle, declared: Declaration | None) -> Case:
    return Case(
        policy=policy.load(),
        bundle=bundle,
        identities=identify(bundle, known()),
        declaration=declared,
        acceptances=acceptance.Acceptances(),
    )


@pytest.mark.parametrize("code", sorted(BY_HAND))
def test_every_remedy_leads_on_where_the_point_was_raised_by_hand(
    here: Here, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: str
) -> None:
    make = flagged_case if code == "hub-excludes-region" else limited_case
    fresh = homes(tmp_path, monkeypatch)
    for number in itertools.count():
        folders = next(fresh)
        assert here("declare", *GERMANY).code == 0
        case = make(declaration.load(folders, Stated()))
        before = gate.decide(case)
        assert code in [reason.code.partition(":")[0] for reason in before.reasons]
        found = remedies(case, before, known())
        if number == len(found):
            break
        assert done(found[number]).code == 0
        after = gate.decide(make(declaration.load(folders, Stated())))
        gone = {reason.code for reason in before.reasons} - {
            reason.code for reason in after.reasons
        }
        assert gone, found[number]
    assert number >= 2


def test_every_question_of_the_gate_is_followed_up_here() -> None:
    asks = {code for code, reason in gate_reasons().items() if reason.effect is Verdict.ASK}
    assert asks == {*ASKED, *BY_HAND}


# --- Refusals -------------------------------------------------------------------------------------


def refusals() -> Iterator[tuple[Case, Any]]:
    """Every release in every state, refused to somebody or other."""
    declared = [
        Declaration(
            person=person,
            domicile=(Country(code),),
            place_of_use=(Country(code),),
            role=role,
            commercial=True,
            monthly_active_users=users,
            annual_revenue_usd=users,
            source="user",
        )
        for person, code, role, users in itertools.product(
            (Person.INDIVIDUAL, Person.COMPANY), ("DE", "US", "KR"), Role, (None, 2**40)
        )
    ]
    for model, evidence in itertools.product(MODELS, Evidence):
        bundle, identities = identified(model, evidence)
        for each in declared:
            case = dataclasses.replace(case_of(bundle, each), identities=identities)
            decision = gate.decide(case)
            if decision.verdict is Verdict.REFUSE:
                yield case, decision


def test_every_refusal_has_two_remedies_and_none_is_to_be_an_end_user() -> None:
    count = 0
    for case, decision in refusals():
        found = remedies(case, decision, known())
        assert len(found) >= 2, decision
        assert not [remedy for remedy in found if "end-user" in remedy]
        count += 1
    assert count > 500


REFUSED = [
    ("llama4:scout", GERMANY),
    ("hunyuan:7b", ("--as", "company:KR")),
    ("llama3.2:1b", ("--as", "company:US", "--monthly-active-users", "700000001")),
    (
        "lfm2:1.2b",
        ("--as", "company:US", "--annual-revenue-usd", "10000000", "--commercial", "yes"),
    ),
]


@pytest.mark.parametrize(("model", "who"), REFUSED)
def test_what_is_offered_after_a_refusal_is_not_refused(
    here: Here, model: str, who: Sequence[str]
) -> None:
    here("declare", *who)
    before = here("check", model, "--json")
    assert before.code == 3
    assert len(before.body["remedies"]) >= 2
    for remedy in before.body["remedies"]:
        name = remedy.removeprefix("launcher run ")
        assert here("check", name).code in (0, 4), remedy


def test_what_is_offered_after_a_refusal_runs_as_it_stands(here: Here) -> None:
    here("declare", *GERMANY)
    expected = {
        "launcher run smollm2:135m": ExitCode.DONE,
        "launcher run llama3.2:3b": ExitCode.PERSON_NEEDED,
    }
    offered = here("check", "llama4:scout", "--json").body["remedies"]
    assert set(offered) == set(expected)
    for remedy in offered:
        run = launcher(*shlex.split(remedy)[1:], "-n", "1", "-c", "512", stdin="hi")
        assert run.code == expected[remedy], run


def test_what_was_turned_down_is_not_offered(here: Here) -> None:
    here("declare", *GERMANY)
    here("licences", "accept", "llama3.2", "--reject")
    offered = here("check", "llama4:scout", "--json").body["remedies"]
    assert len(offered) == 2
    assert not [remedy for remedy in offered if "llama" in remedy.removeprefix("launcher")]


@pytest.mark.parametrize(
    ("own", "count"),
    [
        ('only_licences = ["mit"]', 1),
        ('only_licences = ["isc"]', 0),
        ("osi_approved_only = true", 2),
    ],
)
def test_where_little_may_run_it_says_where_to_look(
    here: Here, folders: Places, own: str, count: int
) -> None:
    here("declare", *GERMANY)
    (folders.config / "policy.toml").write_text(f'schema = 1\ntitle = "Ours"\n{own}\n')
    offered = here("check", "llama4:scout", "--json").body["remedies"]
    assert len(offered) == 2
    runs = [remedy for remedy in offered if remedy.startswith("launcher run ")]
    assert len(runs) == count
    for remedy in offered:
        if remedy not in runs:
            assert done(remedy).code == 0


def test_no_remedy_is_a_setting_that_lets_everything_through(here: Here) -> None:
    known = {"LAUNCHER_HOME", "LAUNCHER_NO_CALIBRATION"}  # neither has to do with the gate
    assert {name for name in os.environ if name.startswith("LAUNCHER_")} <= known
    offered = [
        remedy
        for model in ("llama4:scout", "llama3.2:1b", "qwen2.5:3b")
        for remedy in here("check", model, *GERMANY, "--json").body["remedies"]
    ]
    assert not [text for text in offered if "force" in text or "skip" in text or "=" in text]
