"""What a request for a response asks of the engine: its items as the turns of a conversation."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from launcher.engine.wanted import Wanted
from launcher.serving.failures import BadRequest
from launcher.serving.openai import asked
from launcher.serving.responses.schemas import ResponseRequest, TextFormat
from launcher.serving.tools import schema

LOGPROBS = "message.output_text.logprobs"
Message = dict[str, Any]
Item = Mapping[str, Any]

_TEXTS = {"input_text": "text", "output_text": "text", "text": "text", "refusal": "refusal"}
_LEADING = ("system", "developer")
_ROLES = (*_LEADING, "user", "assistant")


def wanted(request: ResponseRequest) -> Wanted:
    """The answer that is asked for, its tools aside. Raises `BadRequest`."""
    effort = request.reasoning.effort if request.reasoning else None
    told = request.top_logprobs is not None or LOGPROBS in (request.include or ())
    return Wanted(
        messages=messages(request),
        sampling=asked.sampling(request),
        max_tokens=request.max_output_tokens,
        json_schema=form(request.text.format if request.text else None),
        template=asked.variables(None, effort),
        logprobs=(request.top_logprobs or 0) if told else None,
    )


def form(wanted: TextFormat | None) -> str:
    """The JSON schema that the answer has to fit; empty where it is free."""
    if wanted is None or wanted.type == "text":
        return ""
    if wanted.type == "json_object":
        return asked.ANY_OBJECT
    if wanted.schema_ is None:
        raise BadRequest("The type json_schema needs a schema", "text.format.schema")
    return schema.wanted(wanted.schema_, "text.format.schema")


def messages(request: ResponseRequest) -> list[Message]:
    """The conversation in the form of chats. Raises `BadRequest` for items that are no turns."""
    if isinstance(request.input, str):
        turns = [{"role": "user", "content": request.input}]
    else:
        turns = list(_turns(request.input))
    if request.instructions:
        turns.insert(0, {"role": "system", "content": request.instructions})
    return _one_beginning(turns)


def _one_beginning(turns: Sequence[Message]) -> list[Message]:
    """Instructions at the beginning in one message: most templates take no second one."""
    count = next((at for at, turn in enumerate(turns) if turn["role"] not in _LEADING), len(turns))
    if count < 2:
        return list(turns)
    text = "\n\n".join(turn["content"] for turn in turns[:count])
    return [{"role": "system", "content": text}, *turns[count:]]


def _turns(items: Sequence[Item]) -> Iterator[Message]:
    """Calls that stand one after the other are one turn, with the words before them."""
    speaking: Message | None = None
    for at, item in enumerate(items):
        turn = _turn(item, f"input.{at}")
        if turn is None:
            continue
        if speaking is not None and "tool_calls" in turn:
            speaking["tool_calls"] = [*speaking.get("tool_calls", ()), *turn["tool_calls"]]
            continue
        if speaking is not None:
            yield speaking
        speaking = turn if turn["role"] == "assistant" else None
        if speaking is None:
            yield turn
    if speaking is not None:
        yield speaking


def _turn(item: Item, param: str) -> Message | None:
    """A turn, or None for what is not told to the model again: what it thought."""
    kind = item.get("type", "message")
    if kind == "message":
        return _message(item, param)
    if kind == "function_call":
        names = ("call_id", "name", "arguments")
        identity, name, arguments = (_text(item, key, param) for key in names)
        function = {"name": name, "arguments": arguments}
        call = {"id": identity, "type": "function", "function": function}
        return {"role": "assistant", "content": "", "tool_calls": [call]}
    if kind == "function_call_output":
        content = _content(item.get("output"), f"{param}.output")
        return {"role": "tool", "tool_call_id": _text(item, "call_id", param), "content": content}
    if kind == "reasoning":
        return None
    if kind == "item_reference":
        raise BadRequest("No item is kept here: send the item itself", param)
    raise BadRequest(f"An item of the type {str(kind)[:64]!a} cannot be read here", f"{param}.type")


def _message(item: Item, param: str) -> Message:
    role = item.get("role")
    if role not in _ROLES:
        raise BadRequest(f"The role is one of {', '.join(_ROLES)}", f"{param}.role")
    return {"role": role, "content": _content(item.get("content"), f"{param}.content")}


def _content(content: object, param: str) -> str:
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        raise BadRequest("Content is a text or a list of parts", param)
    return "".join(_part(part, f"{param}.{at}") for at, part in enumerate(content))


def _part(part: object, param: str) -> str:
    kind = part.get("type") if isinstance(part, dict) else None
    if kind in ("input_image", "input_file", "input_audio"):
        raise BadRequest("The models served here take in text and nothing else", param)
    if not isinstance(part, dict) or kind not in _TEXTS:
        raise BadRequest(f"A part of the type {str(kind)[:64]!a} is not text", f"{param}.type")
    return _text(part, _TEXTS[str(kind)], param)


def _text(item: Item, name: str, param: str) -> str:
    value = item.get(name)
    if not isinstance(value, str):
        raise BadRequest(f"{name} has to be a text", f"{param}.{name}")
    return value


def described(request: ResponseRequest) -> dict[str, Any]:
    """What an answer repeats of its request."""
    text = request.text.format if request.text else None
    return {
        "instructions": request.instructions,
        "max_output_tokens": request.max_output_tokens,
        "metadata": request.metadata or {},
        "parallel_tool_calls": request.parallel_tool_calls is not False,
        "previous_response_id": None,
        "reasoning": {"effort": request.reasoning.effort if request.reasoning else None},
        "store": False,
        "temperature": request.temperature,
        "text": {"format": _format(text)},
        "tool_choice": request.tool_choice or "auto",
        "tools": [_tool(tool) for tool in request.tools or ()],
        "top_logprobs": request.top_logprobs or 0,
        "top_p": request.top_p,
        "truncation": "disabled",
        "user": request.user,
    }


def _format(text: TextFormat | None) -> dict[str, Any]:
    found = {"type": "text"} if text is None else text.model_dump(by_alias=True)
    return {key: value for key, value in found.items() if value not in (None, "")}


def _tool(tool: Item) -> dict[str, Any]:
    known = {key: tool.get(key) for key in ("name", "description", "parameters")}
    return {"type": "function", **known, "strict": bool(tool.get("strict", False))}
