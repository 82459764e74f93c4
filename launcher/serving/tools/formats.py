"""The forms in which models write calls of tools, as their chat templates teach them."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

from launcher.serving.tools.asking import Tool

Tools = Mapping[str, Tool]
LONGEST_PYTHON = 20_000  # characters of a call in Python's form, which the parser nests deeply

_SPACE = re.compile(r"[\s;,]*")
_NAME = re.compile(r"\s*([A-Za-z0-9_][A-Za-z0-9_.:/-]*)")
_PARAMETER = re.compile(r"\s*<parameter=([^>\s]+)>\n?(.*?)\n?</parameter>", re.DOTALL)
_GLM = re.compile(r"\s*<arg_key>(.*?)</arg_key>\s*<arg_value>(.*?)</arg_value>", re.DOTALL)
_MISTRAL = re.compile(r"(?:\[CALL_ID\]\w*)?(?:\[ARGS\])?\s*")
_DEEPSEEK = re.compile(
    r"\s*<｜tool▁call▁begin｜>(?:function<｜tool▁sep｜>)?([\w.:/-]+)(?:<｜tool▁sep｜>|\s*)"
    r"(?:```json)?\s*(.*?)\s*(?:```)?\s*<｜tool▁call▁end｜>",
    re.DOTALL,
)
_KIMI = re.compile(
    r"\s*<\|tool_call_begin\|>(?:functions\.)?([\w./-]+?)(?::\d+)?<\|tool_call_argument_begin\|>"
    r"\s*(.*?)\s*<\|tool_call_end\|>",
    re.DOTALL,
)
_GEMMA_QUOTE = '<|"|>'
_GEMMA_KEY = re.compile(r"([{,]\s*)([A-Za-z_][\w.-]*)\s*:")
_FENCE = re.compile(r"\s*```[a-z_]*\s*(.*?)\s*```\s*", re.DOTALL)


class NoCall(ValueError):
    """A text is no call of a tool."""


@dataclass(frozen=True, slots=True)
class Call:
    """A call as the model wrote it."""

    name: str
    arguments: str
    """The JSON text of an object."""


Found = tuple[list[Call], str]
"""The calls, and the text after them."""


@dataclass(frozen=True, slots=True)
class Marker:
    """What a call begins and ends with; without an end it takes the rest of the answer."""

    opening: str
    closing: str
    read: Callable[[str, Tools], Found]


def read(marker: Marker, body: str, tools: Tools) -> Found:
    """The calls that stand behind a marker. Raises `NoCall`."""
    with_limits = _guarded(marker.read, body, tools)
    return _checked(with_limits, tools)


def read_bare(text: str, tools: Tools) -> list[Call]:
    """The calls that are the whole of an answer, as JSON without any mark. Raises `NoCall`."""
    fenced = _FENCE.fullmatch(text)
    text = fenced[1] if fenced else text.strip().removeprefix("functools")
    calls, rest = _checked(_guarded(_bare, text, tools), tools)
    if rest.strip():
        raise NoCall
    return calls


def _guarded(reader: Callable[[str, Tools], Found], body: str, tools: Tools) -> Found:
    try:
        return reader(body, tools)
    except (ValueError, IndexError, RecursionError, SyntaxError, MemoryError) as error:
        raise NoCall from error


def _checked(found: Found, tools: Tools) -> Found:
    calls, _ = found
    if not calls or any(call.name not in tools for call in calls):
        raise NoCall
    return found


# --- JSON ---------------------------------------------------------------------------------------


def _refused(constant: str) -> NoReturn:
    raise NoCall


_DECODER = json.JSONDecoder(parse_constant=_refused)  # no NaN, no Infinity


def _values(body: str, _: Tools) -> Found:
    """Objects, or lists of them, one after the other."""
    calls: list[Call] = []
    at = _skip(body, 0)
    while body[at : at + 1] in ("{", "["):
        found, at = _value(body, at, bare=False)
        calls += found
        at = _skip(body, at)
    return calls, body[at:]


def _bare(body: str, _: Tools) -> Found:
    calls: list[Call] = []
    at = _skip(body, 0)
    while body[at : at + 1] in ("{", "["):
        found, at = _value(body, at, bare=True)
        calls += found
        at = _skip(body, at)
    return calls, body[at:]


def _skip(text: str, at: int) -> int:
    found = _SPACE.match(text, at)
    return found.end() if found else at


def _value(text: str, at: int, *, bare: bool) -> tuple[list[Call], int]:
    if text[at] == "{":
        members, at = _members(text, at)
        return [_call(members, bare=bare)], at
    calls: list[Call] = []
    at = _skip(text, at + 1)
    while text[at] != "]":
        members, at = _members(text, at)
        calls.append(_call(members, bare=bare))
        at = _skip(text, at)
    return calls, at + 1


def _members(text: str, at: int) -> tuple[dict[str, tuple[Any, str]], int]:
    """An object's members, each with its value and the text of it, and where the object ends."""
    value, end = _DECODER.raw_decode(text, at)
    if not isinstance(value, dict):
        raise NoCall
    members: dict[str, tuple[Any, str]] = {}
    at = _skip(text, at + 1)
    while text[at] != "}":
        key, at = _DECODER.raw_decode(text, at)
        start = text.index(":", at) + 1
        start += len(text[start:end]) - len(text[start:end].lstrip())
        value, at = _DECODER.raw_decode(text, start)
        members[key] = (value, text[start:at])
        at = _skip(text, at)
    return members, end


