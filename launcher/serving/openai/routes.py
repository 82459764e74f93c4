"""OpenAI's interface: chats, completions and embeddings.

Source: platform.openai.com/docs/api-reference.
"""

from __future__ import annotations

import base64
import functools
import struct
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from fastapi import APIRouter, Request
from starlette.responses import Response

from launcher.serving import answers
from launcher.serving.answers import Answer
from launcher.serving.desk import Desk, desk, fingerprint
from launcher.serving.failures import BadRequest
from launcher.serving.openai import asked, chats, forms
from launcher.serving.openai.docs import answered
from launcher.serving.openai.schemas import ChatRequest, CompletionRequest, EmbeddingRequest
from launcher.serving.openai.streaming import Streamed
from launcher.serving.streams import Write

if TYPE_CHECKING:
    from launcher.engine.shared import SharedEngine
    from launcher.engine.wanted import Embedding, Wanted

router = APIRouter(prefix="/v1", tags=["OpenAI"])


# --- Chats --------------------------------------------------------------------------------------


@router.post(
    "/chat/completions", responses=answered("A chat.completion, or its chunks", streams=True)
)
async def chat(body: ChatRequest, request: Request) -> Response:
    """Answers a conversation."""
    wish = chats.wish(body)
    place = _desk(request, body)
    if body.stream:
        return place.stream(functools.partial(_chat_streamed, place, body, wish))
    return await place.whole(_chat_whole(place, body, wish))


async def _chat_whole(place: Desk, body: ChatRequest, wish: chats.Wish) -> dict[str, Any]:
    async with place.engine() as engine:
        head = _head("chatcmpl", "chat.completion", place, engine)
        fitted = chats.fitted(wish, engine.loaded)
        wanted = asked.several(fitted.wanted, body.n or 1)
        found = await answers.collected(engine, wanted, place.account, fitted.reader)
    choices = [forms.chat(answer, at) for at, answer in enumerate(found)]
    return {**head, "choices": choices, **_figures([found])}


async def _chat_streamed(place: Desk, body: ChatRequest, wish: chats.Wish, write: Write) -> None:
    async with place.engine() as engine:
        head = _head("chatcmpl", "chat.completion.chunk", place, engine)
        fitted = chats.fitted(wish, engine.loaded)
        wanted = asked.several(fitted.wanted, body.n or 1)
        chunks = forms.ChatChunks(head, answers=len(wanted), usage=_tells_usage(body))
        streamed = Streamed(chunks, [fitted.reader() for _ in wanted], write, place)
        await answers.give(engine, wanted, streamed.hear, place.account)
    await streamed.finish(answers_each=len(wanted))


# --- Completions --------------------------------------------------------------------------------


@router.post("/completions", responses=answered("A text_completion, or its chunks", streams=True))
async def completion(body: CompletionRequest, request: Request) -> Response:
    """Continues a text."""
    wanted = asked.of_completion(body)
    place = _desk(request, body)
    if body.stream:
        return place.stream(functools.partial(_completion_streamed, place, body, wanted))
    return await place.whole(_completion_whole(place, body, wanted))


async def _completion_whole(
    place: Desk, body: CompletionRequest, prompts: Sequence[Wanted]
) -> dict[str, Any]:
    each = body.n or 1
    async with place.engine() as engine:
        head = _head("cmpl", "text_completion", place, engine)
        found = await answers.collected(engine, _all(prompts, each, engine), place.account)
    choices = [forms.completion(answer, at) for at, answer in enumerate(found)]
    groups = [found[at : at + each] for at in range(0, len(found), each)]
    return {**head, "choices": choices, **_figures(groups)}


async def _completion_streamed(
    place: Desk, body: CompletionRequest, prompts: Sequence[Wanted], write: Write
) -> None:
    each = body.n or 1
    async with place.engine() as engine:
        head = _head("cmpl", "text_completion", place, engine)
        wanted = _all(prompts, each, engine)
        chunks = forms.CompletionChunks(head, answers=len(wanted), usage=_tells_usage(body))
        streamed = Streamed(chunks, [None] * len(wanted), write, place)
        await answers.give(engine, wanted, streamed.hear, place.account)
    await streamed.finish(answers_each=each)


def _all(prompts: Sequence[Wanted], each: int, engine: SharedEngine) -> list[Wanted]:
    """Every answer to every prompt, in the order of their indices."""
    texts = [one.prompt for one in prompts if one.prompt is not None]
    vocabulary = engine.loaded.sizes["vocabulary"]
    asked.refuse_foreign(texts, vocabulary, "prompt")
    for one in prompts:
        asked.refuse_foreign_biases(one, vocabulary)
    return [answer for one in prompts for answer in asked.several(one, each)]


# --- Embeddings ---------------------------------------------------------------------------------


@router.post("/embeddings", responses=answered("A list of embeddings"))
async def embeddings(body: EmbeddingRequest, request: Request) -> Response:
    """Gives what texts mean to the model, as vectors of length 1."""
    place = desk(request, body.model)
    return await place.whole(_embedded(place, body))


async def _embedded(place: Desk, body: EmbeddingRequest) -> dict[str, Any]:
    texts = asked.prompts(body.input)
    async with place.engine() as engine:
        asked.refuse_foreign(texts, engine.loaded.sizes["vocabulary"], "input")
        found = await engine.embed(texts)
    if body.dimensions is not None and body.dimensions != len(found[0].vector):
        raise BadRequest(
            f"The model gives vectors of {len(found[0].vector)} numbers, and no others",
            "dimensions",
        )
    tokens = sum(one.tokens for one in found)
    return {
        "object": "list",
        "data": [_embedding(one, at, body.encoding_format) for at, one in enumerate(found)],
        "model": place.served.name,
        "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
    }


def _embedding(one: Embedding, index: int, form: str) -> dict[str, Any]:
    vector: object = list(one.vector)
    if form == "base64":
        packed = struct.pack(f"<{len(one.vector)}f", *one.vector)
        vector = base64.b64encode(packed).decode("ascii")
    return {"object": "embedding", "index": index, "embedding": vector}


# --- What they share ----------------------------------------------------------------------------


def _desk(request: Request, body: ChatRequest | CompletionRequest) -> Desk:
    place = desk(request, body.model)
    if body.grammar and not place.fleet.terms.grammars:
        raise BadRequest(
            "Grammars are not taken from clients here, schemas are; whoever runs the server can "
            "allow them with --client-grammars",
            "grammar",
        )
    return place


def _head(prefix: str, kind: str, place: Desk, engine: SharedEngine) -> forms.Head:
    return forms.head(prefix, kind, place.served.name, fingerprint(engine.loaded.build))


def _tells_usage(body: ChatRequest | CompletionRequest) -> bool:
    return body.stream_options is not None and body.stream_options.include_usage


def _figures(groups: Sequence[Sequence[Answer]]) -> Mapping[str, Any]:
    """Usage, and llama-server's `timings` where there is one answer."""
    ended = [[answer.done for answer in group if answer.done] for group in groups]
    figures = {"usage": answers.usage(ended)}
    if len(ended) == 1 and len(ended[0]) == 1:
        figures["timings"] = answers.timings(ended[0][0])
    return figures
