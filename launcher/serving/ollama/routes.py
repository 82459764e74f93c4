"""Ollama's interface, for the editors and programs that speak it.

Models are neither fetched nor made nor deleted through it: `launcher pull` does that, where
the licence is shown and a person can answer.
Source: ollama/ollama docs/api.md.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import APIRouter, Request
from fastapi.routing import APIRoute
from starlette.responses import PlainTextResponse, Response

import launcher
from launcher.serving import failures
from launcher.serving.desk import Desk, desk, fleet_of
from launcher.serving.failures import BadRequest, Failure
from launcher.serving.ollama import answering, asking, lines, models
from launcher.serving.ollama.answering import MEDIA_TYPE, Clock, Question
from launcher.serving.ollama.docs import described
from launcher.serving.ollama.lines import Lines
from launcher.serving.ollama.schemas import (
    Answering,
    Asking,
    OllamaChatRequest,
    OllamaEmbeddingsRequest,
    OllamaEmbedRequest,
    OllamaGenerateRequest,
    OllamaShowRequest,
)
from launcher.serving.openai import chats
from launcher.serving.tools import asking as tools

# The version of Ollama whose interface this is; editors ask for one that is new enough.
VERSION = "0.9.0"
NOT_OFFERED = "Models are fetched by `launcher pull`, where the licence is shown; not over the net."
GREETING = "launcher is running: OpenAI's interface is under /v1, Ollama's under /api.\n"


class _AnyType(APIRoute):
    """Takes a body for JSON whatever it calls itself, as Ollama does and its users rely on.

    That is why browsers' requests from foreign pages end at the door, by their Origin.
    """

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()

        async def handle_as_json(request: Request) -> Response:
            others = [pair for pair in request.scope["headers"] if pair[0] != b"content-type"]
            headers = [*others, (b"content-type", b"application/json")]
            return await handle(Request({**request.scope, "headers": headers}, request.receive))

        return handle_as_json


router = APIRouter(tags=["Ollama"], route_class=_AnyType)


# --- Answers ------------------------------------------------------------------------------------


@router.post("/api/chat", responses=described("The answer", MEDIA_TYPE))
async def chat(body: OllamaChatRequest, request: Request) -> Response:
    """Answers a conversation, as a stream unless `stream` is false."""
    place, told = _place(request, body), Lines(model=body.model, chat=True)
    if not body.messages:
        return await _only_load(place, told, body)
    wish = chats.Wish(wanted=asking.of_chat(body), tools=_tools(body))
    _refuse_thinking(place, body.think)
    return await _answer(Question(place=place, wish=wish, options=body.options, lines=told), body)


@router.post("/api/generate", responses=described("The answer", MEDIA_TYPE))
async def generate(body: OllamaGenerateRequest, request: Request) -> Response:
    """Answers a single prompt, as a stream unless `stream` is false."""
    place, told = _place(request, body), Lines(model=body.model, chat=False)
    if not body.prompt and not body.system:
        return await _only_load(place, told, body)
    wish = chats.Wish(wanted=asking.of_generate(body), tools=tools.Asked())
    _refuse_thinking(place, body.think)
    return await _answer(Question(place=place, wish=wish, options=body.options, lines=told), body)


async def _answer(question: Question, body: Answering) -> Response:
    place = question.place
    if body.stream is False:
        return await place.whole(answering.whole(question))
    produce = functools.partial(answering.stream, question)
    return place.stream(produce, media_type=MEDIA_TYPE, sign_of_life=b"", failed=answering.failed)


async def _only_load(place: Desk, told: Lines, body: Asking) -> Response:
    """Without a question, the model is loaded; or unloaded, if it is to be kept for no time."""
    unloads = place.keep_alive == 0

    async def load() -> dict[str, Any]:
        if place.served.engine is not None or not unloads:
            async with place.engine() as engine:
                asking.refuse_context(body.options, engine.loaded.context)
        return told.empty("unload" if unloads else "load")

    return await place.whole(load())


# --- Embeddings ---------------------------------------------------------------------------------


@router.post("/api/embed", responses=described("A vector for each text"))
async def embed(body: OllamaEmbedRequest, request: Request) -> Response:
    """Gives what texts mean to the model, as vectors of length 1. Nothing is cut off."""
    texts = [body.input] if isinstance(body.input, str) else body.input
    place = _place(request, body)
    return await place.whole(_embedded(place, body, texts))


async def _embedded(place: Desk, body: OllamaEmbedRequest, texts: list[str]) -> dict[str, Any]:
    clock = Clock()
    async with clock.engine(place) as engine:
        asking.refuse_context(body.options, engine.loaded.context)
        found = await engine.embed(texts) if texts else []
    return {
        "model": body.model,
        "embeddings": [asking.shortened(one.vector, body.dimensions) for one in found],
        "total_duration": lines.nanoseconds(clock.total),
        "load_duration": lines.nanoseconds(clock.loading),
        "prompt_eval_count": sum(one.tokens for one in found),
    }


@router.post("/api/embeddings", responses=described("A vector"))
async def embeddings(body: OllamaEmbeddingsRequest, request: Request) -> Response:
    """The older form of /api/embed, for one text."""
    place = _place(request, body)

    async def embedded() -> dict[str, Any]:
        async with place.engine() as engine:
            asking.refuse_context(body.options, engine.loaded.context)
            (found,) = await engine.embed([body.prompt or ""])
        return {"embedding": list(found.vector)}

    return await place.whole(embedded())


# --- What there is ------------------------------------------------------------------------------


@router.get("/api/tags", responses=described("A list of models"))
@router.head("/api/tags", include_in_schema=False)
async def tags(request: Request) -> Response:
    """Lists every model, with its licence and what the gate says of it."""
    served = fleet_of(request).models.values()
    return _json({"models": [models.entry(one.name, one.judgement) for one in served]})


@router.get("/api/ps", responses=described("A list of models"))
async def running(request: Request) -> Response:
    """Lists the models that are loaded."""
    found = [
        models.running(one.name, one.judgement, context=one.engine.loaded.context)
        for one in fleet_of(request).models.values()
        if one.engine is not None
    ]
    return _json({"models": found})


@router.post("/api/show", responses=described("All about one model"))
async def show(body: OllamaShowRequest, request: Request) -> Response:
    """Tells of a model what its file says, and its licence."""
    name = body.model or body.name
    if not name:
        raise BadRequest("Say which model is to be shown; /api/tags lists them", "model")
    fleet = fleet_of(request)
    served = fleet.served(asking.name_of(name, fleet.models))
    context = None if served.engine is None else served.engine.loaded.context
    return _json(models.shown(served.judgement, context=context))


@router.get("/api/version", responses=described("The version of Ollama's interface"))
@router.head("/api/version", include_in_schema=False)
async def version() -> Response:
    """Tells which version of Ollama's interface is spoken here, and by what."""
    return _json({"version": VERSION, "launcher": launcher.__version__})


