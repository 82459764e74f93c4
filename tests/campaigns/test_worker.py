"""A seeded share of the campaigns that send files to the real worker."""

from __future__ import annotations

from pathlib import Path

from launcher.asker import Request
from tests.campaigns import swaps, worker_fuzz
from tests.campaigns.test_campaigns import SEED, total


def test_damaged_files_end_as_they_should() -> None:
    counts = total(worker_fuzz.run(SEED, 2 * worker_fuzz.TURN)).counts
    assert (counts["model"], counts["adapter"], counts["projector"]) == (80, 4, 4)
    assert counts["reached the worker"] > 8
    assert counts["exit 0"] > 5
    assert counts["exit 6"] > 30
    assert counts["past the gate"] == counts["hung"] == counts["crashed"] == 0
    assert counts["other exit codes"] == 0


def test_whole_files_go_all_the_way_or_are_refused(tmp_path: Path) -> None:
    """Else the damaged ones would show nothing."""
    trial = worker_fuzz.Trial(tmp_path)
    for option, pairs in worker_fuzz.besides().items():
        for pair in pairs:
            trial.put(pair.request(tmp_path, pair.file.whole), option, "whole")
    for seed in worker_fuzz.models()[::5]:  # one is hybrid (lfm2), one withheld (llama4)
        (tmp_path / "model.gguf").write_bytes(seed.whole)
        trial.put(Request(model=str(tmp_path / "model.gguf")), "model", "whole")
    trial.close()
    assert not trial.tally.faults
    counts = trial.tally.counts
    beside = counts["adapter"] + counts["projector"]
    assert counts["exit 0"] == counts["reached the worker"] == beside + 6
    assert counts["exit 3"] == 1


def test_a_file_that_is_swapped_on_the_way_is_never_taken_for_the_other() -> None:
    counts = total(swaps.run(SEED, 9)).counts
    assert sum(counts[way] for way in swaps.WAYS) + counts["too late"] == 9
    assert counts["the right model"] + counts["exit 6"] + counts["exit 3"] > 4
    assert counts["the wrong model"] == 0
