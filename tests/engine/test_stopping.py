"""A prompt that nobody waits for any more is left in the middle."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from launcher.engine.computing import Computing
from launcher.engine.worker import llama

WORDS = "The fox walks along the river and counts the stones. "


@pytest.fixture(scope="module")
def context(smollm2: Path) -> Iterator[llama.Context]:
    llama.start()
    model = llama.Model([str(smollm2)])
    context = llama.Context(model, tokens=1024, computing=Computing(threads=1))
    yield context
    context.close()
    model.close()


def prompt(context: llama.Context, times: int) -> list[int]:
    return context.model.tokens(WORDS * times, add_special=False, parse_special=False)


def after(count: int, asked: list[int]) -> Callable[[], bool]:
    """Says to stop when it is asked for the so-manieth time; notes each time."""

    def stop() -> bool:
        asked.append(len(asked))
        return len(asked) >= count

    return stop


def test_a_long_prompt_is_left_within_its_first_batch(context: llama.Context) -> None:
    tokens = prompt(context, 20)
    assert 128 < len(tokens) < context.batch
    context.forget()
    asked: list[int] = []
    assert not context.fill(tokens, after(40, asked))
    assert len(asked) == 40
    assert context.held == []


def test_what_was_held_before_still_holds(context: llama.Context) -> None:
    first, whole = prompt(context, 4), prompt(context, 24)
    assert whole[: len(first) - 1] == first[:-1]
    context.forget()
    assert context.fill(whole[:40], lambda: False)
    assert not context.fill(whole[40:], after(40, []))
    assert context.held == whole[:40]
    assert context.fill(whole[40:], lambda: False)
    scores = context.scores().tolist()
    context.forget()
    assert context.fill(whole[:40], lambda: False)
    assert context.fill(whole[40:], lambda: False)
    assert context.scores().tolist() == scores


def test_a_token_alone_asks_nobody(context: llama.Context) -> None:
    tokens = prompt(context, 16)
    context.forget()
    asked: list[int] = []
    assert context.fill(tokens, after(10**9, asked))
    before = len(asked)
    context.step(tokens[0])
    assert before > 100
    assert len(asked) == before
