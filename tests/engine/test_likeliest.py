"""The likeliest token is the one that llama.cpp's samplers take."""

from __future__ import annotations

import ctypes
import math
from collections.abc import Iterator
from pathlib import Path

import pytest

from launcher.engine.computing import Computing
from launcher.engine.sampling import Sampling
from launcher.engine.worker import likeliest, llama
from launcher.engine.worker.llama import lib
from launcher.engine.worker.sampler import Sampler

TEXT = "<|im_start|>user\nTell me a story about a fox.<|im_end|>\n<|im_start|>assistant\n"
OTHERS = [
    Sampling(seed=1),
    Sampling(temperature=0.0, repeat_penalty=1.1),
    Sampling(temperature=0.0, presence_penalty=0.5),
    Sampling(temperature=0.0, dry_multiplier=0.8),
    Sampling(temperature=0.0, mirostat=2),
    Sampling(temperature=0.0, xtc_probability=0.5),
]


@pytest.fixture(scope="module")
def context(smollm2: Path) -> Iterator[llama.Context]:
    likeliest.get_ready()
    llama.start()
    model = llama.Model([str(smollm2)])
    context = llama.Context(model, tokens=256, computing=Computing(threads=1))
    yield context
    context.close()
    model.close()


@pytest.fixture
def sampler(context: llama.Context) -> Iterator[Sampler]:
    context.forget()
    context.fill(context.model.tokens(TEXT, add_special=False, parse_special=True), lambda: False)
    sampler = Sampler(context, Sampling(temperature=0.0))
    assert sampler._likeliest is not None
    yield sampler
    sampler.close()


def by_engine(context: llama.Context, sampler: Sampler) -> int:
    return int(lib.llama_sampler_sample(sampler._chain, context.handle, -1))


def scribble(context: llama.Context, scores: dict[int, float]) -> None:
    """Puts other scores in the place of what was computed."""
    first = lib.llama_get_logits_ith(context.handle, -1)
    for token, score in scores.items():
        first[token] = ctypes.c_float(score)


def test_an_answer_is_the_same(context: llama.Context, sampler: Sampler) -> None:
    assert sampler._likeliest is not None
    for _ in range(24):
        token = sampler._likeliest.choose(-1)
        assert token == by_engine(context, sampler)
        context.step(token)


def test_after_several_tokens_at_once_too(context: llama.Context, sampler: Sampler) -> None:
    assert sampler._likeliest is not None
    context.steps([100, 200, 300])
    chosen = [sampler._likeliest.choose(at) for at in range(3)]
    handle = context.handle
    assert chosen == [lib.llama_sampler_sample(sampler._chain, handle, at) for at in range(3)]


def test_of_equals_the_first_is_taken(context: llama.Context, sampler: Sampler) -> None:
    assert sampler._likeliest is not None
    scribble(context, {7: 1000.0, 30_000: 1000.0})
    assert sampler._likeliest.choose(-1) == by_engine(context, sampler) == 7


def test_what_is_no_number_is_left_to_the_engine(context: llama.Context, sampler: Sampler) -> None:
    assert sampler._likeliest is not None
    scribble(context, {30_000: math.nan})
    assert sampler._likeliest.choose(-1) is None
    assert sampler.choose() == by_engine(context, sampler)


@pytest.mark.parametrize("sampling", OTHERS)
def test_where_more_decides_the_engine_chooses(context: llama.Context, sampling: Sampling) -> None:
    sampler = Sampler(context, sampling)
    assert sampler._likeliest is None
    sampler.close()
