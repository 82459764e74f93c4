"""What a request of Ollama's interface asks of the engine. Pure.

What cannot be done is refused, never left aside where it would change the answer.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from launcher.engine.wanted import Wanted
from launcher.serving.failures import BadRequest
from launcher.serving.ollama.schemas import (
    Answering,
    Message,
    OllamaChatRequest,
    OllamaGenerateRequest,
    Options,
    Think,
    ToolCall,
)

LATEST = ":latest"  # what Ollama's clients add to a name without a tag
ANY_OBJECT = '{"type": "object"}'
LONGEST_KEPT = 24 * 3600.0  # seconds that a request may keep a model loaded
# The options that choose tokens, and the names that `Sampling` has for them.
_SAMPLING = {
    "temperature": "temperature",
    "top_k": "top_k",
    "top_p": "top_p",
    "min_p": "min_p",
    "typical_p": "typical_p",
    "repeat_last_n": "repeat_last_n",
    "repeat_penalty": "repeat_penalty",
    "presence_penalty": "presence_penalty",
    "frequency_penalty": "frequency_penalty",
    "mirostat": "mirostat",
    "mirostat_tau": "mirostat_ent",
    "mirostat_eta": "mirostat_lr",
}
_SECONDS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_PIECE = r"(\d+(?:\.\d*)?|\.\d+)(ns|us|µs|ms|s|m|h)"
_DURATION = re.compile(rf"(?:{_PIECE})+", re.ASCII)
_NUMBER = re.compile(r"\d+(\.\d*)?", re.ASCII)
_LONGEST_DURATION = 32  # characters


def name_of(asked: str, served: Iterable[str]) -> str:
    """The name of the served model that a client means; else the name as it was asked for.

    >>> name_of("kiosk:latest", ["kiosk"]), name_of("other:latest", ["kiosk"])
    ('kiosk', 'other:latest')
    """
    names = frozenset(served)
    bare = asked.removesuffix(LATEST)
    return bare if asked not in names and bare in names else asked


def of_chat(request: OllamaChatRequest) -> Wanted:
    """The answer that a chat asks for, its tools aside. Raises `BadRequest`."""
    messages = list(_messages(request.messages or ()))
    return Wanted(messages=messages, template=_thinking(request.think), **_common(request))


def of_generate(request: OllamaGenerateRequest) -> Wanted:
    """The answer that a single prompt asks for. Raises `BadRequest`."""
    prompt = request.prompt or ""
    if request.raw:
        if request.system:
            raise BadRequest("A raw prompt has no place for a system message", "system")
        return Wanted(prompt=prompt, **_common(request))
    messages = [{"role": "system", "content": request.system}] if request.system else []
    messages.append({"role": "user", "content": prompt})
    return Wanted(messages=messages, template=_thinking(request.think), **_common(request))


def refuse_context(options: Options | None, context: int) -> None:
    """Raises `BadRequest` where a longer context is asked for than the model was loaded with."""
    asked = options.num_ctx if options is not None else None
    if asked is not None and asked > context:
        raise BadRequest(
            f"A context of {asked} tokens was asked for, and the model is loaded with {context}; "
            f"`launcher serve --ctx-size {asked}` gives it a longer one",
            "options.num_ctx",
        )


def seconds_of(keep_alive: float | str | None) -> float | None:
    """How long a model is to stay loaded after a request, in seconds; None: nothing was asked.

    A number is of seconds; below 0 means as long as a request may ask for. Raises `BadRequest`.

    >>> seconds_of("1h30m"), seconds_of("-1"), seconds_of(None)
    (5400.0, 86400.0, None)
    """
    if keep_alive is None or keep_alive == "":
        return None
    seconds = _duration(keep_alive) if isinstance(keep_alive, str) else keep_alive
    return LONGEST_KEPT if seconds < 0 else min(seconds, LONGEST_KEPT)


def _duration(text: str) -> float:
    """Go's form of a duration, or a number of seconds."""
    sign = -1.0 if text.startswith("-") else 1.0
    number = text.removeprefix("-")
    if len(number) <= _LONGEST_DURATION and _DURATION.fullmatch(number):
        pieces = re.findall(_PIECE, number, re.ASCII)
        return sign * sum(float(count) * _SECONDS[unit] for count, unit in pieces)
    if len(number) <= _LONGEST_DURATION and _NUMBER.fullmatch(number):
        return sign * float(number)
    raise BadRequest(
        "keep_alive is a number of seconds, or a duration as 30s, 5m or 1h30m", "keep_alive"
    )


