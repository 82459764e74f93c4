"""What an answer consists of, piece by piece."""

from __future__ import annotations

import secrets
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Content:
    """A piece of what the answer says."""

    text: str


@dataclass(frozen=True, slots=True)
class Reasoning:
    """A piece of what the model thinks before it answers."""

    text: str


@dataclass(frozen=True, slots=True)
class CallBegun:
    """A tool is called; its arguments follow."""

    index: int
    """The answer's calls are counted from 0."""
    id: str
    name: str


@dataclass(frozen=True, slots=True)
class CallArguments:
    """A piece of the JSON text of a call's arguments."""

    index: int
    text: str


Delta = Content | Reasoning | CallBegun | CallArguments


def new_id() -> str:
    """An id for a call, in OpenAI's form."""
    return f"call_{secrets.token_hex(12)}"
