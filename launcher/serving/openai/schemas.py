"""The bodies of OpenAI's interface, with a bound on everything.

Source: platform.openai.com/docs/api-reference; the names of further samplers are llama-server's
(tools/server/README.md in llama.cpp).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, model_validator

from launcher.serving.openai.bodies import LONGEST_NAME, Body, Part, Stops, refused

MOST_ANSWERS = 16  # to one request: prompts times `n`
MOST_MESSAGES = 4096
MOST_INPUTS = 2048  # as OpenAI has it for embeddings
MOST_TOKENS = 1 << 24  # far more than any context holds
MOST_BEFORE = 1 << 16  # tokens that a sampler looks back on: it takes memory for each
MOST_LOGPROBS = 20

Share = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(ge=0, le=1e6)]
Penalty = Annotated[float, Field(ge=-100, le=100)]
Count = Annotated[int, Field(ge=0, le=MOST_TOKENS)]
Token = Annotated[int, Field(ge=0, lt=1 << 31)]
Tokens = Annotated[list[Token], Field(min_length=1)]
Texts = Annotated[list[str], Field(min_length=1, max_length=MOST_INPUTS)]
ManyTokens = Annotated[list[Tokens], Field(min_length=1, max_length=MOST_INPUTS)]
Bias = Annotated[float, Field(ge=-1e6, le=1e6)]
Pair = Annotated[tuple[Token, Bias | Literal[False]], Field(strict=False)]  # JSON has lists
Biases = (
    Annotated[dict[str, Bias], Field(max_length=1024)]
    | Annotated[list[Pair], Field(max_length=1024)]
)
Breaker = Annotated[str, Field(max_length=64)]
SamplerName = Annotated[str, Field(max_length=64)]
Refused = Mapping[str, tuple[tuple[object, ...], str]]
Prompt = str | Tokens | Texts | ManyTokens


_FORM = "Ask for a form with response_format"
# Fields of OpenAI's interface, llama-server's and vLLM's that change the answer.
_NOT_ANSWERED: Refused = {
    "lora": ((), "Adapters are chosen where the server is started"),
    "n_predict": ((-1,), "Say with max_tokens how long the answer may be"),
    "n_probs": ((0,), "Ask for log probabilities with logprobs"),
    "guided_json": ((), _FORM),
    "guided_regex": ((), _FORM),
    "guided_choice": ((), _FORM),
    "guided_grammar": ((), "Give the grammar as grammar"),
}
_NOT_IN_CHATS: Refused = {
    **_NOT_ANSWERED,
    "audio": ((), "Answers are text: there is no audio"),
    "modalities": ((["text"], []), "Answers are text and nothing else"),
    "functions": (([],), "Functions are given as tools"),
    "function_call": (("none", "auto"), "A function is chosen with tool_choice"),
    "web_search_options": ((), "Nothing is looked up on the web here"),
    "chat_template": ((), "The template in the model's file is used, and no other"),
    "add_generation_prompt": ((True,), "An answer always begins a turn of its own"),
    "continue_final_message": ((False,), "An answer always begins a turn of its own"),
}
_NOT_IN_COMPLETIONS: Refused = {
    **_NOT_ANSWERED,
    "echo": ((False,), "The prompt is not repeated in the answer: echo has to be false"),
    "suffix": (("",), "Text is continued, not filled in before a suffix"),
    "best_of": ((1,), "All answers are given, not the best of several: use n"),
}


class TextPart(Part):
    """A piece of a message."""

    type: str
    text: str | None = None
    refusal: str | None = None


class Message(Part):
    """One turn of a conversation."""

    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: str | list[TextPart] | None = None
    name: Annotated[str, Field(max_length=256)] | None = None
    tool_calls: Annotated[list[dict[str, Any]], Field(max_length=128)] | None = None
    tool_call_id: Annotated[str, Field(max_length=256)] | None = None
    reasoning_content: str | None = None


class JsonSchema(Part):
    """A schema for the answer, and what it is called."""

    name: str = ""
    schema_: dict[str, Any] = Field(default_factory=dict, alias="schema")


class ResponseFormat(Part):
    """What the answer has to be."""

    type: Literal["text", "json_object", "json_schema"]
    json_schema: JsonSchema | None = None
    schema_: dict[str, Any] | None = Field(None, alias="schema")
    """llama-server's form for `json_object`."""


class StreamOptions(Part):
    """What a stream has beside the answer."""

    include_usage: bool = False


