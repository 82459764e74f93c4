"""`launcher licences`: what is shown, answered and written, and policies of one's own."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import tomllib
from pathlib import Path

import pytest

from launcher.errors import LauncherError
from launcher.licensing import acceptance, overlay, policy
from launcher.licensing.acceptance import from_toml
from launcher.models import catalogue
from launcher.paths import Places
from tests.command import Here, launcher
from tests.headers import SMALL, statements, write_model
from tests.terminal import Start

ROOT = Path(__file__).resolve().parents[2]
WHO = ("--as", "individual:DE")
LICENCES = policy.load().licences


# --- List and show --------------------------------------------------------------------------------


def test_every_licence_is_listed_with_what_it_turns_on(here: Here) -> None:
    body = here("licences", "list", "--json").body
    assert [entry["id"] for entry in body["licences"]] == sorted(LICENCES)
    entries = {entry["id"]: entry for entry in body["licences"]}
    assert entries["llama4"]["turns_on"] == ["domicile", "users"]
    assert entries["mit"]["turns_on"] == []
    assert entries["mit"]["acceptance"] == "not needed"
    table = here("licences", "list").out.splitlines()
    assert len(table) == len(LICENCES) + 1
    assert "llama4" in "\n".join(table)


def test_the_answer_of_whoever_asks_is_shown(here: Here) -> None:
    here("licences", "accept", "llama3.2", *WHO)
    here("licences", "accept", "gemma", "--reject", *WHO)
    entries = {
        entry["id"]: entry["acceptance"]
        for entry in here("licences", "list", *WHO, "--json").body["licences"]
    }
    assert (entries["llama3.2"], entries["gemma"], entries["llama4"]) == (
        "accepted",
        "rejected",
        "needed",
    )
    company = here("licences", "show", "llama3.2", "--as", "company:DE", "--json").body
    assert company["acceptance"] == "needed"


@pytest.mark.parametrize("id", sorted(LICENCES))
def test_every_licence_can_be_shown(here: Here, id: str) -> None:
    body = here("licences", "show", id, "--json").body
    licence = LICENCES[id]
    assert [rule["code"] for rule in body["rules"]] == [rule.code for rule in licence.rules]
    text = here("licences", "show", id).out
    for document in licence.documents:
        assert document.url in text
    for rule in licence.rules:
        assert rule.text in text
    for duty in licence.duties:
        assert duty.text in text


@pytest.mark.parametrize("spelling", ["llama3.2", "LLAMA3.2", "Llama 3.2 ", "llama_3.2"])
def test_a_licence_is_found_as_people_write_it(here: Here, spelling: str) -> None:
    assert here("licences", "show", spelling, "--json").body["id"] == "llama3.2"


@pytest.mark.parametrize("verb", ["show", "accept"])
def test_an_unknown_licence_is_not_found(here: Here, verb: str) -> None:
    result = here("licences", verb, "no-such-licence", *WHO)
    assert result.code == 10
    assert "licences list" in result.err


# --- Accept and reject ----------------------------------------------------------------------------


def test_accepting_is_kept_with_the_texts_that_it_is_about(here: Here, folders: Places) -> None:
    assert here("licences", "accept", "llama3.2", *WHO).code == 0
    (kept,) = tomllib.loads(folders.acceptances.read_text())["acceptance"]
    licence = LICENCES["llama3.2"]
    assert (kept["licence"], kept["as"], kept["accepted"]) == ("llama3.2", "individual", True)
    assert kept["text_sha256"] == licence.text_sha256
    assert set(kept["texts"]) == {"licence", "use-policy"}
    (record,) = map(json.loads, folders.records.read_text().splitlines())
    assert (record["kind"], record["accepted"]) == ("acceptance", True)


def test_it_holds_for_one_kind_of_person(here: Here) -> None:
    here("licences", "accept", "llama3.2", *WHO)
    for who, code in (("individual:US", 0), ("company:DE", 4), ("other-body:DE", 4)):
        assert here("check", "llama3.2:1b", "--as", who).code == code


def test_it_holds_for_one_licence(here: Here) -> None:
    here("licences", "accept", "llama3.2", *WHO)
    for model, code in (("llama3.2:3b", 0), ("llama3.1:8b", 4), ("llama3.3:70b", 4)):
        assert here("check", model, *WHO).code == code


def test_other_texts_have_to_be_accepted_anew_and_are_named(
    here: Here, folders: Places, terminal: Start
) -> None:
    here("licences", "accept", "llama3.2", *WHO)
    kept = folders.acceptances.read_text()
    licence = LICENCES["llama3.2"]
    policy_of_use = licence.document("use-policy").sha256[0]
    kept = kept.replace(policy_of_use, "0" * 64).replace(licence.text_sha256, "1" * 64)
    folders.acceptances.write_text(kept)
    asked = here("check", "llama3.2:1b", *WHO, "--json")
    assert (asked.code, asked.body["code"]) == (4, "acceptance-needed")
    assert asked.body["reasons"][0]["text"] == (
        "Llama 3.2 Community License Agreement has to be accepted anew. "
        "Changed since you accepted it: Llama 3.2 Acceptable Use Policy."
    )
    screen = terminal("licences", "accept", "llama3.2", *WHO)
    shown = " ".join(screen.expect("Do you accept").split())
    assert shown.count("has changed since you accepted it") == 1
    assert "use-policy This text has changed" in shown


def test_the_last_answer_counts_and_all_are_kept(here: Here, folders: Places) -> None:
    codes = []
    for more in ((), ("--reject",), ()):
        here("licences", "accept", "llama3.2", *WHO, *more)
        codes.append(here("check", "llama3.2:1b", *WHO, "--json").body["code"])
    assert codes == ["allowed", "acceptance-refused", "allowed"]
    assert len(acceptance.load(folders).given) == 3


def test_nobody_can_accept_without_saying_who(here: Here, folders: Places) -> None:
    result = launcher("licences", "accept", "llama3.2")
    assert result.code == 4
    assert "licences accept llama3.2 --as individual:COUNTRY" in result.err
    assert not folders.acceptances.exists()


def test_on_a_terminal_the_licence_is_shown_first(here: Here, terminal: Start) -> None:
    screen = terminal("licences", "accept", "llama4", *WHO)
    shown = screen.expect("Do you accept")
    assert "European Union" in shown
    assert "You would accept as a private person." in shown
    screen.type("\n")
    assert screen.end() == 0
    assert here("check", "llama4:scout", "--as", "individual:US").code == 4


BROKEN = {
    "half written": '[[acceptance]]\nlicence = "lla',
    "no person": 'schema = 1\n[[acceptance]]\nlicence = "x"\ntext_sha256 = "y"\naccepted = true\n',
    "unknown key": "schema = 1\nall = true\n",
    "a word for yes": (
        'schema = 1\n[[acceptance]]\nlicence = "x"\ntext_sha256 = "y"\nas = "company"\n'
        'accepted = "yes"\n'
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_broken_acceptances_end_with_4_and_are_left_alone(
    here: Here, folders: Places, name: str
) -> None:
    folders.config.mkdir(parents=True)
    folders.acceptances.write_text(BROKEN[name])
    for arguments in (
        ("check", "smollm2:135m", *WHO),
        ("licences", "accept", "llama3.2", *WHO),
        ("licences", "list", *WHO),
    ):
        result = here(*arguments)
        assert result.code == 4
        assert str(folders.acceptances) in result.err
    assert folders.acceptances.read_text() == BROKEN[name]


def test_all_faults_of_acceptances_are_named_at_once() -> None:
    with pytest.raises(LauncherError) as caught:
        tuple(from_toml(b"schema = 1\na = 1\n[[acceptance]]\nb = 2\n", "x.toml"))
    for place in ("'a'", "'b' in acceptance[0]", "'licence' in acceptance[0]"):
        assert place in caught.value.message


# --- Duties ---------------------------------------------------------------------------------------


NOTICE = (
    "Llama 3.2 is licensed under the Llama 3.2 Community License, Copyright © Meta Platforms, Inc. "
    "All Rights Reserved.\n"
)
DUTIES = """\
Llama 3.2 Community License Agreement:
  - Whoever passes the model on, or a product or service with it, shows “Built with Llama” where \
