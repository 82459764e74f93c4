"""`launcher serve` as a process of its own, with the real model."""

from __future__ import annotations

import http.client
import json
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.command import Here, launcher
from tests.headers import statements, write_model
from tests.serving.conftest import Serve
from tests.serving.process import PATIENCE, Manager, Reply, Server, UnixConnection, ask, asked
from tests.terminal import Start

MODEL = "smollm2:135m"
WHO = ("--as", "individual:DE")
KEY = "k" * 24
CHAT = "/v1/chat/completions"


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    path = tmp_path / "keys.txt"
    path.touch(mode=0o600)
    path.write_text(f"alice: {KEY}\n")
    return path


def chat(text: str, **more: Any) -> bytes:
    messages = [{"role": "user", "content": text}]
    return json.dumps({"messages": messages, "temperature": 0, **more}).encode()


def say(port: int, body: bytes, **headers: str) -> Reply:
    return ask(port, "POST", CHAT, body, Content_Type="application/json", **headers)


# --- Before anything is loaded ------------------------------------------------------------------


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.7", "kiosk.example"])
def test_others_are_not_served_without_a_key(here: Here, host: str) -> None:
    result = here("serve", MODEL, *WHO, "--host", host)
    assert result.code == 2
    assert f"Whoever reaches {host} could use the model" in result.err
    assert "--api-key-file" in result.err
    assert "--no-key" in result.err


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "has no key in it"),
        ("# nothing\n", "has no key in it"),
        ("short\n", "line 1: the key is shorter than 16 characters"),
        ("a: b: c\n", "line 1 is not `name: key`"),
        (f"a b: {KEY}\n", "line 1 is not `name: key`"),
        (f"a: {KEY}\na: {KEY}x\n", "line 2: this name or key is there twice"),
        (f"a: {KEY}\nb: {KEY}\n", "line 2: this name or key is there twice"),
        (f"{KEY}é\n", "more than plain characters"),
        ("x" * 70_000, "too long to be a file of keys"),
    ],
)
def test_a_file_of_keys_that_is_none_is_refused(
    here: Here, keys: Path, text: str, said: str
) -> None:
    keys.write_text(text)
    result = here("serve", MODEL, *WHO, "--api-key-file", keys)
    assert (result.code, result.out) == (2, "")
    assert said in result.err
    assert KEY not in result.err


def test_keys_that_others_can_read_are_refused_with_what_helps(here: Here, keys: Path) -> None:
    keys.chmod(0o644)
    result = here("serve", MODEL, *WHO, "--api-key-file", keys)
    assert result.code == 2
    assert f"chmod 600 {keys}" in result.err
    missing = here("serve", MODEL, *WHO, "--api-key-file", keys.with_name("none"))
    assert missing.code == 2
    assert "openssl rand -hex 24 >" in missing.err


@pytest.mark.parametrize(
    "arguments",
    [
        ("--tls-key", "key.pem"),
        ("--tls-cert", "none.pem"),
        ("--allow-origin", "app.example"),
        ("--allow-origin", "https://app.example/path"),
        ("--host", "a b", "--no-key"),
        ("--host", ""),
        ("--allow-host", "a b"),
        ("--allow-host", "http://a"),
        ("--keep-alive", "soon"),
        ("--max-body", "0"),
        ("--timeout", "5 minutes"),
        ("--unix-mode", "999"),
        ("--lora", "adapter.gguf", "smollm2:135m"),
    ],
)
def test_wrong_use_ends_with_2(here: Here, arguments: tuple[str, ...]) -> None:
    result = here("serve", "./model.gguf", *WHO, *arguments)
    assert (result.code, result.out) == (2, "")


def test_what_the_server_cannot_load_is_said_before_it_listens(here: Here, tmp_path: Path) -> None:
    for option in ("--mmproj", "--draft"):
        result = here("serve", MODEL, *WHO, option, tmp_path / "part.gguf")
        assert (result.code, result.out) == (8, "")
        assert "launcher run" in result.err


