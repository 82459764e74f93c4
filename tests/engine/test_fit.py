"""Whether a model fits: what is estimated, what is measured, and what is chosen in between."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from launcher import flow
from launcher.asker import Asker, Request
from launcher.engine import fit, kv, machine, peaks
from launcher.engine.client import Worker
from launcher.engine.fit import Plan, Tuning, Wishes
from launcher.engine.machine import Machine
from launcher.errors import DoesNotFit, Unsupported
from launcher.models import catalogue, sources
from launcher.models.bundle import Bundle
from launcher.models.refs import PathRef
from tests.engine.conftest import GREEDY
from tests.headers import write_model

LONG = [{"role": "user", "content": "word " * 400}]


def roomy(available: int = 64 << 30) -> Machine:
    return replace(machine.measure(), memory_available=available, memory_total=64 << 30)


@contextlib.contextmanager
def opened(path: Path) -> Iterator[Bundle]:
    with sources.resolved(PathRef(path), catalogue.load()) as bundle:
        yield bundle


def planned(
    path: Path, available: int = 64 << 30, tuning: Tuning | None = None, **wishes: int | bool | str
) -> Plan:
    with opened(path) as bundle:
        assert bundle.main.header is not None
        chosen = Wishes(**wishes)  # type: ignore[arg-type]
        here = roomy(available)
        found = tuning or Tuning()
        return fit.plan([bundle.main.header], bundle.size, here, chosen, tuning=found)


# --- What is chosen -----------------------------------------------------------------------------


@pytest.fixture
def llama(tmp_path: Path) -> Path:
    """Of the shape of Llama 3.2 1B: 32 KiB of keys and values for each token."""
    return write_model(tmp_path / "1b.gguf", "llama-3.2-1b")


def test_where_there_is_room_nothing_is_changed_or_said(llama: Path) -> None:
    plan = planned(llama)
    assert (plan.context, plan.kv_type, plan.note) == (4096, "f16", "")
    assert (plan.flash_attention, plan.extra_buffers) == ("auto", True)
    assert plan.memory.kv_cache == 4096 * (32 << 10)


def test_a_second_copy_of_the_weights_is_the_first_to_go(llama: Path) -> None:
    whole = planned(llama).memory
    assert whole.repacked > 0
    plan = planned(llama, whole.total - 1)
    assert (plan.context, plan.kv_type, plan.extra_buffers) == (4096, "f16", False)
    assert plan.memory.total == whole.total - whole.repacked
    assert plan.note.startswith("Prompts are read slower, without a second copy of the weights: ")


def test_then_eight_bits_are_tried_before_a_shorter_context(llama: Path) -> None:
    whole = planned(llama, extra_buffers=False).memory
    plan = planned(llama, whole.total - 1)
    assert (plan.context, plan.kv_type, plan.flash_attention) == (4096, "q8_0", "on")
    assert plan.memory.kv_cache == whole.kv_cache * 34 // 64
    assert plan.memory.total < whole.total - 1
    assert " and keys and values are kept in 8 bits: else it would need " in plan.note


def test_then_the_context_is_shortened_to_what_there_is_room_for(llama: Path) -> None:
    available = planned(llama, extra_buffers=False).memory.fixed + 1030 * (17 << 10)
    plan = planned(llama, available)
    assert (plan.context, plan.kv_type) == (1024, "q8_0")
    assert plan.memory.total <= available
    assert "and the context is 1024 tokens, not 4096" in plan.note


def test_a_context_that_was_asked_for_is_kept_or_refused_with_what_would_fit(llama: Path) -> None:
    fixed = planned(llama, extra_buffers=False).memory.fixed
    assert planned(llama, fixed + 2048 * (17 << 10), context=2048).kv_type == "q8_0"
    with pytest.raises(DoesNotFit) as caught:
        planned(llama, fixed + 1100 * (17 << 10), context=2048)
    assert caught.value.exit_code == 9
    assert caught.value.hint == "It would fit with --ctx-size 1024."
    assert planned(llama, context=1024).memory.kv_cache == 1024 * (32 << 10)


def test_types_that_are_named_are_kept_to(llama: Path, tmp_path: Path) -> None:
    assert planned(llama, type_k="q8_0").kv_type == "q8_0/f16"
    available = planned(llama, extra_buffers=False).memory.fixed + 1030 * (32 << 10)
    assert (planned(llama, available, type_k="f16", type_v="f16").context) == 1024
    with pytest.raises(Unsupported, match="values in 8 bits take flash attention"):
        planned(llama, type_v="q8_0", flash_attention="off")
    with pytest.raises(Unsupported, match="do not fill the heads of this model"):
        planned(write_model(tmp_path / "small.gguf"), type_k="q8_0")  # heads of 16


def test_what_was_found_fastest_is_used_and_wishes_come_before_it(llama: Path) -> None:
    found = Tuning(threads=3, threads_batch=5, flash_attention="off", extra_buffers=False)
    plan = planned(llama, tuning=found)
    assert (plan.threads, plan.threads_batch, plan.flash_attention) == (3, 5, "off")
    assert not plan.extra_buffers
    assert plan.memory.repacked == 0
    plan = planned(llama, tuning=found, threads=2, flash_attention="on")
    assert (plan.threads, plan.threads_batch, plan.flash_attention) == (2, 2, "on")
    assert planned(llama, tuning=found, type_v="q8_0").flash_attention == "on"
    assert planned(llama, tuning=found, threads_batch=9).threads_batch == 9


def test_weights_that_do_not_fit_are_refused_unless_forced(llama: Path) -> None:
    with pytest.raises(DoesNotFit) as caught:
        planned(llama, 100 << 20)
    assert "use a smaller model or quant" in caught.value.hint
    plan = planned(llama, 100 << 20, force=True)
    assert (plan.context, plan.kv_type, plan.note) == (4096, "f16", "")


def test_heads_that_blocks_do_not_divide_stay_in_sixteen_bits(tmp_path: Path) -> None:
    longer = {"llama.context_length": 4096}
    path = write_model(tmp_path / "small.gguf", metadata=longer)  # heads of 16
    whole = planned(path).memory
    plan = planned(path, whole.total - 1)
    assert plan.kv_type == "f16"
    assert plan.context < 4096


# --- What is measured ---------------------------------------------------------------------------


def served(
    path: Path, asker: Asker, plan: Plan | None = None, context: int | None = None
) -> tuple[int, Plan]:
    """The highest memory of a worker that has read a long prompt (bytes), and its plan."""
    request = Request(model=str(path))
    with flow.judged(request, asker) as judgement, contextlib.closing(Worker()) as worker:
        cleared = flow.clear(judgement, Wishes(threads=1, context=context), asker)
        cleared = replace(cleared, plan=plan) if plan else cleared
        with flow.load(cleared, worker, asker) as engine:
            assert list(engine.generate(LONG, sampling=GREEDY, max_tokens=2))
            status = Path(f"/proc/{worker.process.pid}/status").read_text()
    found = re.search(r"VmHWM:\s+(\d+) kB", status)
    assert found
    return int(found[1]) << 10, cleared.plan


@pytest.mark.parametrize("context", [512, 4096])
def test_the_estimate_is_within_a_tenth_of_what_it_takes(
    context: int, smollm2: Path, asker: Asker
) -> None:
    peak, plan = served(smollm2, asker, context=context)
    assert plan.memory.total == pytest.approx(peak, rel=0.1)


def test_what_a_model_took_corrects_the_next_estimate(smollm2: Path, asker: Asker) -> None:
    """As if this model took 20 MB more than others of its sizes."""
    more = 20 << 20
    peak, before = served(smollm2, asker, context=512)
    with opened(smollm2) as bundle:
        estimate = before.memory.total - before.memory.correction
        peaks.note(asker.places.peaks, bundle, estimate, estimate + more, prompt=1)
        assert peaks.correction(asker.places.peaks, bundle) == more
        with flow.judged(Request(model=str(smollm2)), asker) as judgement:
            cleared = flow.clear(judgement, Wishes(context=512), asker)
        assert cleared.plan.memory.total == estimate + more
    served(smollm2, asker, context=512)  # and is corrected by what it really takes
    with flow.judged(Request(model=str(smollm2)), asker) as judgement:
        after = flow.clear(judgement, Wishes(context=512), asker).plan
    assert after.memory.total == pytest.approx(peak, rel=0.05)


def test_a_short_prompt_and_a_strange_figure_do_not_lower_the_estimate(
    smollm2: Path, tmp_path: Path
) -> None:
    memory, estimate = tmp_path / "peaks.json", 200 << 20
    with opened(smollm2) as bundle:
        peaks.note(memory, bundle, estimate, estimate // 2, prompt=20)
        peaks.note(memory, bundle, estimate, 0, prompt=4000)
        peaks.note(memory, bundle, estimate, estimate + 1000, prompt=4000)
        assert not memory.exists()
        peaks.note(memory, bundle, estimate, estimate // 2, prompt=4000)
        assert peaks.correction(memory, bundle) == -estimate // 4
    other = write_model(tmp_path / "other.gguf")
    with opened(other) as bundle:
        assert peaks.correction(memory, bundle) == 0


def test_what_was_chosen_is_said_before_it_is_loaded(smollm2: Path, asker: Asker) -> None:
    said: list[str] = []
    tight = planned(smollm2, planned(smollm2, context=8192).memory.total - 1, context=8192)
    request = Request(model=str(smollm2))
    asker = replace(asker, say=said.append)
    with flow.judged(request, asker) as judgement, contextlib.closing(Worker()) as worker:
        cleared = replace(flow.clear(judgement, Wishes(threads=1), asker), plan=tight)
        with flow.load(cleared, worker, asker):
            assert said == [f"Note: {tight.note}"]


def test_keys_and_values_in_eight_bits_take_about_half(smollm2: Path, asker: Asker) -> None:
    whole, _ = served(smollm2, asker, context=8192)
    tight = planned(smollm2, planned(smollm2, context=8192).memory.total - 1, context=8192)
    assert tight.kv_type == "q8_0"
    peak, _ = served(smollm2, asker, tight)
    assert tight.memory.total == pytest.approx(peak, rel=0.1)
    saved = 8192 * (fit_per_token(smollm2, "f16") - fit_per_token(smollm2, "q8_0"))
    assert whole - peak == pytest.approx(saved, rel=0.15)


def fit_per_token(path: Path, kv_type: str) -> int:
    with opened(path) as bundle:
        assert bundle.main.header is not None
        return kv.bytes_per_token(bundle.main.header, (kv_type, kv_type))
