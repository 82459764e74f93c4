"""What a request says of tools, checked: the forms of OpenAI's two interfaces are both read."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from launcher.serving.failures import BadRequest

MOST = 128  # tools in one request, as at OpenAI
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.:/-]{0,127}")


class BadTools(BadRequest):
    """Tools, or the choice among them, that no model can be given."""


class Choice(StrEnum):
    """Whether the model may call a tool or has to."""

    NONE = "none"
    AUTO = "auto"
    REQUIRED = "required"


@dataclass(frozen=True, slots=True, kw_only=True)
class Tool:
    """A function that the model may ask for."""

    name: str
    description: str
    parameters: Mapping[str, Any]
    """A JSON schema of an object."""

    def as_openai(self) -> dict[str, Any]:
        """The form of chat completions, which templates know."""
        function = {
            "name": self.name,
            "description": self.description,
            "parameters": dict(self.parameters),
        }
        return {"type": "function", "function": function}


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """The tools that the model may use for this answer, and how."""

    tools: tuple[Tool, ...] = ()
    choice: Choice = Choice.NONE
    parallel: bool = True
    """Whether an answer may have several calls."""

    @property
    def is_forced(self) -> bool:
        """Whether the answer has to be a call."""
        return self.choice is Choice.REQUIRED

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(tool.name for tool in self.tools)


def asked(
    tools: Sequence[Mapping[str, Any]] | None = None,
    tool_choice: str | Mapping[str, Any] | None = None,
    parallel_tool_calls: bool | None = None,
) -> Asked:
    """What these fields of a request come to. Raises `BadTools`.

    >>> asked([{"type": "function", "function": {"name": "now"}}], "required").names
    ('now',)
    """
    known = _tools(tools or ())
    choice, chosen = _choice(tool_choice, known)
    if choice is Choice.NONE or not known:
        return Asked()
    return Asked(
        tools=tuple(tool for tool in known if tool.name in chosen),
        choice=choice,
        parallel=parallel_tool_calls is not False,
    )


def _tools(tools: Sequence[Mapping[str, Any]]) -> tuple[Tool, ...]:
    if len(tools) > MOST:
        raise BadTools(f"There are {len(tools)} tools; {MOST} are the most.", param="tools")
    read = tuple(_tool(tool, f"tools[{at}]") for at, tool in enumerate(tools))
    if len({tool.name for tool in read}) < len(read):
        raise BadTools("Two tools have the same name.", param="tools")
    return read


def _tool(tool: Mapping[str, Any], param: str) -> Tool:
    if tool.get("type", "function") != "function":
        raise BadTools("Only tools of type 'function' can be used here.", param=f"{param}.type")
    function = tool.get("function", tool)
    if not isinstance(function, Mapping):
        raise BadTools("A tool's function is an object.", param=f"{param}.function")
    name, parameters = function.get("name"), function.get("parameters")
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        text = "A tool's name has letters, digits, '_', '-', '.', ':' and '/', at most 128 of them."
        raise BadTools(text, param=f"{param}.function.name")
    if parameters is not None and not isinstance(parameters, Mapping):
        text = "A tool's parameters are described by a JSON schema, which is an object."
        raise BadTools(text, param=f"{param}.function.parameters")
    return Tool(
        name=name,
        description=str(function.get("description") or ""),
        parameters=parameters or {"type": "object", "properties": {}},
    )


def _choice(
    choice: str | Mapping[str, Any] | None, known: Sequence[Tool]
) -> tuple[Choice, Sequence[str]]:
    """What is to be done, and the names of the tools it may be done with."""
    names = [tool.name for tool in known]
    if choice is None:
        return Choice.AUTO, names
    if isinstance(choice, str):
        mode = _mode(choice)
        if mode is Choice.REQUIRED and not known:
            raise BadTools("A call is required, and no tool is given.", param="tool_choice")
        return mode, names
    if choice.get("type") == "function":
        return Choice.REQUIRED, [_named(choice, names)]
    if choice.get("type") == "allowed_tools":
        return _allowed(choice.get("allowed_tools", choice), names)
    raise BadTools("This choice of tools is not known.", param="tool_choice.type")


def _mode(mode: object) -> Choice:
    try:
        return Choice(str(mode))
    except ValueError:
        text = "The choice of tools is 'none', 'auto', 'required' or one of the tools."
        raise BadTools(text, param="tool_choice") from None


def _named(choice: object, names: Sequence[str]) -> str:
    function = choice.get("function", choice) if isinstance(choice, Mapping) else None
    name = function.get("name") if isinstance(function, Mapping) else None
    if not isinstance(name, str) or name not in names:
        text = f"The chosen tool {str(name)[:64]!r} is not among the tools."
        raise BadTools(text, param="tool_choice")
    return name


def _allowed(allowed: object, names: Sequence[str]) -> tuple[Choice, Sequence[str]]:
    tools = allowed.get("tools") if isinstance(allowed, Mapping) else None
    if not isinstance(allowed, Mapping) or not isinstance(tools, list):
        raise BadTools("The allowed tools are a list.", param="tool_choice")
    return _mode(allowed.get("mode", "auto")), [_named(tool, names) for tool in tools]
