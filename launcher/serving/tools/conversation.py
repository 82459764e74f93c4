"""Makes of a conversation with tools one that the template in the model's file can render.

Templates differ in what they know. Some are given the tools and render calls and results
themselves; for the others both are written as text, with a system message of ours that tells
how a tool is called. The template is only searched here, never run.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from launcher.serving.tools import formats, harmony, reasoning, schema
from launcher.serving.tools.asking import Asked

Message = Mapping[str, Any]

_TOOLS = re.compile(r"\btools\b")
_NO_SYSTEM = re.compile(r"system role not supported", re.IGNORECASE)
_ONE_CALL = re.compile(r"single tool-calls? at once|max 1 tool call", re.IGNORECASE)
_NINE = re.compile(r"length\s*!=\s*9\b")  # Mistral's templates want ids of nine characters
_LFM2 = "<|tool_list_start|>"  # its template does not say how calls are marked; its card does
_LFM2_CALL = ("<|tool_call_start|>", "<|tool_call_end|>")
_GRANITE = "<|tool_call|>"
_HOW = (
    "You can call tools. A tool is called by an answer that is nothing but a JSON object, in this"
    ' form: {"name": "NAME", "arguments": {...}}. '
)
_MUST = "Answer with a call of a tool now."
_MAY = "Where no tool is needed, answer in plain words."
_THESE = "These are the tools, each with a JSON schema of its arguments:"


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """What the tools and the conversation come to, as `engine.wanted.Wanted` names it."""

    messages: tuple[Message, ...]
    tools: tuple[Message, ...]
    json_schema: str
    """Empty where the answer is free."""
    shown: tuple[str, ...]
    """Control tokens of this template that the answer's text has to show."""
    opened: tuple[str, ...]
    """Texts that belong to the answer where the prompt ends with one of them."""


def parts(asked: Asked, messages: Sequence[Message], template: str) -> Parts:
    """The conversation as this template can render it. Raises `BadTools`.

    `messages` are in OpenAI's form, each content a text or none; `template` is the one in the
    model's file, empty where it has none.
    """
    knows = _TOOLS.search(template) is not None
    messages = list(_without_system(messages, template))
    ready = list(_known(messages, template) if knows else _told(messages))
    if asked.tools and not knows:
        ready = _instructed(ready, _instructions(asked), template)
    if "developer" not in template:
        ready = [_renamed(message, "developer", "system") for message in ready]
    return Parts(
        messages=tuple(ready),
        tools=tuple(tool.as_openai() for tool in asked.tools) if knows else (),
        json_schema=schema.forced(asked) if asked.is_forced else "",
        shown=_shown(asked, template),
        opened=tuple(
            opening for opening, _ in reasoning.TAGS if opening in template and not asked.is_forced
        ),
    )


def _shown(asked: Asked, template: str) -> tuple[str, ...]:
    if asked.is_forced:  # the answer is JSON from its first character
        return ()
    texts = (*(formats.CONTROL if asked.tools else ()), *reasoning.CONTROL)
    if harmony.is_form_of(template):
        return harmony.CONTROL
    found = [text for text in texts if text in template]
    lfm2 = [text for text in texts if text.startswith("<|tool_call_") and _LFM2 in template]
    return tuple(dict.fromkeys((*found, *lfm2)))


def _without_system(messages: Sequence[Message], template: str) -> Iterator[Message]:
    """Instructions before the user's next words, for templates that refuse them."""
    refuses = _NO_SYSTEM.search(template) is not None
    told: list[str] = []
    for message in messages:
        if refuses and message.get("role") in ("system", "developer"):
            told.append(message.get("content") or "")
        elif told and message.get("role") == "user":
            yield {**message, "content": "\n\n".join([*told, message.get("content") or ""])}
            told = []
        else:
            yield message
    if told:
        yield {"role": "user", "content": "\n\n".join(told)}


# --- For templates that know tools --------------------------------------------------------------


def _known(messages: Sequence[Message], template: str) -> Iterator[Message]:
    """Calls in the form of this template; their arguments are made ready by the engine."""
    short = _NINE.search(template) is not None
    for message in _one_by_one(messages) if _ONE_CALL.search(template) else messages:
        made = dict(message)
        if made.get("content") is None:
            made["content"] = ""
        if made.get("tool_calls") and "tool_calls" not in template:
            made = dict(_marked(made, template))
        elif made.get("tool_calls"):
            made["tool_calls"] = [_call(call, short) for call in made["tool_calls"]]
        else:
            made.pop("tool_calls", None)
        if short and made.get("tool_call_id"):
            made["tool_call_id"] = _nine(made["tool_call_id"])
        yield made


