"""A model that many ask at once, over the line to a real worker."""

from __future__ import annotations

import asyncio
import contextlib
import math
import os
import signal
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from launcher import flow
from launcher.asker import Asker
from launcher.engine.client import Done, Text, Worker
from launcher.engine.shared import SharedEngine
from launcher.engine.wanted import Wanted
from launcher.errors import ContextFull, EngineDied, Unanswerable
from tests.engine.conftest import GREEDY, QUESTION, cleared_file

Scene = Callable[[SharedEngine], Awaitable[None]]


@contextlib.asynccontextmanager
async def shared(smollm2: Path, asker: Asker) -> AsyncIterator[SharedEngine]:
    with (
        cleared_file(smollm2, asker, context=512, threads=1, slots=3) as cleared,
        contextlib.closing(Worker()) as worker,
        flow.load(cleared, worker, asker, shared=True) as engine,
    ):
        found = SharedEngine(engine, 3)
        await found.connect()
        try:
            yield found
        finally:
            found.hang_up()


@pytest.fixture
def play(smollm2: Path, asker: Asker) -> Callable[[Scene], None]:
    """Plays a scene with a shared engine."""

    async def played(scene: Scene) -> None:
        async with shared(smollm2, asker) as engine:
            await asyncio.wait_for(scene(engine), 60)
            if engine.death is None:
                assert engine.asked == 0

    return lambda scene: asyncio.run(played(scene))


def ask(engine: SharedEngine, **how: Any) -> AsyncGenerator[Text | Done]:
    wanted: dict[str, Any] = {"messages": QUESTION, "sampling": GREEDY, "max_tokens": 8, **how}
    return engine.generate(Wanted(**wanted))


async def answer(engine: SharedEngine, **how: Any) -> tuple[str, Done]:
    events = [event async for event in ask(engine, **how)]
    done = events[-1]
    assert isinstance(done, Done)
    return "".join(event.text for event in events if isinstance(event, Text)), done


def test_many_ask_and_each_gets_an_answer(play: Callable[[Scene], None]) -> None:
    async def scene(engine: SharedEngine) -> None:
        alone, done = await answer(engine)
        assert done.reason == "length"
        assert done.tokens == 8
        together = await asyncio.gather(*(answer(engine) for _ in range(7)))
        assert {text for text, _ in together} == {alone}
        assert {done.tokens for _, done in together} == {8}

    play(scene)


def test_what_is_wrong_with_one_question_is_told_to_its_asker(
    play: Callable[[Scene], None],
) -> None:
    async def scene(engine: SharedEngine) -> None:
        good = asyncio.ensure_future(answer(engine, max_tokens=30))
        with pytest.raises(ContextFull, match=r"has \d+ tokens, the context holds 512"):
            await answer(engine, prompt="word " * 600)
        with pytest.raises(Unanswerable, match="grammar"):
            await answer(engine, grammar="root ::= unknown")
        with pytest.raises(Unanswerable, match="numbers from 0 to 49151"):
            await answer(engine, prompt=[1, 49152])
        with pytest.raises(Unanswerable, match="empty"):
            await answer(engine, prompt="")
        with pytest.raises(ContextFull):
            await engine.embed(["word " * 600])
        assert (await good)[1].tokens > 0

    play(scene)


def test_stop_texts_grammars_and_log_probabilities(play: Callable[[Scene], None]) -> None:
    async def scene(engine: SharedEngine) -> None:
        text, done = await answer(engine, prompt="1, 2, 3, 4,", stop=["7"], max_tokens=20)
        assert (text.strip(), done.reason) == ("5, 6,", "stop")
        text, _ = await answer(engine, json_schema='{"type": "boolean"}')
        assert text.strip() in {"true", "false"}
        events = [event async for event in ask(engine, logprobs=2)]
        told = [event.logprobs for event in events if isinstance(event, Text) and event.logprobs]
        assert len(told) == 8
        assert all(len(each["top_logprobs"]) == 2 for each in told)
        assert all(each["logprob"] <= 0 for each in told)

    play(scene)


def test_who_closes_the_answer_frees_its_slot(play: Callable[[Scene], None]) -> None:
    async def scene(engine: SharedEngine) -> None:
        for _ in range(5):  # more than there are slots
            events = ask(engine, max_tokens=400)
            assert isinstance(await anext(events), Text)
            await events.aclose()
        text, _ = await answer(engine)
        assert text

    play(scene)


def test_special_tokens_show_where_they_are_asked_for(play: Callable[[Scene], None]) -> None:
    async def scene(engine: SharedEngine) -> None:
        grammar = 'root ::= "<file_sep>x"'
        hidden, _ = await answer(engine, grammar=grammar)
        shown, _ = await answer(engine, grammar=grammar, shown=["<file_sep>", "two words"])
        assert hidden in {"x", "<file_sep>x"}
        assert shown == "<file_sep>x"
        opened, _ = await answer(engine, opened=["assistant"])
        assert opened.startswith("assistant")
        assert not (await answer(engine, opened=["<think>"]))[0].startswith("<think>")

    play(scene)


def test_texts_that_mean_the_same_are_near(play: Callable[[Scene], None]) -> None:
    async def scene(engine: SharedEngine) -> None:
        texts = ["A cat sleeps.", "A kitten is asleep.", "The stock market fell in May."]
        one, two, three = [each.vector for each in await engine.embed(texts)]
        assert len(one) == 576
        assert math.isclose(sum(value * value for value in one), 1, abs_tol=1e-5)
        assert alike(one, two) > alike(one, three)

    play(scene)


def test_a_worker_that_dies_ends_its_questions(play: Callable[[Scene], None]) -> None:
    async def scene(engine: SharedEngine) -> None:
        waiting = [asyncio.ensure_future(answer(engine, max_tokens=400)) for _ in range(5)]
        await asyncio.sleep(0.3)
        os.kill(engine._engine.worker.process.pid, signal.SIGSEGV)
        for each in waiting:
            with pytest.raises(EngineDied, match="SIGSEGV"):
                await each
        with pytest.raises(EngineDied, match="SIGSEGV"):
            await answer(engine)

    play(scene)


def test_tokens_are_counted(play: Callable[[Scene], None]) -> None:
    async def scene(engine: SharedEngine) -> None:
        _, done = await answer(engine)
        assert await engine.count(Wanted(messages=QUESTION)) == done.prompt_tokens

    play(scene)


def alike(one: Sequence[float], other: Sequence[float]) -> float:
    return sum(left * right for left, right in zip(one, other, strict=True))