def _common(request: Answering) -> dict[str, Any]:
    options = request.options or Options()
    limit = options.num_predict
    stop = [options.stop] if isinstance(options.stop, str) else options.stop
    return {
        "sampling": sampling(options),
        # For Ollama -1 and -2 are no limit, and 0 limits nothing either.
        "max_tokens": limit if limit is not None and limit > 0 else None,
        "stop": [text for text in stop or () if text],
        "json_schema": _schema(request.format),
        "logprobs": (request.top_logprobs or 0) if request.logprobs else None,
    }


def sampling(options: Options) -> dict[str, Any]:
    """The options that choose tokens, by the names of `Sampling`."""
    found = {
        ours: getattr(options, name)
        for name, ours in _SAMPLING.items()
        if getattr(options, name) is not None
    }
    if options.seed is not None:
        found["seed"] = options.seed % (1 << 32)  # -1, as llama.cpp has it: another each time
    return found


def _schema(form: str | dict[str, Any] | None) -> str:
    if form == "json":
        return ANY_OBJECT
    return json.dumps(form) if form else ""


def _thinking(think: Think) -> dict[str, Any]:
    """The variables by which templates are told whether the model is to reason.

    `enable_thinking` is the name in the templates of Qwen and SmolLM3, `thinking` in those of
    Granite and DeepSeek, `reasoning_effort` in that of gpt-oss.
    """
    if think is None:
        return {}
    on = think is not False
    effort = {"reasoning_effort": think} if isinstance(think, str) else {}
    return {"enable_thinking": on, "thinking": on, **effort}


def _messages(messages: Sequence[Message]) -> Iterator[dict[str, Any]]:
    """The turns in OpenAI's form, which templates know.

    Ollama's tool calls need no ids, so they get some; a result belongs to the first call of its
    name that has none, or to the first at all where it names none.
    """
    open_calls: list[tuple[str, str]] = []
    for number, one in enumerate(messages):
        found: dict[str, Any] = {"role": one.role, "content": one.content or ""}
        _refuse_misplaced(one, f"messages.{number}")
        if one.thinking:
            found["reasoning_content"] = one.thinking
        if one.tool_calls:
            calls = [_call(call, f"call_{number}_{at}") for at, call in enumerate(one.tool_calls)]
            open_calls += [(call["id"], call["function"]["name"]) for call in calls]
            found["tool_calls"] = calls
        if one.role == "tool":
            found |= _result(one, open_calls)
        yield found


def _call(call: ToolCall, id: str) -> dict[str, Any]:
    function = {"name": call.function.name, "arguments": call.function.arguments or {}}
    return {"id": call.id or id, "type": "function", "function": function}


def _result(one: Message, open_calls: list[tuple[str, str]]) -> dict[str, str]:
    """Which call a result belongs to; that call is then no longer open."""
    for call in open_calls:
        id, name = call
        if one.tool_call_id in (id, None) and one.tool_name in (name, None):
            open_calls.remove(call)
            return {"tool_call_id": id, "name": name}
    given = {"tool_call_id": one.tool_call_id, "name": one.tool_name}
    return {name: text for name, text in given.items() if text}


def _refuse_misplaced(one: Message, param: str) -> None:
    if one.images:
        raise BadRequest("Images were sent, and the models served here take in text", param)
    if one.tool_calls and one.role != "assistant":
        raise BadRequest("Only an assistant's message has tool calls", f"{param}.tool_calls")


def shortened(vector: Sequence[float], dimensions: int | None) -> list[float]:
    """The first numbers of a vector, at length 1 again. Raises `BadRequest` where it has fewer.

    Only of models that were trained for it (Matryoshka) does the rest say the same.

    >>> shortened([0.6, 0.8], 1)
    [1.0]
    """
    if dimensions is None or dimensions == len(vector):
        return list(vector)
    if dimensions > len(vector):
        raise BadRequest(f"The model gives vectors of {len(vector)} numbers", "dimensions")
    kept = vector[:dimensions]
    length = math.hypot(*kept) or 1.0
    return [number / length for number in kept]