def test_two_models_of_one_name_are_not_served(here: Here) -> None:
    result = here("serve", MODEL, MODEL, *WHO)
    assert result.code == 1
    assert "--alias" in result.err


# --- The gate -----------------------------------------------------------------------------------


def test_a_refused_model_ends_with_3_as_run_does(here: Here, tmp_path: Path) -> None:
    path = write_model(tmp_path / "innocent.gguf", "llama-4-scout")
    result = here("serve", path, *WHO)
    assert (result.code, result.out) == (3, "")
    run = here("run", path, "hi", *WHO)
    assert run.err == result.err
    assert "llama-eu-multimodal" in result.err


def test_without_a_declaration_it_ends_with_4() -> None:
    result = launcher("serve", MODEL)
    assert result.code == 4
    assert "declare --as individual:COUNTRY" in result.err


def test_a_model_that_is_not_there_ends_with_10(here: Here) -> None:
    assert here("serve", "./none.gguf", *WHO).code == 10


def test_on_a_terminal_it_asks_as_run_does(terminal: Start) -> None:
    screen = terminal("serve", "llama3.2:1b", *WHO)
    screen.expect("Do you accept")
    screen.type("n\n")
    screen.expect("acceptance-refused")
    assert screen.end() == 4


def test_what_was_answered_on_the_terminal_holds_for_every_later_load(
    terminal: Start, tmp_path: Path
) -> None:
    says = statements(license="cc-by-nc-4.0", name="plain")
    path = write_model(tmp_path / "plain.gguf", metadata=says)
    screen = terminal("serve", str(path), *WHO, "--port", "0")
    screen.expect("Is the use commercial?")
    screen.type("n\n")
    where = screen.expect(", serving plain").split("127.0.0.1:")[1]
    (model,) = ask(int(where.partition(",")[0]), "GET", "/v1/models").body["data"]
    assert model["launcher"]["verdict"] == "allow"
    screen.type("\x03")
    assert screen.end() == 0


def test_what_is_refused_answers_451_and_the_rest_is_served(serve: Serve, tmp_path: Path) -> None:
    path = write_model(tmp_path / "innocent.gguf", "llama-4-scout")
    server = serve(path, MODEL, *WHO)
    server.said(r"Refused, and not served: innocent \(llama-eu-multimodal\)")
    server.said("Listening on .*serving smollm2:135m$")
    refused = say(server.port, chat("hi", model="innocent"))
    assert refused.status == 451
    assert refused.body["decision"]["code"] == "llama-eu-multimodal"
    assert refused.body["error"]["code"] == "llama-eu-multimodal"
    assert say(server.port, chat("hi", model="other")).status == 404
    server.said(r"POST /v1/chat/completions 451 ")


# --- Answers ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def running(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Server]:
    """One server for all tests that leave it as it is, open to other computers, with a key."""
    folder = tmp_path_factory.mktemp("running")
    keys = folder / "keys.txt"
    keys.touch(mode=0o600)
    keys.write_text(f"alice: {KEY}\n")
    options = ("--max-tokens", "30", "-c", "512", "-np", "2", "--api-key-file", keys)
    server = Server(
        ["-m", "launcher", "serve", MODEL, *WHO, "--host", "0.0.0.0", "--port", "0", *options],
        LAUNCHER_HOME=str(folder),
        HF_HOME=str(folder),
        HF_ENDPOINT="http://127.0.0.1:9",
        LAUNCHER_NO_CALIBRATION="1",
    )
    yield server
    server.close()


