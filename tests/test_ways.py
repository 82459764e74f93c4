"""The 47 ways past a naive gate, and what becomes of each.

S: it is stopped, and tests say so. R: it cannot be stopped; it is recorded and said, which
tests say too, and `docs/limits.md` admits it. O: out of reach; `docs/limits.md` admits it.
What had no test of its own elsewhere has one here: a real command line, and real files.
"""

from __future__ import annotations

import ast
import json
import os
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import click
import pytest

from launcher.cli.main import menu
from launcher.licensing import records
from launcher.licensing.records import Log
from launcher.paths import Places
from tests.command import Here, Result, launcher
from tests.headers import (
    SMALL,
    Written,
    entry,
    header,
    padded,
    statements,
    write_model,
    write_projector,
    write_shards,
)
from tests.terminal import Start

ROOT = Path(__file__).resolve().parents[1]
GERMANY = ("--as", "individual:DE")
TRAPS, GGUF, RULES = "licensing/test_traps.py", "models/test_gguf.py", "models/test_gguf_rules.py"
PULL = "cli/test_pull.py"
BUNDLE, CLIENT, SITE = "models/test_bundle.py", "engine/test_client.py", "licensing/test_site.py"
CHECK, HERE = "cli/test_check.py", "test_ways.py"


class Way(NamedTuple):
    """One way past a gate that trusts what it is told."""

    what: str
    kind: str
    """S, R or O; two of them where it is partly each."""
    tests: Sequence[str] = ()


def _way(what: str, kind: str, *tests: str) -> Way:
    """The tests as `file::name`, or as a name in this file."""
    return Way(what, kind, [test if "::" in test else f"{HERE}::{test}" for test in tests])


