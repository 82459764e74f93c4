"""The policy as data: that it loads, that it says what the texts say, and how it is checked."""

from __future__ import annotations

import subprocess
import sys
from collections import defaultdict
from dataclasses import fields, replace
from datetime import date
from pathlib import Path

import pytest

from launcher.data import shipped, shipped_names
from launcher.errors import LauncherError
from launcher.licensing import policy, regions
from launcher.licensing.policy import Conditions, Effect, Licence, Rule, all_rules
from launcher.models import catalogue
from launcher.models.catalogue import Family, HeldBy

POLICY = policy.load()
LICENCES = POLICY.licences
FAMILIES = catalogue.load().families
RULES = [(licence.id, rule) for licence, rule in all_rules(POLICY)]


def _codes(text: str) -> set[str]:
    return set(text.split())


# Members of the European Union, and what its treaties say of their territories.
EU = _codes("AT BE BG HR CY CZ DK EE FI FR DE GR HU IE IT LV LT LU MT NL PL PT RO SK SI ES SE")
EU_OUTERMOST = _codes("GP MQ GF RE YT MF")
EU_ARGUABLE = _codes("NC PF PM WF BL TF BQ AW CW SX GL")


# --- What is shipped --------------------------------------------------------------------------


def test_every_shipped_licence_loads_and_its_file_has_its_name() -> None:
    assert {f"licences/{id}.toml" for id in LICENCES} == set(shipped_names("licences"))
    assert len(LICENCES) > 90


def test_what_is_verified_was_read_in_a_text_with_a_digest() -> None:
    for licence in LICENCES.values():
        assert licence.documents, licence.id
        for document in licence.documents:
            assert document.url.startswith(("https://", "http://")), licence.id
            assert document.source, licence.id
            assert document.sha256 or not licence.verified, (licence.id, document.id)


def test_a_rule_that_decides_quotes_its_clause() -> None:
    for id, rule in RULES:
        assert rule.text.endswith("."), (id, rule.code)
        assert rule.quote or not rule.verified, (id, rule.code)
        assert rule.verified or not LICENCES[id].verified or id == "llama1", (id, rule.code)


def test_licences_that_are_not_verified_or_set_a_limit_have_to_be_accepted() -> None:
    for licence in LICENCES.values():
        limits = [
            rule
            for rule in licence.rules
            if rule.when.monthly_active_users or rule.when.annual_revenue_usd
        ]
        assert licence.acceptance or (licence.verified and not limits), licence.id


def test_free_licences_ask_for_nothing() -> None:
    for licence in LICENCES.values():
        if licence.osi_approved:
            assert (licence.acceptance, licence.rules, licence.verified) == (False, (), True)


def test_a_code_means_the_same_wherever_it_stands() -> None:
    found: dict[str, list[Rule]] = defaultdict(list)
    for _, rule in RULES:
        found[rule.code].append(rule)
    for code, rules in found.items():
        meanings = {(rule.effect, rule.when, rule.unless, rule.verified) for rule in rules}
        assert len(meanings) == 1, code
    duties = {duty.code for licence in LICENCES.values() for duty in licence.duties}
    assert not duties & set(found)


def test_duties_are_not_empty() -> None:
    for licence in LICENCES.values():
        for duty in licence.duties:
            assert duty.text.endswith("."), (licence.id, duty.code)
            assert duty.quote or not licence.verified, (licence.id, duty.code)


def test_every_rule_refuses() -> None:
    assert {rule.effect for _, rule in RULES} == {Effect.REFUSE}


# --- Spellings --------------------------------------------------------------------------------

# The hub's own identifiers (huggingface/hub-docs docs/hub/repositories-licenses.md @ 242f4a1).
HUB = _codes("""
    apache-2.0 mit openrail bigscience-openrail-m creativeml-openrail-m bigscience-bloom-rail-1.0
    bigcode-openrail-m afl-3.0 artistic-2.0 bsl-1.0 bsd bsd-2-clause bsd-3-clause cc0-1.0
    cc-by-3.0 cc-by-4.0 cc-by-sa-3.0 cc-by-sa-4.0 cc-by-nc-2.0 cc-by-nc-3.0 cc-by-nc-4.0
    cc-by-nd-4.0 cc-by-nc-nd-4.0 cc-by-nc-sa-3.0 cc-by-nc-sa-4.0 cdla-permissive-2.0 wtfpl
    ecl-2.0 epl-1.0 epl-2.0 eupl-1.1 eupl-1.2 agpl-3.0 gpl gpl-2.0 gpl-3.0 lgpl lgpl-2.1 lgpl-3.0
    isc h-research intel-research ms-pl apple-amlr mpl-2.0 openmdw-1.0 openmdw-1.1 openrail++
    osl-3.0 postgresql ncsa unlicense zlib fair-noncommercial-research-license llama2 llama3
    llama3.1 llama3.2 llama3.3 llama4 grok2-community gemma
""")


