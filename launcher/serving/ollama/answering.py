"""Answers of a model in Ollama's form, as a stream of lines or as one object."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from launcher.engine.client import Done, Loaded, Text
from launcher.serving import answers, failures
from launcher.serving.answers import Answer
from launcher.serving.desk import Desk
from launcher.serving.failures import Failure
from launcher.serving.ollama import asking, lines
from launcher.serving.ollama.lines import Lines
from launcher.serving.ollama.schemas import Options
from launcher.serving.openai import chats
from launcher.serving.openai.chats import Fitted
from launcher.serving.streams import Write
from launcher.serving.tools.deltas import Content, Reasoning

if TYPE_CHECKING:
    from launcher.engine.shared import SharedEngine

MEDIA_TYPE = "application/x-ndjson"


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What is asked of which model, and how it is told."""

    place: Desk
    wish: chats.Wish
    options: Options | None
    lines: Lines

    def fitted(self, loaded: Loaded) -> Fitted:
        """What is asked of the loaded model. Raises `BadRequest` where it cannot be had."""
        asking.refuse_context(self.options, loaded.context)
        if self.wish.wanted.prompt is not None:
            return Fitted(wanted=self.wish.wanted, reader=lambda: None)
        return chats.fitted(self.wish, loaded)

    def last(self, done: Done | None, clock: Clock) -> dict[str, Any]:
        """What the last line says beside the answer."""
        ended = lines.end(done, loading=clock.loading, total=clock.total)
        return {**ended, "launcher": self.place.notice}


@dataclass(slots=True, kw_only=True)
class Clock:
    """When a request began, and how long its model took to load, in seconds."""

    began: float = field(default_factory=time.monotonic)
    loading: float = 0.0

    @property
    def total(self) -> float:
        return time.monotonic() - self.began

    @asynccontextmanager
    async def engine(self, place: Desk) -> AsyncIterator[SharedEngine]:
        """The model's engine; notes how long it was waited for."""
        async with place.engine() as engine:
            self.loading = self.total
            yield engine


async def stream(question: Question, write: Write) -> None:
    """Writes the answer line by line as it comes; calls of tools come with the last."""
    clock, told = Clock(), question.lines
    answer = Answer(reader=None)

    async def hear(_: int, event: Text | Done) -> bool:
        likely = [] if isinstance(event, Done) else _likely(event)
        for delta in answer.take(event):
            if isinstance(delta, Content):
                await write(told.piece(delta.text, likely))
                likely = []
            elif isinstance(delta, Reasoning):
                await write(lines.encoded(told.part(thinking=delta.text)))
        if likely:
            await write(told.piece("", likely))
        return answer.is_over

    async with clock.engine(question.place) as engine:
        fitted = question.fitted(engine.loaded)
        answer.reader = fitted.reader()
        await answers.give(engine, [fitted.wanted], hear, question.place.account)
    ended = question.last(answer.done, clock)
    await write(lines.encoded({**told.whole("", **_calls(answer)), **ended}))


async def whole(question: Question) -> dict[str, Any]:
    """The answer as one object."""
    clock, told = Clock(), question.lines
    async with clock.engine(question.place) as engine:
        fitted = question.fitted(engine.loaded)
        (answer,) = await answers.collected(
            engine, [fitted.wanted], question.place.account, fitted.reader
        )
    thoughts = {"thinking": "".join(answer.thoughts)} if answer.thoughts else {}
    body = told.whole("".join(answer.words), **thoughts, **_calls(answer))
    likely = {"logprobs": answer.logprobs} if answer.logprobs else {}
    return {**body, **question.last(answer.done, clock), **likely}


def _likely(event: Text) -> list[Mapping[str, Any]]:
    return [] if event.logprobs is None else [event.logprobs]


def _calls(answer: Answer) -> dict[str, Any]:
    """The calls in Ollama's form: arguments as an object, not as its text."""
    calls = [
        {
            "id": call["id"],
            "function": {
                "index": index,
                "name": call["function"]["name"],
                "arguments": _arguments(call["function"]["arguments"]),
            },
        }
        for index, call in enumerate(answer.calls)
    ]
    return {"tool_calls": calls} if calls else {}


def _arguments(text: str) -> dict[str, Any]:
    """The object; empty where the answer was cut off before the end of it."""
    try:
        found = json.loads(text or "{}")
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def failed(failure: Failure) -> bytes:
    """A failure in the middle of a stream."""
    return failures.as_bytes(failures.body(failure, "/api/")) + b"\n"