def test_an_answer_with_a_key(running: Server) -> None:
    body = chat("Why is the sky blue? Tell secretly.", model=MODEL, max_tokens=8)
    assert say(running.port, body).status == 401
    assert say(running.port, body, Authorization="Bearer wrong").status == 401
    reply = say(running.port, body, Authorization=f"Bearer {KEY}", X_Request_Id="first")
    assert reply.status == 200
    text = reply.body["choices"][0]["message"]["content"]
    assert text
    line = running.said(r"POST .*id=first key=alice model=smollm2:135m .*")[0]
    assert f"tokens={reply.body['usage']['completion_tokens']} " in line
    assert f"prompt_tokens={reply.body['usage']['prompt_tokens']} " in line
    for secret in ("secretly", text, KEY):
        assert not any(secret in said for said in running.lines)


def test_who_has_no_key_learns_that_the_server_is_well_and_no_more(running: Server) -> None:
    assert ask(running.port, "GET", "/health").body == {"status": "ok"}
    assert ask(running.port, "GET", "/health", X_Api_Key="wrong").body == {"status": "ok"}
    known = ask(running.port, "GET", "/health", X_Api_Key=KEY).body
    assert list(known["models"]) == [MODEL]


def test_a_page_that_was_rebound_here_gets_nothing(running: Server) -> None:
    body = chat("hi", max_tokens=4)
    reply = say(running.port, body, Host="evil.example", X_Api_Key=KEY)
    assert reply.status == 421
    reply = say(running.port, body, Origin="https://evil.example", X_Api_Key=KEY)
    assert reply.status == 403


def test_no_answer_is_longer_than_the_server_allows(running: Server) -> None:
    body = chat("Count from one to five hundred in words.", max_tokens=400)
    answer = say(running.port, body, X_Api_Key=KEY).body
    assert answer["usage"]["completion_tokens"] == 30
    assert answer["choices"][0]["finish_reason"] == "length"


def test_the_metrics_say_what_was_done_to_who_has_a_key(running: Server) -> None:
    assert ask(running.port, "GET", "/metrics").status == 401
    before = measured(running)
    tokens = say(running.port, chat("Hello", max_tokens=4), X_Api_Key=KEY).body["usage"]
    ask(running.port, "GET", "/made-up-by-a-client", X_Api_Key=KEY)
    after = measured(running)

    def grown(name: str) -> float:
        return after[name] - before.get(name, 0.0)

    labels = f'model="{MODEL}"'
    assert grown(f"launcher_generated_tokens_total{{{labels}}}") == tokens["completion_tokens"]
    assert grown(f"launcher_prompt_tokens_total{{{labels}}}") == tokens["prompt_tokens"]
    assert grown(f"launcher_first_token_seconds_count{{{labels}}}") == 1
    assert grown(f'launcher_requests_total{{{labels},route="{CHAT}",status="200"}}') == 1
    assert grown('launcher_requests_total{model="",route="other",status="404"}') == 1
    assert after[f"launcher_slots{{{labels}}}"] == 2
    assert after[f'launcher_model_state{{{labels},state="ready"}}'] == 1
    assert after[f"launcher_model_loads_total{{{labels}}}"] == 1
    assert after['launcher_refusals_total{reason="key"}'] >= 1
    assert after[f"launcher_worker_resident_memory_bytes{{{labels}}}"] > 50e6
    assert 10e6 < after["process_resident_memory_bytes"] < 200e6
    assert not any("made-up" in name for name in after)


def measured(server: Server) -> dict[str, float]:
    reply = ask(server.port, "GET", "/metrics", X_Api_Key=KEY)
    assert reply.headers["content-type"].startswith("text/plain")
    lines = [line for line in reply.text.splitlines() if not line.startswith("#")]
    return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines)}


def test_who_finds_the_queue_full_is_told_when_to_come_again(serve: Serve) -> None:
    server = serve(MODEL, *WHO, "-np", "1", "--max-queue", "0", "-c", "1024")
    stream = Chunks(server.port, chat("Write a long story.", max_tokens=400, stream=True))
    reply = say(server.port, chat("hi", max_tokens=2))
    assert reply.status == 429
    assert reply.headers["retry-after"].isdigit()
    stream.close()


