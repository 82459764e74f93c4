"""Which models there are, how they stand, and whether the server can answer."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from fastapi import APIRouter, Request
from starlette.responses import Response

from launcher.serving import failures, notices
from launcher.serving.desk import fleet_of
from launcher.serving.door import account as accounts
from launcher.serving.openai.docs import answered

if TYPE_CHECKING:
    from launcher.serving.fleet import Served

router = APIRouter()
_STARTED = int(time.time())
_ANSWERING = {"ready", "unloaded"}  # states in which a request is served at once, or after a load


@router.get("/v1/models", tags=["OpenAI"], responses=answered("A list of models"))
async def models(request: Request) -> Response:
    """Lists every model, with its licence and what the gate says of it."""
    found = [model(served) for served in fleet_of(request).models.values()]
    return _json({"object": "list", "data": found})


@router.get("/v1/models/{name:path}", tags=["OpenAI"], responses=answered("A model"))
async def one_model(name: str, request: Request) -> Response:
    """Says of one model what the list says."""
    return _json(model(fleet_of(request).served(name)))


@router.get("/health", tags=["Server"], responses=answered("The state of each model"))
async def health(request: Request) -> Response:
    """Says whether there is a model that can answer: 503 where there is none.

    Which models there are is told to who has a key, where keys are asked for.
    """
    states = {name: str(served.state) for name, served in fleet_of(request).models.items()}
    about = {"models": states} if accounts.of(request.scope).is_trusted else {}
    if _ANSWERING & set(states.values()):
        return _json({"status": "ok", **about})
    loading = "loading" in states.values()
    word = "Loading model" if loading else "No model can be served"
    error = {"code": 503, "message": word, "type": "unavailable_error"}
    status = "loading" if loading else "error"
    return _json({"status": status, "error": error, **about}, 503)


def model(served: Served) -> dict[str, Any]:
    """One model of the list."""
    decision, engine = served.judgement.decision, served.engine
    about: dict[str, Any] = {
        "title": decision.title,
        "licence": decision.licence,
        "verdict": str(decision.verdict),
        "code": decision.code,
        "duties": notices.duties(decision),
        "state": str(served.state),
    }
    if engine is not None:
        about["context"] = engine.loaded.context
    return {
        "id": served.name,
        "object": "model",
        "created": _STARTED,
        "owned_by": "launcher",
        "launcher": about,
    }


def _json(value: object, status: int = 200) -> Response:
    return Response(failures.as_bytes(value), status, media_type="application/json")
