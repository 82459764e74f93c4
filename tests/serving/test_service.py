"""The server as a service: signals, systemd's sockets and messages, TLS, unix sockets."""

from __future__ import annotations

import http.client
import os
import signal
import socket
import ssl
import stat
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from launcher.errors import LauncherError
from launcher.serving.listening import server as serving
from launcher.serving.listening import sockets
from tests.serving.conftest import Start
from tests.serving.process import PATIENCE, Manager, Reply, Server, UnixConnection, ask, asked


class Stream:
    """An answer that has begun."""

    def __init__(self, port: int, path: str) -> None:
        self._line = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
        self._line.request("GET", path)
        self._reply = self._line.getresponse()
        self.first = self._reply.readline()

    def rest(self) -> bytes:
        try:
            return self.first + self._reply.read()
        finally:
            self._reply.close()
            self._line.close()


def wait_until_closed(port: int) -> None:
    deadline = time.monotonic() + PATIENCE
    while is_open(port):
        assert time.monotonic() < deadline
        time.sleep(0.01)


def is_open(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=PATIENCE).close()
    except ConnectionError:
        return False
    return True


# --- The end ------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_lets_running_answers_end_and_takes_no_new_ones(tiny: Start, number: int) -> None:
    server = tiny()
    port = server.port
    stream = Stream(port, "/v1/count?to=10&pause=0.1")
    server.process.send_signal(number)
    wait_until_closed(port)
    assert stream.rest().split() == [b"%d" % count for count in range(10)]
    assert server.end() == 0
    assert not any("Traceback" in line for line in server.lines)


def test_a_second_signal_does_not_wait(tiny: Start) -> None:
    server = tiny()
    stream = Stream(server.port, "/v1/count?to=100000&pause=0.1")
    server.process.send_signal(signal.SIGTERM)
    wait_until_closed(server.port)
    assert server.end(signal.SIGTERM) == 0
    with pytest.raises((http.client.IncompleteRead, ConnectionError)):
        stream.rest()
    assert not any("Traceback" in line for line in server.lines)


def test_a_second_signal_ends_also_what_is_stuck(tiny: Start) -> None:
    server = tiny({"grace": 60})
    with socket.create_connection(("127.0.0.1", server.port), timeout=PATIENCE) as line:
        line.sendall(b"GET /v1/stuck HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert ask(server.port, "GET", "/health").status == 200
        server.process.send_signal(signal.SIGTERM)
        wait_until_closed(server.port)
        assert server.end(signal.SIGTERM) == 0


def test_a_log_that_nobody_reads_any_more_stops_nothing() -> None:
    command = [sys.executable, "-m", "tests.serving.tiny", "{}"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        port = int(process.stderr.readline().rpartition(":")[2])
        process.stderr.close()
        for _ in range(3):
            assert ask(port, "GET", "/health").status == 200
        process.terminate()
        assert process.wait(PATIENCE) == 0


def test_answers_that_do_not_end_are_ended(tiny: Start) -> None:
    server = tiny({"grace": 1})
    stream = Stream(server.port, "/v1/count?to=100000&pause=0.1")
    assert server.end(signal.SIGTERM) == 0
    with pytest.raises((http.client.IncompleteRead, ConnectionError)):
        stream.rest()
    assert not any("Traceback" in line for line in server.lines)


def test_connections_that_ask_nothing_do_not_delay_the_end(tiny: Start) -> None:
    server = tiny()
    with socket.create_connection(("127.0.0.1", server.port), timeout=PATIENCE):
        assert server.end(signal.SIGTERM) == 0


# --- systemd --------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["path", "abstract"])
def test_systemd_is_told(tiny: Start, tmp_path: Path, kind: str) -> None:
    address = str(tmp_path / "notify") if kind == "path" else f"@launcher-test-{os.getpid()}"
    manager = Manager(address)
    try:
        server = tiny(NOTIFY_SOCKET=address, WATCHDOG_USEC="300000")
        assert "STATUS=Counting" in manager.wait_for("READY=1").splitlines()
        assert ask(server.port, "GET", "/health").status == 200
        manager.wait_for("WATCHDOG=1")
        manager.wait_for("WATCHDOG=1")
        server.process.send_signal(signal.SIGTERM)
        manager.wait_for("STOPPING=1")
        assert server.end() == 0
    finally:
        manager.close()


def test_the_watchdog_of_another_process_is_not_fed(tiny: Start, tmp_path: Path) -> None:
    manager = Manager(str(tmp_path / "notify"))
    try:
        variables = {"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "100000"}
        server = tiny(**variables, WATCHDOG_PID="1")
        manager.wait_for("READY=1")
        server.process.send_signal(signal.SIGTERM)
        manager.wait_for("STOPPING=1")
        assert not any("WATCHDOG" in message for message in manager.told)
    finally:
        manager.close()


ACTIVATE = """
import os, sys, socket
line = socket.socket(fileno=int(sys.argv[1]))
os.dup2(line.fileno(), 3)
os.set_inheritable(3, True)
os.environ["LISTEN_PID"], os.environ["LISTEN_FDS"] = str(os.getpid()), "1"
os.execv(sys.executable, [sys.executable, *sys.argv[2:]])
"""


@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_UNIX])
def test_a_socket_that_systemd_opened_is_served(tmp_path: Path, family: int) -> None:
    """A request that comes before the server does is answered all the same."""
    with socket.socket(family, socket.SOCK_STREAM) as line:
        line.bind(("127.0.0.1", 0) if family == socket.AF_INET else str(tmp_path / "s"))
        line.listen()
        answers: list[Reply] = []
        client: http.client.HTTPConnection = (
            http.client.HTTPConnection("127.0.0.1", line.getsockname()[1], timeout=PATIENCE)
            if family == socket.AF_INET
            else UnixConnection(str(tmp_path / "s"))
        )
        waiting = threading.Thread(target=lambda: answers.append(asked(client, "GET", "/health")))
        waiting.start()
        command = ["-c", ACTIVATE, line.fileno(), "-m", "tests.serving.tiny", "{}"]
        server = Server(command, pass_fds=[line.fileno()])
        try:
            waiting.join(PATIENCE)
            assert [answer.status for answer in answers] == [200]
            server.end(signal.SIGTERM)
        finally:
            server.close()


def test_a_socket_that_others_can_reach_is_not_served_without_a_key() -> None:
    with socket.create_server(("0.0.0.0", 0)) as line:
        command = ["-c", ACTIVATE, line.fileno(), "-m", "launcher", "serve", "smollm2:135m"]
        server = Server(command, pass_fds=[line.fileno()])
        try:
            server.said("Whoever reaches 0.0.0.0 could use the model")
            assert server.end() == 2
        finally:
            server.close()


def test_a_greeting_that_does_not_come_is_not_waited_for(
    tiny: Start, certificate: tuple[Path, Path]
) -> None:
    files = [str(path) for path in certificate]
    server = tiny({"tls": files, "limits": {"head_seconds": 0.5}})
    with socket.create_connection(("127.0.0.1", server.port), timeout=PATIENCE) as line:
        assert line.recv(1) == b""


def test_sockets_for_another_process_are_left_alone() -> None:
    environment = {"LISTEN_PID": "1", "LISTEN_FDS": "1", "LISTEN_FDNAMES": "http"}
    assert sockets.inherited(environment) == []
    assert environment == {}


# --- Unix sockets ---------------------------------------------------------------------------------


def test_a_unix_socket_is_its_owner_s_and_takes_any_host(tiny: Start, tmp_path: Path) -> None:
    path = tmp_path / "launcher.sock"
    server = tiny({"unix": str(path)})
    server.said("Listening on unix:")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    for host in ("localhost", "whatever.example"):
        assert asked(UnixConnection(str(path)), "GET", "/health", Host=host).status == 200


def test_a_stale_socket_is_removed_and_nothing_else_is(tmp_path: Path) -> None:
    path = tmp_path / "s"
    with socket.socket(socket.AF_UNIX) as gone:
        gone.bind(str(path))
    with sockets.unix(path, 0o660) as line:
        assert stat.S_IMODE(path.stat().st_mode) == 0o660
        with pytest.raises(LauncherError, match=r"listens on .* already"):
            sockets.unix(path)
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(path))
        assert line.fileno() >= 0
    (tmp_path / "file").write_text("keep me")
    with pytest.raises(LauncherError):
        sockets.unix(tmp_path / "file")
    assert (tmp_path / "file").read_text() == "keep me"
    with pytest.raises(LauncherError, match="cannot listen"):
        sockets.unix(tmp_path / "no" / "such" / "folder")