class Samplers(Body):
    """How tokens are chosen: OpenAI's names, then llama-server's."""

    temperature: Annotated[float, Field(ge=0, le=100)] | None = None
    top_p: Share | None = None
    presence_penalty: Penalty | None = None
    frequency_penalty: Penalty | None = None
    seed: Annotated[int, Field(ge=-(1 << 63), lt=1 << 64)] | None = None
    logit_bias: Biases | None = None
    """By token. llama-server's form is a list of pairs, in which `false` means never."""

    top_k: Annotated[int, Field(ge=-1, lt=1 << 31)] | None = None
    min_p: Share | None = None
    typical_p: Share | None = None
    top_n_sigma: Annotated[float, Field(ge=-1, le=1e6)] | None = None
    xtc_probability: Share | None = None
    xtc_threshold: Share | None = None
    dynatemp_range: Positive | None = None
    dynatemp_exponent: Annotated[float, Field(ge=-1e6, le=1e6)] | None = None
    repeat_last_n: Annotated[int, Field(ge=-1, le=MOST_BEFORE)] | None = None
    repeat_penalty: Annotated[float, Field(gt=0, le=100)] | None = None
    dry_multiplier: Positive | None = None
    dry_base: Positive | None = None
    dry_allowed_length: Count | None = None
    dry_penalty_last_n: Annotated[int, Field(ge=-1, le=MOST_BEFORE)] | None = None
    mirostat: Annotated[int, Field(ge=0, le=2)] | None = None
    mirostat_tau: Positive | None = None
    mirostat_eta: Positive | None = None
    adaptive_target: Annotated[float, Field(ge=-1, le=1)] | None = None
    adaptive_decay: Annotated[float, Field(ge=0, le=0.99)] | None = None
    min_keep: Count | None = None
    ignore_eos: bool | None = None
    dry_sequence_breakers: Annotated[list[Breaker], Field(max_length=16)] | None = None
    samplers: Annotated[list[SamplerName], Field(max_length=16)] | SamplerName | None = None


class Answering(Samplers):
    """What chats and completions share."""

    model: Annotated[str, Field(max_length=LONGEST_NAME)] = ""
    max_tokens: Annotated[int, Field(ge=-1, le=MOST_TOKENS)] | None = None
    n: Annotated[int, Field(ge=1, le=MOST_ANSWERS)] | None = None
    stop: Stops = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    response_format: ResponseFormat | None = None
    grammar: Annotated[str, Field(max_length=1 << 20)] | None = None
    json_schema: dict[str, Any] | None = None

    @model_validator(mode="after")
    def _one_form(self) -> Answering:
        form = self.response_format
        is_json = self.json_schema is not None or (form is not None and form.type != "text")
        if self.grammar and is_json:
            raise refused("A grammar and a JSON schema rule each other out", "grammar")
        return self


class ChatRequest(Answering):
    """The body of `/v1/chat/completions`."""

    unsupported: ClassVar[Refused] = _NOT_IN_CHATS

    messages: Annotated[list[Message], Field(min_length=1, max_length=MOST_MESSAGES)]
    max_completion_tokens: Annotated[int, Field(ge=1, le=MOST_TOKENS)] | None = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int, Field(ge=0, le=MOST_LOGPROBS)] | None = None
    tools: Annotated[list[dict[str, Any]], Field(max_length=128)] | None = None
    tool_choice: str | dict[str, Any] | None = None
    parallel_tool_calls: bool | None = None
    reasoning_effort: Annotated[str, Field(max_length=32)] | None = None
    chat_template_kwargs: Annotated[dict[str, Any], Field(max_length=64)] | None = None

    @model_validator(mode="after")
    def _whole(self) -> ChatRequest:
        if self.top_logprobs is not None and not self.logprobs:
            raise refused("Log probabilities are asked for with logprobs: true", "top_logprobs")
        return self


class CompletionRequest(Answering):
    """The body of `/v1/completions`."""

    unsupported: ClassVar[Refused] = _NOT_IN_COMPLETIONS

    prompt: Prompt
    logprobs: Annotated[int, Field(ge=0, le=MOST_LOGPROBS)] | None = None


class EmbeddingRequest(Body):
    """The body of `/v1/embeddings`."""

    model: Annotated[str, Field(max_length=LONGEST_NAME)] = ""
    input: Prompt
    encoding_format: Literal["float", "base64"] = "float"
    dimensions: Annotated[int, Field(ge=1, le=1 << 20)] | None = None
