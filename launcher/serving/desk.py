"""Where one request is dealt with: by which model, and for whose account."""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

from starlette.requests import Request
from starlette.responses import Response

from launcher.serving import failures, notices
from launcher.serving.door import account as accounts
from launcher.serving.door.account import Account
from launcher.serving.failures import BadRequest
from launcher.serving.streams import GONE, ClientGone, Stream, Write, while_connected

if TYPE_CHECKING:
    from launcher.engine.shared import SharedEngine
    from launcher.serving.fleet import Fleet, Served


@dataclass(frozen=True, slots=True, kw_only=True)
class Desk:
    """One request to a model."""

    request: Request
    fleet: Fleet
    served: Served
    account: Account
    keep_alive: float | None = None
    """Seconds for which the model is to stay loaded afterwards; None: as the fleet has it."""

    def engine(self) -> AbstractAsyncContextManager[SharedEngine]:
        """The model's engine, loaded if it is not; raises as `Fleet.engine` does."""
        return self.fleet.engine(self.served.name, self.keep_alive)

    @property
    def notice(self) -> dict[str, Any]:
        """The `launcher` object of the answer."""
        return notices.of(self.served.judgement.decision)

    async def whole(self, work: Coroutine[Any, Any, Mapping[str, Any]]) -> Response:
        """An answer that is sent when all of it is there."""
        try:
            found = await while_connected(self.request.receive, work)
        except ClientGone:
            return Response(status_code=GONE)
        body = failures.as_bytes({**found, "launcher": self.notice})
        return Response(body, headers=self._headers(), media_type="application/json")

    def stream(self, produce: Callable[[Write], Awaitable[None]], **more: Any) -> Response:
        """An answer that is sent as it comes; `more` is for the `Stream`."""
        return Stream(produce, headers=self._headers, **more)

    def _headers(self) -> dict[str, str]:
        return notices.headers(self.served.judgement.decision)


def fleet_of(request: Request) -> Fleet:
    """The models of the application that a request came to."""
    fleet: Fleet = request.app.state.fleet
    return fleet


def desk(request: Request, model: str, keep_alive: float | None = None) -> Desk:
    """Finds the model; where there is only one, it need not be named.

    Raises `UnknownModel` or `BadRequest`.
    """
    fleet = fleet_of(request)
    names = list(fleet.models)
    if not model and len(names) != 1:
        raise BadRequest("Say which model is to answer; /v1/models lists them", "model")
    served = fleet.served(model or names[0])
    account = accounts.of(request.scope)
    account.model = served.name
    return Desk(request=request, fleet=fleet, served=served, account=account, keep_alive=keep_alive)


@cache
def fingerprint(build: str) -> str:
    """A short name of the engine's build: the same seed gives the same text only with the same.

    >>> fingerprint("a build")
    'fp_2bd9a07eddf2'
    """
    return f"fp_{hashlib.sha256(build.encode()).hexdigest()[:12]}"
