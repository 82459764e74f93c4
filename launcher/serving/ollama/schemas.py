"""The bodies of Ollama's interface, with a bound on everything.

A null stands for an absent value, and fields that are not known are left aside, as Ollama
has it. Options that are not known are refused: they would change the answer.
Source: ollama/ollama docs/api.md and api/types.go.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import ConfigDict, Field

from launcher.serving.openai.bodies import LONGEST_NAME, Body, Part, Stops

MOST_INPUTS = 2048  # texts to embed in one request
MOST_MESSAGES = 4096
MOST_TOKENS = 1 << 24  # far more than any context holds
MOST_LOGPROBS = 20  # as Ollama has it

Name = Annotated[str, Field(max_length=LONGEST_NAME, examples=["smollm2:135m"])]
Tag = Annotated[str, Field(max_length=256)]
Share = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(ge=0, le=1e6)]
Penalty = Annotated[float, Field(ge=-100, le=100)]
Tokens = Annotated[int, Field(ge=-1, le=MOST_TOKENS)]
KeepAlive = Annotated[float, Field(ge=-1e9, le=1e9)] | Annotated[str, Field(max_length=64)] | None
Think = bool | Literal["low", "medium", "high"] | None
Refused = Mapping[str, tuple[tuple[object, ...], str]]

_NO_IMAGES = "Images were sent, and the models served here take in text"
_NOT_IN_CHATS: Refused = {"images": (([],), _NO_IMAGES)}
_NOT_GENERATED: Refused = {
    **_NOT_IN_CHATS,
    "template": (("",), "The template in the model's file is used; send a raw prompt instead"),
    "suffix": (("",), "Text is continued, not filled in before a suffix"),
    "context": (([],), "Send the conversation to /api/chat instead of its tokens"),
    "width": ((0,), "Answers are text and nothing else"),
    "height": ((0,), "Answers are text and nothing else"),
}


class Options(Part):
    """How tokens are chosen; what is left out has the defaults of `launcher run`."""

    # Clients write 100.0 where they mean 100: Ollama takes it.
    model_config = ConfigDict(extra="forbid", strict=False, allow_inf_nan=False)

    temperature: Annotated[float, Field(ge=0, le=100)] | None = None
    top_k: Annotated[int, Field(ge=0, lt=1 << 31)] | None = None
    top_p: Share | None = None
    min_p: Share | None = None
    typical_p: Share | None = None
    seed: Annotated[int, Field(ge=-(1 << 63), lt=1 << 64)] | None = None
    num_predict: Annotated[int, Field(ge=-2, le=MOST_TOKENS)] | None = None
    stop: Stops = None
    repeat_last_n: Tokens | None = None
    repeat_penalty: Annotated[float, Field(gt=0, le=100)] | None = None
    presence_penalty: Penalty | None = None
    frequency_penalty: Penalty | None = None
    mirostat: Annotated[int, Field(ge=0, le=2)] | None = None
    mirostat_tau: Positive | None = None
    mirostat_eta: Positive | None = None
    num_ctx: Annotated[int, Field(ge=1, le=1 << 32)] | None = None
    # Off, or as it is here anyway; nothing else can be had.
    tfs_z: Annotated[float, Field(ge=1, le=1)] | None = None
    penalize_newline: Literal[True] | None = None
    vocab_only: Literal[False] | None = None
    embedding_only: Literal[False] | None = None
    # How a model is loaded and computed: for whoever starts the server. No answer changes by it.
    num_keep: int | None = None
    num_batch: int | None = None
    num_gpu: int | None = None
    num_thread: int | None = None
    main_gpu: int | None = None
    numa: bool | None = None
    low_vram: bool | None = None
    f16_kv: bool | None = None
    logits_all: bool | None = None
    use_mmap: bool | None = None
    use_mlock: bool | None = None


class Asking(Body):
    """What every request to a model has."""

    model: Name
    options: Options | None = None
    keep_alive: KeepAlive = None


class Answering(Asking):
    """What chats and single prompts share."""

    stream: bool | None = None
    format: Literal["", "json"] | dict[str, Any] | None = None
    think: Think = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int, Field(ge=0, le=MOST_LOGPROBS)] | None = None


class CalledFunction(Part):
    """A function that the model called, earlier in the conversation."""

    name: Tag
    arguments: dict[str, Any] | None = None


class ToolCall(Part):
    """A call of a tool, earlier in the conversation."""

    id: Tag | None = None
    function: CalledFunction


class Message(Part):
    """One turn of a conversation."""

    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: str | None = None
    thinking: str | None = None
    images: list[Any] | None = None
    tool_calls: Annotated[list[ToolCall], Field(max_length=128)] | None = None
    tool_name: Tag | None = None
    tool_call_id: Tag | None = None


class OllamaChatRequest(Answering):
    """The body of `/api/chat`; without messages, the model is loaded or unloaded."""

    unsupported: ClassVar[Refused] = _NOT_IN_CHATS

    messages: Annotated[list[Message], Field(max_length=MOST_MESSAGES)] | None = None
    tools: Annotated[list[dict[str, Any]], Field(max_length=128)] | None = None


class OllamaGenerateRequest(Answering):
    """The body of `/api/generate`; without a prompt, the model is loaded or unloaded."""

    unsupported: ClassVar[Refused] = _NOT_GENERATED

    prompt: str | None = None
    system: str | None = None
    raw: bool | None = None


class OllamaEmbedRequest(Asking):
    """The body of `/api/embed`."""

    input: str | Annotated[list[str], Field(max_length=MOST_INPUTS)]
    truncate: bool | None = None
    dimensions: Annotated[int, Field(ge=1, le=1 << 20)] | None = None


class OllamaEmbeddingsRequest(Asking):
    """The body of `/api/embeddings`, the older form."""

    prompt: str | None = None


class OllamaShowRequest(Body):
    """The body of `/api/show`; `name` is the older form of `model`."""

    model: Name | None = None
    name: Name | None = None
    verbose: bool | None = None