@pytest.mark.parametrize("identifier", sorted(HUB))
def test_identifiers_of_the_hub_are_known(identifier: str) -> None:
    assert POLICY.find(identifier) is not None


@pytest.mark.parametrize(
    ("written", "id"),
    [
        ("Tencent Hunyuan Community", "tencent-hunyuan-community"),
        ("tencent_hunyuan_community", "tencent-hunyuan-community"),
        ("tencent-license", "tencent-hunyuan-community"),
        ("tencent-hunyuan-a13b", "tencent-hunyuan-community"),
        ("LFM-Open-License-v1.0", "lfm1.0"),
        ("falcon-llm", "falcon-llm-license"),
        ("NVIDIA Open Model License", "nvidia-open-model-license"),
        ("minimax-h3-community-license-agreement", "minimax-h3"),
        ("exaone", "exaone-1.2-nc"),
        ("CC-BY-NC-SA-4.0", "cc-by-nc-sa-4.0"),
        ("yi-license", "apache-2.0"),
        ("  MIT ", "mit"),
    ],
)
def test_spellings_seen_in_the_wild_are_understood(written: str, id: str) -> None:
    found = POLICY.find(written)
    assert found is not None
    assert found.id == id


@pytest.mark.parametrize("written", ["unknown", "other", "cc", "", "llama", "proprietary"])
def test_what_names_no_licence_stands_for_none(written: str) -> None:
    assert POLICY.find(written) is None


def test_two_licences_may_not_share_a_spelling() -> None:
    mit = replace(LICENCES["mit"], id="mit-too")
    both = replace(POLICY, licences={"mit": LICENCES["mit"], "mit-too": mit})
    with pytest.raises(LauncherError, match="'mit' also stands for mit"):
        both.find("MIT Licence")


def test_a_licence_has_the_name_of_its_file() -> None:
    data = shipped("licences/mit.toml")
    with pytest.raises(LauncherError, match="'mit' is not the name of the file"):
        policy.read_licence(data, "isc.toml", POLICY.regions)


# --- Families ---------------------------------------------------------------------------------


def shuts_out(family: Family) -> bool:
    """Whether a rule on domicile or place of use can bite on a family."""
    return any(
        rule.is_territorial and rule.when.released_as in ("", family.released_as)
        for rule in LICENCES[family.licence].rules
    )


def test_every_family_has_a_licence() -> None:
    assert {family.licence for family in FAMILIES.values()} <= set(LICENCES)


def test_families_that_shut_somebody_out_are_held_by_their_architecture() -> None:
    restricted = {family.id: family for family in FAMILIES.values() if shuts_out(family)}
    held = {id for id, family in restricted.items() if family.held_by is HeldBy.ARCHITECTURE}
    # No GGUF file of these is known, so a name is all they can be held by.
    unheld = {"hunyuan-large", "hunyuan-dit", "hunyuan-image", "hunyuan-3d", "minimax-h3"}
    assert set(restricted) - held == unheld
    assert not any(restricted[id].shapes for id in unheld)
    assert held == {
        "llama-3.2-vision",
        "llama-4",
        "hunyuan",
        "hunyuan-a13b",
        "hunyuan-mt",
        "hy-mt1.5",
        "hunyuan-ocr",
        "hunyuan-video",
    }
    held_for_nothing = {
        family.id for family in FAMILIES.values() if family.held_by is HeldBy.ARCHITECTURE
    }
    assert held_for_nothing == held


def test_a_licence_knows_the_kinds_of_its_families() -> None:
    for licence in LICENCES.values():
        kinds = {
            str(family.released_as) for family in FAMILIES.values() if family.licence == licence.id
        }
        asks = any(rule.when.released_as for rule in licence.rules)
        if asks and licence.id != "llama3.3":  # its paragraph is about models it does not have
            assert set(licence.releases) == kinds, licence.id
        if licence.releases:
            assert kinds <= set(licence.releases), licence.id