WAYS: dict[int, Way] = {
    1: _way("another file name", "S", f"{TRAPS}::test_a_file_name_takes_nothing_away"),
    2: _way("statements stripped", "S", f"{TRAPS}::test_it_is_refused[with nothing stated]"),
    3: _way("a false licence", "S", f"{TRAPS}::test_it_is_refused[with license: mit]"),
    4: _way(
        "license: other, and a name",
        "S",
        "test_license_other_falls_through_to_its_name_in_a_file",
        f"{TRAPS}::test_license_other_falls_through_to_its_name",
        f"{TRAPS}::test_it_is_asked_what_it_is[license: other with a name that nobody knows]",
    ),
    5: _way(
        "a key that ends in a NUL for the engine",
        "S",
        "test_a_header_that_could_be_read_in_two_ways_is_refused",
        f"{CLIENT}::test_a_file_that_shows_the_engine_another_model_is_refused",
    ),
    6: _way("the same key twice", "S", "test_a_header_that_could_be_read_in_two_ways_is_refused"),
    7: _way(
        "a key of another type",
        "S",
        "test_a_header_that_could_be_read_in_two_ways_is_refused",
        f"{RULES}::test_what_a_decision_may_rest_on_is_a_clean_short_string",
    ),
    8: _way(
        "names that mislead the eye",
        "SR",
        "test_a_name_that_turns_the_line_round_is_refused",
        "test_a_name_in_look_alike_letters_gains_nothing_and_is_recorded",
        "cli/test_run.py::test_control_characters_of_a_model_file_do_not_reach_the_terminal",
    ),
    9: _way(
        "a benign first shard",
        "S",
        f"{TRAPS}::test_shards_are_one_model_whichever_of_them_is_named",
        "test_a_shard_of_another_model_is_refused",
    ),
    10: _way(
        "shards that the engine finds itself",
        "S",
        f"{CLIENT}::test_shards_are_loaded_by_their_descriptors",
    ),
    11: _way(
        "an image half beside the model",
        "S",
        f"{TRAPS}::test_an_innocent_model_does_not_cover_what_is_loaded_with_it"
        "[image half of Llama 4]",
        "test_a_part_that_cannot_be_loaded_is_not_left_out",
    ),
    12: _way(
        "a part that is attached later",
        "S",
        f"{CLIENT}::test_the_key_cannot_be_made_from_a_decision_on_another_bundle",
        "test_there_is_one_door_to_the_engine",
    ),
    13: _way(
        "the text half of Llama 4 alone",
        "S",
        f"{TRAPS}::test_it_is_refused[with nothing stated]",
        f"{CHECK}::test_files_with_real_headers_get_the_verdict_of_their_model_in_the_union",
    ),
    14: _way(
        "an adapter of a restricted model",
        "S",
        f"{TRAPS}::test_an_innocent_model_does_not_cover_what_is_loaded_with_it"
        "[adapter for Llama 4]",
    ),
    15: _way(
        "a restricted model that drafts",
        "S",
        f"{TRAPS}::test_an_innocent_model_does_not_cover_what_is_loaded_with_it"
        "[Llama 4 as the model that drafts]",
    ),
    16: _way(
        "a chain that hides its root",
        "S",
        f"{TRAPS}::test_what_hides_behind_a_circle_is_found",
        f"{TRAPS}::test_a_chain_that_is_too_deep_settles_nothing",
        f"{TRAPS}::test_a_chain_with_an_unread_parent_settles_nothing",
    ),
    17: _way(
        "a merge with a free model",
        "S",
        f"{TRAPS}::test_a_merge_is_refused_for_any_of_its_parents",
        f"{TRAPS}::test_a_merge_of_a_free_and_a_restricted_release_is_both",
    ),
    18: _way(
        "the text half of Llama 3.2 Vision as plain llama",
        "R",
        "test_the_text_half_of_vision_is_recorded_with_what_it_was_judged_by",
    ),
    19: _way(
        "a model inside another file",
        "S",
        "test_what_is_no_plain_gguf_file_is_refused",
        f"{BUNDLE}::test_a_model_inside_another_file_is_refused",
    ),
    20: _way(
        "a link that is turned between check and load",
        "S",
        f"{CLIENT}::test_what_was_judged_is_what_is_loaded_though_the_path_is_swapped",
    ),
    21: _way(
        "a second name, another folder",
        "S",
        "test_a_second_name_for_a_file_is_the_same_file",
        f"{CLIENT}::test_shards_are_loaded_by_their_descriptors",
    ),
    22: _way(
        "a file that is written to while it loads",
        "S",
        f"{CLIENT}::test_a_file_that_is_written_to_after_it_was_judged_is_refused",
        f"{BUNDLE}::test_a_file_that_is_written_to_is_noticed",
    ),
    23: _way("a pipe, a folder, a device", "S", "test_only_a_regular_file_is_opened"),
    24: _way("a file that is longer or shorter than it says", "S", "test_a_file_has_its_length"),
    25: _way("an old decision", "S", "test_every_call_decides_anew"),
    26: _way("an old policy", "R", "test_an_old_policy_is_recorded_and_said"),
    27: _way(
        "an edited policy",
        "R",
        "test_an_edited_policy_is_recorded_and_said",
        "cli/test_licences.py::test_what_does_not_tighten_is_a_fault_and_allows_nothing",
    ),
    28: _way("an older launcher", "R", "test_an_older_policy_than_before_is_recorded_and_said"),
    29: _way(
        "--force, --yes, SKIP_GATE",
        "S",
        "test_no_flag_changes_a_refusal",
        "test_nothing_skips_the_gate",
    ),
    30: _way("keys overridden at the load", "S", "test_no_key_of_a_file_can_be_overridden"),
    31: _way(
        "variables that swap the engine",
        "R",
        "test_variables_that_could_swap_the_engine_are_recorded_and_said",
        f"{CLIENT}::test_the_worker_gets_no_variables_that_could_swap_the_engine",
    ),
    32: _way(
        "another address for the hub",
        "R",
        "test_another_hub_is_not_asked_about_what_lies_here",
        f"{PULL}::test_the_cards_of_another_hub_only_add",
        f"{PULL}::test_the_record_says_which_hub_it_was",
    ),
    33: _way("another model by request", "S", "test_there_is_one_door_to_the_engine"),
    34: _way("a second model by configuration", "S", "test_there_is_one_door_to_the_engine"),
    35: _way("the engine called without the launcher", "O"),
    36: _way("an edited declaration", "R", "test_an_edited_declaration_is_recorded_and_said"),
    37: _way(
        "somebody else's declaration",
        "R",
        "test_a_copied_declaration_is_recorded_and_said",
        "test_records_of_another_computer_are_recorded_and_said",
    ),
    38: _way(
        "a user's file against the site's",
        "S",
        f"{SITE}::test_what_contradicts_the_site_is_a_conflict",
        f"{SITE}::test_a_declaration_of_roots_binds_everybody_and_one_of_anybody_elses_nobody",
    ),
    39: _way(
        "a broken declaration",
        "S",
        "cli/test_declare.py::test_a_broken_declaration_ends_with_4_and_is_left_alone",
        "cli/test_declare.py::test_what_is_no_declaration_at_all_ends_with_4",
    ),
    40: _way(
        "letters that look like a code",
        "S",
        f"{CHECK}::test_what_is_no_country_code_is_a_usage_error",
        "test_a_code_that_only_looks_like_one_is_a_fault_in_a_file",
    ),
    41: _way(
        "EU, UK, EL, DEU, Germany",
        "S",
        f"{CHECK}::test_aliases_and_small_letters_are_understood_and_echoed",
        f"{CHECK}::test_what_is_no_country_code_is_a_usage_error",
    ),
    42: _way(
        "territories with a code of their own",
        "SR",
        "test_outermost_regions_are_inside",
        "test_an_answer_to_an_open_point_is_asked_for_and_recorded",
    ),
    43: _way(
        "several domiciles, other bodies",
        "S",
        f"{CHECK}::test_several_domiciles_any_of_them_forbids",
        "test_neither_a_second_domicile_nor_another_body_is_a_way_out",
    ),
    44: _way(
        "to claim to be an end user",
        "R",
        "test_who_claims_to_be_an_end_user_is_recorded_and_told",
        f"{CHECK}::test_being_an_end_user_is_never_a_remedy",
    ),
    45: _way("to travel, a VPN", "OR", "test_the_place_of_use_is_what_is_declared_and_is_recorded"),
    46: _way("a clock that is set back", "R", "test_a_clock_that_was_set_back_is_recorded"),
    47: _way(
        "records that are deleted, disks that are copied",
        "RO",
        "cli/test_records.py::test_a_head_from_before_is_found_as_long_as_its_record_is_there",
        "cli/test_records.py::test_a_chain_that_was_tampered_with_shows",
        "test_records_of_another_computer_are_recorded_and_said",
    ),
}
HOSTILE: dict[str, Way] = {
    "a header that kills the engine": _way(
        "", "S", f"{RULES}::test_what_the_engine_would_abort_on_is_refused"
    ),
    "a header that is too large": _way(
        "", "S", f"{GGUF}::test_a_header_of_more_than_64_mebibytes_is_refused"
    ),
    "an engine that dies": _way(
        "", "S", f"{CLIENT}::test_a_worker_that_is_killed_mid_answer_is_named"
    ),
    "a template that reaches out": _way(
        "",
        "S",
        "test_a_template_cannot_reach_out",
        "engine/test_template.py::test_nothing_that_is_injected_is_executed_or_shown",
    ),
    "a template that asks for too much": _way(
        "",
        "S",
        "engine/test_template.py::"
        "test_a_template_that_asks_for_too_much_is_ended_and_the_worker_goes_on",
    ),
    "an engine that reaches out": _way(
        "", "S", "engine/test_sandbox.py::test_nothing_forbidden_is_possible_in_the_sandbox"
    ),
    "more than there is memory": _way(
        "", "S", "cli/test_run.py::test_what_does_not_fit_ends_with_9_and_says_what_would"
    ),
}
ADMITTED = {*(str(number) for number, way in WAYS.items() if {*way.kind} & {*"RO"}), "lie"}


