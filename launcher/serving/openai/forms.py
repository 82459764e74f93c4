"""Answers in OpenAI's form, whole or as the chunks of a stream. Pure.

The beginning of a chunk is made once for each answer; a token adds its text and nothing else.
"""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Mapping, Sequence
from typing import Any

from launcher.serving.answers import Answer
from launcher.serving.failures import as_bytes
from launcher.serving.tools.deltas import CallArguments, CallBegun, Content, Delta, Reasoning

DONE = b"data: [DONE]\n\n"
Head = Mapping[str, Any]


def head(prefix: str, kind: str, model: str, fingerprint: str) -> Head:
    """What an answer and each of its chunks begin with."""
    return {
        "id": f"{prefix}-{secrets.token_hex(12)}",
        "object": kind,
        "created": int(time.time()),
        "model": model,
        "system_fingerprint": fingerprint,
    }


def chat(answer: Answer, index: int) -> dict[str, Any]:
    """A choice of a chat."""
    message: dict[str, Any] = {
        "role": "assistant",
        "content": "".join(answer.words) if answer.words or not answer.calls else None,
        "refusal": None,
    }
    if answer.thoughts:
        message["reasoning_content"] = "".join(answer.thoughts)
    if answer.calls:
        message["tool_calls"] = answer.calls
    return {
        "index": index,
        "message": message,
        "logprobs": _chat_logprobs(answer.logprobs),
        "finish_reason": answer.reason,
    }


def _chat_logprobs(tokens: Sequence[Mapping[str, Any]]) -> dict[str, Any] | None:
    return {"content": list(tokens), "refusal": None} if tokens else None


def completion(answer: Answer, index: int) -> dict[str, Any]:
    """A choice of a completion."""
    return {
        "index": index,
        "text": "".join(answer.words),
        "logprobs": completion_logprobs(answer.logprobs),
        "finish_reason": answer.reason,
    }


def completion_logprobs(
    tokens: Sequence[Mapping[str, Any]], start: int = 0
) -> dict[str, Any] | None:
    """The form of completions; `start` is where the first token begins, in characters."""
    if not tokens:
        return None
    offsets = [start]
    for token in tokens[:-1]:
        offsets.append(offsets[-1] + len(token["token"]))
    return {
        "tokens": [token["token"] for token in tokens],
        "token_logprobs": [token["logprob"] for token in tokens],
        "top_logprobs": [
            {other["token"]: other["logprob"] for other in token["top_logprobs"]}
            for token in tokens
        ],
        "text_offset": offsets,
    }


class Chunks:
    """The chunks of one stream."""

    def __init__(self, head: Head, before: str, after: str, *, answers: int, usage: bool) -> None:
        """`before` and `after` stand around the text in a choice; `usage`: whether it is told."""
        self._begin = b"data: " + as_bytes(head)[:-1]
        self.tells_usage = usage
        self._usage = b',"usage":null' if usage else b""
        self._before = [
            self._begin + f',"choices":[{{"index":{at},{before}'.encode() for at in range(answers)
        ]
        self._after = (
            f'{after},"logprobs":null,"finish_reason":null}}]'.encode() + self._usage + b"}\n\n"
        )

    def text(self, index: int, text: str) -> bytes:
        """A piece of an answer."""
        return self._before[index] + json.dumps(text).encode() + self._after

    def choice(self, index: int, fields: Mapping[str, Any], **more: Any) -> bytes:
        """Any other chunk of an answer."""
        choice = {"index": index, **fields}
        choice = {**choice, "finish_reason": choice.pop("finish_reason", None)}
        rest = as_bytes({"choices": [choice], **more})[1:-1]
        return self._begin + b"," + rest + self._usage + b"}\n\n"

    def usage(self, usage: Mapping[str, Any], **more: Any) -> bytes:
        """The chunk after all answers that says what they came to."""
        return self._begin + b"," + as_bytes({"choices": [], "usage": usage, **more})[1:] + b"\n\n"


class ChatChunks(Chunks):
    """The chunks of a chat."""

    def __init__(self, head: Head, *, answers: int, usage: bool) -> None:
        super().__init__(head, '"delta":{"content":', "}", answers=answers, usage=usage)

    def begin(self, index: int) -> bytes:
        """The first chunk of an answer."""
        return self.delta(index, {"role": "assistant", "content": ""})

    def delta(self, index: int, delta: Mapping[str, Any], **fields: Any) -> bytes:
        return self.choice(index, {"delta": delta, "logprobs": None, **fields})

    def of(self, index: int, delta: Delta) -> bytes:
        """The chunk that says a delta."""
        if isinstance(delta, Content):
            return self.text(index, delta.text)
        if isinstance(delta, Reasoning):
            return self.delta(index, {"reasoning_content": delta.text})
        return self.delta(index, {"tool_calls": [_call(delta)]})

    def measured(self, index: int, text: str, token: Mapping[str, Any]) -> bytes:
        """A token with its log probabilities."""
        return self.delta(index, {"content": text}, logprobs=_chat_logprobs([token]))

    def last(self, index: int, reason: str, **more: Any) -> bytes:
        """The last chunk of an answer."""
        return self.choice(index, {"delta": {}, "logprobs": None, "finish_reason": reason}, **more)


def _call(delta: CallBegun | CallArguments) -> dict[str, Any]:
    if isinstance(delta, CallArguments):
        return {"index": delta.index, "function": {"arguments": delta.text}}
    function = {"name": delta.name, "arguments": ""}
    return {"index": delta.index, "id": delta.id, "type": "function", "function": function}


class CompletionChunks(Chunks):
    """The chunks of a completion."""

    def __init__(self, head: Head, *, answers: int, usage: bool) -> None:
        super().__init__(head, '"text":', "", answers=answers, usage=usage)
        self._offsets = [0] * answers  # characters so far

    def measured(self, index: int, text: str, token: Mapping[str, Any]) -> bytes:
        """A token with its log probabilities."""
        known = completion_logprobs([token], self._offsets[index])
        self._offsets[index] += len(token["token"])
        return self.choice(index, {"text": text, "logprobs": known})

    def last(self, index: int, reason: str, **more: Any) -> bytes:
        """The last chunk of an answer."""
        return self.choice(index, {"text": "", "logprobs": None, "finish_reason": reason}, **more)
