"""What the description of the interface (/openapi.json) says of answers and failures."""

from __future__ import annotations

from typing import Any

_ERROR = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["message", "type", "param", "code"],
            "properties": {
                "message": {"type": "string"},
                "type": {"type": "string"},
                "param": {"type": ["string", "null"]},
                "code": {"type": ["string", "null"]},
            },
        },
        "decision": {"type": "object", "description": "Of the gate; with 451 only"},
    },
}


def answered(description: str, *, streams: bool = False) -> dict[int | str, dict[str, Any]]:
    """The answers of one address: the one that is wanted, and OpenAI's form of all others."""
    wanted: dict[str, Any] = {"application/json": {"schema": {"type": "object"}}}
    if streams:
        wanted["text/event-stream"] = {"schema": {"type": "string"}}
    failed = {"content": {"application/json": {"schema": _ERROR}}}
    return {
        200: {
            "description": description,
            "content": wanted,
        },
        "4XX": {"description": "The request cannot be answered", **failed},
        "5XX": {"description": "The server cannot answer it now", **failed},
    }