# --- The table itself -----------------------------------------------------------------------------


def test_every_way_is_answered() -> None:
    assert list(WAYS) == list(range(1, 48))
    for way in (*WAYS.values(), *HOSTILE.values()):
        assert way.kind in ("S", "R", "O", "SR", "RO", "OR")
        assert bool(way.tests) == (way.kind != "O"), way


def test_every_test_that_is_named_exists() -> None:
    named = {test for way in (*WAYS.values(), *HOSTILE.values()) for test in way.tests}
    files = sorted({f"tests/{test.partition('::')[0]}" for test in named})
    options = ("-q", "--collect-only", "-p", "no:cacheprovider")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *options, *files],
        capture_output=True,
        text=True,
        encoding="utf-8",
        cwd=ROOT,
        check=True,
    )
    found = {line.removeprefix("tests/") for line in done.stdout.splitlines() if "::" in line}
    found |= {id.partition("[")[0] for id in found}
    assert named - found == set()


def sentences() -> dict[str, str]:
    """Way -> what `docs/limits.md` admits of it: the item that carries its number."""
    text = (ROOT / "docs" / "limits.md").read_text(encoding="utf-8")
    items = re.findall(r"^- (.*?)(?=^- |^$|\Z)", text, re.MULTILINE | re.DOTALL)
    found: dict[str, str] = {}
    for item in items:
        said, *ways = re.split(r"<!-- way:? ", " ".join(item.split()))
        for way in ways:
            number = re.split(r"[, ]", way)[0]
            found[number] = found.get(number, "") + said
    return found


def test_what_cannot_be_stopped_is_admitted_in_the_limits() -> None:
    found = sentences()
    assert set(found) == ADMITTED
    for way, said in found.items():
        assert re.search(r"\w+ \w+ \w+.*[.:)] $", said), way


# --- Files ----------------------------------------------------------------------------------------


def checked(here: Here, *arguments: object, who: str = "individual:DE") -> Result:
    return here("check", *arguments, "--as", who, "--json")


def test_license_other_falls_through_to_its_name_in_a_file(here: Here, tmp_path: Path) -> None:
    said = statements(license="other", license_name="llama4")
    result = checked(here, write_model(tmp_path / "m.gguf", metadata=said))
    assert (result.code, result.body["model"]["licences"]) == (3, ["llama4"])


