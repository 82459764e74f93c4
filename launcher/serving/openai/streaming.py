"""Answers on their way out as chunks: what each event of the engine makes its client hear."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from launcher.engine.client import Done, Text
from launcher.serving import answers
from launcher.serving.openai.forms import DONE, ChatChunks, CompletionChunks
from launcher.serving.tools.deltas import Content
from launcher.serving.tools.reader import Reader

if TYPE_CHECKING:
    from launcher.serving.desk import Desk
    from launcher.serving.streams import Write


class Streamed:
    """The answers of one request, side by side in one stream."""

    def __init__(
        self,
        chunks: ChatChunks | CompletionChunks,
        readers: Sequence[Reader | None],
        write: Write,
        place: Desk,
    ) -> None:
        self._chunks, self._readers, self._write, self._place = chunks, readers, write, place
        self._begun = [not isinstance(chunks, ChatChunks)] * len(readers)
        self._ended: list[Done | None] = [None] * len(readers)

    async def hear(self, at: int, event: Text | Done) -> bool:
        """Sends what an event says, in one piece; whether the rest is not wanted."""
        piece = b"".join(self._pieces(at, event))
        if piece:
            await self._write(piece)
        reader = self._readers[at]
        return reader is not None and reader.is_over

    def _pieces(self, at: int, event: Text | Done) -> Iterator[bytes]:
        chunks = self._chunks
        if not self._begun[at] and isinstance(chunks, ChatChunks):
            self._begun[at] = True
            yield chunks.begin(at)
        if isinstance(event, Text) and event.logprobs is not None:
            yield from self._measured(at, event)
            return
        for delta in answers.deltas(self._readers[at], event):
            if isinstance(chunks, ChatChunks):
                yield chunks.of(at, delta)
            elif isinstance(delta, Content):
                yield chunks.text(at, delta.text)
        if isinstance(event, Done):
            self._ended[at] = event
            yield self._last(at, event)

    def _measured(self, at: int, event: Text) -> Iterator[bytes]:
        """A token with its log probabilities is a chunk, also where its text is held back."""
        assert event.logprobs is not None
        words, others = "", []
        for delta in answers.deltas(self._readers[at], event):
            if isinstance(delta, Content):
                words += delta.text
            else:
                others.append(delta)
        if isinstance(self._chunks, ChatChunks):
            yield from (self._chunks.of(at, delta) for delta in others)
        yield self._chunks.measured(at, words, event.logprobs)

    def _last(self, at: int, done: Done) -> bytes:
        reason = answers.finish_reason(done, self._readers[at])
        return self._chunks.last(
            at, reason, timings=answers.timings(done), launcher=self._place.notice
        )

    async def finish(self, *, answers_each: int) -> None:
        """Sends what comes after all answers; each prompt had so many of them."""
        pieces = []
        if self._chunks.tells_usage:
            groups = [
                [done for done in self._ended[at : at + answers_each] if done]
                for at in range(0, len(self._ended), answers_each)
            ]
            usage = answers.usage(groups)
            pieces.append(self._chunks.usage(usage, launcher=self._place.notice))
        await self._write(b"".join([*pieces, DONE]))
