"""The door: hosts, origins, keys, and what is said of a request afterwards."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from launcher.serving.door import security
from tests.serving.conftest import Start
from tests.serving.process import Server, ask, said_to

KEY = "k" * 24
OTHER = "o" * 24


@pytest.fixture(scope="module")
def plain() -> Iterator[Server]:
    server = Server(["-m", "tests.serving.tiny", "{}"])
    yield server
    server.close()


@pytest.fixture(scope="module")
def named() -> Iterator[Server]:
    wishes = {
        "hosts": ["Kiosk.Example."],
        "origins": ["https://App.Example", "vscode-webview://*"],
    }
    server = Server(["-m", "tests.serving.tiny", json.dumps(wishes)])
    yield server
    server.close()


# --- Host ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "[::1]", "LOCALHOST", "localhost."])
@pytest.mark.parametrize("port", ["", ":8080"])
def test_own_names_are_answered(plain: Server, host: str, port: str) -> None:
    assert ask(plain.port, "GET", "/health", Host=host + port).status == 200


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "evil.example:8080",
        "localhost.evil.example",
        "127.0.0.1.nip.io",
        "10.0.0.1",
        "[::2]",
        "0.0.0.0",
    ],
)
@pytest.mark.parametrize("path", ["/health", "/v1/length", "/docs"])
def test_other_names_are_not(plain: Server, host: str, path: str) -> None:
    reply = ask(plain.port, "GET", path, Host=host)
    assert reply.status == 421
    assert reply.body["error"]["code"] == "unknown_host"
    assert "--allow-host" in reply.body["error"]["message"]


@pytest.mark.parametrize(
    "head",
    [
        b"GET /health HTTP/1.1\r\n",
        b"GET /health HTTP/1.0\r\n",
        b"GET /health HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\n",
        b"GET /health HTTP/1.1\r\nHost: \r\n",
        b"GET /health HTTP/1.1\r\nHost: a b\r\n",
        b"GET /health HTTP/1.1\r\nHost: localhost@evil.example\r\n",
        b"GET /health HTTP/1.1\r\nHost: localhost:80:80\r\n",
    ],
)
def test_a_missing_or_broken_host_is_a_bad_request(plain: Server, head: bytes) -> None:
    reply = said_to(plain.port, head + b"Connection: close\r\n\r\n")
    assert reply.startswith(b"HTTP/1.1 400 ")


def test_a_name_that_was_allowed_is_answered(named: Server) -> None:
    assert ask(named.port, "GET", "/health", Host="kiosk.example:80").status == 200
    assert ask(named.port, "GET", "/health", Host="other.example").status == 421


@pytest.mark.parametrize("reached", ["192.0.2.7", "::ffff:192.0.2.7"])
def test_the_address_that_was_reached_is_a_name_of_the_server(reached: str) -> None:
    scope = {"headers": [(b"host", b"192.0.2.7:80")], "server": (reached, 80)}
    assert security.Guard().refusal(scope) is None
    other = security.Guard().refusal({**scope, "server": ("192.0.2.8", 80)})
    assert other is not None
    assert other.status == 421


# --- Origin --------------------------------------------------------------------------------------


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "http://localhost:1", ""])
def test_a_page_of_another_origin_is_refused_before_anything_is_done(
    plain: Server, origin: str
) -> None:
    reply = ask(plain.port, "POST", "/v1/length", b"x", Origin=origin, Content_Type="text/plain")
    assert reply.status == 403
    assert "access-control-allow-origin" not in reply.headers


def test_the_server_s_own_pages_may_use_it(plain: Server) -> None:
    host = f"127.0.0.1:{plain.port}"
    reply = ask(plain.port, "POST", "/v1/length", b"abc", Origin=f"http://{host}", Host=host)
    assert (reply.status, reply.body) == (200, {"length": 3})
    assert ask(plain.port, "GET", "/docs").status == 200


def test_without_an_origin_there_are_no_cors_headers(plain: Server, named: Server) -> None:
    for server in (plain, named):
        reply = ask(server.port, "GET", "/health")
        assert not [name for name in reply.headers if name.startswith("access-control")]
    assert ask(named.port, "GET", "/health").headers["vary"] == "Origin"


@pytest.mark.parametrize("origin", ["https://app.example", "vscode-webview://1f2e"])
def test_a_named_origin_may_ask_and_read(named: Server, origin: str) -> None:
    preflight = ask(
        named.port,
        "OPTIONS",
        "/v1/length",
        Origin=origin,
        Access_Control_Request_Method="POST",
        Access_Control_Request_Headers="authorization, content-type, x-stainless-os",
    )
    assert preflight.status == 200
    assert preflight.headers["access-control-allow-origin"] == origin
    assert "POST" in preflight.headers["access-control-allow-methods"]
    allowed = preflight.headers["access-control-allow-headers"]
    assert allowed == "authorization, content-type, x-stainless-os"
    reply = ask(named.port, "POST", "/v1/length", b"abc", Origin=origin)
    assert reply.status == 200
    assert reply.headers["access-control-allow-origin"] == origin
    assert "X-Request-Id" in reply.headers["access-control-expose-headers"]


def test_a_preflight_of_another_origin_is_refused(named: Server) -> None:
    reply = ask(
        named.port,
        "OPTIONS",
        "/v1/length",
        Origin="https://app.example.evil.example",
        Access_Control_Request_Method="POST",
    )
    assert reply.status == 403
    assert "access-control-allow-origin" not in reply.headers


# --- Keys ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def keyed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    path = keys_in(tmp_path_factory.mktemp("keys"), f"# ours\nalice: {KEY}\n\n{OTHER}\n")
    wishes = {"keys": str(path), "origins": ["https://app.example"]}
    server = Server(["-m", "tests.serving.tiny", json.dumps(wishes)])
    yield server
    server.close()


def keys_in(folder: Path, text: str) -> Path:
    path = folder / "keys.txt"
    path.touch(mode=0o600)
    path.write_text(text)
    return path


@pytest.mark.parametrize(
    "headers",
    [
        {"Authorization": f"Bearer {KEY}"},
        {"Authorization": f"bearer  {OTHER}"},
        {"X_Api_Key": KEY},
    ],
)
def test_a_key_opens(keyed: Server, headers: dict[str, str]) -> None:
    assert ask(keyed.port, "POST", "/v1/length", b"abc", **headers).status == 200


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": f"Bearer {KEY}x"},
        {"Authorization": f"Bearer {KEY[:-1]}"},
        {"Authorization": KEY},
        {"Authorization": f"Basic {KEY}"},
        {"Authorization": "Bearer "},
        {"Authorization": f"Bearer alice: {KEY}"},
        {"Authorization": "Bearer kéy"},
        {"X_Api_Key": ""},
    ],
)
@pytest.mark.parametrize("path", ["/v1/length", "/docs", "/nowhere"])
def test_nothing_else_does(keyed: Server, headers: dict[str, str], path: str) -> None:
    reply = ask(keyed.port, "POST", path, b"abc", **headers)
    assert reply.status == 401
    assert reply.headers["www-authenticate"] == "Bearer"
    assert reply.body["error"]["code"] == "invalid_api_key"


def test_under_api_errors_have_ollama_s_form(keyed: Server) -> None:
    reply = ask(keyed.port, "POST", "/api/length", b"abc")
    assert (reply.status, set(reply.body)) == (401, {"error"})
    assert isinstance(reply.body["error"], str)


def test_health_needs_no_key(keyed: Server) -> None:
    assert ask(keyed.port, "GET", "/health").status == 200


def test_a_named_origin_can_read_that_its_key_is_wrong(keyed: Server) -> None:
    reply = ask(keyed.port, "POST", "/v1/length", b"", Origin="https://app.example")
    assert reply.status == 401
    assert reply.headers["access-control-allow-origin"] == "https://app.example"
    preflight = ask(
        keyed.port,
        "OPTIONS",
        "/v1/length",
        Origin="https://app.example",
        Access_Control_Request_Method="POST",
    )
    assert preflight.status == 200  # browsers send no key with it


def test_keys_are_read_again_and_a_broken_file_changes_nothing(tmp_path: Path, tiny: Start) -> None:
    path = keys_in(tmp_path, KEY)
    server = tiny({"keys": str(path)})

    def opens(key: str) -> bool:
        reply = ask(server.port, "POST", "/v1/length", b"", X_Api_Key=key)
        return reply.status == 200

    assert opens(KEY)
    assert not opens(OTHER)
    path.write_text(f"bob: {OTHER}\n")
    wait_for(lambda: opens(OTHER))
    assert not opens(KEY)
    path.write_text("short\n")
    wait_for(lambda: opens(OTHER) and any("still hold" in line for line in server.lines))
    path.unlink()
    time.sleep(1.1)
    assert opens(OTHER)
    assert not any(KEY in line or OTHER in line for line in server.lines)


def wait_for(holds: object) -> None:
    assert callable(holds)
    deadline = time.monotonic() + 20
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.1)


# --- What is said of a request -------------------------------------------------------------------


def test_every_answer_has_an_id_and_the_log_has_it_too(keyed: Server) -> None:
    made = ask(keyed.port, "GET", "/health").headers["x-request-id"]
    given = ask(keyed.port, "GET", "/nowhere", X_Request_Id="trace-1.a").headers["x-request-id"]
    assert given == "trace-1.a"
    keyed.said(rf"GET /health 200 id={made} ")
    keyed.said(r"GET /nowhere 401 id=trace-1.a ")


def test_an_id_that_could_do_harm_is_not_taken(plain: Server) -> None:
    for bad in ("x" * 65, "a b", 'a"b', "é"):
        reply = ask(plain.port, "GET", "/health", X_Request_Id=bad)
        assert len(reply.headers["x-request-id"]) == 16


def test_the_log_names_the_key_and_never_shows_it(keyed: Server) -> None:
    ask(keyed.port, "POST", "/v1/length", b"secret prompt", X_Api_Key=KEY, X_Request_Id="named")
    keyed.said(r"POST /v1/length 200 id=named key=alice ms=\d")
    ask(keyed.port, "POST", "/v1/length?q=secret", b"x", X_Api_Key=OTHER, X_Request_Id="second")
    keyed.said(r"POST /v1/length 200 id=second key=key2 ")
    assert not any(KEY in line or OTHER in line or "secret" in line for line in keyed.lines)


def test_a_path_cannot_forge_a_line_of_the_log(plain: Server) -> None:
    ask(plain.port, "GET", "/a%0a2026%20GET%20/forged%20200%1b[31m", X_Request_Id="forger")
    line = plain.said(r".*id=forger.*")[0]
    assert '"/a\\n2026 GET /forged 200\\u001b[31m" 404' in line


def test_the_log_as_json(tiny: Start) -> None:
    server = tiny({"format": "json"})
    ask(server.port, "GET", "/health", X_Request_Id="one")
    body = json.loads(server.said(r'.*"one".*')[0])
    assert body.pop("time").endswith("Z")
    assert body.pop("ms") >= 0
    assert body == {
        "event": "request",
        "id": "one",
        "method": "GET",
        "path": "/health",
        "status": 200,
    }


def test_a_fault_shows_where_it_is_and_not_what_was_asked(tiny: Start) -> None:
    server = tiny()
    assert ask(server.port, "POST", "/v1/fault", b"a secret prompt").status == 500
    server.said(r"tests/serving/tiny.py.*in fault")
    server.said("builtins.ValueError")
    assert not any("secret" in line for line in server.lines)


def test_an_answer_that_broke_off_is_told_from_one_that_did_not(plain: Server) -> None:
    with socket.create_connection(("127.0.0.1", plain.port), timeout=10) as line:
        head = b"Host: localhost\r\nX-Request-Id: leaver\r\n\r\n"
        line.sendall(b"GET /v1/count?to=100000&pause=0.01 HTTP/1.1\r\n" + head)
        assert line.recv(10)
    ask(plain.port, "GET", "/v1/count?to=2", X_Request_Id="stayer")
    plain.said(r"GET /v1/count 200 id=leaver cut=True ")
    plain.said(r"GET /v1/count 200 id=stayer ms=")


def test_no_browser_guesses_what_an_answer_is(plain: Server) -> None:
    assert ask(plain.port, "GET", "/health").headers["x-content-type-options"] == "nosniff"


NAMES = ["host", "origin", "authorization", "x-api-key", "access-control-request-method"]
VALUES = st.one_of(st.binary(max_size=40), st.sampled_from([b"localhost", b"http://localhost"]))
HEADERS = st.lists(
    st.tuples(st.sampled_from([name.encode() for name in NAMES]), VALUES), max_size=6
)


@given(headers=HEADERS, method=st.sampled_from(["GET", "POST", "OPTIONS"]))
def test_no_headers_make_the_door_fail_or_open(
    headers: list[tuple[bytes, bytes]], method: str
) -> None:
    guard = security.Guard(origins=("https://app.example",))
    scope = {"headers": headers, "method": method, "path": "/", "server": ("127.0.0.1", 80)}
    guard.cors(scope)
    guard.preflight(scope)
    if guard.refusal(scope) is None:
        (host,) = [value for name, value in headers if name == b"host"]
        assert host.split(b":")[0].rstrip(b".").lower() in (b"localhost", b"127.0.0.1")
        origins = [value for name, value in headers if name == b"origin"]
        assert origins in ([], [b"http://" + host], [b"https://" + host])


def test_the_server_does_not_say_what_it_is_made_of(plain: Server) -> None:
    assert "server" not in ask(plain.port, "GET", "/health").headers


def test_a_file_of_keys_that_others_can_read_is_refused(tmp_path: Path, tiny: Start) -> None:
    path = keys_in(tmp_path, KEY)
    path.chmod(0o644)
    server = tiny({"keys": str(path)})
    server.said("can be read or changed by other users")
