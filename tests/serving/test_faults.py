"""Clients that vanish and workers that die: the server lives on, and others get their answers."""

from __future__ import annotations

import json
import os
import signal
import socket
import threading
import time
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.serving.running import MODEL, Running, running

LONG: Any = {"model": MODEL, "prompt": "One, two, three, four, five,", "temperature": 0}
# Never ends by itself; no test waits until it does.
ENDLESS: Any = {**LONG, "max_tokens": 450, "grammar": "root ::= [a-z]+"}


def wait_until(holds: Any, seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def raw(server: Running, path: str, body: Any) -> socket.socket:
    """A request on a line of its own."""
    host, _, port = server.url.removeprefix("http://").partition(":")
    data = json.dumps(body).encode()
    line = socket.create_connection((host, int(port)), timeout=30)
    head = f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
    line.sendall(f"{head}Content-Length: {len(data)}\r\n\r\n".encode() + data)
    return line


@pytest.mark.parametrize("n", [1, 3])
@pytest.mark.parametrize("stream", [True, False])
def test_a_client_that_vanishes_ends_its_answers(server: Running, n: int, stream: bool) -> None:
    with raw(server, "/v1/completions", {**ENDLESS, "n": n, "stream": stream}) as line:
        wait_until(lambda: server.questions == n)
        if stream:
            assert line.recv(1000)
    wait_until(lambda: server.questions == 0)
    slots = server.post("/v1/completions", {**LONG, "max_tokens": 2, "n": 4})
    assert slots.status_code == 200


def test_the_answers_of_others_are_unharmed(server: Running) -> None:
    wish = {**LONG, "max_tokens": 24}
    alone = server.post("/v1/completions", wish).json()["choices"][0]["text"]
    found: list[str] = []
    other = threading.Thread(
        target=lambda: found.append(
            server.post("/v1/completions", wish).json()["choices"][0]["text"]
        )
    )
    with raw(server, "/v1/completions", {**ENDLESS, "stream": True}) as line:
        line.recv(1000)
        other.start()
        line.recv(1000)
    other.join(60)
    assert found == [alone]


@pytest.fixture
def own(tmp_path: Path) -> Any:
    with running(tmp_path) as found:
        yield found


def test_a_worker_that_dies_ends_its_answers_and_no_more(own: Running) -> None:
    wish = {**ENDLESS, "stream": True}
    with httpx.stream("POST", f"{own.url}/v1/completions", json=wish, timeout=60) as answer:
        lines = answer.iter_lines()
        assert json.loads(next(lines).removeprefix("data: "))["choices"]
        os.kill(_worker(own), signal.SIGKILL)
        *_, last = [line for line in lines if line]
    error = json.loads(last.removeprefix("data: "))["error"]
    assert (error["code"], error["type"]) == ("engine_died", "server_error")
    assert "SIGKILL" in error["message"]
    soon = own.post("/v1/completions", {**LONG, "max_tokens": 2})
    assert soon.status_code in (200, 503)
    assert soon.status_code == 200 or int(soon.headers["retry-after"]) >= 1
    wait_until(lambda: own.post("/v1/completions", {**LONG, "max_tokens": 2}).status_code == 200)


def _worker(server: Running) -> int:
    loaded = server.fleet.served(MODEL).engine
    assert loaded is not None
    return loaded._engine.worker.process.pid
