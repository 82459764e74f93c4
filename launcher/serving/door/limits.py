"""How much a client may send, how slowly, and how long an answer may take."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from launcher.serving.door.refusal import CLOSE, Refusal

if TYPE_CHECKING:
    from starlette.types import Message, Receive, Scope

_DRAINED = 32 << 20  # bytes of a refused body that are read all the same
_DRAINING = 5.0  # seconds for that


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Sizes in bytes, times in seconds."""

    body: int = 4 << 20
    head: int = 32 << 10
    """The request line and the headers together."""
    head_seconds: float = 10.0
    """From the first byte of a connection, or of a later request on it, to the last header."""
    body_seconds: float = 30.0
    answer_seconds: float | None = 600.0
    """From the request's last byte to the answer's; None: as long as it takes."""
    connections: int = 512
    idle_seconds: int = 75
    """How long a connection is kept open for a next request."""


class RefusedBody(Exception):
    """A body is too long, or comes too slowly."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal.message)
        self.refusal = refusal


async def taken(scope: Scope, receive: Receive, limits: Limits) -> Receive:
    """Reads the body of a request, and gives it on as one message.

    So no application sees a body before all of it is there. Raises `RefusedBody`.
    """
    length = _length(scope)
    if length == 0:
        return receive
    if length is not None and length > limits.body:
        if length <= _DRAINED:
            await _drain(receive)
        raise RefusedBody(_too_long(limits))
    try:
        async with asyncio.timeout(limits.body_seconds):
            body, last = await _read(receive, limits.body)
    except TimeoutError:
        raise RefusedBody(_too_slow(limits)) from None
    if len(body) > limits.body:
        if last.get("more_body", False):
            await _drain(receive)
        raise RefusedBody(_too_long(limits))
    is_gone = last["type"] != "http.request"
    return _again(last if is_gone else {**last, "body": body}, receive)


async def _read(receive: Receive, most: int) -> tuple[bytes, Message]:
    """A body, or somewhat more than `most` bytes of it, and the message that ended it."""
    parts: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        parts.append(message.get("body", b""))
        size += len(parts[-1])
        if size > most or not message.get("more_body", False):
            return b"".join(parts), message


async def _drain(receive: Receive) -> None:
    """Reads on for a while: who is still sending when the line is cut never sees the answer."""
    size = 0
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_DRAINING):
            while size < _DRAINED:
                message = await receive()
                size += len(message.get("body", b""))
                if not message.get("more_body", False):
                    return


def _again(message: Message, receive: Receive) -> Receive:
    """A `receive` that gives a message first."""
    waiting = [message]

    async def again() -> Message:
        return waiting.pop() if waiting else await receive()

    return again


def _length(scope: Scope) -> int | None:
    """Bytes of the body as announced; None: it ends where it says so itself."""
    headers = dict(scope["headers"])
    if b"transfer-encoding" in headers:
        return None
    announced = headers.get(b"content-length", b"0")
    return int(announced) if announced.isdigit() else None


def _too_long(limits: Limits) -> Refusal:
    return Refusal(
        status=413,
        message=f"The request is longer than the {limits.body} bytes that are taken here.",
        code="request_too_large",
        headers=(CLOSE,),
    )


def _too_slow(limits: Limits) -> Refusal:
    return Refusal(
        status=408,
        message=f"The request did not come within {limits.body_seconds:g} seconds.",
        code="request_timeout",
        headers=(CLOSE,),
    )


def too_late(limits: Limits) -> Refusal:
    """The answer took longer than answers may."""
    return Refusal(
        status=503,
        message=f"The answer was not ready within {limits.answer_seconds:g} seconds.",
        code="answer_timeout",
        headers=((b"retry-after", b"10"),),
    )