def _call(call: Message, short: bool) -> Message:
    identity = str(call.get("id", ""))
    named = {"id": _nine(identity) if short else identity, "type": "function"}
    return {**named, "function": call["function"]}


def _marked(message: Message, template: str) -> Message:
    """Calls as text, for templates that know tools and leave it to the model to call them."""
    calls = [
        {"name": _name(call), "arguments": _read(call["function"].get("arguments"))}
        for call in message["tool_calls"]
    ]
    opening, closing = _LFM2_CALL if _LFM2 in template else ("", "")
    opening = _GRANITE if _GRANITE in template else opening
    kept = {key: value for key, value in message.items() if key != "tool_calls"}
    return {**kept, "content": f"{message['content']}{opening}{_json(calls)}{closing}"}


def _read(arguments: object) -> object:
    """Arguments as values; what is no JSON object stays the text that it is."""
    if not isinstance(arguments, str):
        return arguments
    try:
        read = json.loads(arguments or "{}")
    except (ValueError, RecursionError):
        return arguments
    return read if isinstance(read, dict) else arguments


def _nine(identity: str) -> str:
    if re.fullmatch(r"[A-Za-z0-9]{9}", identity):
        return identity
    return hashlib.sha256(identity.encode("utf-8", "replace")).hexdigest()[:9]


def _one_by_one(messages: Sequence[Message]) -> Iterator[Message]:
    """Each call in a message of its own, followed by its result."""
    at = 0
    while at < len(messages):
        message, at = messages[at], at + 1
        calls = message.get("tool_calls") or ()
        if len(calls) < 2:
            yield message
            continue
        results: list[Message] = []
        while at < len(messages) and messages[at].get("role") == "tool":
            results.append(messages[at])
            at += 1
        for number, call in enumerate(calls):
            content = message.get("content") if number == 0 else ""
            yield {**message, "content": content, "tool_calls": [call]}
            yield from (one for one in results if one.get("tool_call_id") == call.get("id"))
        known = {call.get("id") for call in calls}
        yield from (one for one in results if one.get("tool_call_id") not in known)


# --- For templates that do not ------------------------------------------------------------------


def _told(messages: Sequence[Message]) -> Iterator[Message]:
    """Calls and results as text: the calls of the assistant, the results as from the user."""
    names: dict[object, str] = {}
    results: list[str] = []
    for message in messages:
        if message.get("role") == "tool":
            name = names.get(message.get("tool_call_id"), "the tool")
            results.append(f"Result of {name}: {message.get('content') or ''}")
            continue
        if message.get("role") == "user" and results:
            message = {**message, "content": "\n".join([*results, message.get("content") or ""])}
        elif results:
            yield {"role": "user", "content": "\n".join(results)}
        results = []
        names |= {call.get("id"): _name(call) for call in message.get("tool_calls") or ()}
        yield _written(message)
    if results:
        yield {"role": "user", "content": "\n".join(results)}


def _written(message: Message) -> Message:
    calls = message.get("tool_calls") or ()
    lines = [message.get("content") or ""] if message.get("content") or not calls else []
    for call in calls:
        arguments = _read(call["function"].get("arguments"))
        lines.append(_json({"name": _name(call), "arguments": arguments}))
    kept = {key: value for key, value in message.items() if key != "tool_calls"}
    return {**kept, "content": "\n".join(lines)}


def _name(call: Message) -> str:
    return str(call["function"].get("name", ""))


def _instructions(asked: Asked) -> str:
    tools = [_json(tool.as_openai()["function"]) for tool in asked.tools]
    return "\n".join([_HOW + (_MUST if asked.is_forced else _MAY), _THESE, *tools])


def _instructed(messages: list[Message], text: str, template: str) -> list[Message]:
    """The conversation with a text in its system message, or in the user's first one."""
    target = "user" if _NO_SYSTEM.search(template) else "system"
    roles = [_renamed(message, "developer", "system").get("role") for message in messages]
    if target not in roles:
        return [{"role": target, "content": text}, *messages]
    at = roles.index(target)
    own = messages[at].get("content") or ""
    told = f"{own}\n\n{text}" if target == "system" else f"{text}\n\n{own}"
    return [*messages[:at], {**messages[at], "content": told}, *messages[at + 1 :]]


def _renamed(message: Message, role: str, other: str) -> Message:
    return {**message, "role": other} if message.get("role") == role else message


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)
