"""Guessed tokens change how fast an answer comes, never what it says."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from launcher.engine.computing import Computing
from launcher.engine.sampling import Sampling
from launcher.engine.worker import llama
from launcher.engine.worker.sampler import Sampler
from launcher.engine.worker.speculation import Guesses, Steps

TEXT = (
    "The old river runs past the green mill. Anna counts seven stones, puts them into a basket "
    "and walks home."
)
COPY = f"Repeat this text exactly: {TEXT}"
FREE = "Why is the sky blue?"
LIST = "Write this list twice: apple, pear, plum, cherry."
GREEDY = Sampling(temperature=0.0)
WARM = Sampling(temperature=0.7, seed=11)
DIGITS = 'root ::= ("12345 ")+ "."'


class Counting(llama.Context):
    """Counts its steps."""

    count = 0

    def steps(self, tokens: Sequence[int]) -> None:
        self.count += 1
        super().steps(tokens)


@pytest.fixture(scope="module")
def context(smollm2: Path) -> Iterator[Counting]:
    llama.start()
    model = llama.Model([str(smollm2)])
    context = Counting(model, tokens=512, computing=Computing(threads=1))
    yield context
    context.close()
    model.close()


def prompt(context: Counting, question: str) -> list[int]:
    text = f"<|im_start|>user\n{question}<|im_end|>\n<|im_start|>assistant\n"
    return context.model.tokens(text, add_special=False, parse_special=True)


def plain(context: Counting, question: str, sampler: Sampler, count: int) -> list[int]:
    """A step for each token."""
    context.forget()
    context.fill(prompt(context, question), lambda: False)
    tokens: list[int] = []
    while len(tokens) < count:
        tokens.append(sampler.choose())
        context.step(tokens[-1])
    sampler.close()
    return tokens


def guessed(context: Counting, question: str, sampler: Sampler, count: int) -> list[int]:
    context.forget()
    before = prompt(context, question)
    context.fill(before, lambda: False)
    steps = Steps(context, before, len(before) + count)
    context.count = 0
    tokens: list[int] = []
    while len(tokens) < count:
        tokens.append(sampler.choose(steps.at))
        steps.take(tokens[-1])
    steps.finish()
    sampler.close()
    assert context.held == before + tokens
    return tokens


@pytest.mark.parametrize(
    ("question", "sampling"),
    [
        (COPY, GREEDY),
        (COPY, WARM),
        (COPY, replace(GREEDY, repeat_penalty=1.2)),
        (FREE, GREEDY),
        (LIST, GREEDY),
    ],
)
def test_the_text_is_the_same(context: Counting, question: str, sampling: Sampling) -> None:
    expected = plain(context, question, Sampler(context, sampling), 22)
    assert guessed(context, question, Sampler(context, sampling), 22) == expected


def test_a_copy_takes_fewer_steps(context: Counting) -> None:
    guessed(context, COPY, Sampler(context, GREEDY), 24)
    assert context.count < 15


def test_what_a_grammar_repeats_takes_fewer_steps(context: Counting) -> None:
    wishes: dict[str, Any] = {"grammar": DIGITS, "logprobs": 1}
    expected = plain(context, FREE, Sampler(context, GREEDY, **wishes), 24)
    assert guessed(context, FREE, Sampler(context, GREEDY, **wishes), 24) == expected
    assert context.count < 20


def test_there_are_no_more_guesses_than_there_is_room_for() -> None:
    guesses = Guesses([1, 2, 3, 1, 2, 3])
    assert guesses.after(0) == []
    assert guesses.after(2) == [1, 2]
