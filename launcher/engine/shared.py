"""The server's side of a worker that many ask at once: asyncio, one event loop.

What comes from the worker is taken apart as it arrives and laid before whoever asked. A worker
that dies ends the questions that it had, and nothing else.
"""

from __future__ import annotations

import asyncio
import json
import struct
from collections import deque
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

from launcher.engine import failures
from launcher.engine.client import Done, Engine, Loaded, Text
from launcher.engine.messages import MAX_MESSAGE, Message
from launcher.engine.wanted import Embedding, Wanted
from launcher.errors import EngineDied

_LENGTH = struct.Struct("<I")


class _Answer:
    """What has come for one question and was not yet taken."""

    def __init__(self) -> None:
        self._come: deque[Message] = deque()
        self._wake: asyncio.Future[None] | None = None

    def put(self, message: Message) -> None:
        self._come.append(message)
        if self._wake is not None and not self._wake.done():
            self._wake.set_result(None)

    async def get(self) -> Message:
        if not self._come:
            self._wake = asyncio.get_running_loop().create_future()
            await self._wake
        return self._come.popleft()


class _Line(asyncio.Protocol):
    """Takes messages apart."""

    def __init__(self, take: Callable[[Message], None], lost: Callable[[], None]) -> None:
        self._take, self._lost = take, lost
        self._data = bytearray()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._data += data
        while len(self._data) >= _LENGTH.size:
            (size,) = _LENGTH.unpack_from(self._data)
            end = _LENGTH.size + size
            if size > MAX_MESSAGE:
                self._transport.close()
            if size > MAX_MESSAGE or len(self._data) < end:
                return
            message = bytes(self._data[_LENGTH.size : end])
            del self._data[:end]
            try:
                self._take(json.loads(message))
            except (ValueError, RecursionError, LookupError, TypeError):
                self._transport.close()  # nothing that follows could be trusted
                return

    def connection_lost(self, exc: Exception | None) -> None:
        self._lost()


class SharedEngine:
    """A loaded model that many ask at once."""

    def __init__(self, engine: Engine, slots: int, *, most_tokens: int | None = None) -> None:
        """Of an engine that was loaded for it; `connect` comes before any question.

        No answer gets more than `most_tokens`, whatever is asked.
        """
        self._engine = engine
        self.slots = slots
        self._most_tokens = most_tokens
        self.death: EngineDied | None = None
        """Why the worker is gone, once it is."""
        self.at_death: Callable[[], None] | None = None
        self._numbers = 0
        self._answers: dict[int, _Answer] = {}
        self._transport: asyncio.Transport | None = None

    @property
    def loaded(self) -> Loaded:
        return self._engine.loaded

    @property
    def pid(self) -> int:
        """Of the worker's process."""
        return self._engine.worker.process.pid

    @property
    def asked(self) -> int:
        """How many questions are under way or wait."""
        return len(self._answers)

    async def connect(self) -> None:
        """Takes over the line to the worker."""
        loop = asyncio.get_running_loop()
        line = self._engine.worker.channel.connection
        self._transport, _ = await loop.create_connection(
            lambda: _Line(self._take, self._lost), sock=line
        )

    async def generate(self, wanted: Wanted) -> AsyncGenerator[Text | Done, bool | None]:
        """One answer, piece by piece; a `Done` ends it. Closed early, it ends within a step.

        Sent True, it ends within a step, too, and still says with a `Done` what it came to.
        Raises `ContextFull`, `EngineDied`, or what else is wrong with what was asked.
        """
        wanted = replace(wanted, max_tokens=self._allowed(wanted.max_tokens))
        number, answer = self._ask({"type": "generate", **asdict(wanted)})
        try:
            while True:
                message = await answer.get()
                kind = message.pop("type")
                if kind == "text":
                    if (yield Text(text=message["text"], logprobs=message.get("logprobs"))):
                        self._write({"type": "stop", "number": number})
                elif kind == "done":
                    del self._answers[number]
                    yield Done(**message)
                    return
                else:
                    raise self._failure(number, message)
        finally:
            self._leave(number)

    def _allowed(self, tokens: int | None) -> int | None:
        limits = [limit for limit in (tokens, self._most_tokens) if limit is not None]
        return min(limits, default=None)

    async def embed(self, prompts: Sequence[str | Sequence[int]]) -> list[Embedding]:
        """A vector for each text. Raises as `generate` does."""
        number, answer = self._ask({"type": "embed", "prompts": list(prompts)})
        try:
            found = []
            for _ in prompts:
                message = await answer.get()
                if message["type"] != "vector":
                    raise self._failure(number, message)
                found.append(Embedding(vector=message["vector"], tokens=message["tokens"]))
            del self._answers[number]
            return found
        finally:
            self._leave(number)

    async def count(self, wanted: Wanted) -> int:
        """How many tokens the prompt has. Raises as `generate` does."""
        number, answer = self._ask({"type": "count", **asdict(wanted)})
        try:
            message = await answer.get()
            if message["type"] != "counted":
                raise self._failure(number, message)
            del self._answers[number]
            return int(message["tokens"])
        finally:
            self._leave(number)

    def hang_up(self) -> None:
        """Lets the worker go; what it still had to answer ends with an error."""
        if self.death is None:
            self.death = EngineDied("The model was unloaded before it had answered")
        if self._transport is not None:
            self._transport.close()

    def _ask(self, message: Mapping[str, Any]) -> tuple[int, _Answer]:
        self._numbers += 1
        answer = self._answers[self._numbers] = _Answer()
        if self.death is not None or self._transport is None:
            answer.put({"type": "died"})
        else:
            self._write({**message, "number": self._numbers})
        return self._numbers, answer

    def _leave(self, number: int) -> None:
        """Tells the worker that nobody waits any more, where somebody did."""
        if self._answers.pop(number, None) is not None and self.death is None:
            self._write({"type": "stop", "number": number})

    def _write(self, message: Mapping[str, Any]) -> None:
        body = json.dumps(message, separators=(",", ":")).encode()
        if self._transport is not None:
            self._transport.write(_LENGTH.pack(len(body)) + body)

    def _failure(self, number: int, message: Message) -> Exception:
        self._answers.pop(number, None)
        if self.death is not None:
            return self.death
        return failures.generation_error(message, self._engine.worker.last_words())

    def _take(self, message: Message) -> None:
        """Lays before each what the worker says to all."""
        for said in message["said"]:
            answer = self._answers.get(said.pop("number"))
            if answer is not None:
                answer.put(said)

    def _lost(self) -> None:
        self._transport = None
        if self.death is None:
            self.death = self._engine.worker.death()
        for answer in self._answers.values():
            answer.put({"type": "died"})
        if self.at_death is not None:
            self.at_death()
