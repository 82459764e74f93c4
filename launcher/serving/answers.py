"""Answers while they are given: several side by side, each read as it comes, and counted."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from launcher.engine.client import Done, Text
from launcher.serving.tools.deltas import CallBegun, Content, Delta, Reasoning
from launcher.serving.tools.reader import Reader

if TYPE_CHECKING:
    from launcher.engine.shared import SharedEngine
    from launcher.engine.wanted import Wanted
    from launcher.serving.door.account import Account

Hear = Callable[[int, Text | Done], Awaitable[bool | None]]
_REASONS = {"length": "length", "context": "length"}


async def give(
    engine: SharedEngine, wanted: Sequence[Wanted], hear: Hear, account: Account
) -> None:
    """Has all answers given side by side; `hear` is told each event with the answer's index.

    An answer ends early where `hear` says True; the next event is then its end. The first error
    ends all of them.
    """
    jobs = [_give_one(engine, one, at, hear, account) for at, one in enumerate(wanted)]
    if len(jobs) == 1:
        await jobs[0]
        return
    try:
        async with asyncio.TaskGroup() as group:
            for job in jobs:
                group.create_task(job)
    except ExceptionGroup as errors:
        raise errors.exceptions[0] from None


async def _give_one(
    engine: SharedEngine, wanted: Wanted, at: int, hear: Hear, account: Account
) -> None:
    async with contextlib.aclosing(engine.generate(wanted)) as events:
        event, over = await anext(events), False
        while isinstance(event, Text):
            account.token_came()
            ends = not over and bool(await hear(at, event))
            over = over or ends
            event = await events.asend(ends)
        account.add(event)
        await hear(at, event)


@dataclass(slots=True, kw_only=True)
class Answer:
    """One answer as it grows."""

    reader: Reader | None
    """Tells calls and reasoning from words; None where all of it is text."""
    words: list[str] = field(default_factory=list)
    thoughts: list[str] = field(default_factory=list)
    calls: list[dict[str, Any]] = field(default_factory=list)
    logprobs: list[dict[str, Any]] = field(default_factory=list)
    done: Done | None = None

    def take(self, event: Text | Done) -> list[Delta]:
        """Notes an event, and says what it adds."""
        if isinstance(event, Done):
            self.done = event
        elif event.logprobs is not None:
            self.logprobs.append(dict(event.logprobs))
        found = list(deltas(self.reader, event))
        for delta in found:
            self._note(delta)
        return found

    @property
    def is_over(self) -> bool:
        """Whether what may still come is not wanted."""
        return self.reader is not None and self.reader.is_over

    def _note(self, delta: Delta) -> None:
        if isinstance(delta, Content):
            self.words.append(delta.text)
        elif isinstance(delta, Reasoning):
            self.thoughts.append(delta.text)
        elif isinstance(delta, CallBegun):
            function = {"name": delta.name, "arguments": ""}
            self.calls.append({"id": delta.id, "type": "function", "function": function})
        else:
            self.calls[delta.index]["function"]["arguments"] += delta.text

    @property
    def reason(self) -> str:
        """Why it ended, in OpenAI's words."""
        return finish_reason(self.done, self.reader)


def deltas(reader: Reader | None, event: Text | Done) -> Iterable[Delta]:
    """What an event adds to its answer."""
    if reader is None:
        return [Content(event.text)] if isinstance(event, Text) and event.text else ()
    return reader.finish() if isinstance(event, Done) else reader.feed(event.text)


def finish_reason(done: Done | None, reader: Reader | None) -> str:
    """OpenAI's word for how an answer ended."""
    ended = _REASONS.get(done.reason, "stop") if done is not None else "stop"
    called = reader is not None and reader.calls > 0
    return "tool_calls" if called and ended == "stop" else ended


async def collected(
    engine: SharedEngine,
    wanted: Sequence[Wanted],
    account: Account,
    reader: Callable[[], Reader | None] = lambda: None,
) -> list[Answer]:
    """All answers, whole."""
    answers = [Answer(reader=reader()) for _ in wanted]

    async def hear(at: int, event: Text | Done) -> bool:
        answers[at].take(event)
        return answers[at].is_over

    await give(engine, wanted, hear, account)
    return answers


def usage(prompts: Sequence[Sequence[Done]]) -> dict[str, Any]:
    """What was computed, in tokens: the answers of each prompt, which counts once."""
    prompt = sum(dones[0].prompt_tokens for dones in prompts if dones)
    computed = sum(max(done.prompt_computed for done in dones) for dones in prompts if dones)
    answer = sum(done.tokens for dones in prompts for done in dones)
    return {
        "prompt_tokens": prompt,
        "completion_tokens": answer,
        "total_tokens": prompt + answer,
        "prompt_tokens_details": {"cached_tokens": prompt - computed},
    }


def timings(done: Done) -> dict[str, float]:
    """llama-server's figures of one answer."""
    prompt, answer = done.prompt_seconds * 1000, done.seconds * 1000
    return {
        "cache_n": done.prompt_tokens - done.prompt_computed,
        "prompt_n": done.prompt_computed,
        "prompt_ms": prompt,
        "prompt_per_second": done.prompt_computed / done.prompt_seconds if prompt > 0 else 0.0,
        "predicted_n": done.tokens,
        "predicted_ms": answer,
        "predicted_per_second": done.tokens / done.seconds if answer > 0 else 0.0,
    }
