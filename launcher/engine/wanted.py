"""What is asked of a model that many ask at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """One answer that is asked for: to a conversation, or the continuation of a prompt."""

    messages: Sequence[Mapping[str, Any]] = ()
    """A conversation, rendered by the template in the model's file."""
    prompt: str | Sequence[int] | None = None
    """Instead of one: a text, in which special tokens count as such, or tokens as they are."""
    tools: Sequence[Mapping[str, Any]] = ()
    """Given to the template, in OpenAI's form."""
    template: Mapping[str, Any] = field(default_factory=dict)
    """Further variables of the template."""
    sampling: Mapping[str, Any] = field(default_factory=dict)
    """Fields of `sampling.Sampling`."""
    max_tokens: int | None = None
    stop: Sequence[str] = ()
    grammar: str = ""
    json_schema: str = ""
    logprobs: int | None = None
    """How many of the likeliest tokens are told of with each token."""
    shown: Sequence[str] = ()
    """Special tokens that the text shows: some models begin a call of a tool with one."""
    opened: Sequence[str] = ()
    """Where the prompt ends with one of these, the text begins with it: templates may open what
    an answer closes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Embedding:
    """What a text means to a model, as a vector of length 1."""

    vector: Sequence[float]
    tokens: int
    """Of the text."""