# --- Regions ----------------------------------------------------------------------------------


def test_the_european_union_has_its_members_and_outermost_regions() -> None:
    union = POLICY.regions["european-union"]
    assert len(EU) == 27
    assert union.clear == EU | EU_OUTERMOST | {"AX"}
    assert set(union.arguable) == EU_ARGUABLE
    assert union.as_of >= date(2026, 11, 1)


@pytest.mark.parametrize("code", ["GB", "NO", "IS", "LI", "CH", "MC", "SM", "VA", "AD", "FO", "GI"])
def test_neighbours_of_the_european_union_are_outside(code: str) -> None:
    union = POLICY.regions["european-union"]
    assert code not in union.clear | set(union.arguable)


def test_the_other_regions_have_their_members() -> None:
    kingdom, korea, states = (
        POLICY.regions[id] for id in ("united-kingdom", "south-korea", "united-states")
    )
    assert kingdom.clear == {"GB"}
    assert set(kingdom.arguable) == {"JE", "GG", "IM", "GI"}
    assert korea.clear == {"KR"}
    assert not korea.arguable
    assert states.clear == {"US"}
    assert set(states.arguable) == {"PR", "VI", "GU", "AS", "MP"}


def test_every_region_is_one_that_a_rule_speaks_of() -> None:
    spoken_of = {name for _, rule in RULES for name in rule.when.domicile + rule.when.place_of_use}

    assert spoken_of == set(POLICY.regions)


def test_regions_report_all_faults_at_once() -> None:
    data = b"""
    [here]
    title = "Here"
    as_of = 2026-11-21
    sources = ["a treaty"]
    clear = ["DE", "XX"]
    colour = "blue"
    [here.arguable]
    DE = "both"
    """
    with pytest.raises(LauncherError) as caught:
        regions.read(data, "own/regions.toml")
    assert str(caught.value).splitlines() == [
        "own/regions.toml: 'clear' in here: 'XX' is not the code of a country",
        "own/regions.toml: 'arguable' in here: 'DE' is also clear",
        "own/regions.toml: 'colour' in here: unknown key "
        "(expected: arguable, as_of, clear, sources, title)",
    ]


# --- Clauses ----------------------------------------------------------------------------------


def rule(licence: str, code: str) -> Rule:
    return next(rule for rule in LICENCES[licence].rules if rule.code == code)


@pytest.mark.parametrize("id", ["llama3.2", "llama3.3", "llama4"])
def test_the_llama_clause_is_about_multimodal_models_domicile_and_no_end_user(id: str) -> None:
    clause = rule(id, "llama-eu-multimodal")
    assert clause.when == Conditions(released_as="multimodal", domicile=("european-union",))
    assert clause.unless == Conditions(role="end-user")
    assert clause.document == "use-policy"


@pytest.mark.parametrize("id", ["llama2", "llama3", "llama3.1"])
def test_older_llamas_shut_nobody_out(id: str) -> None:
    assert [rule.code for rule in LICENCES[id].rules] == ["llama-700-million-users"]


@pytest.mark.parametrize(
    ("id", "code", "places"),
    [
        ("tencent-hunyuan-community", "hunyuan-territory", 3),
        ("tencent-hunyuan-3d", "hunyuan-territory", 3),
        ("tencent-hy-community", "hunyuan-territory", 3),
        ("tencent-hunyuan-large", "hunyuan-territory-eu", 1),
        ("minimax-h3", "minimax-h3-territory", 4),
    ],
)
def test_territories_are_about_use_and_outputs_and_spare_no_end_user(
    id: str, code: str, places: int
) -> None:
    clause = rule(id, code)
    assert len(clause.when.place_of_use) == places
    assert clause.when == Conditions(place_of_use=clause.when.place_of_use)
    assert clause.unless.is_empty
    assert clause.outputs