users see it.
  - A model made or improved with it and passed on has a name that begins with “Llama”.
  - Whoever passes the model on gives a copy of the licence with it.
  - Whoever passes the model on keeps this line in a text file called “Notice” beside it.
"""


def contents(folder: Path) -> dict[str, str]:
    return {path.name: path.read_text(encoding="utf-8") for path in folder.iterdir()}


def test_duties_are_shown_and_what_goes_with_the_model_is_written(
    here: Here, tmp_path: Path
) -> None:
    output = tmp_path / "with it"
    result = here("licences", "duties", "llama3.2:1b", "-o", output)
    assert (result.code, result.out) == (0, DUTIES)
    assert contents(output) == {"Notice.txt": NOTICE, "Display.txt": "Built with Llama\n"}
    assert result.err.splitlines() == [
        f"Wrote {output / 'Notice.txt'}",
        f"Wrote {output / 'Display.txt'}",
        "Not at hand, get it from: https://www.llama.com/llama3_2/license "
        "(Llama 3.2 Community License Agreement)",
        "Not at hand, get it from: https://www.llama.com/llama3_2/use-policy "
        "(Llama 3.2 Acceptable Use Policy)",
    ]


LINES = {
    "llama2:7b": (
        "Llama 2 is licensed under the LLAMA 2 Community License, Copyright (c) Meta Platforms, "
        "Inc. All Rights Reserved.",
        "",
    ),
    "llama3:8b": (
        "Meta Llama 3 is licensed under the Meta Llama 3 Community License, Copyright © Meta "
        "Platforms, Inc. All Rights Reserved.",
        "Built with Meta Llama 3",
    ),
    "llama3.1:8b": (
        "Llama 3.1 is licensed under the Llama 3.1 Community License, Copyright © Meta Platforms, "
        "Inc. All Rights Reserved.",
        "Built with Llama",
    ),
    "llama3.3:70b": (
        "Llama 3.3 is licensed under the Llama 3.3 Community License, Copyright © Meta Platforms, "
        "Inc. All Rights Reserved.",
        "Built with Llama",
    ),
    "llama4:scout": (
        "Llama 4 is licensed under the Llama 4 Community License, Copyright © Meta Platforms, "
        "Inc. All Rights Reserved.",
        "Built with Llama",
    ),
    "gemma2:2b": (
        "Gemma is provided under and subject to the Gemma Terms of Use found at "
        "ai.google.dev/gemma/terms",
        "",
    ),
    "hunyuan:7b": (
        "Tencent Hunyuan is licensed under the Tencent Hunyuan Community License Agreement, "
        "Copyright © 2025 Tencent. All Rights Reserved. The trademark rights of “Tencent "
        "Hunyuan” are owned by Tencent or its affiliate.",
        "Powered by Tencent Hunyuan",
    ),
}


@pytest.mark.parametrize("model", LINES)
def test_the_notice_and_the_words_to_show_are_those_of_the_licence(
    here: Here, tmp_path: Path, model: str
) -> None:
    notice, display = LINES[model]
    assert here("licences", "duties", model, "-o", tmp_path / "with it").code == 0
    expected = {"Notice.txt": f"{notice}\n", "Display.txt": f"{display}\n" if display else ""}
    assert contents(tmp_path / "with it") == {name: text for name, text in expected.items() if text}


def test_a_text_that_lies_beside_the_model_is_taken_along(here: Here, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    model = write_model(folder / "m.gguf", SMALL, metadata=statements(license="apache-2.0"))
    shutil.copy(ROOT / "LICENSE", folder / "LICENSE.txt")
    (folder / "NOTICE").write_text("another text")
    output = tmp_path / "with it"
    result = here("licences", "duties", model, "-o", output)
    text = (ROOT / "LICENSE").read_text(encoding="utf-8")
    assert contents(output) == {"apache-2.0-licence.txt": text}
    digest = hashlib.sha256((output / "apache-2.0-licence.txt").read_bytes()).hexdigest()
    assert digest in LICENCES["apache-2.0"].documents[0].sha256
    assert result.err == f"Wrote {output / 'apache-2.0-licence.txt'}\n"


def test_a_text_that_differs_by_a_letter_is_not_taken_for_the_licence(
    here: Here, tmp_path: Path
) -> None:
    model = write_model(tmp_path / "m.gguf", SMALL, metadata=statements(license="apache-2.0"))
    text = (ROOT / "LICENSE").read_text(encoding="utf-8")
    (tmp_path / "LICENSE").write_text(text.replace("perpetual", "perpetuaI", 1), encoding="utf-8")
    output = tmp_path / "with it"
    result = here("licences", "duties", model, "-o", output)
    assert not output.exists() or not contents(output)
    assert result.err.startswith("Not at hand, get it from: https://www.apache.org/")


def test_a_text_in_the_package_of_the_model_is_taken_along(here: Here, tmp_path: Path) -> None:
    output = tmp_path / "with it"
    result = here("licences", "duties", "smollm2:135m", "-o", output, "--json")
    assert result.body["files"] == [*contents(output)] == ["apache-2.0-licence.txt"]
    assert result.body["missing"] == []
    digest = hashlib.sha256((output / "apache-2.0-licence.txt").read_bytes()).hexdigest()
    assert digest in LICENCES["apache-2.0"].documents[0].sha256


def test_duties_are_an_object_on_request(here: Here) -> None:
    body = here("licences", "duties", "gemma2:2b", "--json").body
    gemma = LICENCES["gemma"]
    assert (body["model"], body["licences"], body["files"]) == (
        "gemma2:2b",
        ["gemma"],
        ["Notice.txt"],
    )
    assert [duty["code"] for duty in body["duties"]] == [duty.code for duty in gemma.duties]
    assert [text["url"] for text in body["missing"]] == [text.url for text in gemma.documents]


def test_what_asks_for_nothing_or_is_not_known_says_so(here: Here, tmp_path: Path) -> None:
    free = write_model(tmp_path / "free.gguf", SMALL, metadata=statements(license="unlicense"))
    assert "It asks for nothing" in here("licences", "duties", free).out
    unknown = write_model(tmp_path / "unknown.gguf", SMALL)
    result = here("licences", "duties", unknown)
    assert (result.code, result.out) == (0, "")
    assert "No licence is known" in result.err


def test_duties_without_a_folder_write_nothing(here: Here, tmp_path: Path) -> None:
    before = list(tmp_path.iterdir())
    assert "Built with Llama" in here("licences", "duties", "llama4:scout").out
    assert list(tmp_path.iterdir()) == before


def test_duties_that_cannot_be_written_are_an_error(here: Here, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    result = here("licences", "duties", "llama3.2:1b", "-o", tmp_path / "file" / "x")
    assert result.code == 1
    assert "could not be written" in result.err


# --- A policy of one's own ------------------------------------------------------------------------


def own(folders: Places, text: str) -> Path:
    folders.config.mkdir(parents=True, exist_ok=True)
    path = folders.config / overlay.NAME
    path.write_text(f'schema = 1\ntitle = "Ours"\n{text}\n', encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("text", "model", "code"),
    [
        ("osi_approved_only = true", "smollm2:135m", "allowed"),
        ("osi_approved_only = true", "llama3.2:1b", "own-policy-osi-only"),
        ("osi_approved_only = true", "gemma2:2b", "own-policy-osi-only"),
        ("no_non_commercial = true", "qwen2.5:3b", "own-policy-no-non-commercial"),
        ("no_non_commercial = true", "llama3.2:1b", "allowed"),
        ('only_licences = ["mit", "llama3.2"]', "phi3.5:mini", "allowed"),
        ('only_licences = ["mit", "llama3.2"]', "llama3.2:1b", "allowed"),
        ('only_licences = ["mit", "llama3.2"]', "smollm2:135m", "own-policy-licence"),
        ('refuse_licences = ["gemma"]', "gemma2:2b", "own-policy-licence"),
        ('refuse_licences = ["gemma"]', "smollm2:135m", "allowed"),
        ('refuse_families = ["smollm2"]', "smollm2:135m", "own-policy-family"),
        ('refuse_families = ["smollm2"]', "smollm2:360m", "own-policy-family"),
        ('refuse_families = ["smollm2"]', "phi3.5:mini", "allowed"),
    ],
)
@pytest.mark.usefixtures("accepted")
def test_it_forbids_what_licences_allow(
    here: Here, folders: Places, text: str, model: str, code: str
) -> None:
    path = own(folders, text)
    assert here("licences", "check-policy", path).code == 0
    result = here("check", model, *WHO, "--commercial", "no", "--json")
    assert result.body["code"] == code
    assert result.code == (0 if code == "allowed" else 3)
    if code != "allowed":
        assert result.body["reasons"][0]["source"] == str(path)
        assert "“Ours”" in result.body["reasons"][0]["text"]


@pytest.mark.usefixtures("accepted")
def test_it_never_allows_what_a_licence_forbids(here: Here, folders: Places) -> None:
    own(folders, 'only_licences = ["llama4"]')
    assert here("check", "llama4:scout", *WHO).code == 3


def test_a_file_whose_licence_is_not_known_is_still_asked_about(
    here: Here, folders: Places, tmp_path: Path
) -> None:
    own(folders, 'only_licences = ["mit"]')
    assert here("check", write_model(tmp_path / "m.gguf"), *WHO).code == 5


def test_it_binds_for_every_family_that_a_file_could_be(
    here: Here, folders: Places, tmp_path: Path
) -> None:
    own(folders, 'refuse_families = ["llama-4"]')
    path = write_model(tmp_path / "m.gguf", "mobilellm-r1-140m")
    result = here("check", path, "--as", "individual:US", "--json")
    assert (result.code, result.body["code"]) == (3, "own-policy-family")


FAULTS = {
    'allow_licences = ["llama4"]': "'allow_licences'",
    "skip = true": "'skip'",
    'title = "twice"': "not valid TOML",
    'only_licences = ["llama5"]': "'llama5' is no licence here",
    'refuse_families = ["llama-9"]': "'llama-9' is no family here",
    'osi_approved_only = "yes"': "'osi_approved_only'",
    "only_licences = [1]": "'only_licences'",
    "[[rule]]\ncode = 'x'": "'rule'",
}


@pytest.mark.parametrize("text", FAULTS)
def test_what_does_not_tighten_is_a_fault_and_allows_nothing(
    here: Here, folders: Places, text: str
) -> None:
    path = own(folders, text)
    for arguments in (("licences", "check-policy", path), ("check", "smollm2:135m", *WHO)):
        result = here(*arguments)
        assert result.code == 4, result
        assert str(path) in result.err
        assert FAULTS[text] in result.err


def test_all_faults_of_a_policy_are_named_at_once_with_their_places(
    here: Here, folders: Places
) -> None:
    path = own(folders, 'only_licences = ["a", "b"]\nrefuse_families = ["c"]\nd = 1\ncontact = 2')
    said = here("licences", "check-policy", path).err
    for place in ("'a'", "'b'", "'c'", "'d'", "'contact'"):
        assert place in said
    assert said.count(str(path)) == 5


def test_the_check_of_a_policy_is_an_object_on_request(here: Here, folders: Places) -> None:
    path = own(folders, "osi_approved_only = true")
    body = {"schema": 1, "file": str(path), "valid": True, "title": "Ours"}
    assert here("licences", "check-policy", path, "--json").body == body
    path = own(folders, "allow = true\nskip = true")
    result = here("licences", "check-policy", path, "--json")
    assert result.code == 4
    faults = result.body["error"]["message"].splitlines()
    assert [re.findall("'(allow|skip)'", fault) for fault in faults] == [["allow"], ["skip"]]


def test_a_policy_that_is_not_there_is_not_found(here: Here, tmp_path: Path) -> None:
    assert here("licences", "check-policy", tmp_path / "none.toml").code == 10
    assert here("licences", "check-policy", tmp_path).code == 4


def test_no_folder_changes_a_verdict_by_holding_a_file(
    here: Here, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = here("check", "llama4:scout", *WHO, "--json").out
    for name in ("policy.toml", "models.toml", "regions.toml", "settings.toml", "acceptances.toml"):
        (tmp_path / name).write_text("schema = 1\n")
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs" / "regions.toml").write_text("")
    monkeypatch.chdir(tmp_path)
    assert here("check", "llama4:scout", *WHO, "--json").out == before
    assert launcher("check", "llama4:scout", *WHO, "--json").out == before


def test_families_of_the_example_exist() -> None:
    assert "smollm2" in catalogue.load().families