def _call(members: Mapping[str, tuple[Any, str]], *, bare: bool) -> Call:
    """A call from an object; without a mark around it, it has to have arguments."""
    if isinstance(members.get("function", ("", ""))[0], dict):  # OpenAI's own form
        members, _ = _members(members["function"][1], 0)
    name = _first(members, "name", "tool_name", "function")
    arguments = _first(members, "arguments", "parameters")
    if name is None or not isinstance(name[0], str) or (bare and arguments is None):
        raise NoCall
    return Call(name[0], _arguments(*(arguments or ({}, "{}"))))


def _first(members: Mapping[str, tuple[Any, str]], *keys: str) -> tuple[Any, str] | None:
    return next((members[key] for key in keys if key in members), None)


def _arguments(value: Any, text: str) -> str:
    """The text of an object: as it stands, or inside of a string, or none at all."""
    if isinstance(value, str):
        return _object(value)
    if value is None:
        return "{}"
    if not isinstance(value, dict):
        raise NoCall
    return text


def _object(text: str) -> str:
    """A text that is a JSON object, and nothing else."""
    text = text.strip() or "{}"
    value, end = _DECODER.raw_decode(text)
    if not isinstance(value, dict) or end != len(text):
        raise NoCall
    return text


# --- Other forms --------------------------------------------------------------------------------


def _tagged(body: str, tools: Tools) -> Found:
    """Between `<tool_call>` and its end: JSON, a function's tag, or a name and GLM's tags."""
    start = body.lstrip()
    if start.startswith(("{", "[")):
        return _all_of(_values(body, tools))
    if start.startswith("<function="):
        inner = start.removeprefix("<function=").rstrip().removesuffix("</function>")
        return _function(inner, tools)
    name, rest = _named(body)
    pairs, left = _pairs(_GLM, rest)
    return _all_of(([Call(name, _typed(pairs, tools.get(name)))], left))


def _function(body: str, tools: Tools) -> Found:
    """`name>` and then JSON, or one tag for each parameter."""
    name, rest = _named(body)
    if not rest.startswith(">"):
        raise NoCall
    rest = rest[1:]
    if rest.lstrip().startswith("{"):
        return [Call(name, _object(rest))], ""
    pairs, left = _pairs(_PARAMETER, rest)
    return _all_of(([Call(name, _typed(pairs, tools.get(name)))], left))


def _all_of(found: Found) -> Found:
    if found[1].strip():
        raise NoCall
    return found


def _named(text: str) -> tuple[str, str]:
    found = _NAME.match(text)
    if found is None:
        raise NoCall
    return found[1], text[found.end() :]


def _pairs(form: re.Pattern[str], text: str) -> tuple[list[tuple[str, str]], str]:
    pairs, at = [], 0
    while (found := form.match(text, at)) is not None:
        pairs.append((found[1].strip(), found[2]))
        at = found.end()
    return pairs, text[at:]


