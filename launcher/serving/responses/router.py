"""`/v1/responses`: OpenAI's newer interface, without its memory.

Source: platform.openai.com/docs/api-reference/responses.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from fastapi import APIRouter, Request
from starlette.responses import Response

from launcher.engine.client import Done, Text
from launcher.serving import answers, failures
from launcher.serving.desk import Desk, desk
from launcher.serving.failures import Failure
from launcher.serving.openai import chats
from launcher.serving.openai.docs import answered
from launcher.serving.responses import items
from launcher.serving.responses.output import Event, Output, ended, new_id, usage
from launcher.serving.responses.schemas import ResponseRequest
from launcher.serving.tools import asking

if TYPE_CHECKING:
    from launcher.serving.streams import Write
    from launcher.serving.tools.reader import Reader

router = APIRouter(prefix="/v1", tags=["OpenAI"])


@router.post("/responses", responses=answered("A response, or its events", streams=True))
async def respond(body: ResponseRequest, request: Request) -> Response:
    """Answers a conversation; nothing of it is kept."""
    wish = chats.Wish(
        wanted=items.wanted(body),
        tools=asking.asked(body.tools, body.tool_choice, body.parallel_tool_calls),
    )
    growing = Growing(body, desk(request, body.model))
    if body.stream:
        produce = functools.partial(_streamed, growing, wish)
        return growing.place.stream(produce, failed=growing.failed)
    return await growing.place.whole(_whole(growing, wish))


async def _whole(growing: Growing, wish: chats.Wish) -> dict[str, Any]:
    async def hear(at: int, event: Text | Done) -> bool:
        for _ in growing.hear(event):
            pass
        return growing.is_over

    await _give(growing, wish, hear)
    return growing.response()


async def _streamed(growing: Growing, wish: chats.Wish, write: Write) -> None:
    async def hear(at: int, event: Text | Done) -> bool:
        piece = b"".join(growing.sent(one) for one in growing.hear(event))
        if piece:
            await write(piece)
        return growing.is_over

    await _give(growing, wish, hear)


async def _give(growing: Growing, wish: chats.Wish, hear: answers.Hear) -> None:
    async with growing.place.engine() as engine:
        fitted = chats.fitted(wish, engine.loaded)
        growing.reader = fitted.reader()
        await answers.give(engine, [fitted.wanted], hear, growing.place.account)


class Growing:
    """One response, told as it grows."""

    def __init__(self, body: ResponseRequest, place: Desk) -> None:
        self.place = place
        self.reader: Reader | None = None
        """Tells calls and reasoning from words; None where all of it is text."""
        self._output = Output()
        self._begun = False
        self._number = 0  # of the next event
        self._measured: list[Mapping[str, Any]] = []
        self._head = {
            "id": new_id("resp"),
            "object": "response",
            "created_at": int(time.time()),
            "status": "in_progress",
            "error": None,
            "incomplete_details": None,
            "model": place.served.name,
            "background": False,
            **items.described(body),
        }
        self._figures: dict[str, Any] | None = None

    @property
    def is_over(self) -> bool:
        return self.reader is not None and self.reader.is_over

    def response(self) -> dict[str, Any]:
        """The response as it stands."""
        return {**self._head, "output": self._output.items, "usage": self._figures}

    def hear(self, event: Text | Done) -> Iterator[Event]:
        """What an event of the engine makes happen."""
        if not self._begun:
            self._begun = True
            yield {"type": "response.created", "response": self.response()}
            yield {"type": "response.in_progress", "response": self.response()}
        if isinstance(event, Text) and event.logprobs is not None:
            self._measured.append(event.logprobs)
        for delta in answers.deltas(self.reader, event):
            measured, self._measured = self._measured, []
            yield from self._output.take(delta, measured)
        if isinstance(event, Done):
            yield from self._end(event)

    def _end(self, done: Done) -> Iterator[Event]:
        """The last events."""
        self._head |= ended(done)
        status: str = self._head["status"]
        yield from self._output.close(status)
        self._figures = usage(done, self._output)
        self._head |= {"completed_at": int(time.time()), "launcher": self.place.notice}
        yield {"type": f"response.{status}", "response": self.response()}

    def sent(self, event: Event) -> bytes:
        """An event as it is sent."""
        kind, data = event["type"], failures.as_bytes({**event, "sequence_number": self._number})
        self._number += 1
        return f"event: {kind}\ndata: ".encode() + data + b"\n\n"

    def failed(self, failure: Failure) -> bytes:
        """The event that ends a response which cannot go on."""
        error = {"code": "server_error", "message": failure.message}
        self._head |= {"status": "failed", "error": error}
        return self.sent({"type": "response.failed", "response": self.response()})