AS_LLAMA = entry("general.architecture", "llama")
TWOFOLD: dict[str, Sequence[bytes]] = {
    "a key with a NUL": (
        entry("general.architecture\0zzz", "llama"),
        entry("general.architecture", "qwen2"),
    ),
    "a key twice": (AS_LLAMA, entry("general.architecture", "qwen2")),
    "a licence twice": (
        AS_LLAMA,
        entry("general.license", "mit"),
        entry("general.license", "llama4"),
    ),
    "a value with a NUL": (entry("general.architecture", "llama\0four"),),
    "an architecture that is a number": (entry("general.architecture", 4),),
    "an architecture that is a list": (entry("general.architecture", ["llama", "llama4"]),),
    "a licence that is a list": (AS_LLAMA, entry("general.license", ["mit"])),
    "a name that is a number": (AS_LLAMA, entry("general.name", 7)),
    "layers that are words": (AS_LLAMA, entry("llama.block_count", "two")),
    "layers that are less than none": (AS_LLAMA, entry("llama.block_count", -1.0)),
}


@pytest.mark.parametrize("how", TWOFOLD)
def test_a_header_that_could_be_read_in_two_ways_is_refused(
    here: Here, tmp_path: Path, how: str
) -> None:
    path = tmp_path / "m.gguf"
    path.write_bytes(padded(header([AS_LLAMA])))
    assert checked(here, path).code == 5
    path.write_bytes(padded(header(TWOFOLD[how])))
    result = checked(here, path)
    assert (result.code, result.body["error"]["exit_code"]) == (6, 6)


@pytest.mark.parametrize("name", ["\u202e3 amall", "Qwen\u200b3", "Llama\x1b[8m 4", "a\u2066b"])
def test_a_name_that_turns_the_line_round_is_refused(here: Here, tmp_path: Path, name: str) -> None:
    result = here("check", write_model(tmp_path / "m.gguf", metadata={"general.name": name}))
    assert result.code == 6
    assert not {*name} & {*"\u202e\u200b\x1b\u2066"} & {*(result.out + result.err)}


def run_refused(*arguments: object, variables: Mapping[str, str] | None = None) -> Result:
    """`launcher run` of what is not allowed: decided and recorded, and nothing loaded."""
    result = launcher("run", *arguments, "-n", "1", stdin="hi", variables=variables)
    assert result.code in (3, 4), result
    assert result.out == ""
    return result


def recorded(folders: Places) -> list[dict[str, Any]]:
    return [json.loads(line) for line in folders.records.read_text().splitlines()]


def test_a_name_in_look_alike_letters_gains_nothing_and_is_recorded(
    here: Here, folders: Places, tmp_path: Path
) -> None:
    name = "Qw\u0435n3 4B"  # with a Cyrillic e
    said = statements(name=name, license="apache-2.0")
    path = write_model(tmp_path / "m.gguf", "llama-4-scout", metadata=said)
    assert run_refused(path, *GERMANY).code == 3
    (record,) = recorded(folders)
    assert {"source": "gguf:general.name", "value": name, "kind": "statement"} in record["evidence"]


def test_a_shard_of_another_model_is_refused(here: Here, tmp_path: Path) -> None:
    said = statements(license="mit")
    ours = write_shards(tmp_path, SMALL, count=2, metadata=said)
    assert checked(here, ours[0]).code == 0
    (tmp_path / "other").mkdir()
    theirs = write_shards(tmp_path / "other", "llama-4-scout", count=3)
    shutil.copyfile(ours[1], tmp_path / "kept")
    theirs[1].replace(ours[1])
    assert checked(here, ours[0]).code == 6
    ours[1].unlink()
    assert checked(here, ours[0]).code == 10
    (tmp_path / "kept").replace(ours[1])
    assert checked(here, ours[0]).code == 0


@pytest.mark.usefixtures("accepted")
def test_a_part_that_cannot_be_loaded_is_not_left_out(here: Here, tmp_path: Path) -> None:
    model = write_model(tmp_path / "m.gguf", metadata=statements(license="mit"))
    beside = write_projector(tmp_path / "a.gguf", "mlp", statements(license="mit"))
    assert checked(here, model, "--mmproj", beside).code == 0
    assert here("run", model, "hi", "--mmproj", beside, *GERMANY).code == 6


