"""A response as it grows: its items, and the events that tell of them. Pure.

Source of the events and their fields: the types of OpenAI's client (openai.types.responses).
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from launcher.engine.client import Done
from launcher.serving.tools.deltas import CallArguments, CallBegun, Content, Delta, Reasoning

Event = dict[str, Any]
Logprobs = Sequence[Mapping[str, Any]]
_CUT = ("length", "context")  # reasons for which an answer is not complete


class Output:
    """The items of one response, of which the last one may still grow."""

    def __init__(self) -> None:
        self.items: list[dict[str, Any]] = []
        self.thought = 0
        """Characters of reasoning."""
        self.said = 0
        """Characters of all else."""
        self._is_open = False
        self._texts: list[str] = []  # of the item that grows
        self._logprobs: list[Mapping[str, Any]] = []

    def take(self, delta: Delta, logprobs: Logprobs = ()) -> Iterator[Event]:
        """What a piece of the answer makes happen."""
        kind = _KINDS[type(delta)]
        if isinstance(delta, CallBegun) or not self._is_open or self.items[-1]["type"] != kind:
            yield from self.close("completed")
            yield from self._begin(_item(kind, delta), logprobs)
        if not isinstance(delta, CallBegun):
            yield self._grow(delta, logprobs)

    def _begin(self, item: dict[str, Any], logprobs: Logprobs) -> Iterator[Event]:
        self.items.append(item)
        self._is_open, self._texts, self._logprobs = True, [], []
        shown = {**item, "content": []} if "content" in item else item
        yield self._event("response.output_item.added", item=shown)
        if "content" in item:
            yield self._part("response.content_part.added", item["content"][0])

    def _grow(self, delta: Content | Reasoning | CallArguments, logprobs: Logprobs) -> Event:
        self._texts.append(delta.text)
        if isinstance(delta, Reasoning):
            self.thought += len(delta.text)
        else:
            self.said += len(delta.text)
        if isinstance(delta, Content):
            self._logprobs += logprobs
            known = [_plain(token) for token in logprobs]
            return self._part("response.output_text.delta", delta=delta.text, logprobs=known)
        if isinstance(delta, Reasoning):
            return self._part("response.reasoning_text.delta", delta=delta.text)
        return self._told("response.function_call_arguments.delta", delta=delta.text)

    def close(self, status: str) -> Iterator[Event]:
        """Ends the item that grew; `status` is `completed` or `incomplete`."""
        if not self._is_open:
            return
        self._is_open = False
        item, text = self.items[-1], "".join(self._texts)
        item["status"] = status
        if item["type"] == "function_call":
            item["arguments"] = text
            done = "response.function_call_arguments.done"
            yield self._told(done, arguments=text, name=item["name"])
        else:
            yield from self._close_part(item["content"][0], text)
        yield self._event("response.output_item.done", item=item)

    def _close_part(self, part: dict[str, Any], text: str) -> Iterator[Event]:
        part["text"] = text
        if part["type"] == "output_text":
            part["logprobs"] = list(self._logprobs)
            known = [_plain(token) for token in self._logprobs]
            yield self._part("response.output_text.done", text=text, logprobs=known)
        else:
            yield self._part("response.reasoning_text.done", text=text)
        yield self._part("response.content_part.done", part)

    def _event(self, kind: str, **fields: Any) -> Event:
        return {"type": kind, "output_index": len(self.items) - 1, **fields}

    def _told(self, kind: str, **fields: Any) -> Event:
        return self._event(kind, item_id=self.items[-1]["id"], **fields)

    def _part(self, kind: str, part: Mapping[str, Any] | None = None, **fields: Any) -> Event:
        whole = {} if part is None else {"part": dict(part)}
        return self._told(kind, content_index=0, **whole, **fields)


_KINDS: Mapping[type, str] = {
    Content: "message",
    Reasoning: "reasoning",
    CallBegun: "function_call",
    CallArguments: "function_call",
}


def _item(kind: str, delta: Delta) -> dict[str, Any]:
    item: dict[str, Any] = {"type": kind, "status": "in_progress"}
    if isinstance(delta, CallBegun):
        called = {"call_id": delta.id, "name": delta.name, "arguments": ""}
        return {**item, "id": new_id("fc"), **called}
    if kind == "reasoning":
        parts = [{"type": "reasoning_text", "text": ""}]
        return {**item, "id": new_id("rs"), "summary": [], "content": parts}
    part = {"type": "output_text", "text": "", "annotations": [], "logprobs": []}
    return {**item, "id": new_id("msg"), "role": "assistant", "content": [part]}


def new_id(prefix: str) -> str:
    """An id in OpenAI's form."""
    return f"{prefix}_{secrets.token_hex(16)}"


def _plain(token: Mapping[str, Any]) -> dict[str, Any]:
    """A token's log probability as events tell it."""
    top = [{"token": one["token"], "logprob": one["logprob"]} for one in token["top_logprobs"]]
    return {"token": token["token"], "logprob": token["logprob"], "top_logprobs": top}


def ended(done: Done | None) -> dict[str, Any]:
    """How a response stands after its answer's end."""
    cut = done is not None and done.reason in _CUT
    return {
        "status": "incomplete" if cut else "completed",
        "incomplete_details": {"reason": "max_output_tokens"} if cut else None,
    }


def usage(done: Done, output: Output) -> dict[str, Any]:
    """What was computed, in tokens; those of the reasoning are its share of the characters."""
    written = output.thought + output.said
    thought = round(done.tokens * output.thought / written) if written else 0
    cached = done.prompt_tokens - done.prompt_computed
    return {
        "input_tokens": done.prompt_tokens,
        "input_tokens_details": {"cached_tokens": cached, "cache_write_tokens": 0},
        "output_tokens": done.tokens,
        "output_tokens_details": {"reasoning_tokens": thought},
        "total_tokens": done.prompt_tokens + done.tokens,
    }
