"""A conversation in OpenAI's form, as the chat templates of models take it.

Templates were written for transformers' `apply_chat_template`: a message's content is a text, and
the arguments of a tool call are an object. OpenAI's interface sends content in parts, or none, and
arguments as a text of JSON. Some templates expect that, too; what is made here passes for both.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any


class Arguments(dict[str, Any]):
    """Arguments of a tool call: an object, and JSON wherever a template wants a text.

    >>> arguments = Arguments(city="Köln")
    >>> str(arguments), "<" + arguments + ">"
    ('{"city": "Köln"}', '<{"city": "Köln"}>')
    """

    __slots__ = ()

    def __str__(self) -> str:
        return json.dumps(self, ensure_ascii=False)

    def __add__(self, text: str) -> str:
        return str(self) + text

    def __radd__(self, text: str) -> str:
        return text + str(self)


def prepared(messages: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The messages, ready for a template.

    >>> parts = [{"type": "text", "text": "Hi"}, {"type": "text", "text": "there"}]
    >>> prepared([{"role": "user", "content": parts}, {"role": "assistant", "content": None}])
    [{'role': 'user', 'content': 'Hi\\nthere'}, {'role': 'assistant', 'content': ''}]
    """
    return [dict(_fields(message)) for message in messages]


def _fields(message: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for name, value in message.items():
        if name == "content":
            yield name, _content(value)
        elif name == "tool_calls" and isinstance(value, list):
            yield name, [_call(call) for call in value]
        else:
            yield name, value


def _content(value: Any) -> Any:
    """A text where there is nothing but text; parts of other kinds stay as they are."""
    if value is None:
        return ""
    if not isinstance(value, list):
        return value
    texts = [_text(part) for part in value]
    # llama.cpp puts lines between them, too: common_chat_msg::to_json_oaicompat.
    return "\n".join(filter(None, texts)) if None not in texts else value


def _text(part: Any) -> str | None:
    """What a part says; None where it is none of text."""
    if not isinstance(part, Mapping) or part.get("type", "text") != "text":
        return None
    text = part.get("text")
    return text if isinstance(text, str) else None


def _call(call: Any) -> Any:
    if not isinstance(call, Mapping) or not isinstance(call.get("function"), Mapping):
        return call
    function = dict(call["function"])
    if "arguments" in function:
        function["arguments"] = _arguments(function["arguments"])
    return {**call, "function": function}


def _arguments(value: Any) -> Any:
    found = value
    if isinstance(value, str):
        with contextlib.suppress(ValueError, RecursionError):
            found = json.loads(value)
    return Arguments(found) if isinstance(found, dict) else value
