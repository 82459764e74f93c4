"""JSON schemas that answers are held to: of a call that is forced, or of what a client wants."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from launcher.engine.schemas import BadSchema, Plain
from launcher.serving.failures import BadRequest
from launcher.serving.tools.asking import Asked, BadTools, Tool


def forced(asked: Asked) -> str:
    """A schema that only one call of one of these tools fits. Raises `BadTools`."""
    plain = Plain()
    calls = [
        {
            "type": "object",
            "properties": {"name": {"const": tool.name}, "arguments": _parameters(tool, plain)},
            "required": ["name", "arguments"],
        }
        for tool in asked.tools
    ]
    call: dict[str, Any] = calls[0] if len(calls) == 1 else {"anyOf": calls}
    return json.dumps(call | plain.definitions())


def _parameters(tool: Tool, plain: Plain) -> dict[str, Any]:
    try:
        return plain.of(tool.parameters)
    except BadSchema as error:
        text = f"The schema of the tool {tool.name}'s parameters cannot be used: {error}"
        raise BadTools(text, "tools") from error


def wanted(schema: Mapping[str, Any], param: str) -> str:
    """A client's schema as the engine can keep to it. Raises `BadRequest`."""
    plain = Plain()
    try:
        return json.dumps(plain.of(schema) | plain.definitions())
    except BadSchema as error:
        raise BadRequest(f"The JSON schema cannot be used: {error}", param) from error