@pytest.mark.usefixtures("accepted")
def test_the_text_half_of_vision_is_recorded_with_what_it_was_judged_by(
    here: Here, folders: Places, tmp_path: Path
) -> None:
    path = write_model(tmp_path / "m.gguf", "llama-3.1-8b")
    assert checked(here, path).code == 0
    folders.acceptances.unlink()
    run_refused(path, *GERMANY)
    (record,) = recorded(folders)
    assert "llama-3.1" in record["candidates"]
    assert "llama-3.2-vision" not in record["candidates"]
    # Nothing but the structure spoke for it, and the record says so.
    kinds = {claim["kind"] for claim in record["evidence"] if claim["source"] != "file name"}
    assert kinds == {"structure"}


def _inside(start: bytes) -> bytes:
    """A whole model, but not at the start of the file."""
    return start + padded(header([AS_LLAMA]))


STRANGE = {
    "m.llamafile": _inside(b"MZqFpD='\n" + bytes(55)),
    "m.zip": _inside(b"PK\x03\x04" + bytes(60)),
    "m.safetensors": (2).to_bytes(8, "little") + b"{}" + bytes(64),
    "m.bin": b"\x80\x04}q\x00." + bytes(64),
    "m.gguf": _inside(b"\0"),
    "big.gguf": b"FUGG" + bytes(64),
}


