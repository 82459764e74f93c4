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
    return json.dumps({"anyOf": _calls(asked, plain)} | plain.definitions())


def either(asked: Asked, schema: str) -> str:
    """A schema that an answer in a form of its own fits, and a call of one of these tools."""
    plain = Plain()
    ways = [plain.of(json.loads(schema)), *_calls(asked, plain)]
    return json.dumps({"anyOf": ways} | plain.definitions())


def _calls(asked: Asked, plain: Plain) -> list[dict[str, Any]]:
    """A schema for each tool's calls. Raises `BadTools`."""
    return [
        {
            "type": "object",
            "properties": {"name": {"const": tool.name}, "arguments": _parameters(tool, plain)},
            "required": ["name", "arguments"],
        }
        for tool in asked.tools
    ]


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
