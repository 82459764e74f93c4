"""A seeded share of each campaign; `scripts/campaign` runs them in full."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from launcher.licensing import policy
from tests.campaigns import (
    determinism,
    disks,
    durability,
    exhaustive,
    parser_agreement,
    policy_mutants,
    properties,
)
from tests.campaigns.campaign import Tally, spread
from tests.campaigns.known import CAMPAIGNS
from tests.oracle.cases import Outcome

SEED = 0


def total(shares: Iterator[Tally]) -> Tally:
    """All of it; what was wrong is told at once."""
    tally = Tally()
    for share in shares:
        tally.add(share)
    assert not tally.faults, "\n".join(tally.faults[:20])
    return tally


# --- The policy -------------------------------------------------------------------------------


def test_single_edits_of_the_policy_are_noticed() -> None:
    every = [str(mutant) for mutant in policy_mutants.mutants()]
    assert len(every) == len(set(every)) > 4000
    assert set(policy_mutants.EQUIVALENT) <= set(every)
    counts = total(policy_mutants.run(SEED, len(every) // 50)).counts
    noticed = counts["reader"] + counts["oracle"] + counts["expectations"]
    assert counts["mutants"] - noticed - counts["equivalent"] == 0
    assert counts["uncovered"] == 0
    assert counts["rules"] == len(list(policy.all_rules(policy.load()))) > 50


# --- The parser -------------------------------------------------------------------------------


def test_good_files_are_the_same_to_the_engine(tmp_path: Path) -> None:
    trial = parser_agreement.Trial(tmp_path)
    for seed in parser_agreement.seeds():
        trial.put(seed.whole, "nothing")
    trial.close()
    assert not trial.tally.faults
    count = len(parser_agreement.seeds())
    assert trial.tally.counts["loaded, and the same to both"] == count > 25


def test_damaged_headers_are_refused_or_the_same_to_the_engine() -> None:
    counts = total(parser_agreement.run(SEED, 500)).counts
    assert counts["headers"] == 500
    assert counts["loaded, and the same to both"] > 50
    assert counts["differences"] == counts["hung"] == counts["other errors"] == 0
    assert counts["died"] == counts["died once"] == 0
    assert parser_agreement.fails(counts) == ""


# --- Durability -------------------------------------------------------------------------------


@pytest.mark.parametrize("name", list(durability.WRITERS))
def test_what_was_acknowledged_outlives_its_writer(name: str) -> None:
    shares = [partial(durability.kills, name, seed, 10) for seed in range(2)]
    counts = total(spread(durability.done, shares)).counts
    assert counts["kills"] == 20
    assert counts["cut in the middle"] > 5
    assert counts["acknowledged writes"] > 20
    assert counts["torn records" if name == "records" else "orphans"] > 0


def test_two_writers_make_one_chain() -> None:
    assert total(iter([durability.two_writers(500)])).counts["records of two writers"] == 1000


def test_one_changed_byte_anywhere_in_the_records_shows() -> None:
    counts = total(iter([durability.flips(SEED, 200)])).counts
    assert counts["changed bytes that showed"] == counts["changed bytes"] == 200


def test_a_full_disk_and_read_only_folders_are_errors_that_change_nothing() -> None:
    assert total(iter([disks.trouble(whole=False)])).counts["calls"] == 12


# --- Determinism ------------------------------------------------------------------------------


def test_turkish_locales_change_no_byte(tmp_path: Path) -> None:
    """The other locales are tried in `tests/cli/test_check.py`; these may have to be compiled."""
    around = determinism.surroundings(tmp_path, determinism.compiled(tmp_path))
    refusal = ("check", "llama4:scout", "--as", "individual:DE")
    counts = total(iter([determinism.share([refusal], around[2::3], range(1))])).counts
    assert counts["answers"] == len(around) // 3 >= 2


# --- The laws and the table -------------------------------------------------------------------


def test_a_law_is_tried_with_as_many_examples_as_asked_for() -> None:
    law = "test_an_unknown_structure_without_a_licence_never_allows"
    assert law in properties.laws()
    assert total(iter([properties.tried(SEED, 10, law)])).counts["examples"] == 10


def test_gate_and_oracle_answer_in_every_way_there_is() -> None:
    counts = total(iter([exhaustive.agreed(SEED, 2000, "mobilellm-r1-950m")])).counts
    assert counts["questions"] == 2000
    assert counts["disagreements"] == 0
    assert all(counts[outcome.value] for outcome in Outcome)


# --- The script -------------------------------------------------------------------------------


def campaign(*arguments: str) -> subprocess.CompletedProcess[str]:
    script = Path(__file__).resolve().parents[2] / "scripts" / "campaign"
    return subprocess.run(
        [sys.executable, str(script), *arguments],
        capture_output=True,
        text=True,
        encoding="utf-8",
        check=False,
    )


def test_the_script_lists_the_campaigns() -> None:
    done = campaign()
    assert done.returncode == 0
    assert [line.split()[0] for line in done.stdout.splitlines()] == list(CAMPAIGNS)


def test_the_script_runs_one_and_ends_with_its_figures() -> None:
    done = campaign("exhaustive", "--count", "80", "--seed", "5")
    assert done.returncode == 0, done.stdout + done.stderr
    *_, last = done.stdout.splitlines()
    assert last.startswith("exhaustive, seed 5: 80 questions, 0 disagreements (")


def test_the_script_knows_no_other_names() -> None:
    assert campaign("nothing").returncode == 2