def _typed(pairs: Sequence[tuple[str, str]], tool: Tool | None) -> str:
    """Arguments from texts: by the tool's schema a text, or else the JSON that it is."""
    properties = tool.parameters.get("properties") if tool else None
    known = properties if isinstance(properties, Mapping) else {}
    return json.dumps({key: _plain(text, known.get(key)) for key, text in pairs})


def _plain(text: str, schema: object) -> Any:
    if isinstance(schema, Mapping) and schema.get("type") == "string":
        return text
    try:
        value, end = _DECODER.raw_decode(text.strip())
    except (ValueError, RecursionError):
        return text
    return value if end == len(text.strip()) else text


def _mistral(body: str, tools: Tools) -> Found:
    """A list of objects, or a name and its arguments, with further markers between."""
    if body.lstrip().startswith(("[", "{")):
        return _values(body, tools)
    calls = []
    for part in body.split("[TOOL_CALLS]"):
        name, rest = _named(part)
        start = _MISTRAL.match(rest)
        at = start.end() if start else 0
        value, end = _DECODER.raw_decode(rest, at)
        calls.append(Call(name, _arguments(value, rest[at:end])))
        left = rest[end:]
        if left.strip():
            break
    return calls, left


def _gemma(body: str, _: Tools) -> Found:
    """`call:name{key:value}`, in which marks of their own stand around texts."""
    name, rest = _named(body.strip().removeprefix("call:"))
    parts = rest.split(_GEMMA_QUOTE)
    text = "".join(
        json.dumps(part) if at % 2 else _GEMMA_KEY.sub(r'\1"\2":', part)
        for at, part in enumerate(parts)
    )
    return [Call(name, _object(text))], ""


def _section(form: re.Pattern[str]) -> Callable[[str, Tools], Found]:
    def reader(body: str, _: Tools) -> Found:
        pairs, left = _pairs(form, body)
        return _all_of(([Call(name, _object(text)) for name, text in pairs], left))

    return reader


def _pythonic(body: str, tools: Tools) -> Found:
    """`[name(key="value")]`; LFM2 writes calls as Python does."""
    if body.lstrip().startswith(("{", "[{")):
        return _all_of(_values(body, tools))
    if len(body) > LONGEST_PYTHON:
        raise NoCall
    tree = ast.parse(body.strip(), mode="eval").body
    nodes = tree.elts if isinstance(tree, ast.List) else [tree]
    return list(_python_calls(nodes)), ""


def _python_calls(nodes: Sequence[ast.expr]) -> Iterator[Call]:
    for node in nodes:
        if not isinstance(node, ast.Call) or node.args:
            raise NoCall
        values = {word.arg or "": ast.literal_eval(word.value) for word in node.keywords}
        try:
            yield Call(ast.unparse(node.func), json.dumps(values, allow_nan=False))
        except TypeError as error:  # a set, bytes, a number that is not real
            raise NoCall from error


MARKERS = (
    Marker("<tool_call>", "</tool_call>", _tagged),
    Marker("<function=", "</function>", _function),
    Marker("<tool_calls>", "</tool_calls>", _values),
    Marker("<TOOLCALL>", "</TOOLCALL>", _values),
    Marker("<|python_tag|>", "", _values),
    Marker("[TOOL_CALLS]", "", _mistral),
    Marker("<|tool_call|>", "<|/tool_call|>", _values),
    Marker("<|tool_call_start|>", "<|tool_call_end|>", _pythonic),
    Marker("<|START_ACTION|>", "<|END_ACTION|>", _values),
    Marker("<|tool_call>", "<tool_call|>", _gemma),
    Marker("<｜tool▁calls▁begin｜>", "<｜tool▁calls▁end｜>", _section(_DEEPSEEK)),
    Marker("<|tool_calls_section_begin|>", "<|tool_calls_section_end|>", _section(_KIMI)),
)

# Texts that are control tokens in some vocabularies; the answer's text leaves those out unless
# it is asked for them.
CONTROL = (
    *(text for marker in MARKERS for text in (marker.opening, marker.closing) if text),
    "[ARGS]",
    "[CALL_ID]",
    "<｜tool▁call▁begin｜>",
    "<｜tool▁sep｜>",
    "<｜tool▁call▁end｜>",
    "<|tool_call_begin|>",
    "<|tool_call_argument_begin|>",
    "<|tool_call_end|>",
    _GEMMA_QUOTE,
)
