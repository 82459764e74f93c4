"""Streams over a real connection: their beginning, their end, and clients that leave."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from launcher.errors import ContextFull, EngineDied
from launcher.serving import streams
from launcher.serving.streams import ClientGone, Stream, Write, while_connected
from tests.serving.loopback import serving


class Served:
    """Streams whose client may leave, and what became of them."""

    def __init__(self) -> None:
        self.cancelled = threading.Event()
        self.begun = threading.Event()

    async def whole(self, write: Write) -> None:
        await write(b"data: one\n\n")
        await write(b"data: two\n\n")

    async def endless(self, write: Write) -> None:
        try:
            await write(b"data: one\n\n")
            await self._forever()
        except asyncio.CancelledError:
            self.cancelled.set()
            raise

    async def refused(self, write: Write) -> None:
        raise ContextFull("Too long")

    async def broken(self, write: Write) -> None:
        await write(b"data: one\n\n")
        raise EngineDied("It is gone")

    async def slow(self, write: Write) -> None:
        await asyncio.sleep(0.2)
        await write(b"data: late\n\n")

    async def computed(self, request: Request) -> Response:
        try:
            await while_connected(request.receive, self._forever())
        except ClientGone:
            self.cancelled.set()
        return Response(status_code=streams.GONE)

    async def _forever(self) -> None:
        self.begun.set()
        await asyncio.Event().wait()


@pytest.fixture(scope="module")
def served() -> Served:
    return Served()


@pytest.fixture(scope="module")
def address(served: Served) -> Iterator[str]:
    def route(name: str) -> Route:
        produce: Callable[[Write], Awaitable[None]] = getattr(served, name)

        async def endpoint(request: Request) -> Response:
            return Stream(produce, headers=lambda: {"X-Own": "yes"})

        return Route(f"/{name}", endpoint)

    names = ("whole", "endless", "refused", "broken", "slow")
    app = Starlette(routes=[*map(route, names), Route("/computed", served.computed)])
    with serving(app) as url:
        yield url


@pytest.fixture(autouse=True)
def fresh(served: Served) -> None:
    served.cancelled.clear()
    served.begun.clear()


def test_a_stream_arrives_as_it_was_written(address: str) -> None:
    found = httpx.get(f"{address}/whole")
    assert found.text == "data: one\n\ndata: two\n\n"
    assert found.headers["content-type"].startswith("text/event-stream")
    assert found.headers["cache-control"] == "no-cache"
    assert found.headers["x-accel-buffering"] == "no"
    assert found.headers["x-own"] == "yes"


def test_what_fails_before_the_first_piece_has_its_own_status(address: str) -> None:
    found = httpx.get(f"{address}/refused")
    assert found.status_code == 400
    assert found.json()["error"]["code"] == "context_length_exceeded"


def test_what_fails_later_is_the_last_piece(address: str) -> None:
    found = httpx.get(f"{address}/broken")
    assert found.status_code == 200
    first, last = found.text.split("\n\n")[:2]
    assert first == "data: one"
    assert last.startswith('data: {"error":{"message":"It is gone."')
    assert '"code":"engine_died"' in last


def test_a_client_that_leaves_ends_its_stream(address: str, served: Served) -> None:
    with httpx.stream("GET", f"{address}/endless") as found:
        assert next(found.iter_bytes()) == b"data: one\n\n"
    assert served.cancelled.wait(20)


def test_a_client_that_leaves_ends_what_is_computed_for_it(address: str, served: Served) -> None:
    host, _, port = address.removeprefix("http://").partition(":")
    with socket.create_connection((host, int(port))) as line:
        line.sendall(b"GET /computed HTTP/1.1\r\nHost: x\r\n\r\n")
        assert served.begun.wait(20)
        assert not served.cancelled.is_set()
    assert served.cancelled.wait(20)


def test_a_quiet_stream_gives_signs_of_life(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "QUIET", 0.05)
    found = httpx.get(f"{address}/slow").text
    assert found.startswith(": still here\n\n")
    assert found.endswith("data: late\n\n")


async def _value(value: Any) -> Any:
    return value


def test_work_that_ends_is_given_back() -> None:
    async def never() -> Any:
        await asyncio.Event().wait()

    assert asyncio.run(while_connected(never, _value(5))) == 5
