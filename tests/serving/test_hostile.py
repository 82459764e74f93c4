"""Clients that mean harm, against `launcher serve` with the real model.

Each is sent while somebody else is being answered; that answer, and the next one, say what the
model says when nobody disturbs it.
"""

from __future__ import annotations

import contextlib
import json
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.serving.process import PATIENCE, Server, ask, rest

MODEL = "smollm2:135m"
CHAT, COMPLETIONS, OLLAMA = "/v1/chat/completions", "/v1/completions", "/api/generate"
QUESTION = {"model": MODEL, "prompt": "One, two, three,", "temperature": 0, "max_tokens": 12}
ENDLESS = {**QUESTION, "max_tokens": 400, "stream": True, "grammar": "root ::= [a-z]+"}
SLOTS = 4


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One server for all of them: it has to live through it."""
    folder = tmp_path_factory.mktemp("hostile")
    own: tuple[object, ...] = (
        "-c",
        "512",
        "-t",
        "1",
        "-np",
        SLOTS,
        "--as",
        "individual:DE",
        "--port",
        "0",
    )
    own += ("--client-grammars",)  # so that those can do harm, too
    server = Server(
        ["-m", "launcher", "serve", MODEL, *own],
        LAUNCHER_HOME=str(folder),
        HF_HOME=str(folder),
        HF_ENDPOINT="http://127.0.0.1:9",
    )
    yield server
    server.close()


def sent(port: int, data: bytes) -> bytes:
    """What comes back for these bytes until the server closes."""
    with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE) as line:
        with contextlib.suppress(ConnectionError):
            line.sendall(data)
        with contextlib.suppress(ConnectionError):
            return rest(line)
    return b""


def post(path: str, body: bytes, *more: str, kind: str = "application/json") -> bytes:
    """A request as bytes, after which the connection is to be closed."""
    lines = [f"POST {path} HTTP/1.1", "Host: 127.0.0.1", "Connection: close", *more]
    lines += [f"Content-Type: {kind}", f"Content-Length: {len(body)}", "", ""]
    return "\r\n".join(lines).encode() + body


def head(*lines: str) -> bytes:
    """The head of a request as it is, and nothing after it."""
    return "\r\n".join([*lines, "", ""]).encode("latin-1")


def body(**fields: Any) -> bytes:
    return json.dumps({**QUESTION, **fields}).encode()


def status(heard: bytes) -> int:
    """Of the first answer; 0 where the connection was closed without one."""
    return int(heard.split(b" ", 2)[1]) if heard.startswith(b"HTTP/1.1 ") else 0


def answer(port: int) -> str:
    found = ask(port, "POST", COMPLETIONS, body(), Content_Type="application/json")
    assert found.status == 200, found.text
    return str(found.body["choices"][0]["text"])


@pytest.fixture(scope="module")
def undisturbed(house: Server) -> str:
    """What the model says when nobody else is there."""
    return answer(house.port)


@contextlib.contextmanager
def beside(house: Server, undisturbed: str) -> Iterator[None]:
    """Has somebody answered, again and again while the block runs, and once more afterwards."""
    found: list[str] = []
    over = threading.Event()

    def ask_on() -> None:
        while not over.is_set():
            found.append(answer(house.port))

    other = threading.Thread(target=ask_on)
    other.start()
    try:
        yield
    finally:
        over.set()
        other.join(PATIENCE)
    assert len(found) > 0
    assert {*found, answer(house.port)} == {undisturbed}


def deep(levels: int) -> bytes:
    return b'{"messages":' + b"[" * levels + b"]" * levels + b"}"


MANY = "Transfer-Encoding: chunked"
CHUNK = b"0\r\n\r\n"
POST = f"POST {COMPLETIONS} HTTP/1.1"
HOST = "Host: 127.0.0.1"
REQUESTS: dict[str, tuple[bytes, set[int]]] = {
    "10 MB": (post(COMPLETIONS, b" " * (10 << 20)), {413}),
    "10 MB for Ollama's": (post(OLLAMA, b" " * (10 << 20)), {413}),
    "no JSON": (post(COMPLETIONS, b'{"model":'), {400}),
    "nothing": (post(COMPLETIONS, b""), {400}),
    "a list": (post(OLLAMA, b"[]"), {400}),
    "no UTF-8": (post(COMPLETIONS, b'{"prompt": "\xff\xfe"}'), {400}),
    "half a character": (post(COMPLETIONS, rb'{"prompt": "\ud800"}'), {400}),
    "a number too long": (post(COMPLETIONS, b'{"n": ' + b"9" * 10_000 + b"}"), {400}),
    "no number": (post(COMPLETIONS, b'{"prompt": "Hi", "temperature": NaN}'), {400}),
    "infinite": (post(COMPLETIONS, b'{"prompt": "Hi", "temperature": 1e999}'), {400}),
    "many answers": (post(COMPLETIONS, body(n=10**9)), {400}),
    "nested": (post(CHAT, deep(10_000)), {400}),
    "nested for Ollama's": (post("/api/chat", deep(10_000)), {400}),
    "nested a little": (post(CHAT, deep(200)), {400}),
    "a prompt of a megabyte": (post(COMPLETIONS, body(prompt="a " * 500_000)), {400}),
    "tokens that there are not": (post(COMPLETIONS, body(prompt=[10**9])), {400}),
    "another type": (post(COMPLETIONS, body(), kind="text/xml"), {400, 415}),
    "a form": (post(COMPLETIONS, body(), kind="application/x-www-form-urlencoded"), {400, 415}),
    "PUT": (head(f"PUT {CHAT} HTTP/1.1", HOST, "Connection: close"), {405}),
    "TRACE": (head("TRACE / HTTP/1.1", HOST, "Connection: close"), {405}),
    "no method": (head("GIMME / HTTP/1.1", HOST), {400, 405}),
    "no HTTP": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" * 8, {400}),
    "no end of headers": (head("GET / HTTP/1.1", HOST, *["A: b"] * 20_000), {431}),
    "one long header": (head("GET / HTTP/1.1", HOST, "A: " + "b" * 100_000), {431}),
    "a long path": (head(f"GET /{'a' * 100_000} HTTP/1.1", HOST), {431, 414}),
    "no host": (head("GET /v1/models HTTP/1.1", "Connection: close"), {400}),
    "two lengths": (head(POST, HOST, "Content-Length: 5", "Content-Length: 6") + b"hello!", {400}),
    "two lengths, one field": (head(POST, HOST, "Content-Length: 5, 6") + b"hello!", {400}),
    "a signed length": (head(POST, HOST, "Content-Length: +5") + b"hello", {400}),
    "both ways": (head(POST, HOST, "Content-Length: 5", MANY) + CHUNK, {400}),
    "both, turned": (head(POST, HOST, MANY, "Content-Length: 5") + CHUNK, {400}),
    "chunked, twice": (head(POST, HOST, MANY, MANY) + CHUNK, {400}),
    "chunked, not last": (head(POST, HOST, f"{MANY}, identity") + CHUNK, {400}),
    "chunked, misspelt": (head(POST, HOST, "Transfer-Encoding: xchunked") + CHUNK, {400}),
    "a blank before the colon": (head(POST, HOST, "Content-Length : 5") + b"hello", {400}),
    "no chunk": (head(POST, HOST, MANY) + b"zz\r\nhello\r\n0\r\n\r\n", {400}),
    "a NUL": (head("GET / HTTP/1.1", HOST, "A: \0"), {400}),
}
SCHEMAS: dict[str, Any] = {
    "from elsewhere": {"$ref": "https://example.com/schema.json"},
    "of a file": {"$ref": "file:///etc/passwd"},
    "of itself": {"$ref": "#"},
    "long": {"type": "string", "minLength": 10**9},
    "many": {"type": "array", "items": {"type": "integer"}, "minItems": 10**9},
    "a pattern of many ways": {"type": "string", "pattern": f"^({'a|' * 500}b)*$"},
    "a choice of many": {"enum": [f"value {number}" for number in range(50_000)]},
}
GRAMMARS = {
    "turned": "root ::= [a-z]{5,3}",
    "repeated": "root ::= [a-z]{1000000000}",
    "of itself": 'root ::= root "a" | "b"',
    "nested": f"root ::= {'(' * 30_000}[a]{')' * 30_000}",
    "of nothing": "root ::= nothing",
    "none": "\0",
}
NAMES = (
    "../../../../etc/passwd",
    "/etc/passwd",
    "file:///etc/passwd",
    "https://example.com/model.gguf",
    "hf.co/example/model:Q4_0",
    f"{MODEL}\0",
    f"{MODEL}/../{MODEL}",
    MODEL.upper(),
    "*",
)


def test_a_request_that_is_none_is_refused(house: Server, undisturbed: str) -> None:
    with beside(house, undisturbed):
        for name, (data, expected) in REQUESTS.items():
            heard = sent(house.port, data)
            assert status(heard) in expected, (name, heard[:300])
            assert heard.count(b"HTTP/1.1 ") == 1, name  # nothing was taken for a second request


def test_a_schema_that_would_take_all_is_refused(house: Server, undisturbed: str) -> None:
    with beside(house, undisturbed):
        for name, schema in SCHEMAS.items():
            form = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}
            asked = post(COMPLETIONS, body(response_format=form))
            assert status(sent(house.port, asked)) == 400, name
            assert status(sent(house.port, post(OLLAMA, body(format=schema)))) == 400, name


def test_a_grammar_that_would_take_all_is_refused(house: Server, undisturbed: str) -> None:
    with beside(house, undisturbed):
        for name, grammar in GRAMMARS.items():
            heard = sent(house.port, post(COMPLETIONS, body(grammar=grammar)))
            assert status(heard) == 400, (name, heard[:300])


def test_a_name_reaches_no_file(house: Server, undisturbed: str) -> None:
    with beside(house, undisturbed):
        for name in NAMES:
            for path in (COMPLETIONS, OLLAMA, "/api/show", "/v1/embeddings"):
                heard = sent(house.port, post(path, body(model=name, input="Hi")))
                assert status(heard) == 404, (name, path)
                assert b"root:" not in heard
        for path in ("/v1/models/..%2f..%2fetc%2fpasswd", "/../../etc/passwd", "//etc/passwd"):
            assert ask(house.port, "GET", path).status == 404


def test_what_is_not_for_clients_is_refused(house: Server) -> None:
    adapters = [{"id": 0, "scale": 2}]
    assert status(sent(house.port, post(COMPLETIONS, body(lora=adapters)))) == 400
    wish = {"model": MODEL, "messages": [{"role": "user", "content": "Hi"}]}
    templates: list[dict[str, Any]] = [
        {"chat_template": "{{ 1 }}"},
        {"chat_template_kwargs": {"messages": []}},
    ]
    for more in templates:
        data = json.dumps({**wish, **more}).encode()
        assert status(sent(house.port, post(CHAT, data))) == 400
    image = {"type": "image_url", "image_url": {"url": "http://127.0.0.1:9/x.png"}}
    data = json.dumps({**wish, "messages": [{"role": "user", "content": [image]}]}).encode()
    assert status(sent(house.port, post(CHAT, data))) == 400


# --- Clients that leave, or wait ----------------------------------------------------------------


def busy(house: Server) -> float:
    """How many slots are taken, by the metrics."""
    text = ask(house.port, "GET", "/metrics").text
    lines = [line for line in text.splitlines() if line.startswith("launcher_slots_active{")]
    return sum(float(line.rpartition(" ")[2]) for line in lines)


def wait_until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.parametrize("reset", [False, True])
def test_who_leaves_gives_the_slot_back(house: Server, undisturbed: str, *, reset: bool) -> None:
    with contextlib.ExitStack() as stack:
        for _ in range(SLOTS):
            address = ("127.0.0.1", house.port)
            line = stack.enter_context(socket.create_connection(address, timeout=PATIENCE))
            if reset:
                line.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            line.sendall(post(COMPLETIONS, json.dumps(ENDLESS).encode()))
            assert line.recv(400).startswith(b"HTTP/1.1 200")
        assert busy(house) > 0
    wait_until(lambda: busy(house) == 0)
    assert answer(house.port) == undisturbed


def test_who_sends_slowly_keeps_nobody_waiting(house: Server, undisturbed: str) -> None:
    """`test_limits` shows that they are cut off in the end."""
    data = post(COMPLETIONS, body())
    with contextlib.ExitStack() as stack:
        for number in range(40):
            address = ("127.0.0.1", house.port)
            line = stack.enter_context(socket.create_connection(address, timeout=PATIENCE))
            line.sendall(data[: 5 + number] if number % 2 else data[: len(data) - 1 - number])
        assert answer(house.port) == undisturbed
        assert busy(house) == 0
