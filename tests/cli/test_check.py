"""`launcher check`: the verdicts that the project exists for, and their contract."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.command import Here, launcher
from tests.headers import statements, write_model

EUROPEAN = ["individual:DE", "individual:FR", "individual:GP", "company:IE"]
OTHERS = ["individual:US", "individual:GB", "individual:NO", "individual:CH", "company:US"]

TEXT = [
    "llama2:7b",
    "llama2:13b",
    "llama2:70b",
    "llama3:8b",
    "llama3:70b",
    "llama3.1:8b",
    "llama3.1:70b",
    "llama3.1:405b",
    "llama3.2:1b",
    "llama3.2:3b",
    "llama3.3:70b",
    "llama-guard3:1b",
    "llama-guard3:8b",
    "gemma2:2b",
]
FREE = ["phi3.5:mini", "smollm2:135m"]
MULTIMODAL = [
    "llama3.2-vision:11b",
    "llama3.2-vision:90b",
    "llama4:scout",
    "llama4:maverick",
    "llama-guard3:11b-vision",
    "llama-guard4:12b",
]

# row of tests/shapes.tsv: what a converter writes about it
FILES = {
    "llama-2-7b": {"name": "Llama 2 7B Chat", "license": "llama2"},
    "llama-3-8b": {"name": "Meta Llama 3 8B Instruct", "license": "llama3"},
    "llama-3-70b": {"name": "Meta Llama 3 70B Instruct", "license": "llama3"},
    "llama-3.1-8b": {"name": "Meta Llama 3.1 8B Instruct", "license": "llama3.1"},
    "llama-3.1-70b": {"name": "Meta Llama 3.1 70B Instruct", "license": "llama3.1"},
    "llama-3.1-405b": {"name": "Meta Llama 3.1 405B Instruct", "license": "llama3.1"},
    "llama-3.2-1b": {"name": "Llama 3.2 1B Instruct", "license": "llama3.2"},
    "llama-3.2-3b": {"name": "Llama 3.2 3B Instruct", "license": "llama3.2"},
    "llama-3.3-70b": {"name": "Llama 3.3 70B Instruct", "license": "llama3.3"},
    "llama-guard-3-1b": {"name": "Llama Guard 3 1B", "license": "llama3.2"},
    "llama-guard-3-8b": {"name": "Llama Guard 3 8B", "license": "llama3.1"},
    "gemma-2-2b": {"name": "Gemma 2 2b It", "license": "gemma"},
    "phi-3.5-mini": {"name": "Phi 3.5 Mini Instruct", "license": "mit"},
    "smollm2-135m": {"name": "Smollm2 135M Instruct", "license": "apache-2.0"},
    "llama-3.2-11b-vision": {"name": "Model"},
    "llama-3.2-90b-vision": {"name": "Model"},
    "llama-guard-3-11b-vision": {"name": "Llama Guard 3 11B Vision"},
    "llama-4-scout": {
        "name": "Llama 4 Scout 17B 16E",
        "license": "other",
        "license_name": "llama4",
    },
    "llama-4-maverick": {"name": "Llama 4 Maverick 17B 128E", "license": "llama4"},
    "llama-guard-4-12b": {"name": "Llama Guard 4 12B", "license": "llama4"},
}
RESTRICTED_FILES = [row for row in FILES if "vision" in row or "-4-" in row]


@pytest.mark.parametrize("who", EUROPEAN)
@pytest.mark.parametrize("name", MULTIMODAL)
def test_multimodal_llamas_are_refused_in_the_european_union(
    here: Here, name: str, who: str
) -> None:
    result = here("check", name, "--as", who, "--json")
    assert result.code == 3
    assert result.body["verdict"] == "refuse"
    assert result.body["code"] == "llama-eu-multimodal"
    assert "European Union" in result.body["reasons"][0]["quote"]
    assert len(result.body["remedies"]) >= 2


@pytest.mark.parametrize("who", OTHERS)
@pytest.mark.parametrize("name", MULTIMODAL)
def test_multimodal_llamas_have_to_be_accepted_elsewhere(here: Here, name: str, who: str) -> None:
    before = here("check", name, "--as", who, "--json")
    assert (before.code, before.body["code"]) == (4, "acceptance-needed")


@pytest.mark.usefixtures("accepted")
@pytest.mark.parametrize("who", OTHERS)
@pytest.mark.parametrize("name", MULTIMODAL)
def test_multimodal_llamas_are_allowed_elsewhere_once_accepted(
    here: Here, name: str, who: str
) -> None:
    assert here("check", name, "--as", who, "--json").body["verdict"] == "allow"


@pytest.mark.parametrize("who", EUROPEAN + OTHERS)
def test_text_models_have_to_be_accepted_in_every_domicile(here: Here, who: str) -> None:
    for name in TEXT:
        before = here("check", name, "--as", who, "--json")
        assert (before.code, before.body["code"]) == (4, "acceptance-needed"), name


@pytest.mark.usefixtures("accepted")
@pytest.mark.parametrize("who", EUROPEAN + OTHERS)
def test_text_models_are_allowed_in_every_domicile_once_accepted(here: Here, who: str) -> None:
    for name in TEXT:
        assert here("check", name, "--as", who, "--json").body["verdict"] == "allow", name


@pytest.mark.parametrize("who", EUROPEAN + OTHERS)
@pytest.mark.parametrize("name", FREE)
def test_free_licences_are_allowed_without_a_question(here: Here, name: str, who: str) -> None:
    assert here("check", name, "--as", who).code == 0


@pytest.mark.usefixtures("accepted")
@pytest.mark.parametrize("row", FILES)
@pytest.mark.parametrize("who", ["individual:DE", "company:IE", "individual:GP"])
def test_files_with_real_headers_get_the_verdict_of_their_model_in_the_union(
    here: Here, tmp_path: Path, row: str, who: str
) -> None:
    path = write_model(tmp_path / "model.gguf", row, metadata=statements(**FILES[row]))
    result = here("check", path, "--as", who, "--json")
    expected = "refuse" if row in RESTRICTED_FILES else "allow"
    assert result.body["verdict"] == expected, result.out


@pytest.mark.usefixtures("accepted")
@pytest.mark.parametrize("row", FILES)
def test_files_with_real_headers_are_allowed_outside_the_union_once_accepted(
    here: Here, tmp_path: Path, row: str
) -> None:
    path = write_model(tmp_path / "model.gguf", row, metadata=statements(**FILES[row]))
    for who in OTHERS:
        assert here("check", path, "--as", who, "--json").body["verdict"] == "allow", who


@pytest.mark.usefixtures("accepted")
@pytest.mark.parametrize("name", MULTIMODAL)
def test_an_end_user_must_name_product_and_supplier(here: Here, name: str) -> None:
    role = ("--as", "individual:DE", "--role", "end-user")
    bare = here("check", name, *role, "--json")
    assert (bare.code, bare.body["code"]) == (4, "end-user-incomplete")
    named = here("check", name, *role, "--product", "Kiosk 3", "--supplied-by", "Example Inc")
    assert named.code == 0, named.out


def test_being_an_end_user_is_never_a_remedy(here: Here) -> None:
    for arguments in (("--as", "individual:DE"), ("--as", "individual:DE", "--role", "end-user")):
        result = here("check", "llama4:scout", *arguments, "--json")
        assert not [text for text in result.body["remedies"] if "end-user" in text]


@pytest.mark.usefixtures("accepted")
def test_whoever_declares_to_be_above_the_users_limit_is_refused(here: Here) -> None:
    for number, code in ((700_000_000, 0), (700_000_001, 3)):
        result = here(
            "check", "llama3.2:1b", "--as", "company:US", "--monthly-active-users", number
        )
        assert result.code == code


def test_several_domiciles_any_of_them_forbids(here: Here) -> None:
    assert here("check", "llama4:scout", "--as", "individual:US,DE").code == 3


@pytest.mark.usefixtures("accepted")
def test_an_arguable_territory_is_asked_about_and_the_answer_counts(here: Here) -> None:
    asked = here("check", "llama4:scout", "--as", "individual:NC", "--json")
    assert (asked.code, asked.body["code"]) == (4, "territory-arguable:NC")
    for word, code in (("inside", 3), ("outside", 0)):
        answer = f"territory-arguable:NC={word}"
        result = here("check", "llama4:scout", "--as", "individual:NC", "--answer", answer)
        assert result.code == code


def test_without_a_declaration_it_asks_and_says_how(here: Here) -> None:
    result = here("check", "smollm2:135m", "--json")
    assert (result.code, result.body["code"]) == (4, "declaration-missing")
    assert result.body["declaration"] is None
    assert result.body["remedies"] == ["launcher declare --as individual:COUNTRY"]


def test_the_json_object_has_the_keys_of_the_contract(here: Here) -> None:
    body = here("check", "llama4:scout", "--as", "individual:DE", "--json").body
    assert body["schema"] == 1
    assert body["model"]["ref"] == "llama4:scout"
    assert body["model"]["family"] == "llama-4"
    assert body["model"]["candidates"] == ["llama-4"]
    assert body["model"]["licence"] == "llama4"
    assert body["model"]["modalities"] == ["text", "image"]
    assert set(body["model"]["evidence"][0]) == {"source", "value", "kind"}
    assert body["declaration"] == {
        "as": "individual",
        "domicile": ["DE"],
        "place_of_use": ["DE"],
        "role": "licensee",
        "source": "option",
    }
    reason = {"code", "effect", "licence", "document", "clause", "quote", "text", "source"}
    assert reason <= set(body["reasons"][0])
    assert body["engine"] == {"supported": True}
    assert set(body["policy"]) == {"version", "sha256"}
    assert body["duties"][0].keys() >= {"code", "text"}


@pytest.mark.usefixtures("accepted")
def test_what_the_engine_cannot_run_is_said_apart_from_the_licence(here: Here) -> None:
    body = here("check", "llama3.2-vision:11b", "--as", "individual:US", "--json").body
    assert (body["verdict"], body["engine"]["supported"]) == ("allow", False)
    text = here("check", "llama3.2-vision:11b", "--as", "individual:US").out
    assert text.startswith("Allowed")
    assert "this engine cannot run it" in text


def test_a_refusal_reads_like_this() -> None:
    result = launcher("check", "llama4:scout", "--as", "individual:DE")
    assert result.code == 3
    assert result.err == ""
    command = f"{sys.executable} -m launcher"
    assert result.out.replace(command, "launcher") == REFUSAL


REFUSAL = """\
Refused: Llama 4 Scout Instruct (llama-eu-multimodal)

  Meta grants no rights in the multimodal models of Llama 4 to private persons domiciled in \
