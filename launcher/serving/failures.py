"""What a client is told when something fails: one table from errors to status codes.

Clients of /v1 get OpenAI's form, clients of /api Ollama's. Source of the form and its words:
platform.openai.com/docs/guides/error-codes.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response

from launcher import errors, flow
from launcher.errors import LauncherError

_TYPED = re.compile(r"str|int|float|bool|(list|dict|function|constrained|tagged|nullable|is)\b.*")
_PATHS = {
    404: "There is nothing at this address; /docs shows what there is",
    405: "This address does not take this method",
    400: "The body cannot be read as JSON",
}


class BadRequest(LauncherError):
    """A client asked for what it cannot have, whatever the model."""

    def __init__(self, message: str, param: str | None = None, code: str | None = None) -> None:
        super().__init__(message)
        self.param, self.code = param, code


class UnknownModel(LauncherError):
    """A client asked for a model that is not served."""

    def __init__(self, name: str, served: Sequence[str]) -> None:
        super().__init__(
            f"The model {name!a} is not served here", hint=f"These are: {', '.join(served)}."
        )


class QueueFull(LauncherError):
    """More wait for a model than may."""

    retry_after = 5  # seconds

    def __init__(self, name: str, waiting: int) -> None:
        super().__init__(f"{waiting} questions to {name} are under way or wait; try again soon")


class BackingOff(LauncherError):
    """A worker has died, or a model could not be loaded, and it is too soon to try again."""

    def __init__(self, name: str, seconds: float, cause: LauncherError | None) -> None:
        why = f": {cause.message}" if cause is not None else ""
        super().__init__(f"{name} will be loaded again in a moment{why}")
        self.retry_after = max(1, math.ceil(seconds))


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """What a client is told."""

    status: int
    message: str
    kind: str
    """OpenAI's `type`."""
    code: str | None = None
    param: str | None = None
    retry_after: int | None = None
    """Seconds."""
    decision: Mapping[str, Any] | None = None
    """What `check --json` prints, where the gate is what refused."""


_INVALID, _SERVER = "invalid_request_error", "server_error"
# The first that fits counts: class, status, type, code, seconds after which to try again.
_TABLE: tuple[tuple[type[LauncherError], int, str, str | None, int | None], ...] = (
    (BadRequest, 400, _INVALID, None, None),
    (errors.ContextFull, 400, _INVALID, "context_length_exceeded", None),
    (errors.Unanswerable, 400, _INVALID, "unanswerable", None),
    (errors.TemplateFailed, 400, _INVALID, "template_failed", None),
    (UnknownModel, 404, _INVALID, "model_not_found", None),
    (QueueFull, 429, "rate_limit_error", "queue_full", None),
    (BackingOff, 503, _SERVER, "loading_again", None),
    (flow.NotCleared, 451, "licence_error", None, None),
    (errors.DoesNotFit, 503, _SERVER, "does_not_fit", 30),
    (errors.EngineDied, 503, _SERVER, "engine_died", 1),
    (LauncherError, 500, _SERVER, None, None),
)


def of(error: LauncherError) -> Failure:
    """What a client is told of an error."""
    status, kind, code, retry = next(row[1:] for row in _TABLE if isinstance(error, row[0]))
    judgement = error.judgement if isinstance(error, flow.NotCleared) else None
    return Failure(
        status=status,
        message=" ".join(part for part in (_ended(error.message), error.hint) if part),
        kind=kind,
        code=judgement.decision.code if judgement else getattr(error, "code", None) or code,
        param=getattr(error, "param", None),
        retry_after=getattr(error, "retry_after", None) or retry,
        decision=judgement.as_json() if judgement else None,
    )


def _ended(message: str) -> str:
    return message if message[-1:] in ".!?…" else f"{message}."


def body(failure: Failure, path: str) -> dict[str, Any]:
    """The object that says it, in the form that the clients of this path expect."""
    decision = {} if failure.decision is None else {"decision": failure.decision}
    if path.startswith("/api/"):
        return {"error": failure.message, **decision}
    error = {
        "message": failure.message,
        "type": failure.kind,
        "param": failure.param,
        "code": failure.code,
    }
    return {"error": error, **decision}


def response(failure: Failure, path: str) -> Response:
    """The whole answer to a request that failed."""
    headers = {} if failure.retry_after is None else {"Retry-After": str(failure.retry_after)}
    return Response(
        as_bytes(body(failure, path)), failure.status, headers, media_type="application/json"
    )


def as_bytes(value: object) -> bytes:
    """JSON that has no character beyond ASCII, so that anything can be sent."""
    return json.dumps(value, separators=(",", ":")).encode()


def install(app: FastAPI) -> None:
    """Has every failure of an application answered in these forms."""
    app.add_exception_handler(LauncherError, _failed)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _not_served)
    app.add_exception_handler(Exception, _bug)


async def _failed(request: Request, error: Exception) -> Response:
    assert isinstance(error, LauncherError)
    return response(of(error), request.url.path)


async def _invalid(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    return response(of(_first_fault(error)), request.url.path)


def _first_fault(error: RequestValidationError) -> BadRequest:
    fault = error.errors()[0]
    if fault["type"] == "json_invalid":
        return BadRequest(f"{_PATHS[400]}: {fault['ctx']['error']}")
    if "param" in fault.get("ctx", ()):
        code = "unsupported" if fault["type"] == "unsupported" else None
        return BadRequest(fault["msg"], fault["ctx"]["param"], code)
    if fault["loc"] == ("body",) and fault["type"] in ("missing", "model_attributes_type"):
        return BadRequest("The body has to be a JSON object, sent as application/json")
    param = _param(fault["loc"])
    message = fault["msg"].removeprefix("Value error, ")
    if not param:
        return BadRequest(message)
    return BadRequest(f"{param}: {message}", param)


def _param(place: tuple[int | str, ...]) -> str:
    """The name of a field, without the types that were tried for it."""
    return ".".join(str(part) for part in place[1:] if not _TYPED.fullmatch(str(part)))


async def _not_served(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    message = _ended(_PATHS.get(error.status_code, str(error.detail)))
    failure = Failure(status=error.status_code, message=message, kind=_INVALID)
    answer = response(failure, request.url.path)
    answer.headers.update(error.headers or {})
    return answer


async def _bug(request: Request, error: Exception) -> Response:
    """A bug is logged as one by whoever runs the application; the client learns of it, too."""
    failure = Failure(
        status=500, message="This server has a fault; its log says more.", kind=_SERVER
    )
    return response(failure, request.url.path)