@pytest.mark.parametrize(
    ("id", "users", "revenue", "reached", "counted", "commercial"),
    [
        ("llama4", 700_000_000, None, False, "at-release", None),
        ("tencent-hunyuan-community", 100_000_000, None, False, "at-release", None),
        ("tencent-hunyuan-3d", 1_000_000, None, False, "at-release", None),
        ("hyperclovax-seed", 10_000_000, None, False, "at-release", None),
        ("qwen", 100_000_000, None, False, "running", True),
        ("tongyi-qianwen", 100_000_000, None, False, "running", True),
        ("bilibili-indextts2", 100_000_000, None, False, "running", None),
        ("lfm1.0", None, 10_000_000, True, "running", True),
        ("stabilityai-ai-community", None, 1_000_000, False, "running", True),
    ],
)
def test_limits_are_those_of_the_clauses(
    id: str,
    users: int | None,
    revenue: int | None,
    reached: bool,
    counted: str,
    commercial: bool | None,
) -> None:
    (when,) = [
        rule.when
        for rule in LICENCES[id].rules
        if rule.when.monthly_active_users or rule.when.annual_revenue_usd
    ]
    limit = when.monthly_active_users or when.annual_revenue_usd
    assert limit == policy.Limit(users or revenue or 0, reached, counted)
    assert (when.monthly_active_users is None) == (users is None)
    assert when.commercial is commercial


@pytest.mark.parametrize(
    "id",
    [
        "cc-by-nc-4.0",
        "cc-by-nc-sa-4.0",
        "exaone-1.1-nc",
        "exaone-1.2-nc",
        "fair-noncommercial-research-license",
        "minimax-m2.7",
        "stabilityai-nc",
        "tongyi-qianwen-research",
    ],
)
def test_non_commercial_licences_that_were_read_refuse_commercial_use(id: str) -> None:
    assert [
        rule for rule in LICENCES[id].rules if rule.when == Conditions(commercial=True)
    ] == list(LICENCES[id].rules)
    assert all(rule.verified for rule in LICENCES[id].rules)


@pytest.mark.parametrize("id", ["kimi-k2", "kimi-k2.5", "minimax-m2", "minimax-m2.1"])
def test_numbers_that_only_ask_for_a_name_on_the_screen_are_no_limits(id: str) -> None:
    assert not LICENCES[id].rules
    assert [duty.display for duty in LICENCES[id].duties if duty.display]


# --- Faults -----------------------------------------------------------------------------------

GOOD = b"""
id = "own"
title = "Own licence"
licensor = "Me"
spellings = ["own"]
releases = ["text"]
acceptance = true
osi_approved = false
verified = true

[[document]]
id = "licence"
title = "Own licence"
url = "https://example.org/licence"
source = "mine"
sha256 = ["0000000000000000000000000000000000000000000000000000000000000000"]

[[rule]]
code = "own-rule"
effect = "refuse"
when = { domicile = "south-korea", monthly_active_users = { above = 5, counted = "running" } }
unless = { role = "end-user" }
document = "licence"
clause = "1"
quote = "no"
text = "No."
"""


def faults(data: bytes) -> list[str]:
    with pytest.raises(LauncherError) as caught:
        policy.read_licence(data, "own/own.toml", POLICY.regions)
    return str(caught.value).splitlines()


def test_a_licence_is_read_as_written() -> None:
    licence = policy.read_licence(GOOD, "own/own.toml", POLICY.regions)
    (clause,) = licence.rules
    assert clause.when.domicile == ("south-korea",)
    assert clause.when.monthly_active_users == policy.Limit(5, False, "running")
    assert clause.unless == Conditions(role="end-user")
    assert (clause.verified, clause.outputs) == (True, False)


def test_all_faults_are_reported_at_once_with_file_key_and_place() -> None:
    data = b"""
    title = 3
    licensor = "Me"
    acceptance = false
    osi_approved = "no"
    verified = false
    colour = "blue"

    [[document]]
    id = "licence"
    title = "Own licence"
    url = "https://example.org/licence"
    source = "mine"
    sha256 = ["abc"]

    [[rule]]
    effect = "forbid"
    when = { domicile = ["south-korea", "atlantis"], moon = "full", as = "dog" }
    document = "use-policy"
    clause = "1"
    quote = "no"
    text = "No."

    [[rule]]
    code = "Own Rule"
    effect = "ask"
    when = { annual_revenue_usd = { above = 1, at_least = 2, counted = "never" } }
    document = "licence"
    clause = "1"
    quote = "no"
    text = "No."
    """
    found = faults(data)
    for fault in (
        "'sha256' in document[0]: 'abc' is not a SHA-256 digest",
        "'id': missing (expected text)",
        "'title': expected text, found a number",
        "'osi_approved': expected true or false, found text",
        "'colour': unknown key",
        "'code' in rule[0]: missing (expected text)",
        "'effect' in rule[0]: 'forbid' is none of refuse, ask",
        "'domicile' in rule[0].when: 'atlantis' is not a region",
        "'moon' in rule[0].when: unknown key",
        "'as' in rule[0].when: 'dog' is none of individual, company",
        "'document' in rule[0]: 'use-policy' is none of licence",
        "'code' in rule[1]: 'Own Rule' is not a code",
        "'above' in rule[1].when.annual_revenue_usd: exactly one of",
        "'acceptance': a licence that is not verified has to be accepted",
    ):
        assert [line for line in found if line.startswith(f"own/own.toml: {fault}")], fault


