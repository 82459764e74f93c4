"""The traps of the licences, as files that lie about: what a private person in Germany is told.

Every file has the whole header of its release, as a converter writes it. Everything that wants
to be accepted is accepted; nothing is identified by hand.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from launcher.clearance import Verdict
from launcher.licensing import gate, policy
from launcher.licensing.decision import Decision
from launcher.licensing.declaration import Declaration, Person
from launcher.licensing.gate import Case
from launcher.licensing.regions import Country
from launcher.models import catalogue
from launcher.models.bundle import Bundle, Part, Role
from launcher.models.card import MAX_DEPTH, Card, Chain, follow, read_card
from launcher.models.catalogue import KnownFile
from launcher.models.identity import Kind, identify
from launcher.models.refs import HubRef
from launcher.paths import Places
from tests.command import Here, Result
from tests.headers import (
    SMALL,
    Sizes,
    Written,
    sizes,
    statements,
    write_adapter,
    write_model,
    write_projector,
    write_shards,
)
from tests.licensing.asked import HONEST, everything_accepted, header, known

GERMANY = "individual:DE"
Said = Mapping[str, Written | None]
Trap = tuple[str | Sizes, Said, Mapping[str, Any]]
"""A release, what its file says, and how the file differs from the release."""


def honest(row: str) -> dict[str, Written | None]:
    name, licence = HONEST[row]
    return statements(name=name, license=licence)


def from_repository(*repositories: str, license: str = "mit") -> dict[str, Written | None]:
    return statements(name="Free Spirit 9", license=license, base_models=repositories)


SCOUT, HUNYUAN = "meta-llama/Llama-4-Scout-17B-16E-Instruct", "tencent/Hunyuan-7B-Instruct"
VISION = "meta-llama/Llama-3.2-11B-Vision-Instruct"
RESTRICTED = {SCOUT: "llama-eu-multimodal", HUNYUAN: "hunyuan-territory"}
RESTRICTED[VISION] = "llama-eu-multimodal"
TAGGED: Said = {"general.tags": ["image-text-to-text", "text-generation"]}

REFUSE: dict[str, Trap] = {
    "Llama 4 Scout as another model": ("llama-4-scout", {"general.name": "Qwen3 14B"}, {}),
    "with license: mit": ("llama-4-scout", statements(license="mit"), {}),
    "with license: apache-2.0 and a name": (
        "llama-4-scout",
        statements(name="Qwen3 14B", license="apache-2.0"),
        {},
    ),
    "with nothing stated": ("llama-4-scout", {}, {}),
    "with one layer cut off": ("llama-4-scout", honest("llama-4-scout"), {"layers": 47}),
    "cut and with license: mit": ("llama-4-scout", statements(license="mit"), {"layers": 47}),
    "cut and with nothing stated": ("llama-4-scout", {}, {"layers": 12}),
    "with half of its experts": ("llama-4-scout", {}, {"experts": 8}),
    "with a smaller vocabulary": ("llama-4-scout", {}, {"vocabulary": 32000}),
    "Llama 3.2 Vision with nothing stated": ("llama-3.2-11b-vision", {}, {}),
    "Llama 3.2 Vision with license: mit": (
        "llama-3.2-11b-vision",
        statements(license="mit"),
        {"layers": 39},
    ),
    "text tower of Llama 3.2 Vision under its honest name": (
        "llama-3.1-8b",
        statements(name="Llama 3.2 11B Vision Instruct", license="llama3.2"),
        {},
    ),
    "text tower of Llama 3.2 Vision, called so in its base model": (
        "llama-3.1-8b",
        from_repository(VISION, license="llama3.2"),
        {},
    ),
    "Hunyuan 7B": ("hunyuan-7b", honest("hunyuan-7b"), {}),
    "Hunyuan A13B with nothing stated": ("hunyuan-a13b", {}, {}),
}

ALLOW: dict[str, Trap] = {
    "Llama 3.2 1B without any licence field": (
        "llama-3.2-1b",
        statements(name="Llama 3.2 1B Instruct"),
        {},
    ),
    "Llama 3.2 1B with nothing stated at all": ("llama-3.2-1b", {}, {}),
    "Llama 3.2 3B whose tags say image-text-to-text": (
        "llama-3.2-3b",
        {**honest("llama-3.2-3b"), **TAGGED},
        {},
    ),
    "Llama 3.3 70B": ("llama-3.3-70b", honest("llama-3.3-70b"), {}),
    # Its weights are those of Llama 3.1 8B: docs/limits.md says so.
    "text tower of Llama 3.2 Vision with nothing stated": ("llama-3.1-8b", {}, {}),
    "unknown structure, license: mit": (SMALL, statements(license="mit"), {}),
    "unknown structure, a name and license: mit": (
        SMALL,
        statements(name="Tiny 3", license="MIT"),
        {},
    ),
    "license: other with a name that is known": (
        SMALL,
        statements(license="other", license_name="modified-mit"),
        {},
    ),
}

# One answer settles these: what is it?
ASK: dict[str, tuple[Trap, str]] = {
    "Apache-2.0 model on a Hunyuan architecture, honestly named": (
        ("hy-mt2-1.8b", honest("hy-mt2-1.8b"), {}),
        "needs-identification",
    ),
    "MobileLLM-R1 converted as llama4, no experts, honestly named": (
        (
            "mobilellm-r1-140m",
            statements(name="MobileLLM R1 140M", license="fair-noncommercial-research-license"),
            {},
        ),
        "needs-identification",
    ),
    "unknown structure, nothing stated": ((SMALL, {}, {}), "unknown-model"),
    "unknown structure, an unknown licence": (
        (SMALL, statements(license="my-own-licence"), {}),
        "unknown-licence",
    ),
    "license: other without a name": ((SMALL, statements(license="other"), {}), "unknown-model"),
    "license: other with a name that nobody knows": (
        (SMALL, statements(license="other", license_name="brand-new"), {}),
        "unknown-licence",
    ),
    "license: mit and another one beside it that nobody knows": (
        (SMALL, statements(license="mit", license_name="brand-new"), {}),
        "unknown-licence",
    ),
    "unknown structure under a licence that treats images apart": (
        (SMALL, statements(name="Somebody's merge", license="llama3.2"), {}),
        "kind-of-release-unknown",
    ),
}


pytestmark = pytest.mark.usefixtures("accepted")


def checked(here: Here, *arguments: object, who: str = GERMANY) -> Result:
    return here("check", *arguments, "--as", who, "--json")


def write(folder: Path, model: str | Sizes, said: Said, changes: Mapping[str, Any]) -> Path:
    return write_model(folder / "model.gguf", model, metadata=said, **changes)


@pytest.mark.parametrize("trap", REFUSE)
def test_it_is_refused(here: Here, tmp_path: Path, trap: str) -> None:
    result = checked(here, write(tmp_path, *REFUSE[trap]))
    assert (result.code, result.body["verdict"]) == (3, "refuse"), result.out
    assert result.body["reasons"][0]["quote"]


@pytest.mark.parametrize("trap", ALLOW)
def test_it_is_allowed_once_accepted(
    here: Here, tmp_path: Path, accepted: Places, trap: str
) -> None:
    path = write(tmp_path, *ALLOW[trap])
    result = checked(here, path)
    assert (result.code, result.body["verdict"]) == (0, "allow"), result.out
    accepted.acceptances.unlink()
    licence = policy.load().licences[result.body["model"]["licence"]]
    before = checked(here, path)
    assert before.body["code"] == ("acceptance-needed" if licence.acceptance else "allowed")


@pytest.mark.parametrize("trap", ASK)
def test_it_is_asked_what_it_is(here: Here, tmp_path: Path, trap: str) -> None:
    file, code = ASK[trap]
    result = checked(here, write(tmp_path, *file))
    assert (result.code, result.body["verdict"]) == (5, "ask"), result.out
    assert result.body["code"] == code


@pytest.mark.parametrize("name", ["Qwen3-0.6B-Q4_K_M.gguf", "SmolLM2.gguf", "mistral-7b.gguf"])
def test_a_file_name_takes_nothing_away(here: Here, tmp_path: Path, name: str) -> None:
    assert checked(here, write_model(tmp_path / name, "llama-4-scout")).code == 3


def test_llama_4_with_an_honest_card_is_allowed_outside_the_union(
    here: Here, tmp_path: Path
) -> None:
    path = write(tmp_path, "llama-4-scout", honest("llama-4-scout"), {})
    for code in ("US", "GB", "NO", "CH"):
        result = checked(here, path, who=f"individual:{code}")
        assert result.body["verdict"] == "allow", code
        assert result.body["model"]["licence"] == "llama4"


def test_hunyuan_is_refused_where_it_is_used(here: Here, tmp_path: Path) -> None:
    path = write(tmp_path, "hunyuan-7b", honest("hunyuan-7b"), {})
    for code in ("DE", "GB", "KR"):
        assert checked(here, path, who=f"individual:{code}").body["code"] == "hunyuan-territory"
        used = checked(here, path, "--use-in", code, who="company:US")
        assert used.body["code"] == "hunyuan-territory"
    assert checked(here, path, who="company:US").code == 0
    assert checked(here, path, "--use-in", "US", who="individual:DE").code == 0


@pytest.mark.parametrize("repository", RESTRICTED)
@pytest.mark.parametrize("model", ["smollm2-135m", SMALL, "llama-3.2-1b"])
def test_whatever_comes_from_a_restricted_family_is_refused(
    here: Here, tmp_path: Path, repository: str, model: str | Sizes
) -> None:
    result = checked(here, write(tmp_path, model, from_repository(repository), {}))
    assert (result.code, result.body["code"]) == (3, RESTRICTED[repository])


@pytest.mark.parametrize("repository", RESTRICTED)
def test_a_merge_is_refused_for_any_of_its_parents(
    here: Here, tmp_path: Path, repository: str
) -> None:
    parents = ("HuggingFaceTB/SmolLM2-135M-Instruct", "Qwen/Qwen3-0.6B", repository)
    result = checked(here, write(tmp_path, SMALL, from_repository(*parents), {}))
    assert (result.code, result.body["code"]) == (3, RESTRICTED[repository])


# --- Parts beside a model -------------------------------------------------------------------------


@pytest.fixture
def innocent(tmp_path: Path) -> Path:
    return write_model(tmp_path / "m.gguf", "smollm2-135m", metadata=honest("smollm2-135m"))


VISION_OF_ONES_OWN = statements(name="Llama 3.2 1B Instruct Vision Adapter", license="llama3.2")


@pytest.mark.parametrize("option", ["--mmproj", "--lora"])
def test_llama_3_2_1b_with_somebodys_own_vision_adapter_is_allowed(
    here: Here, tmp_path: Path, option: str
) -> None:
    model = write_model(tmp_path / "m.gguf", "llama-3.2-1b", metadata=honest("llama-3.2-1b"))
    beside = tmp_path / "beside.gguf"
    if option == "--mmproj":
        write_projector(beside, "mlp", VISION_OF_ONES_OWN)
    else:
        write_adapter(beside, "llama-3.2-1b", VISION_OF_ONES_OWN)
    result = checked(here, model, option, beside)
    assert result.body["verdict"] == "allow", result.out
    assert result.body["model"]["licences"] == ["llama3.2"]


Beside = Callable[[Path], Path]
STRANGERS: dict[str, tuple[str, Beside]] = {
    "image half of Llama 4": ("--mmproj", lambda path: write_projector(path, "llama4")),
    "image half of Llama 4 under another licence": (
        "--mmproj",
        lambda path: write_projector(path, "llama4", statements(name="eye", license="mit")),
    ),
    "image half of Llama 3.2 Vision by name": (
        "--mmproj",
        lambda path: write_projector(path, "mlp", from_repository(VISION)),
    ),
    "adapter for Llama 4": ("--lora", lambda path: write_adapter(path, "llama-4-scout")),
    "adapter trained on Llama 4, it says": (
        "--lora",
        lambda path: write_adapter(path, "smollm2-135m", from_repository(SCOUT)),
    ),
    "adapter trained on Hunyuan, it says": (
        "--lora",
        lambda path: write_adapter(path, SMALL, from_repository(HUNYUAN)),
    ),
    "Llama 4 as the model that drafts": (
        "--draft",
        lambda path: write_model(path, "llama-4-scout", metadata=statements(license="mit")),
    ),
    "a draft that comes from Llama 4": (
        "--draft",
        lambda path: write_model(path, SMALL, metadata=from_repository(SCOUT)),
    ),
}


@pytest.mark.parametrize("stranger", STRANGERS)
def test_an_innocent_model_does_not_cover_what_is_loaded_with_it(
    here: Here, tmp_path: Path, innocent: Path, stranger: str
) -> None:
    assert checked(here, innocent).code == 0
    option, write_beside = STRANGERS[stranger]
    result = checked(here, innocent, option, write_beside(tmp_path / "beside.gguf"))
    assert result.code == 3, result.out


@pytest.mark.parametrize("option", ["--mmproj", "--lora"])
def test_what_is_loaded_with_a_model_has_to_be_known_as_well(
    here: Here, tmp_path: Path, innocent: Path, option: str
) -> None:
    beside = tmp_path / "beside.gguf"
    write_projector(beside, "mlp") if option == "--mmproj" else write_adapter(beside, SMALL)
    assert checked(here, innocent, option, beside).code == 5


def test_shards_are_one_model_whichever_of_them_is_named(here: Here, tmp_path: Path) -> None:
    said = statements(name="Qwen3 14B", license="mit")
    for path in write_shards(tmp_path, "llama-4-scout", count=3, metadata=said):
        result = checked(here, path)
        assert (result.code, result.body["model"]["family"]) == (3, "llama-4")
    for path in write_shards(tmp_path, SMALL, count=2, stem="free", metadata=said):
        assert checked(here, path).code == 0


# --- What settles it: digests, statements, cards --------------------------------------------------


@pytest.mark.parametrize(
    ("model", "family"), [("mobilellm-r1-140m", "mobilellm-r1"), ("hy-mt2-1.8b", "hy-mt2")]
)
def test_a_persons_statement_on_these_bytes_settles_it(
    here: Here, tmp_path: Path, model: str, family: str
) -> None:
    path = write(tmp_path, model, {}, {})
    assert checked(here, path).code == 5
    why = ("--reason", "converted from the release")
    assert here("identify", path, "--family", family, *why).code == 0
    result = checked(here, path, "--commercial", "no")
    assert (result.code, result.body["model"]["candidates"]) == (0, [family])


def test_a_statement_in_favour_of_the_restricted_family_refuses(here: Here, tmp_path: Path) -> None:
    path = write(tmp_path, "mobilellm-r1-140m", {}, {})
    assert here("identify", path, "--family", "llama-4", "--reason", "I cut it").code == 0
    assert checked(here, path).body["code"] == "llama-eu-multimodal"


def part(model: str | Sizes, said: Mapping[str, str], **more: Any) -> Part:
    shape = sizes(model) if isinstance(model, str) else model
    return Part(role=Role.WEIGHTS, name="model.gguf", header=header(shape, said), **more)


def decided(
    one: Part, published: Mapping[str, KnownFile] | None = None, **declared: Any
) -> Decision:
    """The gate on a part from a repository, for somebody in Germany."""
    knowledge = dataclasses.replace(known(), published=lambda: published or {})
    bundle = Bundle(ref=HubRef("acme/model"), parts=(one,))
    declaration = Declaration(
        person=Person.INDIVIDUAL,
        domicile=(Country("DE"),),
        place_of_use=(Country("DE"),),
        commercial=False,
        **declared,
    )
    return gate.decide(
        Case(
            policy=policy.load(),
            bundle=bundle,
            identities=identify(bundle, knowledge),
            declaration=declaration,
            acceptances=everything_accepted(),
        )
    )


@pytest.mark.parametrize(
    ("model", "family", "verdict"),
    [
        ("hy-mt2-1.8b", "hy-mt2", Verdict.ALLOW),
        ("hy-mt2-1.8b", "hy-mt1.5", Verdict.REFUSE),
        ("mobilellm-r1-140m", "mobilellm-r1", Verdict.ALLOW),
        ("llama-3.1-8b", "llama-3.2-vision", Verdict.REFUSE),
    ],
)
def test_a_published_digest_settles_it(model: str, family: str, verdict: Verdict) -> None:
    digest = "ab" * 32
    file = KnownFile(
        sha256=digest,
        family=family,
        repository="somebody/files",
        file="model.Q4_K_M.gguf",
        licence_stated="mit",
    )
    decision = decided(part(model, {}, sha256=digest), {digest: file})
    assert (decision.verdict, decision.family) == (verdict, family)
    assert decision.evidence[0].kind is Kind.DIGEST
    other = decided(part(model, {}, sha256="cd" * 32), {digest: file})
    assert Kind.DIGEST not in [claim.kind for claim in other.evidence]


def chain_of(*cards: Card, hidden: str = "") -> Chain:
    """The chain of the first card; one repository cannot be read."""
    known_cards = {card.repository: card for card in cards if card.repository != hidden}
    return follow(cards[0], known_cards.get)


def card(repository: str, licence: str = "apache-2.0", *parents: str, **more: Any) -> Card:
    values = {"license": licence, "base_model": list(parents), **more}
    return read_card(repository, "0" * 40, values, gated=more.get("gated", False))


HY_MT2 = card("tencent/Hy-MT2-1.8B")


def test_a_pinned_commit_whose_chain_leads_to_a_known_release_settles_it() -> None:
    chain = chain_of(card("acme/model", "apache-2.0", "tencent/Hy-MT2-1.8B"), HY_MT2)
    decision = decided(part("hy-mt2-1.8b", {}, chain=chain))
    assert (decision.verdict, decision.family) == (Verdict.ALLOW, "hy-mt2")
    assert decision.evidence[0].kind is Kind.COMMIT


def test_a_chain_with_an_unread_parent_settles_nothing() -> None:
    first = card("acme/model", "apache-2.0", "tencent/Hy-MT2-1.8B", "acme/secret")
    chain = chain_of(first, HY_MT2, card("acme/secret"), hidden="acme/secret")
    assert chain.unread == ("acme/secret",)
    assert decided(part("hy-mt2-1.8b", {}, chain=chain)).code == "needs-identification"


def test_a_chain_that_leads_to_another_architecture_settles_nothing() -> None:
    chain = chain_of(card("acme/model", "mit", "Qwen/Qwen3-4B"), card("Qwen/Qwen3-4B"))
    assert chain.is_complete
    decision = decided(part("llama-4-scout", {"general.name": "Qwen3 4B"}, chain=chain))
    assert decision.verdict is Verdict.REFUSE


def test_a_chain_to_a_restricted_release_refuses_though_the_structure_is_free() -> None:
    chain = chain_of(card("acme/model", "mit", "acme/parent"), card("acme/parent", "mit", SCOUT))
    assert decided(part("smollm2-135m", {}, chain=chain)).code == "llama-eu-multimodal"


def test_a_merge_of_a_free_and_a_restricted_release_is_both() -> None:
    first = card("acme/merge", "mit", "HuggingFaceTB/SmolLM2-135M-Instruct", SCOUT)
    chain = chain_of(first, card("HuggingFaceTB/SmolLM2-135M-Instruct"), card(SCOUT, "other"))
    decision = decided(part("smollm2-135m", {}, chain=chain))
    assert decision.code == "llama-eu-multimodal"
    assert {"smollm2", "llama-4"} <= set(decision.candidates)


def test_cards_in_a_circle_end_and_settle_nothing_by_themselves() -> None:
    ring = [card(f"acme/m{i}", "mit", f"acme/m{(i + 1) % 5}") for i in range(5)]
    chain = chain_of(*ring)
    assert len(chain.cards) == 5
    assert chain.is_complete
    assert decided(part("hy-mt2-1.8b", {}, chain=chain)).code == "needs-identification"


def test_what_hides_behind_a_circle_is_found() -> None:
    first, second = card("acme/a", "mit", "acme/b"), card("acme/b", "mit", "acme/a", SCOUT)
    chain = chain_of(first, second, card(SCOUT, "llama4"))
    assert decided(part("smollm2-135m", {}, chain=chain)).verdict is Verdict.REFUSE


def test_a_chain_that_is_too_deep_settles_nothing() -> None:
    deep = [card(f"acme/m{i}", "mit", f"acme/m{i + 1}") for i in range(MAX_DEPTH + 3)]
    chain = chain_of(*deep, card(f"acme/m{MAX_DEPTH + 3}", "mit", "tencent/Hy-MT2-1.8B"), HY_MT2)
    assert not chain.is_complete
    assert decided(part("hy-mt2-1.8b", {}, chain=chain)).code == "needs-identification"


@pytest.mark.parametrize(
    ("values", "licences"),
    [
        ({"license": "other", "license_name": "llama4"}, ("llama4",)),
        ({"license": "other"}, ()),
        ({"license": ["other", "mit"], "license_name": "brand-new"}, ("mit", "brand-new")),
        ({"license": 3, "license_name": ["llama4"]}, ()),
        ({"license": "other", "license_name": "x\u202ey"}, ()),
        ({}, ()),
    ],
)
def test_license_other_falls_through_to_its_name(
    values: Mapping[str, Any], licences: tuple[str, ...]
) -> None:
    assert read_card("acme/model", "", values).licences == licences


def test_a_card_that_names_a_restricted_licence_binds_beside_the_structure() -> None:
    named = read_card("acme/model", "", {"license": "other", "license_name": "llama4"})
    decision = decided(part("smollm2-135m", {}, chain=Chain(cards=(named,))))
    assert decision.code == "llama-eu-multimodal"


def test_a_licence_of_ones_own_on_a_card_is_asked_about_though_the_chain_is_complete() -> None:
    chain = chain_of(card("acme/model", "acme-licence", "tencent/Hy-MT2-1.8B"), HY_MT2)
    assert decided(part("hy-mt2-1.8b", {}, chain=chain)).code == "unknown-licence"


def test_a_gate_against_the_union_on_the_hub_is_asked_about_and_the_answer_counts() -> None:
    flagged = card("acme/model", "mit", extra_gated_eu_disallowed=True, gated="auto")
    one = part(SMALL, {}, chain=Chain(cards=(flagged,)))
    asked = decided(one)
    assert (asked.code, asked.exit_code) == ("hub-excludes-region:acme/model", 4)
    answers = {asked.code: "does-not-apply"}
    assert decided(one, answers=answers).verdict is Verdict.ALLOW
    assert decided(one, answers={asked.code: "applies"}).verdict is Verdict.REFUSE


@pytest.mark.parametrize("value", ["true", 1, "yes", None, ["true"]])
def test_only_the_documented_value_is_a_flag(value: object) -> None:
    assert not card("acme/model", "mit", extra_gated_eu_disallowed=value).eu_disallowed


def test_the_shipped_digests_lead_to_families_that_exist() -> None:
    families = catalogue.load().families
    assert len(catalogue.known_files()) > 50
    assert not [file for file in catalogue.known_files().values() if file.family not in families]
