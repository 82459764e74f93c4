"""What is too long, too slow or too much is cut off, and nobody else notices."""

from __future__ import annotations

import http.client
import json
import socket
from collections.abc import Iterator

import pytest

from tests.serving.conftest import Start
from tests.serving.process import PATIENCE, Server, ask, rest, said_to

HEAD = b"POST /v1/length HTTP/1.1\r\nHost: localhost\r\n"


@pytest.fixture(scope="module")
def narrow() -> Iterator[Server]:
    limits = {"body": 1000, "head": 2000, "head_seconds": 0.5, "body_seconds": 0.5}
    wishes = {"limits": limits | {"answer_seconds": 1.0}}
    server = Server(["-m", "tests.serving.tiny", json.dumps(wishes)])
    yield server
    server.close()


def test_a_body_may_be_as_long_as_is_said(narrow: Server) -> None:
    assert ask(narrow.port, "POST", "/v1/length", b"x" * 1000).body == {"length": 1000}
    reply = ask(narrow.port, "POST", "/v1/length", b"x" * 1001)
    assert reply.status == 413
    assert "1000 bytes" in reply.body["error"]["message"]
    assert ask(narrow.port, "POST", "/api/length", b"x" * 1001).body["error"]


def test_ten_megabytes_are_answered_not_cut(narrow: Server) -> None:
    assert ask(narrow.port, "POST", "/v1/length", b"x" * 10_000_000).status == 413


def test_a_body_without_a_length_is_counted_as_it_comes(narrow: Server) -> None:
    def chunked(size: int) -> int:
        line = http.client.HTTPConnection("127.0.0.1", narrow.port, timeout=PATIENCE)
        parts = (b"x" * 100 for _ in range(size // 100))
        line.request("POST", "/v1/length", parts, encode_chunked=True)
        reply = line.getresponse()
        reply.read()
        line.close()
        return reply.status

    assert chunked(1000) == 200
    assert chunked(1100) == 413
    assert chunked(1_000_000) == 413


@pytest.mark.parametrize("length", [b"-1", b"1e3", b"99999999999999999999999", b"0x10"])
def test_a_length_that_is_none_is_refused(narrow: Server, length: bytes) -> None:
    reply = said_to(narrow.port, HEAD + b"Content-Length: " + length + b"\r\n\r\nx")
    assert reply.startswith((b"HTTP/1.1 400 ", b"HTTP/1.1 413 "))


def test_two_ways_to_say_the_length_are_refused(narrow: Server) -> None:
    both = b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
    assert said_to(narrow.port, HEAD + both).startswith(b"HTTP/1.1 400 ")


@pytest.mark.parametrize(
    "head",
    [
        HEAD + b"X-Long: " + b"x" * 3000 + b"\r\n\r\n",
        HEAD + b"X-Open: " + b"x" * 3000,
        b"GET /" + b"x" * 3000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n",
        HEAD + b"".join(b"X-%d: x\r\n" % number for number in range(400)) + b"\r\n",
    ],
)
def test_long_heads_are_refused(narrow: Server, head: bytes) -> None:
    assert said_to(narrow.port, head).startswith(b"HTTP/1.1 431 ")


@pytest.mark.parametrize("parts", [(b"",), (HEAD,), (b"\r\n",), tuple(b"POST /v1/length")])
def test_heads_that_do_not_come_are_not_waited_for(
    narrow: Server, parts: tuple[bytes | int, ...]
) -> None:
    sent = [part if isinstance(part, bytes) else bytes([part]) for part in parts]
    assert b" 408 " in said_to(narrow.port, *sent, pause=0.01)


def test_a_second_head_on_a_line_is_not_waited_for_either(narrow: Server) -> None:
    first = b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n"
    reply = said_to(narrow.port, first + b"GET /heal", pause=0.1)
    assert reply.startswith(b"HTTP/1.1 200 ")
    assert b"HTTP/1.1 408 " in reply


def test_bodies_that_do_not_come_are_not_waited_for(narrow: Server) -> None:
    reply = said_to(narrow.port, HEAD + b"Content-Length: 10\r\n\r\nabc")
    assert reply.startswith(b"HTTP/1.1 408 ")
    assert b"request_timeout" in reply


def test_an_answer_that_takes_too_long_is_given_up(narrow: Server) -> None:
    reply = ask(narrow.port, "GET", "/v1/silent")
    assert reply.status == 503
    assert reply.body["error"]["code"] == "answer_timeout"
    assert reply.body["error"]["type"] == "server_error"
    assert reply.headers["retry-after"] == "10"


def test_a_stream_that_takes_too_long_is_cut_so_that_it_shows(narrow: Server) -> None:
    with pytest.raises(http.client.IncompleteRead):
        ask(narrow.port, "GET", "/v1/count?to=1000&pause=0.1", X_Request_Id="late")
    narrow.said("GET /v1/count 200 id=late cut=True ")
    assert not any("ASGI" in line for line in narrow.lines)


@pytest.mark.parametrize(
    "noise", [b"\x00\x01\x02\r\n\r\n", b"\x16\x03\x01\x00\xa5\x01\x00", b"HELO you\r\n\r\n"]
)
def test_what_is_no_http_is_answered_with_400(narrow: Server, noise: bytes) -> None:
    assert said_to(narrow.port, noise).startswith(b"HTTP/1.1 400 ")


def test_after_all_that_the_server_is_well(narrow: Server) -> None:
    assert ask(narrow.port, "GET", "/health").status == 200
    assert not any("Traceback" in line for line in narrow.lines)


def test_pipelined_requests_are_answered_in_turn(narrow: Server) -> None:
    one = b"GET /v1/count?to=2 HTTP/1.1\r\nHost: localhost\r\n\r\n"
    last = b"GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    assert said_to(narrow.port, one + one + last).count(b"HTTP/1.1 200 ") == 3


def test_connections_beyond_the_limit_are_turned_away(tiny: Start) -> None:
    server = tiny({"limits": {"connections": 2}})
    address = ("127.0.0.1", server.port)
    with (
        socket.create_connection(address, timeout=PATIENCE) as first,
        socket.create_connection(address, timeout=PATIENCE) as second,
        socket.create_connection(address, timeout=PATIENCE) as third,
    ):
        assert rest(third).startswith(b"HTTP/1.1 429 ")
        for line in (first, second):
            line.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            assert rest(line).startswith(b"HTTP/1.1 200 ")
    assert ask(server.port, "GET", "/health").status == 200
