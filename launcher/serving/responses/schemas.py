"""The body of `/v1/responses`, with a bound on everything.

Source: platform.openai.com/docs/api-reference/responses/create.
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from launcher.serving.openai.bodies import LONGEST_NAME, Part
from launcher.serving.openai.schemas import (
    MOST_LOGPROBS,
    MOST_MESSAGES,
    MOST_TOKENS,
    Refused,
    Samplers,
)

MOST_TOOLS = 128
_STATELESS = "No answer is kept here: send the whole conversation as input, with every request"


class TextFormat(Part):
    """What the answer has to be."""

    type: Literal["text", "json_object", "json_schema"] = "text"
    name: Annotated[str, Field(max_length=256)] = ""
    description: str | None = None
    schema_: dict[str, Any] | None = Field(None, alias="schema")
    strict: bool | None = None


class TextConfig(Part):
    """How the answer's text is to be."""

    format: TextFormat | None = None


class Effort(Part):
    """How long the model may think, where its template knows of that."""

    effort: Annotated[str, Field(max_length=32)] | None = None


class ResponseRequest(Samplers):
    """The body of `/v1/responses`."""

    unsupported: ClassVar[Refused] = {
        "previous_response_id": ((), _STATELESS),
        "conversation": ((), _STATELESS),
        "prompt": ((), "There are no stored prompts here: send the text as input"),
        "background": ((False,), "Every answer is given at once; use stream to see it grow"),
        "truncation": (("disabled",), "A conversation that is too long is refused, never cut"),
    }

    model: Annotated[str, Field(max_length=LONGEST_NAME)] = ""
    input: str | Annotated[list[dict[str, Any]], Field(min_length=1, max_length=MOST_MESSAGES)]
    instructions: str | None = None
    max_output_tokens: Annotated[int, Field(ge=1, le=MOST_TOKENS)] | None = None
    stream: bool | None = None
    text: TextConfig | None = None
    tools: Annotated[list[dict[str, Any]], Field(max_length=MOST_TOOLS)] | None = None
    tool_choice: str | dict[str, Any] | None = None
    parallel_tool_calls: bool | None = None
    reasoning: Effort | None = None
    metadata: (
        Annotated[
            dict[Annotated[str, Field(max_length=64)], Annotated[str, Field(max_length=512)]],
            Field(max_length=16),
        ]
        | None
    ) = None
    include: Annotated[list[Annotated[str, Field(max_length=64)]], Field(max_length=16)] | None = (
        None
    )
    top_logprobs: Annotated[int, Field(ge=0, le=MOST_LOGPROBS)] | None = None
    user: Annotated[str, Field(max_length=512)] | None = None
