"""What a request of Ollama's API asks of the engine. Pure.

What cannot be done is refused, never left aside where it would change the answer.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from typing import Any

from launcher.engine.sampling import RANDOM
from launcher.engine.wanted import Wanted
from launcher.serving.failures import BadRequest
from launcher.serving.ollama.schemas import (
    ChatRequest,
    Format,
    GenerateRequest,
    Message,
    Options,
    Think,
)

LATEST = ":latest"  # what Ollama's clients add to a name without a tag
ANY_OBJECT = '{"type": "object"}'
LONGEST_KEPT = 24 * 3600.0  # seconds that a request may keep a model loaded
# Ollama's names of what llama.cpp calls otherwise.
_OTHER_NAMES = {"mirostat_tau": "mirostat_ent", "mirostat_eta": "mirostat_lr"}
_SAMPLING = (
    "temperature",
    "top_k",
    "top_p",
    "min_p",
    "typical_p",
    "repeat_last_n",
    "repeat_penalty",
    "presence_penalty",
    "frequency_penalty",
    "mirostat",
    "mirostat_tau",
    "mirostat_eta",
)
_SECONDS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_PIECE = r"(\d+(?:\.\d*)?|\.\d+)(ns|us|µs|ms|s|m|h)"
_DURATION = re.compile(rf"(?:{_PIECE})+", re.ASCII)


def name_of(asked: str, served: Iterable[str]) -> str:
    """The name of the served model that a client means; the name as it was asked for otherwise.

    >>> name_of("kiosk:latest", ["kiosk"]), name_of("other:latest", ["kiosk"])
    ('kiosk', 'other:latest')
    """
    names = frozenset(served)
    bare = asked.removesuffix(LATEST)
    if asked not in names and bare in names:
        return bare
    return asked


def of_chat(request: ChatRequest, context: int) -> Wanted:
    """The answer that `/api/chat` asks for, of a model with a context of so many tokens.

    Raises `BadRequest`.
    """
    _refuse_images(any(message.images for message in request.messages or ()))
    return Wanted(
        messages=[_message(message) for message in request.messages or ()],
        tools=request.tools or (),
        template=_thinking(request.think),
        **_common(request, context),
    )


def of_generate(request: GenerateRequest, context: int) -> Wanted:
    """The answer that `/api/generate` asks for. Raises `BadRequest`."""
    _refuse_images(bool(request.images))
    _refuse_what_generate_lacks(request)
    common, prompt = _common(request, context), request.prompt or ""
    if request.raw:
        return Wanted(prompt=prompt, **common)
    messages = [{"role": "system", "content": request.system}] if request.system else []
    messages.append({"role": "user", "content": prompt})
    return Wanted(messages=messages, template=_thinking(request.think), **common)


def refuse_context(options: Options | None, context: int) -> None:
    """Raises `BadRequest` where a longer context is asked for than the model was loaded with."""
    asked = options.num_ctx if options is not None else None
    if asked is not None and asked > context:
        raise BadRequest(
            f"A context of {asked} tokens was asked for (num_ctx), and the model is loaded with "
            f"{context}; `launcher serve --ctx-size {asked}` gives it a longer one",
            param="options.num_ctx",
        )


def seconds_of(keep_alive: float | str | None) -> float | None:
    """How long a model is to stay loaded after a request, in seconds; None: nothing was asked.

    A number is of seconds; below 0 means as long as a request may ask for. Raises `BadRequest`.

    >>> seconds_of("1h30m"), seconds_of("-1"), seconds_of(None)
    (5400.0, 86400.0, None)
    """
    if keep_alive is None or keep_alive == "":
        return None
    seconds = keep_alive if not isinstance(keep_alive, str) else _duration(keep_alive)
    return LONGEST_KEPT if seconds < 0 else min(seconds, LONGEST_KEPT)


def _duration(text: str) -> float:
    """Go's form of a duration, or a number of seconds."""
    sign = -1.0 if text.startswith("-") else 1.0
    number = text.removeprefix("-")
    if len(number) <= 32 and _DURATION.fullmatch(number):
        pieces = re.findall(_PIECE, number, re.ASCII)
        return sign * sum(float(count) * _SECONDS[unit] for count, unit in pieces)
    if len(number) <= 32 and re.fullmatch(r"\d+(\.\d*)?", number, re.ASCII):
        return sign * float(number)
    raise BadRequest(
        "keep_alive is a number of seconds, or a duration as 30s, 5m or 1h30m", param="keep_alive"
    )


def _common(request: ChatRequest | GenerateRequest, context: int) -> dict[str, Any]:
    options = request.options or Options()
    refuse_context(options, context)
    limit = options.num_predict
    stop = [options.stop] if isinstance(options.stop, str) else options.stop
    return {
        "sampling": sampling(options),
        # Ollama: -1 and -2 are no limit of their own, and 0 limits nothing either.
        "max_tokens": limit if limit is not None and limit > 0 else None,
        "stop": stop or (),
        "json_schema": _schema(request.format),
        "logprobs": (request.top_logprobs or 0) if request.logprobs else None,
    }


def sampling(options: Options) -> dict[str, Any]:
    """The options that choose tokens, by llama.cpp's names."""
    found = {
        _OTHER_NAMES.get(name, name): getattr(options, name)
        for name in _SAMPLING
        if getattr(options, name) is not None
    }
    if options.seed is not None:
        found["seed"] = options.seed if options.seed >= 0 else RANDOM
    return found


def _schema(form: Format) -> str:
    if form == "json":
        return ANY_OBJECT
    return json.dumps(form) if form else ""


def _thinking(think: Think) -> dict[str, Any]:
    """The template's variables for reasoning: `enable_thinking` is Qwen's and SmolLM3's name,
    `thinking` that of Granite and DeepSeek, `reasoning_effort` that of gpt-oss."""
    if think is None:
        return {}
    on = think is not False
    effort = {"reasoning_effort": think} if isinstance(think, str) else {}
    return {"enable_thinking": on, "thinking": on, **effort}


def _message(message: Message) -> dict[str, Any]:
    """A message in OpenAI's form, which templates expect."""
    found: dict[str, Any] = {"role": message.role, "content": message.content or ""}
    if message.thinking:
        found["reasoning_content"] = message.thinking
    if message.tool_calls:
        found["tool_calls"] = [
            {
                "id": call.id or f"call_{number}",
                "type": "function",
                "function": {
                    "name": call.function.name,
                    "arguments": call.function.arguments or {},
                },
            }
            for number, call in enumerate(message.tool_calls)
        ]
    if message.tool_name:
        found["name"] = message.tool_name
    if message.tool_call_id:
        found["tool_call_id"] = message.tool_call_id
    return found


def _refuse_images(asked: bool) -> None:
    if asked:
        raise BadRequest("Images were sent, and the models served here take in text", "images")


def _refuse_what_generate_lacks(request: GenerateRequest) -> None:
    given: Mapping[str, tuple[object, str]] = {
        "template": (request.template, "The model's own template is used; send raw text instead"),
        "suffix": (request.suffix, "Text is continued, not filled in before a suffix"),
        "context": (request.context, "Send the conversation to /api/chat instead of a context"),
    }
    for name, (value, why) in given.items():
        if value:
            raise BadRequest(why, name)
    if request.raw and request.system:
        raise BadRequest("A raw prompt has no place for a system message", "system")
