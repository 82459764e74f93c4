"""What a chat asks for, with its tools: what can be known before the model, and what cannot."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from launcher.engine.wanted import Wanted
from launcher.serving.failures import BadRequest
from launcher.serving.openai import asked
from launcher.serving.openai.schemas import ChatRequest
from launcher.serving.tools import asking, conversation, reader, schema
from launcher.serving.tools.reader import Reader

if TYPE_CHECKING:
    from launcher.engine.client import Loaded

TEMPLATE = "tokenizer.chat_template"


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """A chat, checked as far as it can be without a model."""

    wanted: Wanted
    tools: asking.Asked


@dataclass(frozen=True, slots=True, kw_only=True)
class Fitted:
    """A chat as one model can be asked for it."""

    wanted: Wanted
    reader: Callable[[], Reader | None]
    """Makes a reader for an answer; None where each piece is content as it is."""


def wish(request: ChatRequest) -> Wish:
    """Raises `BadRequest` or `BadTools` for what no model could answer."""
    wanted = asked.of_chat(request)
    tools = asking.asked(request.tools, request.tool_choice, request.parallel_tool_calls)
    if tools.is_forced and (wanted.grammar or wanted.json_schema):
        raise BadRequest(
            "A tool call is required, and the answer's form was given, too", "response_format"
        )
    return Wish(wanted=wanted, tools=tools)


def _form(wish: Wish) -> str:
    """The answer's form; where there are tools, too, it may be a call in its place."""
    form = wish.wanted.json_schema
    return schema.either(wish.tools, form) if form and wish.tools.tools else form


def fitted(wish: Wish, loaded: Loaded) -> Fitted:
    """The chat for the template in a model's file. Raises `BadTools`."""
    asked.refuse_foreign_biases(wish.wanted, loaded.sizes["vocabulary"])
    template = loaded.metadata.get(TEMPLATE) or ""
    parts = conversation.parts(wish.tools, wish.wanted.messages, template)
    wanted = replace(
        wish.wanted,
        messages=parts.messages,
        tools=parts.tools,
        json_schema=parts.json_schema or _form(wish),
        shown=parts.shown,
        opened=parts.opened,
    )
    plain = reader.plain(wish.tools, reasoning=True, template=template)
    return Fitted(
        wanted=wanted,
        reader=lambda: (
            None if plain else reader.reader(wish.tools, reasoning=True, template=template)
        ),
    )