@pytest.mark.parametrize("name", STRANGE)
def test_what_is_no_plain_gguf_file_is_refused(here: Here, tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(STRANGE[name])
    result = here("check", path, *GERMANY)
    assert (result.code, result.out) == (6, "")
    assert "GGUF" in result.err


def test_a_second_name_for_a_file_is_the_same_file(here: Here, tmp_path: Path) -> None:
    path = write_model(tmp_path / "Llama-4-Scout.gguf", "llama-4-scout")
    for make, name in ((os.link, "Qwen3-4B.gguf"), (os.symlink, "SmolLM2-135M.gguf")):
        make(path, tmp_path / name)
        assert checked(here, tmp_path / name).code == 3
    tmp_path.rename(tmp_path.with_name("smollm2"))
    try:
        assert checked(here, tmp_path.with_name("smollm2") / "Qwen3-4B.gguf").code == 3
    finally:
        tmp_path.with_name("smollm2").rename(tmp_path)


def test_only_a_regular_file_is_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.gguf")
    (tmp_path / "folder.gguf").mkdir()
    for path in (tmp_path / "pipe.gguf", tmp_path / "folder.gguf", "/dev/null", "/dev/stdin"):
        result = launcher("check", path, *GERMANY, stdin="GGUF")
        assert (result.code, result.out) == (6, ""), path
        assert "not a GGUF file" in result.err


@pytest.mark.parametrize(("more", "words"), [(4096, "bytes follow"), (-1, "cut short")])
def test_a_file_has_its_length(here: Here, tmp_path: Path, more: int, words: str) -> None:
    path = write_model(tmp_path / "m.gguf", metadata=statements(license="mit"))
    assert checked(here, path).code == 0
    os.truncate(path, path.stat().st_size + more)
    result = here("check", path, *GERMANY)
    assert result.code == 6
    assert words in result.err


# --- Decisions ------------------------------------------------------------------------------------


@pytest.mark.usefixtures("accepted")
def test_every_call_decides_anew(here: Here, folders: Places, tmp_path: Path) -> None:
    path = write_model(tmp_path / "m.gguf", metadata=statements(license="mit"))
    assert checked(here, path).code == checked(here, path).code == 0
    write_model(path, "llama-4-scout", metadata=statements(license="mit"))
    assert checked(here, path, who="individual:US").code == 0
    assert checked(here, path).code == 3
    folders.acceptances.unlink()
    assert checked(here, path, who="individual:US").code == 4


def every_command(group: click.Group = menu) -> dict[str, click.Command]:
    """Every command of the menu and of its groups, by what is typed."""
    context = click.Context(group)
    found: dict[str, click.Command] = {}
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        found[name] = command
        if isinstance(command, click.Group):
            inner = every_command(command)
            found |= {f"{name} {below}": each for below, each in inner.items()}
    return found


SKIPPING = re.compile(r"-y|--.*(yes|skip|bypass|ignore|unsafe|trust|insecure|agree|allow).*")
LOADING = ("run", "check", "pull", "serve")
HARMLESS = {  # named like ways around the gate, and none
    "run --dry-allowed-length",  # tokens, by llama.cpp's name for it
    "run --ignore-eos",  # a token, likewise
    "serve --allow-host",  # a name that the server is reached by
    "serve --allow-origin",  # a web page that may ask
}
DELETING = ("rm", "prune")  # they ask before they remove, and load nothing
FLAGS = [
    (name, option)
    for name, command in every_command().items()
    if name in LOADING
    for parameter in command.params
    if isinstance(parameter, click.Option) and parameter.is_flag
    for option in (*parameter.opts, *parameter.secondary_opts)
    if option != "--print-unit"  # which writes a file for a service manager, and loads nothing
]


@pytest.mark.parametrize(("command", "flag"), FLAGS)
def test_no_flag_changes_a_refusal(here: Here, command: str, flag: str) -> None:
    prompt = ["hi"] if command == "run" and flag != "--continue" else []
    assert here(command, "llama4:scout", *prompt, *GERMANY).code == 3
    assert here(command, "llama4:scout", *prompt, flag, *GERMANY).code == 3


def test_nothing_skips_the_gate(here: Here, folders: Places) -> None:
    options = {
        f"{name} {option}"
        for name, command in every_command().items()
        if name not in DELETING
        for parameter in command.params
        for option in (*parameter.opts, *parameter.secondary_opts)
    }
    assert "run --as" in options
    assert options >= HARMLESS
    options -= HARMLESS
    assert not [name for name in options if SKIPPING.fullmatch(name.rpartition(" ")[2])]
    for option in ("--yes", "-y", "--accept", "--skip-gate"):
        assert here("run", "llama4:scout", "hi", option, *GERMANY).code == 2
    variables = {"CI": "true", "SKIP_GATE": "1", "LAUNCHER_YES": "1", "LAUNCHER_FORCE": "1"}
    variables |= {"DEBIAN_FRONTEND": "noninteractive", "ACCEPT_EULA": "Y"}
    for model in ("smollm2:135m", "llama4:scout"):
        assert run_refused(model, variables=variables).code == 4
    assert run_refused("llama4:scout", *GERMANY, variables=variables).code == 3
    assert not folders.declaration.exists()
    assert not folders.acceptances.exists()


def test_no_key_of_a_file_can_be_overridden(here: Here) -> None:
    said = "general.architecture=str:llama"
    for option in ("--override-kv", "--kv-override", "--override"):
        assert here("run", "llama4:scout", "hi", option, said, *GERMANY).code == 2
    engine = (ROOT / "launcher" / "engine" / "worker" / "llama.py").read_text(encoding="utf-8")
    assert "llama_model_load_from" in engine
    assert "kv_overrides" not in engine


def calls(name: str) -> list[str]:
    """Where in the launcher a function of this name is called, or named."""
    found = []
    for path in sorted((ROOT / "launcher").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            named = getattr(node, "func", None) if isinstance(node, ast.Call) else None
            if name in (getattr(named, "id", ""), getattr(named, "attr", "")):
                found.append(path.relative_to(ROOT).as_posix())
    return found


def test_there_is_one_door_to_the_engine() -> None:
    """The server's, too: whatever loads goes the way of `flow`."""
    assert calls("Engine") == ["launcher/flow.py"]
    assert set(calls("SharedEngine")) == {"launcher/serving/fleet.py"}
    assert calls("Cleared") == ["launcher/flow.py"]
    assert set(calls("llama_model_load_from_splits")) == {"launcher/engine/worker/llama.py"}
    assert not calls("Llama")


# --- The policy -----------------------------------------------------------------------------------

TODAY = datetime.now(UTC).date()


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """The launcher and its policy, where they can be edited."""
    folder = tmp_path / "copy"
    for name in ("launcher", "configs"):
        shutil.copytree(
            ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__", "*.pyc")
        )
    return folder


def of_the(copy: Path) -> dict[str, str]:
    """What makes a call run the copy."""
    return {"PYTHONPATH": str(copy), "PYTHONSAFEPATH": "1", "PYTHONDONTWRITEBYTECODE": "1"}


def dated(copy: Path, days: int) -> str:
    """Gives the policy of the copy a date, in days from today."""
    version = (TODAY + timedelta(days=days)).isoformat()
    path = copy / "configs" / "policy.toml"
    text = re.sub(r'(?m)^version = ".*"', f'version = "{version}"', path.read_text())
    assert version in text
    path.write_text(text)
    return version


def noted(folders: Places) -> list[str]:
    """The notes of the last record."""
    notes: list[str] = recorded(folders)[-1]["notes"]
    return notes


@pytest.mark.parametrize(("days", "code"), [(-181, "policy-old"), (2, "clock-early")])
def test_an_old_policy_is_recorded_and_said(
    folders: Places,
    copy: Path,
    terminal: Start,
    monkeypatch: pytest.MonkeyPatch,
    days: int,
    code: str,
) -> None:
    version = dated(copy, days)
    result = run_refused("llama4:scout", *GERMANY, variables=of_the(copy))
    assert noted(folders) == [code]
    assert "Note:" not in result.err  # a device without a clock is not to be bothered
    for name, value in of_the(copy).items():
        monkeypatch.setenv(name, value)
    screen = terminal("run", "llama4:scout", "hi", *GERMANY)
    said = screen.expect("Refused:")
    assert "Note: " in said
    assert version in said


def test_an_edited_policy_is_recorded_and_said(folders: Places, copy: Path) -> None:
    dated(copy, -1)
    run_refused("llama4:scout", *GERMANY, variables=of_the(copy))
    assert noted(folders) == []
    path = copy / "configs" / "licences" / "llama4.toml"
    path.write_text(path.read_text().replace('effect = "refuse"', 'effect = "ask"'))
    result = run_refused("llama4:scout", *GERMANY, variables=of_the(copy))
    assert noted(folders) == ["policy-changed"]
    assert "its files were changed" in result.err
    before, after = (record["policy"] for record in recorded(folders))
    assert before["version"] == after["version"]
    assert before["sha256"] != after["sha256"]


def test_an_older_policy_than_before_is_recorded_and_said(folders: Places, copy: Path) -> None:
    latest = dated(copy, -1)
    run_refused("llama4:scout", *GERMANY, variables=of_the(copy))
    dated(copy, -100)
    for _ in range(2):
        result = run_refused("llama4:scout", *GERMANY, variables=of_the(copy))
        assert noted(folders) == ["policy-older-than-before"]
        assert f"one of {latest} was used here before" in result.err
        assert recorded(folders)[-1]["policy"]["highest"] == latest


# --- The engine, the hub --------------------------------------------------------------------------


def test_variables_that_could_swap_the_engine_are_recorded_and_said(folders: Places) -> None:
    variables = {"LLAMA_CPP_LIB_PATH": "/nowhere", "LD_LIBRARY_PATH": "/nowhere"}
    options = ("-n", "1", "-c", "256", *GERMANY)
    result = launcher("run", "smollm2:135m", *options, stdin="hi", variables=variables)
    assert result.code == 0, result
    assert "Note: The engine does not get LLAMA_CPP_LIB_PATH, " in result.err
    assert recorded(folders)[-1]["withheld"] == ["LLAMA_CPP_LIB_PATH", "LD_LIBRARY_PATH"]


def test_another_hub_is_not_asked_about_what_lies_here(tmp_path: Path) -> None:
    path = write_model(tmp_path / "m.gguf", "mobilellm-r1-140m")
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.0)
        variables = {"HF_ENDPOINT": f"http://127.0.0.1:{server.getsockname()[1]}"}
        arguments = ("check", path, *GERMANY, "--json")
        assert launcher(*arguments, variables=variables).out == launcher(*arguments).out
        with pytest.raises(BlockingIOError):
            server.accept()


def test_a_template_cannot_reach_out(folders: Places, tmp_path: Path) -> None:
    traces = tmp_path / "traces"
    escape = "{{ ''.__class__.__mro__[1].__subclasses__() }}"
    builtins = f"{{{{ cycler.__init__.__globals__.os.system('touch {traces}') }}}}"
    for template in (escape, builtins, "{% include '/etc/passwd' %}", "{{ 1 / 0 }}"):
        said: dict[str, Written | None] = {**statements(license="mit")}
        said["tokenizer.chat_template"] = template
        path = write_model(tmp_path / "m.gguf", metadata=said)
        result = launcher("run", path, "hi", "-n", "1", *GERMANY)
        assert result.code in (1, 6), result
        assert "chat template" in result.err
        assert "root:" not in result.out + result.err
    assert not traces.exists()


# --- Who asks -------------------------------------------------------------------------------------


def test_an_edited_declaration_is_recorded_and_said(here: Here, folders: Places) -> None:
    here("declare", *GERMANY)
    run_refused("llama4:scout")
    assert noted(folders) == []
    text = folders.declaration.read_text()
    folders.declaration.write_text(text.replace('"DE"', '"US"'))
    result = run_refused("llama4:scout")
    assert noted(folders) == ["declaration-changed"]
    assert f"The declaration {folders.declaration} is not the one" in result.err
    before, after = (record["declaration"] for record in recorded(folders)[1:])
    assert (before["domicile"], after["domicile"]) == (["DE"], ["US"])
    assert before["sha256"] != after["sha256"]


def test_a_copied_declaration_is_recorded_and_said(
    here: Here, folders: Places, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here("declare", "--as", "individual:US")
    theirs = folders.declaration.read_bytes()
    monkeypatch.setenv("LAUNCHER_HOME", str(tmp_path / "another"))
    (tmp_path / "another" / "config").mkdir(parents=True)
    (tmp_path / "another" / "config" / "declaration.toml").write_bytes(theirs)
    result = run_refused("llama4:scout")
    assert "The records know nothing of the declaration" in result.err
    (line,) = (tmp_path / "another" / "state" / "records.jsonl").read_text().splitlines()
    assert json.loads(line)["notes"] == ["declaration-not-made-here"]


def log_of(folders: Places) -> Log:
    return Log(folders.records, 1 << 20)


def test_records_of_another_computer_are_recorded_and_said(here: Here, folders: Places) -> None:
    records.append(log_of(folders), "trial", {"computer": "0" * 16})
    result = run_refused("llama4:scout", *GERMANY)
    tells = bool(records.computer())  # not every system has a number of its own
    assert noted(folders) == (["another-computer"] if tells else [])
    assert ("another computer" in result.err) == tells
    assert recorded(folders)[-1]["computer"] == records.computer()


@pytest.mark.parametrize(
    "code", ["EU", "XX", "DE\\n", "\uff24\uff25", "D\u0415", "DEU", "XI", " DE"]
)
def test_a_code_that_only_looks_like_one_is_a_fault_in_a_file(
    here: Here, folders: Places, code: str
) -> None:
    folders.config.mkdir(parents=True)
    text = 'schema = 1\nas = "individual"\ndomicile = ["{}"]\n'
    folders.declaration.write_text(text.format("DE"), encoding="utf-8")
    assert here("check", "smollm2:135m").code == 0
    folders.declaration.write_text(text.format(code), encoding="utf-8")
    result = here("check", "smollm2:135m")
    assert result.code == 4
    assert "'domicile'" in result.err


@pytest.mark.usefixtures("accepted")
def test_outermost_regions_are_inside(here: Here) -> None:
    for code in ("GP", "MQ", "GF", "RE", "YT", "MF", "AX"):
        result = checked(here, "llama4:scout", who=f"individual:{code}")
        assert result.body["code"] == "llama-eu-multimodal", code


@pytest.mark.usefixtures("accepted")
@pytest.mark.parametrize("code", ["NC", "PF", "PM", "WF", "BL", "TF", "BQ", "AW", "CW", "SX", "GL"])
def test_an_answer_to_an_open_point_is_asked_for_and_recorded(
    here: Here, folders: Places, code: str
) -> None:
    who = ("--as", f"individual:{code}")
    point = f"territory-arguable:{code}"
    assert here("check", "llama4:scout", *who, "--json").body["code"] == point
    answered = (*who, "--answer", f"{point}=outside")
    assert here("check", "llama4:scout", *answered).code == 0
    assert here("run", "llama4:scout", "hi", *who, "--answer", f"{point}=inside").code == 3
    assert here("declare", *answered).code == 0
    kept = [record["declaration"]["answers"] for record in recorded(folders)]
    assert kept == [{point: "inside"}, {point: "outside"}]


@pytest.mark.usefixtures("accepted")
def test_neither_a_second_domicile_nor_another_body_is_a_way_out(here: Here) -> None:
    for who in ("individual:US,DE", "company:US,IE", "other-body:DE", "other-body:US,FR"):
        assert checked(here, "llama4:scout", who=who).code == 3, who
    for who in ("individual:US", "company:US", "other-body:US"):
        assert checked(here, "llama4:scout", who=who).code == 0, who
    for who in ("employee:US", "individual,company:US", "individual"):
        assert here("check", "llama4:scout", "--as", who).code == 2, who


def test_who_claims_to_be_an_end_user_is_recorded_and_told(here: Here, folders: Places) -> None:
    claim = ("--role", "end-user", "--product", "Kiosk 3", "--supplied-by", "Example Inc")
    for _ in range(2):
        result = run_refused("llama4:scout", *GERMANY, *claim)
        assert result.code == 4  # it has to be accepted
        assert "end user of Kiosk 3, supplied by Example Inc" in result.err
        assert noted(folders) == ["end-user-stated"]
    said = recorded(folders)[-1]["declaration"]
    assert (said["role"], said["product"]) == ("end-user", "Kiosk 3")


def test_the_place_of_use_is_what_is_declared_and_is_recorded(folders: Places) -> None:
    variables = {"TZ": "Asia/Seoul", "LANG": "ko_KR.UTF-8", "LANGUAGE": "ko"}
    who = ("--as", "company:US")
    assert run_refused("hunyuan:7b", *who, variables=variables).code == 4
    assert run_refused("hunyuan:7b", *who, "--use-in", "KR").code == 3
    places = [record["declaration"]["place_of_use"] for record in recorded(folders)]
    assert places == [["US"], ["KR"]]


def test_a_clock_that_was_set_back_is_recorded(here: Here, folders: Places) -> None:
    records.append(log_of(folders), "trial", {"at": "2099-01-01T00:00:00Z"})
    assert here("declare", *GERMANY).code == 0
    assert recorded(folders)[-1]["clock"] == "set back"
    assert here("records", "verify", "--json").body["clock_set_back"] == 1
    assert "set back" in here("records", "verify").out