# --- The end, and what idles ----------------------------------------------------------------------


class Chunks:
    """A streamed answer that has begun."""

    def __init__(self, port: int, body: bytes) -> None:
        self._line = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
        self._line.request("POST", CHAT, body, {"Content-Type": "application/json"})
        self._reply = self._line.getresponse()
        assert self._reply.status == 200
        self.first = self._reply.readline()

    def rest(self) -> str:
        try:
            return (self.first + self._reply.read()).decode()
        finally:
            self.close()

    def close(self) -> None:
        self._reply.close()
        self._line.close()


def test_sigterm_in_the_midst_of_an_answer_lets_it_end(serve: Serve) -> None:
    server = serve(MODEL, *WHO, "-c", "1024")
    stream = Chunks(server.port, chat("Write a long story.", max_tokens=80, stream=True))
    workers = children(server)
    server.process.send_signal(signal.SIGTERM)
    choices = [choice for event in events(stream.rest()) for choice in event["choices"]]
    assert choices[-1]["finish_reason"] in ("stop", "length")
    assert len("".join(choice["delta"].get("content", "") for choice in choices)) > 40
    assert server.end() == 0
    assert workers
    assert not any(Path(f"/proc/{pid}").exists() for pid in workers)
    assert not any("Traceback" in line for line in server.lines)


def events(stream: str) -> list[dict[str, Any]]:
    """What was sent, from the first chunk to the word that says that all is there."""
    assert stream.rstrip().endswith("data: [DONE]")
    return [json.loads(line[6:]) for line in stream.splitlines() if line.startswith("data: {")]


def children(server: Server) -> list[str]:
    pid = server.process.pid
    tasks = Path(f"/proc/{pid}/task").iterdir()
    return [child for task in tasks for child in (task / "children").read_text().split()]


def test_a_model_that_idles_is_unloaded_and_comes_again(serve: Serve) -> None:
    server = serve(MODEL, *WHO, "--keep-alive", "0", "--alias", "tiny", "-c", "512")

    def state() -> str:
        return str(ask(server.port, "GET", "/health").body["models"]["tiny"])

    assert state() == "unloaded"
    for _ in range(2):
        assert say(server.port, chat("Hi", model="tiny", max_tokens=2)).status == 200
        wait_for(lambda: state() == "unloaded" and not children(server))


def wait_for(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_unix_socket_and_a_log_of_json(
    serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, manager = tmp_path / "launcher.sock", Manager(str(tmp_path / "notify"))
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
    server = serve(MODEL, *WHO, "--unix", path, "--log-format", "json", "-c", "512", port=False)
    assert f"STATUS=Serving {MODEL}" in manager.wait_for("READY=1").splitlines()
    manager.close()
    server.said(f"Listening on unix:{path}, serving {MODEL}")
    line = UnixConnection(str(path))
    head = {"Content_Type": "application/json", "X_Request_Id": "one"}
    assert asked(line, "POST", CHAT, chat("Hi", max_tokens=2), **head).status == 200
    said = json.loads(server.said(r'\{.*"one".*')[0])
    assert (said["status"], said["model"], said["tokens"]) == (200, MODEL, 2)
    assert server.end(signal.SIGTERM) == 0
    assert not path.exists()


def test_a_port_that_is_taken_is_said(here: Here) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        result = here("serve", MODEL, *WHO, "--port", port)
    assert result.code == 1
    assert f"Something else listens on 127.0.0.1:{port} already" in result.err


def test_several_at_once_are_answered_by_one_worker(running: Server) -> None:
    replies: list[Reply] = []

    def one() -> None:
        replies.append(say(running.port, chat("Hi", max_tokens=6), X_Api_Key=KEY))

    threads = [threading.Thread(target=one) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    assert [reply.status for reply in replies] == [200] * 4
    assert len({reply.headers["x-request-id"] for reply in replies}) == 4
