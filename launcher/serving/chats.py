"""What a chat asks for, with its tools: what can be known before the model, and what cannot."""

from __future__ import annotations

from dataclasses import dataclass, replace

from launcher.engine.client import Loaded
from launcher.engine.wanted import Wanted
from launcher.serving import asked
from launcher.serving.failures import BadRequest
from launcher.serving.schemas import ChatRequest
from launcher.serving.tools import asking, conversation
from launcher.serving.tools.reader import Reader

TEMPLATE = "tokenizer.chat_template"


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """A chat, checked as far as it can be without a model."""

    wanted: Wanted
    tools: asking.Asked

    def reader(self) -> Reader:
        """Reads one of its answers."""
        return Reader(self.tools)


def wish(request: ChatRequest) -> Wish:
    """Raises `BadRequest` for what no model could answer."""
    wanted = asked.of_chat(request)
    try:
        tools = asking.asked(request.tools, request.tool_choice, request.parallel_tool_calls)
    except asking.BadTools as error:
        raise BadRequest(error.message, error.param) from error
    if tools.is_forced and (wanted.grammar or wanted.json_schema):
        raise BadRequest(
            "A tool call is required, and the answer's form was given, too", "response_format"
        )
    return Wish(wanted=wanted, tools=tools)


def wanted(wish: Wish, loaded: Loaded) -> Wanted:
    """The answer as this model's template can be asked for it. Raises `BadTools`."""
    template = loaded.metadata.get(TEMPLATE) or ""
    parts = conversation.parts(wish.tools, wish.wanted.messages, template)
    return replace(
        wish.wanted,
        messages=parts.messages,
        tools=parts.tools,
        json_schema=parts.json_schema or wish.wanted.json_schema,
    )