@router.api_route("/", methods=["GET", "HEAD"], include_in_schema=False)
async def greeting() -> Response:
    """What programs look for to see whether somebody is there: they go by the status."""
    return PlainTextResponse(GREETING)


# --- What there is not --------------------------------------------------------------------------


@router.post("/api/pull", include_in_schema=False)
@router.post("/api/push", include_in_schema=False)
@router.post("/api/create", include_in_schema=False)
@router.post("/api/copy", include_in_schema=False)
@router.delete("/api/delete", include_in_schema=False)
@router.api_route("/api/blobs/{digest}", methods=["HEAD", "POST"], include_in_schema=False)
async def not_offered(request: Request) -> Response:
    """Which models there are is decided where the server is started."""
    failure = Failure(status=405, message=NOT_OFFERED, kind="invalid_request_error")
    answer = failures.response(failure, request.url.path)
    answer.headers["Allow"] = ""
    return answer


# --- What they share ----------------------------------------------------------------------------


def _place(request: Request, body: Asking) -> Desk:
    """Where the request is dealt with. Raises `UnknownModel`, or `BadRequest`."""
    keep_alive = asking.seconds_of(body.keep_alive)
    if not body.model:
        raise BadRequest("Say which model is to answer; /api/tags lists them", "model")
    name = asking.name_of(body.model, fleet_of(request).models)
    return desk(request, name, keep_alive)


def _tools(body: OllamaChatRequest) -> tools.Asked:
    return tools.asked(body.tools)


def _refuse_thinking(place: Desk, think: object) -> None:
    if think and not models.thinks(place.served.judgement):
        raise BadRequest(f"{place.served.name} does not reason before it answers", "think")


def _json(value: object) -> Response:
    return Response(failures.as_bytes(value), media_type="application/json")