# --- Addresses ------------------------------------------------------------------------------------


def test_a_name_with_two_addresses_gets_one_port() -> None:
    lines = sockets.tcp("localhost", 0)
    try:
        assert len({line.getsockname()[1] for line in lines}) == 1
        assert all(sockets.place(line).startswith("http://") for line in lines)
        with pytest.raises(LauncherError, match="Something else listens"):
            sockets.tcp("localhost", lines[0].getsockname()[1])
    finally:
        for line in lines:
            line.close()


def test_what_is_no_address_here_is_said() -> None:
    with pytest.raises(LauncherError, match="is not an address"):
        sockets.tcp("no.such.host.invalid", 0)
    with pytest.raises(LauncherError, match="cannot listen"):
        sockets.tcp("192.0.2.1", 0)


# --- TLS ------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("tls")
    made, key = folder / "cert.pem", folder / "key.pem"
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]
    names = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]
    files = ["-nodes", "-days", "2", "-keyout", str(key), "-out", str(made)]
    subprocess.run([*command, *names, *files], check=True, capture_output=True)
    return made, key


def test_tls(tiny: Start, certificate: tuple[Path, Path]) -> None:
    server = tiny({"tls": [str(path) for path in certificate]})
    server.said("Listening on https://127.0.0.1:")
    context = ssl.create_default_context(cafile=str(certificate[0]))
    line = http.client.HTTPSConnection("localhost", server.port, timeout=PATIENCE, context=context)
    assert asked(line, "GET", "/health").status == 200
    with pytest.raises((ConnectionError, http.client.HTTPException)):
        ask(server.port, "GET", "/health")
    served = serving.tls(*certificate)
    assert served.minimum_version >= ssl.TLSVersion.TLSv1_2


def test_a_certificate_that_cannot_be_used_is_said(
    tmp_path: Path, certificate: tuple[Path, Path]
) -> None:
    (tmp_path / "text.pem").write_text("no certificate")
    pairs = [
        (tmp_path / "none.pem", None),
        (tmp_path / "text.pem", None),
        (certificate[0], tmp_path / "text.pem"),
        (certificate[0], None),
    ]
    for made, key in pairs:
        with pytest.raises(serving.BadCertificate, match="cannot be used"):
            serving.tls(made, key)
