"""Servers for tests."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.serving.process import Server
from tests.serving.running import Running, running

Start = Callable[..., Server]
Serve = Callable[..., Server]


@pytest.fixture
def tiny() -> Iterator[Start]:
    """Starts servers around an application without a model; ends them afterwards."""
    started: list[Server] = []

    def start(wishes: dict[str, Any] | None = None, **more: Any) -> Server:
        started.append(Server(["-m", "tests.serving.tiny", json.dumps(wishes or {})], **more))
        return started[-1]

    yield start
    for server in started:
        server.close()


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A server with the default model, and one that is refused; all tests share it."""
    with running(tmp_path_factory.mktemp("served")) as found:
        yield found


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Starts `launcher serve` as a process; ends it afterwards."""
    started: list[Server] = []

    def start(*arguments: object, port: bool = True) -> Server:
        where = ("--port", "0") if port else ()
        started.append(Server(["-m", "launcher", "serve", *arguments, *where]))
        return started[-1]

    yield start
    for server in started:
        server.close()
