"""The site's folder: what whoever looks after a device declares, accepts and forbids binds."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from launcher import flow, settings
from launcher.asker import Asker, Request
from launcher.errors import ExitCode, LauncherError, PersonNeeded
from launcher.licensing import acceptance, declaration, policy
from launcher.licensing.acceptance import Acceptance
from launcher.licensing.declaration import Declaration, Person, Role, Stated, who
from launcher.licensing.regions import Country
from launcher.models import identification
from launcher.models.identification import Identification
from launcher.paths import Places, places, site_folder
from tests.command import launcher
from tests.headers import write_model

GERMANY = 'schema = 1\nas = "individual"\ndomicile = ["DE"]\ndeclared_by = "provisioned"\n'
COMPANY = 'schema = 1\nas = "company"\ndomicile = ["DE", "US"]\n'


@pytest.fixture
def device(home: Path, tmp_path: Path) -> Places:
    """A device whose site folder is a temporary one."""
    site = tmp_path / "site"
    site.mkdir()
    return replace(places(), site=site)


def asker(device: Places, **stated: Any) -> Asker:
    variable = stated.pop("variable", None)
    return Asker(
        places=device, settings=settings.load(device), stated=Stated(**stated), variable=variable
    )


def outcome(device: Places, model: str, **stated: Any) -> tuple[int, str]:
    """Exit code and reason, as `launcher check` would end."""
    try:
        with flow.judged(Request(model=model), asker(device, **stated)) as judgement:
            return int(judgement.decision.exit_code), judgement.decision.code
    except LauncherError as error:
        return int(error.exit_code), error.message


def test_nothing_moves_the_sites_folder(home: Path) -> None:
    variables = {"LAUNCHER_HOME": str(home), "LAUNCHER_SITE": "x", "PROGRAMDATA": "x"}
    assert places(variables).site == site_folder()
    assert site_folder().is_absolute()


# --- The file -------------------------------------------------------------------------------------


def test_a_declaration_of_roots_binds_everybody_and_one_of_anybody_elses_nobody(
    device: Places,
) -> None:
    device.site_declaration.write_text(GERMANY)
    device.site_declaration.chmod(0o644)
    asked = outcome(device, "llama4:scout")
    if os.geteuid() == 0:
        assert asked == (3, "llama-eu-multimodal")
        assert outcome(device, "smollm2:135m") == (0, "allowed")
        assert outcome(device, "llama4:scout", who=who("individual:US"))[0] == 4
        assert outcome(device, "llama4:scout", variable="individual:US")[0] == 4
        assert outcome(device, "llama4:scout", variable="individual:DE")[0] == 3
    else:
        assert asked[0] == 4
        assert "written by others than root" in asked[1]


@pytest.mark.parametrize("mode", [0o666, 0o664, 0o602])
def test_a_declaration_that_others_can_write_binds_nobody(device: Places, mode: int) -> None:
    device.site_declaration.write_text(GERMANY)
    device.site_declaration.chmod(mode)
    with pytest.raises(PersonNeeded, match="written by others than root") as caught:
        declaration.load(device, Stated())
    assert caught.value.commands[0].startswith("sudo chown root:root")


@pytest.mark.parametrize("text", ["", "schema = 1\n", GERMANY + "x = 1\n", GERMANY[:40]])
def test_a_broken_declaration_of_the_site_ends_with_4_whatever_else_is_stated(
    device: Places, text: str
) -> None:
    device.site_declaration.write_text(text)
    device.site_declaration.chmod(0o644)
    assert outcome(device, "smollm2:135m", who=who("individual:DE"))[0] == 4


def test_a_folder_without_a_declaration_binds_nobody(device: Places) -> None:
    assert outcome(device, "llama4:scout", who=who("individual:DE"))[0] == 3
    assert outcome(device, "smollm2:135m")[0] == 4


# --- What binds -----------------------------------------------------------------------------------


def read(text: str, source: str) -> Declaration:
    made = declaration.from_toml(text.encode(), f"{source}.toml")
    return replace(made, source=source, path=f"{source}.toml")


AGREE: dict[str, tuple[str, str, dict[str, Any]]] = {
    "nothing else": (GERMANY, "", {}),
    "the same": (GERMANY, GERMANY, {"who": who("individual:DE")}),
    "the same in another order": (
        COMPANY,
        COMPANY.replace('"DE", "US"', '"US", "DE"'),
        {"who": who("company:US,DE")},
    ),
    "a figure that was left open": (GERMANY, GERMANY + "commercial = false\n", {}),
    "a figure for one run": (GERMANY, "", {"monthly_active_users": 5}),
    "an answer that was left open": (
        GERMANY,
        GERMANY + '[answers]\n"territory-arguable:NC" = "outside"\n',
        {},
    ),
}


@pytest.mark.parametrize("case", AGREE)
def test_what_does_not_contradict_the_site_fills_it_in(case: str) -> None:
    site, user, stated = AGREE[case]
    bound = declaration.bound_by(
        read(site, "site"), read(user, "user") if user else None, Stated(**stated)
    )
    ours = read(site, "site")
    assert (bound.person, bound.domicile, bound.role) == (ours.person, ours.domicile, ours.role)
    assert bound.source == "site"


OPEN = '[answers]\n"territory-arguable:NC" = '
CONFLICTS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "another person": (GERMANY, GERMANY.replace("individual", "company"), {}),
    "another country": (GERMANY, GERMANY.replace("DE", "US"), {}),
    "one country more": (GERMANY, GERMANY.replace('"DE"', '"DE", "US"'), {}),
    "one country less": (COMPANY, COMPANY.replace('"DE", "US"', '"US"'), {}),
    "another place of use": (GERMANY, GERMANY + 'place_of_use = ["US"]\n', {}),
    "another role": (GERMANY, GERMANY + 'role = "end-user"\n', {}),
    "another figure": (
        GERMANY + "monthly_active_users = 800000000\n",
        GERMANY + "monthly_active_users = 1\n",
        {},
    ),
    "another answer": (GERMANY + OPEN + '"inside"\n', GERMANY + OPEN + '"outside"\n', {}),
    "an option": (GERMANY, "", {"who": who("individual:US")}),
    "a variable": (GERMANY, "", {"who": who("individual:US"), "source": "variable"}),
    "a person by option": (GERMANY, "", {"who": who("company:DE")}),
    "a place of use by option": (GERMANY, "", {"place_of_use": (Country("US"),)}),
    "a role by option": (GERMANY, "", {"role": Role.END_USER}),
    "commerce by option": (GERMANY + "commercial = true\n", "", {"commercial": False}),
    "a figure by option": (GERMANY + "annual_revenue_usd = 9\n", "", {"annual_revenue_usd": 1}),
    "an answer by option": (
        GERMANY + OPEN + '"inside"\n',
        "",
        {"answers": {"territory-arguable:NC": "outside"}},
    ),
}


@pytest.mark.parametrize("case", CONFLICTS)
def test_what_contradicts_the_site_is_a_conflict(case: str) -> None:
    site, user, stated = CONFLICTS[case]
    with pytest.raises(PersonNeeded, match=r"this device's own declaration site\.toml") as caught:
        declaration.bound_by(
            read(site, "site"), read(user, "user") if user else None, Stated(**stated)
        )
    assert caught.value.exit_code is ExitCode.PERSON_NEEDED


# --- What else lies there -------------------------------------------------------------------------


def answered(folder: Path, accepted: Mapping[str, bool]) -> None:
    """Writes a file of acceptances into a folder."""
    there = Places(config=folder, state=folder, cache=folder, data=folder, site=folder / "none")
    for id, answer in accepted.items():
        made = Acceptance(
            licence=id,
            text_sha256=policy.load().licences[id].text_sha256,
            person=Person.INDIVIDUAL,
            accepted=answer,
            at="",
            by="provisioned",
        )
        acceptance.add(there, made)


@pytest.mark.parametrize(
    ("site", "user", "code"),
    [
        (None, None, 4),
        (True, None, 0),
        (None, True, 0),
        (True, False, 4),
        (False, True, 4),
        (False, None, 4),
    ],
)
def test_a_licence_is_accepted_where_the_site_or_the_user_did_and_neither_declined(
    device: Places, site: bool | None, user: bool | None, code: int
) -> None:
    for folder, answer in ((device.site, site), (device.config, user)):
        if answer is not None:
            answered(folder, {"llama3.2": answer})
    assert outcome(device, "llama3.2:1b", who=who("individual:DE"))[0] == code


def test_a_policy_of_the_site_forbids_and_names_whom_to_ask(device: Places) -> None:
    (device.site / "policy.toml").write_text(
        'schema = 1\ntitle = "Models at Example"\ncontact = "it@example.com"\n'
        'refuse_families = ["smollm2"]\n'
    )
    with flow.judged(
        Request(model="smollm2:135m"), asker(device, who=who("individual:DE"))
    ) as judgement:
        (reason,) = judgement.decision.reasons
    assert reason.code == "own-policy-family"
    assert "it@example.com" in reason.text
    assert reason.source == str(device.site / "policy.toml")


def test_the_policies_of_site_and_user_add_up(device: Places) -> None:
    device.config.mkdir(parents=True)
    (device.site / "policy.toml").write_text('schema = 1\ntitle = "Site"\nno_non_commercial = true')
    (device.config / "policy.toml").write_text(
        'schema = 1\ntitle = "Mine"\nonly_licences = ["mit"]'
    )
    mine = {"who": who("individual:DE")}
    assert outcome(device, "phi3.5:mini", **mine) == (0, "allowed")
    assert outcome(device, "smollm2:135m", **mine) == (3, "own-policy-licence")
    (device.config / "policy.toml").unlink()
    assert outcome(device, "smollm2:135m", **mine) == (0, "allowed")


def test_a_broken_policy_of_the_site_allows_nothing(device: Places) -> None:
    (device.site / "policy.toml").write_text('schema = 1\ntitle = "Site"\nallow = ["llama4"]')
    code, message = outcome(device, "smollm2:135m", who=who("individual:DE"))
    assert code == 4
    assert "'allow'" in message


def test_the_sites_settings_come_before_the_users(device: Places) -> None:
    device.config.mkdir(parents=True)
    (device.config / "settings.toml").write_text('records = "best-effort"\nrecords_size = 5000\n')
    assert settings.load(device).records == "best-effort"
    (device.site / "settings.toml").write_text('records = "required"\n')
    assert settings.load(device).records == "required"
    assert settings.load(device).records_size == 5000


def test_a_statement_of_the_site_on_a_file_comes_before_the_users(
    device: Places, tmp_path: Path
) -> None:
    path = write_model(tmp_path / "m.gguf", "mobilellm-r1-140m")
    code = launcher("identify", path, "--family", "mobilellm-r1", "--reason", "I think").code
    assert code == 0
    mine = {"who": who("individual:DE"), "commercial": False}
    assert outcome(device, str(path), **mine)[1] == "acceptance-needed"
    (digest,) = identification.load(device.identifications)
    identification.add(
        device.site_identifications,
        Identification(
            sha256=digest, family="llama-4", licence="", reason="we cut it", at="", by="IT"
        ),
    )
    assert outcome(device, str(path), **mine) == (3, "llama-eu-multimodal")
