"""Answers on their way to a client, for as long as it is there.

A stream is written to ASGI's `send` as it is: per piece there is one call and no copy. It begins
with its first piece, so that what fails before that has a status of its own.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from typing import Any, TypeVar

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from launcher.errors import LauncherError
from launcher.serving import failures
from launcher.serving.failures import Failure

Write = Callable[[bytes], Awaitable[None]]
T = TypeVar("T")
QUIET = 15.0  # seconds without a piece, after which a sign of life is sent
GONE = 499  # what nginx writes to its log for a client that has left


class ClientGone(Exception):
    """Nobody waits for the answer any more."""


def server_sent(failure: Failure) -> bytes:
    """A failure in the middle of a stream of server-sent events."""
    return b"data: " + failures.as_bytes(failures.body(failure, "/v1/")) + b"\n\n"


class Stream(Response):
    """A body that `produce` writes piece by piece; it is cancelled when the client leaves."""

    def __init__(
        self,
        produce: Callable[[Write], Awaitable[None]],
        *,
        headers: Callable[[], Mapping[str, str]] = dict,
        media_type: str = "text/event-stream",
        sign_of_life: bytes = b": still here\n\n",
        failed: Callable[[Failure], bytes] = server_sent,
    ) -> None:
        """`headers` is asked for them when the stream begins.

        `sign_of_life` is what is sent where nothing else is for a while; empty: nothing.
        `failed` makes the last piece of a stream that ends with an error.
        """
        self.status_code, self.background = 200, None
        self.media_type = media_type
        self._produce, self._more, self._failed = produce, headers, failed
        self._sign = sign_of_life

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        wire = _Wire(self, scope, receive, send)
        signing = asyncio.create_task(wire.sign(self._sign))
        try:
            await while_connected(receive, self._run(wire))
        except ClientGone:
            pass
        finally:
            await _end(signing)

    async def _run(self, wire: _Wire) -> None:
        try:
            await self._produce(wire.write)
        except LauncherError as error:
            await wire.fail(failures.of(error), self._failed)
        else:
            await wire.end()

    def head(self) -> list[tuple[bytes, bytes]]:
        """The headers of the stream that begins now."""
        self.init_headers({"Cache-Control": "no-cache", "X-Accel-Buffering": "no", **self._more()})
        return self.raw_headers


class _Wire:
    """One stream's way to its client."""

    def __init__(self, stream: Stream, scope: Scope, receive: Receive, send: Send) -> None:
        self._stream, self._scope, self._receive, self._send = stream, scope, receive, send
        self._begun = False
        self._latest = asyncio.get_running_loop().time()

    async def write(self, piece: bytes) -> None:
        if not self._begun:
            self._begun = True
            await self._send(
                {"type": "http.response.start", "status": 200, "headers": self._stream.head()}
            )
        self._latest = asyncio.get_running_loop().time()
        await self._send({"type": "http.response.body", "body": piece, "more_body": True})

    async def end(self) -> None:
        await self.write(b"")
        await self._send({"type": "http.response.body", "body": b"", "more_body": False})

    async def fail(self, failure: Failure, last: Callable[[Failure], bytes]) -> None:
        """With a status where nothing was sent so far, else as the last piece."""
        if self._begun:
            await self.write(last(failure))
            await self.end()
        else:
            self._begun, self._latest = True, asyncio.get_running_loop().time()
            whole = failures.response(failure, self._scope["path"])
            await whole(self._scope, self._receive, self._send)

    async def sign(self, sign: bytes) -> None:
        """Sends signs of life for as long as it is let."""
        clock = asyncio.get_running_loop().time
        while sign:
            quiet = clock() - self._latest
            if quiet < QUIET:
                await asyncio.sleep(QUIET - quiet)
            else:
                await self.write(sign)


async def while_connected(receive: Receive, work: Coroutine[Any, Any, T]) -> T:
    """The result of some work for a client; cancels it and raises `ClientGone` when it leaves."""
    working, watching = asyncio.create_task(work), asyncio.create_task(_left(receive))
    try:
        await asyncio.wait((working, watching), return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            raise ClientGone
        return working.result()
    finally:
        await _end(working, watching)


async def _left(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _end(*tasks: asyncio.Task[Any]) -> None:
    """Cancels what still runs and waits until it is gone."""
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
