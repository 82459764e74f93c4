"""What a request of OpenAI's interface asks of the engine. Pure.

What cannot be done is refused, never left aside where it would change the answer.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from launcher.engine.sampling import RANDOM, order
from launcher.engine.wanted import Wanted
from launcher.serving.failures import BadRequest
from launcher.serving.openai.schemas import (
    MOST_ANSWERS,
    Answering,
    Biases,
    ChatRequest,
    CompletionRequest,
    Message,
    Prompt,
    Samplers,
    TextPart,
)
from launcher.serving.tools import schema as schemas

ANY_OBJECT = '{"type": "object"}'
# llama-server's names of what `Sampling` calls otherwise.
_OTHER_NAMES = {
    "mirostat_tau": "mirostat_ent",
    "mirostat_eta": "mirostat_lr",
    "dynatemp_exponent": "dynatemp_exp",
}
_OWN_WAY = {"seed", "logit_bias", "samplers"}
# What a template gets from the launcher and from nobody else.
_RESERVED = frozenset(
    {"messages", "tools", "add_generation_prompt", "bos_token", "eos_token", "raise_exception"}
)


def of_chat(request: ChatRequest) -> Wanted:
    """The answer that a chat asks for, its tools aside. Raises `BadRequest`."""
    limit = request.max_completion_tokens or request.max_tokens
    return replace(
        _common(request, limit),
        messages=[message(one, f"messages.{at}") for at, one in enumerate(request.messages)],
        template=variables(request.chat_template_kwargs, request.reasoning_effort),
        logprobs=(request.top_logprobs or 0) if request.logprobs else None,
    )


def of_completion(request: CompletionRequest) -> list[Wanted]:
    """The answers that a completion asks for, one a prompt. Raises `BadRequest`."""
    texts = prompts(request.prompt)
    if len(texts) * (request.n or 1) > MOST_ANSWERS:
        raise BadRequest(
            f"{len(texts)} prompts with {request.n or 1} answers each are asked for; "
            f"one request gets at most {MOST_ANSWERS} answers",
            "prompt",
        )
    common = _common(request, request.max_tokens)
    return [replace(common, prompt=text, logprobs=request.logprobs) for text in texts]


def several(wanted: Wanted, count: int) -> list[Wanted]:
    """The same answer some times over, each with a seed of its own.

    >>> [one.sampling for one in several(Wanted(sampling={"seed": 7}), 2)]
    [{'seed': 7}, {'seed': 8}]
    """
    seed = wanted.sampling.get("seed", RANDOM)
    if count == 1 or seed == RANDOM:
        return [wanted] * count
    seeds = ((seed + at) % RANDOM for at in range(count))  # RANDOM itself would be none
    return [replace(wanted, sampling={**wanted.sampling, "seed": one}) for one in seeds]


def prompts(prompt: Prompt) -> list[str | list[int]]:
    """The prompts of a field that has one or many, as text or as tokens.

    >>> prompts("one"), prompts([1, 2]), prompts(["one", "two"])
    (['one'], [[1, 2]], ['one', 'two'])
    """
    if isinstance(prompt, str):
        return [prompt]
    tokens = [one for one in prompt if isinstance(one, int)]
    return [tokens] if tokens else [one for one in prompt if not isinstance(one, int)]


def refuse_foreign(texts: Sequence[str | Sequence[int]], vocabulary: int, param: str) -> None:
    """Raises `BadRequest` for a token that the model does not have."""
    for text in texts:
        foreign = [] if isinstance(text, str) else [one for one in text if one >= vocabulary]
        if foreign:
            raise BadRequest(
                f"There is no token {foreign[0]}: the model has {vocabulary} of them", param
            )


def refuse_foreign_biases(wanted: Wanted, vocabulary: int) -> None:
    """Raises `BadRequest` where the score of a token is to change that the model does not have."""
    refuse_foreign([list(wanted.sampling.get("logit_bias", ()))], vocabulary, "logit_bias")


def message(one: Message, param: str) -> dict[str, Any]:
    """A turn in the form that templates know: its content one text."""
    found: dict[str, Any] = {"role": one.role, "content": _content(one, param)}
    for name in ("name", "tool_calls", "tool_call_id", "reasoning_content"):
        value = getattr(one, name)
        if value:
            found[name] = value
    if one.tool_calls and one.role != "assistant":
        raise BadRequest("Only an assistant's message has tool calls", f"{param}.tool_calls")
    for at, call in enumerate(one.tool_calls or ()):
        _refuse_shapeless(call, f"{param}.tool_calls.{at}")
    return found


def _content(one: Message, param: str) -> str:
    if one.content is None:
        if one.role != "assistant":
            raise BadRequest(f"A message of the role {one.role} needs content", f"{param}.content")
        return ""
    if isinstance(one.content, str):
        return one.content
    return "".join(_text(part, f"{param}.content.{at}") for at, part in enumerate(one.content))


def _text(part: TextPart, param: str) -> str:
    if part.type in ("image_url", "input_image", "image"):
        raise BadRequest("An image was sent, and the models served here take in text", param)
    if part.type not in ("text", "refusal"):
        raise BadRequest(f"A part of the type {part.type[:64]!a} is not text", f"{param}.type")
    text = part.text if part.type == "text" else part.refusal
    if text is None:
        raise BadRequest("A part of the type text needs a text", f"{param}.text")
    return text


def _refuse_shapeless(call: Mapping[str, Any], param: str) -> None:
    function = call.get("function")
    known = isinstance(function, dict) and isinstance(function.get("name"), str)
    if not known or not isinstance(call.get("id", ""), str):
        raise BadRequest("A tool call has an id, and a function with a name and arguments", param)


def _common(request: Answering, limit: int | None) -> Wanted:
    stop = [request.stop] if isinstance(request.stop, str) else request.stop
    return Wanted(
        sampling=sampling(request),
        max_tokens=None if limit == -1 else limit,  # llama-server's word for no limit
        stop=[text for text in stop or () if text],
        grammar=request.grammar or "",
        json_schema=schema(request),
    )


def sampling(request: Samplers) -> dict[str, Any]:
    """The fields that choose tokens, by the names of `Sampling`."""
    found = {
        _OTHER_NAMES.get(name, name): getattr(request, name)
        for name in Samplers.model_fields
        if name not in _OWN_WAY and getattr(request, name) is not None
    }
    if found.get("top_k") == -1:
        found["top_k"] = 0  # both ask for all
    if request.seed is not None:
        found["seed"] = request.seed % (1 << 32)  # -1, as llama.cpp has it: another each time
    if request.logit_bias:
        found["logit_bias"] = biases(request.logit_bias)
    if request.samplers is not None:
        found["samplers"] = _order(request.samplers)
    return found


def biases(given: Biases) -> dict[int, float]:
    """What is added to the scores of tokens. Raises `BadRequest`.

    >>> biases({"5": -100}), biases([(7, False)])
    ({5: -100.0}, {7: -inf})
    """
    if isinstance(given, list):
        return {token: -math.inf if bias is False else float(bias) for token, bias in given}
    for name in given:
        if not (name.isascii() and name.isdecimal() and len(name) < 10):
            raise BadRequest(f"{name[:64]!a} is not the number of a token", "logit_bias")
    return {int(name): float(bias) for name, bias in given.items()}


def _order(given: list[str] | str) -> tuple[str, ...]:
    """The samplers in their order, by names or llama.cpp's letters."""
    try:
        return order(given if isinstance(given, str) else ";".join(given))
    except ValueError as error:
        raise BadRequest(f"There is no sampler {str(error)[:64]!a}", "samplers") from error


def schema(request: Answering) -> str:
    """The JSON schema that the answer has to fit; empty where it is free."""
    form = request.response_format
    if form is None or form.type == "text":
        own = request.json_schema
        return "" if own is None else schemas.wanted(own, "json_schema")
    if form.type == "json_object":
        place = "response_format.schema"
        return schemas.wanted(form.schema_, place) if form.schema_ else ANY_OBJECT
    if form.json_schema is None:
        raise BadRequest("The type json_schema needs a json_schema", "response_format.json_schema")
    given = form.json_schema.schema_ or {"type": "object"}
    return schemas.wanted(given, "response_format.json_schema.schema")


def variables(given: Mapping[str, Any] | None, effort: str | None) -> dict[str, Any]:
    """The template's further variables. Raises `BadRequest` for those that are not a client's."""
    for name in given or ():
        if name in _RESERVED or not name.isidentifier():
            raise BadRequest(
                f"The template's variable {name[:64]!a} cannot be set", "chat_template_kwargs"
            )
    return ({"reasoning_effort": effort} if effort else {}) | dict(given or {})
