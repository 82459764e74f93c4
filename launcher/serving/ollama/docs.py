"""What the description of the interface (/openapi.json) says of Ollama's addresses."""

from __future__ import annotations

from typing import Any

_OBJECT = {"schema": {"type": "object"}}
_ERROR = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {"type": "string"},
        "decision": {"type": "object", "description": "Of the gate; with 451 only"},
    },
}


def described(description: str, *more: str) -> dict[int | str, dict[str, Any]]:
    """The answers of one address: JSON, or one of `more` media types; and errors."""
    failed = {"content": {"application/json": {"schema": _ERROR}}}
    return {
        200: {
            "description": description,
            "content": {"application/json": _OBJECT, **dict.fromkeys(more, _OBJECT)},
        },
        "4XX": {"description": "The request cannot be answered", **failed},
        "5XX": {"description": "The server cannot answer it now", **failed},
    }
