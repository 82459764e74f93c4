"""What clients of Ollama's API may ask, field by field.

Source: ollama/ollama docs/api.md and api/types.go. A null stands for an absent value, as it
does there. Fields that the API does not know are left aside, as Ollama does; options that it
does not know are refused, since they would change the answer.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

MAX_NAME = 512  # characters of a model's name
MAX_STOPS = 64
MAX_STOP = 1024  # characters
MAX_INPUTS = 2048  # texts to embed in one request
SEED_LIMIT = 0xFFFFFFFF  # llama.cpp takes 32 bits, and this one to mean: another each time

Name = Annotated[str, Field(min_length=1, max_length=MAX_NAME, examples=["smollm2:135m"])]
Stop = Annotated[str, Field(min_length=1, max_length=MAX_STOP)]
KeepAlive = Annotated[float | str | None, Field(description="Seconds, or a duration as `5m`.")]
Format = Annotated[
    Literal["", "json"] | dict[str, Any] | None, Field(description="`json`, or a JSON schema.")
]
Think = bool | Literal["low", "medium", "high"] | None


class _Form(BaseModel):
    model_config = ConfigDict(allow_inf_nan=False, frozen=True)


class Options(_Form):
    """How the next token is chosen; what is left out has the defaults of `launcher run`."""

    model_config = ConfigDict(extra="forbid")

    temperature: Annotated[float | None, Field(ge=0, le=100)] = None
    top_k: Annotated[int | None, Field(ge=0, le=1 << 20)] = None
    top_p: Annotated[float | None, Field(ge=0, le=1)] = None
    min_p: Annotated[float | None, Field(ge=0, le=1)] = None
    typical_p: Annotated[float | None, Field(ge=0, le=1)] = None
    seed: Annotated[int | None, Field(ge=-1, lt=SEED_LIMIT)] = None
    num_predict: Annotated[int | None, Field(ge=-2, le=1 << 24)] = None
    stop: Annotated[list[Stop], Field(max_length=MAX_STOPS)] | Stop | None = None
    repeat_last_n: Annotated[int | None, Field(ge=-1, le=1 << 20)] = None
    repeat_penalty: Annotated[float | None, Field(gt=0, le=100)] = None
    presence_penalty: Annotated[float | None, Field(ge=-100, le=100)] = None
    frequency_penalty: Annotated[float | None, Field(ge=-100, le=100)] = None
    mirostat: Annotated[int | None, Field(ge=0, le=2)] = None
    mirostat_tau: Annotated[float | None, Field(ge=0, le=100)] = None
    mirostat_eta: Annotated[float | None, Field(ge=0, le=100)] = None
    num_ctx: Annotated[int | None, Field(ge=1, le=1 << 32)] = None
    num_keep: int | None = None
    num_batch: int | None = None
    num_gpu: int | None = None
    num_thread: int | None = None
    main_gpu: int | None = None
    numa: bool | None = None
    low_vram: bool | None = None
    f16_kv: bool | None = None
    use_mmap: bool | None = None
    use_mlock: bool | None = None
    logits_all: bool | None = None
    vocab_only: Literal[False] | None = None
    embedding_only: Literal[False] | None = None
    penalize_newline: Literal[True] | None = None
    tfs_z: Annotated[float | None, Field(ge=1, le=1)] = None


class _Asked(_Form):
    model: Name
    options: Options | None = None
    keep_alive: KeepAlive = None


class _Answered(_Asked):
    stream: bool | None = None
    format: Format = None
    think: Think = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int | None, Field(ge=0, le=20)] = None


class CalledFunction(_Form):
    """A function that the model called, earlier in the conversation."""

    name: str
    arguments: dict[str, Any] | None = None


class ToolCall(_Form):
    """A call of a tool, earlier in the conversation."""

    id: str | None = None
    function: CalledFunction


class Message(_Form):
    """One message of a conversation."""

    role: Literal["system", "user", "assistant", "tool", "developer"]
    content: str | None = None
    thinking: str | None = None
    images: list[Any] | None = None
    tool_calls: list[ToolCall] | None = None
    tool_name: str | None = None
    tool_call_id: str | None = None


class ChatRequest(_Answered):
    """The body of `POST /api/chat`."""

    messages: list[Message] | None = None
    tools: list[dict[str, Any]] | None = None


class GenerateRequest(_Answered):
    """The body of `POST /api/generate`."""

    prompt: str | None = None
    system: str | None = None
    raw: bool | None = None
    suffix: str | None = None
    template: str | None = None
    context: list[int] | None = None
    images: list[Any] | None = None


class EmbedRequest(_Asked):
    """The body of `POST /api/embed`."""

    input: str | Annotated[list[str], Field(max_length=MAX_INPUTS)]
    truncate: bool | None = None
    dimensions: Annotated[int | None, Field(ge=1)] = None


class EmbeddingsRequest(_Asked):
    """The body of `POST /api/embeddings`, the older form."""

    prompt: str | None = None


class ShowRequest(_Form):
    """The body of `POST /api/show`; `name` is its older form."""

    model: Name | None = None
    name: Name | None = None
    verbose: bool | None = None