@pytest.mark.parametrize(
    ("old", "new", "fault"),
    [
        (b"acceptance = true", b"acceptance = false", "a licence with a limit has to be accepted"),
        (b'"own-rule"', b'""', "'code' in rule[0]"),
        (b'role = "end-user"', b'role = "king"', "'king' is none of licensee, end-user"),
        (b'counted = "running"', b'counted = "often"', "'often' is none of at-release, running"),
        (b"above = 5", b'above = "5"', "expected a whole number, found text"),
        (b"above = 5", b"above = true", "expected a whole number, found true or false"),
        (b'text = "No."', b'txt = "No."', "unknown key"),
        (b'id = "own"', b'id = "own', "not valid TOML"),
        (b'"Me"', b'"\xff"', "not UTF-8 text"),
        (b"[[rule]]", b"[rule]", "expected an array of [[rule]] tables"),
    ],
)
def test_a_single_fault_is_named(old: bytes, new: bytes, fault: str) -> None:
    assert old in GOOD
    assert any(fault in line for line in faults(GOOD.replace(old, new, 1)))


def test_a_rule_without_a_condition_is_a_fault() -> None:
    cut = [line for line in GOOD.splitlines() if not line.startswith(b"when")]
    assert any("a rule must say when it applies" in line for line in faults(b"\n".join(cut)))


def test_the_same_code_twice_is_a_fault() -> None:
    rule = GOOD[GOOD.index(b"[[rule]]") :]
    assert "own/own.toml: own-rule: this code occurs twice" in faults(GOOD + rule)


def test_every_kind_of_condition_is_used_by_a_shipped_rule() -> None:
    used = {
        field.name
        for _, rule in RULES
        for conditions in (rule.when, rule.unless)
        for field in fields(Conditions)
        if getattr(conditions, field.name) != field.default
    }
    assert {field.name for field in fields(Conditions)} - used == {"person"}


# --- The digest of it all ---------------------------------------------------------------------


def test_the_policy_has_a_version_and_a_digest() -> None:
    assert date.fromisoformat(POLICY.version) >= date(2026, 11, 21)
    assert len(POLICY.sha256) == 64


def test_other_texts_have_to_be_accepted_anew() -> None:
    licence = LICENCES["llama3.2"]
    first = licence.documents[0]
    other = replace(licence, documents=(replace(first, sha256=("0" * 64,)),))
    assert other.text_sha256 != licence.text_sha256


# --- scripts/check-texts ----------------------------------------------------------------------


def check_texts(*folders: Path) -> subprocess.CompletedProcess[str]:
    script = Path(__file__).resolve().parents[2] / "scripts" / "check-texts"
    return subprocess.run(
        [sys.executable, str(script), *map(str, folders)],
        capture_output=True,
        text=True,
        encoding="utf-8",
        check=False,
    )


def quotes(licence: Licence) -> str:
    return "\n".join(
        [rule.quote for rule in licence.rules] + [duty.quote for duty in licence.duties]
    )


def test_texts_that_are_not_at_hand_are_named_and_nothing_is_wrong(tmp_path: Path) -> None:
    result = check_texts(tmp_path)
    assert result.returncode == 0, result.stderr
    assert "not checked: mit: licence: no text here has its digest" in result.stdout
    assert result.stdout.endswith("0 documents checked\n")


def test_a_text_with_another_digest_that_holds_all_the_quotes_is_told(tmp_path: Path) -> None:
    (tmp_path / "licence").write_text(quotes(LICENCES["lfm1.0"]), encoding="utf-8")
    result = check_texts(tmp_path)
    assert result.returncode == 1
    assert "WRONG: lfm1.0: licence: a text with all its quotes is" in result.stdout


def test_the_checker_wants_a_folder() -> None:
    assert check_texts().returncode == 2
