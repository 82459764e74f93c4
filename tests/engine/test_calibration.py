"""What is measured of a kind of models, what follows from it, and when it is asked for."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from launcher import flow, tuning
from launcher.asker import Asker, Request
from launcher.engine import calibration, machine, standin
from launcher.engine.calibration import Calibrations, Found
from launcher.engine.client import Worker
from launcher.engine.computing import Computing
from launcher.engine.fit import Tuning, Wishes
from launcher.engine.standin import Kind
from launcher.engine.worker import llama
from launcher.errors import EngineDied
from launcher.models import ggml
from tests.command import Here, launcher

KIND = Kind(type=12, head=64, group=4, feed_forward=3, experts=False)
HERE = machine.measure()


# --- What follows from figures ------------------------------------------------------------------


def decided(counts: Sequence[int], **rounds: list[list[list[float]]]) -> Found:
    contests: dict[str, Any] = {"repacking": [], "flash_attention": [], "threads": []}
    return calibration.decide(KIND, {**contests, **rounds}, counts)


def rounds(*candidates: tuple[float, float], count: int = 8) -> list[list[list[float]]]:
    """The same in each round: seconds for a token of a prompt and of an answer."""
    return [[list(each) for each in candidates] for _ in range(count)]


def test_what_is_clearly_faster_takes_the_place_of_the_usual() -> None:
    found = decided(
        (4, 2, 8),
        repacking=rounds((2.0, 2.0), (1.0, 1.0)),
        flash_attention=rounds((1.0, 3.0), (1.1, 1.0)),
        threads=rounds((1.0, 1.0), (1.5, 0.8), (0.7, 1.2)),
    )
    assert found.tuning == Tuning(
        threads=2, threads_batch=8, flash_attention="off", extra_buffers=False
    )
    assert (found.repacked_prompt, found.flash_answer) == (0.5, 0.333)


@pytest.mark.parametrize(
    "figures",
    [
        rounds((1.0, 1.0), (0.96, 0.96)),
        rounds((1.0, 1.0), (0.5, 0.5), count=3),
        rounds((1.0, 1.0), (0.5, 0.5), count=5) + rounds((1.0, 1.0), (1.1, 1.1), count=3),
        [],
    ],
    ids=["hardly", "too few rounds", "not always", "none"],
)
def test_what_is_not_clearly_faster_changes_nothing(figures: list[list[list[float]]]) -> None:
    found = decided((4, 2), repacking=figures, flash_attention=figures, threads=figures)
    assert found.tuning == Tuning(threads=4, threads_batch=4)


def test_fewer_threads_and_more_are_candidates_and_the_usual_comes_first() -> None:
    few = calibration.candidates(replace(HERE, processors=1))
    assert few == [1]
    counts = calibration.candidates(replace(HERE, processors=64))
    assert counts[0] == 32
    assert sorted(counts[1:]) == counts[1:]
    assert 64 in counts


# --- What is measured ---------------------------------------------------------------------------


@pytest.mark.parametrize("experts", [False, True], ids=["dense", "experts"])
@pytest.mark.parametrize("name", ["F16", "Q4_0", "Q8_0", "Q4_K", "Q6_K", "IQ4_XS", "MXFP4"])
def test_the_engine_computes_with_what_stands_in(name: str, *, experts: bool) -> None:
    number = next(number for number, (known, _, _) in ggml.TYPES.items() if known == name)
    kind = Kind(type=number, head=80, group=2, feed_forward=1, experts=experts)
    descriptor = standin.written(kind, thin=True)
    llama.start()
    model = llama.Model([f"/proc/self/fd/{descriptor}"])
    os.close(descriptor)
    context = llama.Context(model, tokens=64, computing=Computing(threads=1))
    assert context.fill([1, 2, 3], lambda: False)
    assert model.metadata("llama.attention.head_count_kv") == "8"
    context.close()
    model.close()


def test_a_kind_is_measured_in_the_confined_worker(capfd: pytest.CaptureFixture[str]) -> None:
    worker = Worker(require_sandbox=True)
    alone = replace(HERE, processors=1)  # so that no thread waits for another, however busy it is
    found = calibration.measure(
        KIND, alone, worker, repacked=True, seconds=1.5, only_when_quiet=False
    )
    worker.close()
    assert found is not None
    assert (found.kind, found.tuning.threads) == (KIND, 1)
    assert capfd.readouterr() == ("", "")


def test_an_engine_that_dies_of_it_is_told(smollm2: Path) -> None:
    worker = Worker()
    worker.process.kill()
    with pytest.raises(EngineDied):
        calibration.measure(KIND, HERE, worker, repacked=True)
    worker.close()


# --- What is kept, and when it is asked for -------------------------------------------------------


def test_what_was_found_is_kept_for_this_machine_and_put_off_for_a_while(tmp_path: Path) -> None:
    kept = Calibrations(tmp_path / "kept.json", 4)
    assert kept.is_wanted(KIND)
    kept.put_off(KIND)
    assert not kept.is_wanted(KIND)
    assert (kept.kinds(), kept.all()) == ([KIND], [])
    found = Found(kind=KIND, tuning=Tuning(threads=3, flash_attention="off"), flash_prompt=0.5)
    kept.keep(found)
    assert not kept.is_wanted(KIND)
    assert kept.all() == [found]
    assert kept.found(replace(KIND, head=128)) is None
    assert Calibrations(tmp_path / "kept.json", 2).found(KIND) is None


def test_a_load_is_planned_by_what_was_found(smollm2: Path, asker: Asker) -> None:
    with flow.judged(Request(model=str(smollm2)), asker) as judgement:
        bundle = judgement.bundle
        assert bundle.main.header is not None
        kind = standin.kind_of([bundle.main.header])
        assert kind == Kind(type=3, head=64, group=3, feed_forward=3, experts=False)
        found = Tuning(threads=1, threads_batch=2, flash_attention="off", extra_buffers=False)
        tuning.calibrations(asker, HERE).keep(Found(kind=kind, tuning=found))
        plan = flow.planned(bundle, Wishes(), asker)
        assert (plan.threads, plan.threads_batch) == (1, 2)
        assert (plan.flash_attention, plan.extra_buffers) == ("off", False)
        scores = 4 * 512 * 9 * plan.context  # for each of 9 heads
        asked = flow.planned(bundle, Wishes(flash_attention="on"), asker)
        assert plan.memory.kv_cache - asked.memory.kv_cache == scores


def test_the_first_load_of_a_kind_measures_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LAUNCHER_NO_CALIBRATION")
    run = ["run", "smollm2:135m", "--as", "individual:DE", "-n", "2", "Hi"]
    first, second = launcher(*run), launcher(*run)
    assert (first.code, second.code) == (0, 0)
    assert first.err.count("Finding out once") == 1
    assert "Finding out" not in second.err


def test_doctor_tells_what_was_found(here: Here, asker: Asker) -> None:
    found = Found(
        kind=KIND,
        tuning=Tuning(threads=2, threads_batch=4, flash_attention="off"),
        repacked_prompt=1.6,
        repacked_answer=1.1,
    )
    tuning.calibrations(asker, machine.measure()).keep(found)
    assert (
        "Fastest:      Q4_K, heads of 64: 2 threads, 4 for prompts, no flash attention, weights "
        "laid out anew (anew, prompts are read 1.6 and answers written 1.1 times as fast)"
    ) in here("doctor").out
    (body,) = here("doctor", "--json").body["calibrations"]
    assert (body["threads"], body["flash_attention"], body["repacked"]) == (2, "off", True)
