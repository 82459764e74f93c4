"""What Ollama's API answers, line by line: one JSON object each. Pure but for the clock."""

from __future__ import annotations

import datetime
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from launcher.engine.client import Done
from launcher.serving.ollama.models import stamp

_NANOSECONDS = 1_000_000_000
# How `client.Done` ends, by Ollama's words; everything else is its `stop`.
_LENGTH = frozenset({"length", "context"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Lines:
    """The lines of one answer."""

    model: str
    """As the client called it."""
    chat: bool
    """Whether the text stands in a message, or in a `response`."""

    def piece(self, text: str, logprobs: Sequence[Mapping[str, Any]] = ()) -> bytes:
        """A piece of the text. Made for every token, so of ready parts."""
        said = json.dumps(text)
        place = f'"message":{{"role":"assistant","content":{said}}}' if self.chat else ""
        likely = f',"logprobs":{json.dumps(list(logprobs))}' if logprobs else ""
        head = f'{{"model":{json.dumps(self.model)},"created_at":"{_now()}",'
        body = place or f'"response":{said}'
        return f'{head}{body},"done":false{likely}}}\n'.encode()

    def part(self, **fields: Any) -> dict[str, Any]:
        """A line that is not the last, with more than text: reasoning, or calls of tools."""
        return {**self._head(), **self._body("", **fields), "done": False}

    def whole(self, text: str, **fields: Any) -> dict[str, Any]:
        """The one object of an answer that is not streamed, without its end."""
        return {**self._head(), **self._body(text, **fields)}

    def empty(self, reason: str) -> dict[str, Any]:
        """The answer to a request that asks nothing: `load` or `unload`."""
        return {**self.whole(""), "done_reason": reason, "done": True}

    def _head(self) -> dict[str, Any]:
        return {"model": self.model, "created_at": _now()}

    def _body(self, text: str, **fields: Any) -> dict[str, Any]:
        if self.chat:
            return {"message": {"role": "assistant", "content": text, **fields}}
        return {"response": text, **fields}


def end(done: Done | None, *, loading: float, total: float) -> dict[str, Any]:
    """How an answer ended: the reason, counts, and durations (given in seconds) in nanoseconds.

    Nothing was counted of an answer that was ended here, after the one call that was wanted.
    """
    reason = "length" if done is not None and done.reason in _LENGTH else "stop"
    found = {
        "done": True,
        "done_reason": reason,
        "total_duration": nanoseconds(total),
        "load_duration": nanoseconds(loading),
    }
    if done is None:
        return found
    return {
        **found,
        "prompt_eval_count": done.prompt_tokens,
        "prompt_eval_duration": nanoseconds(done.prompt_seconds),
        "eval_count": done.tokens,
        "eval_duration": nanoseconds(done.seconds),
    }


def nanoseconds(seconds: float) -> int:
    """As Ollama gives durations."""
    return round(seconds * _NANOSECONDS)


def encoded(line: Mapping[str, Any]) -> bytes:
    """An object as one line."""
    return json.dumps(line, separators=(",", ":")).encode() + b"\n"


def _now() -> str:
    return stamp(datetime.datetime.now(datetime.UTC))