the European Union, nor to companies that have their principal place of business there.

  Llama 4 Acceptable Use Policy, last paragraph before the reporting addresses:
    “With respect to any multimodal models included in Llama 4, the rights granted under \
Section 1(a) of the Llama 4 Community License Agreement are not being granted to you if you are \
an individual domiciled in, or a company with a principal place of business in, the European \
Union.”
  https://www.llama.com/llama4/use-policy (sha256 bbf009b29f1dc413…)

  Licence:  llama4
  Seen:     catalogue = llama-4
  Declared: a private person, Germany (DE) [option]

You may run instead:
  launcher run llama3.2:3b
  launcher run smollm2:135m

Exit code 3. More: launcher explain llama-eu-multimodal
"""


@pytest.mark.parametrize("locale", ["C.UTF-8", "tr_TR.UTF-8", "C"])
@pytest.mark.parametrize(("seed", "zone"), [("0", "UTC"), ("4242", "Pacific/Auckland")])
def test_equal_inputs_give_equal_bytes(locale: str, seed: str, zone: str) -> None:
    variables = {"PYTHONHASHSEED": seed, "LC_ALL": locale, "TZ": zone}
    arguments = ("check", "llama4:scout", "--as", "individual:DE,FR", "--json")
    assert launcher(*arguments, variables=variables).out == launcher(*arguments).out


@pytest.mark.parametrize(
    "text", ["EU", "XX", "DE\n", "D", "DEU", "ＤＥ", "DЕ", "de-DE", "", "ﬁ", "ıT", "XI", "ZZ"]
)
def test_what_is_no_country_code_is_a_usage_error(here: Here, text: str) -> None:
    result = here("check", "smollm2:135m", "--as", f"individual:{text}")
    assert result.code == 2
    assert result.out == ""


@pytest.mark.parametrize(("typed", "meant"), [("UK", "GB"), ("EL", "GR"), ("de", "DE")])
def test_aliases_and_small_letters_are_understood_and_echoed(
    here: Here, typed: str, meant: str
) -> None:
    body = here("check", "smollm2:135m", "--as", f"individual:{typed}", "--json").body
    assert body["declaration"]["domicile"] == [meant]


def test_a_misspelt_name_suggests_the_nearest(here: Here) -> None:
    result = here("check", "llama3.2:1", "--as", "individual:DE")
    assert result.code == 10
    assert "Did you mean llama3.2:1b?" in result.err
