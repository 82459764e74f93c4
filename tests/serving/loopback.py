"""An application under the real HTTP server, on loopback, in a thread with its own event loop."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager
from typing import Any

import uvicorn

SECONDS = 60  # for a start or an end, on a machine that does much else


@contextlib.asynccontextmanager
async def _nothing() -> AsyncIterator[None]:
    yield


@contextlib.contextmanager
def serving(
    app: Any, around: Callable[[], AbstractAsyncContextManager[Any]] = _nothing
) -> Iterator[str]:
    """The address of a running server; `around` is entered in its event loop."""
    listening = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(app, http="httptools", ws="none", lifespan="off", log_config=None)
    server = uvicorn.Server(config)
    failed: list[BaseException] = []

    async def run() -> None:
        async with around():
            await server.serve(sockets=[listening])

    def work() -> None:
        try:
            asyncio.run(run())
        except BaseException as error:  # noqa: BLE001  # told by the thread that waits
            failed.append(error)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    try:
        _wait_until(lambda: server.started or bool(failed))
        if not failed:
            host, port = listening.getsockname()
            yield f"http://{host}:{port}"
    finally:
        server.should_exit = True
        thread.join(SECONDS)
        listening.close()
    if failed:
        raise failed[0]
    assert not thread.is_alive()


def _wait_until(holds: Callable[[], bool]) -> None:
    pause = threading.Event()
    for _ in range(SECONDS * 100):
        if holds():
            return
        pause.wait(0.01)
    raise AssertionError("the server did not start")
