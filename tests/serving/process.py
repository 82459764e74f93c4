"""Servers as processes of their own, and requests as bytes on a line."""

from __future__ import annotations

import http.client
import json
import os
import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

PATIENCE = 60.0  # seconds; nothing may hang


class Server:
    """A process that says `Listening on ...` on standard error, and is ended with the test."""

    def __init__(
        self, command: Sequence[object], pass_fds: Sequence[int] = (), **more: str
    ) -> None:
        """`more` are variables of its environment."""
        self.process = subprocess.Popen(
            [sys.executable, *map(str, command)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            pass_fds=pass_fds,
            env={**os.environ, **more},
        )
        self.lines: list[str] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.lines.append(line.rstrip("\n"))

    def said(self, pattern: str) -> re.Match[str]:
        """The first line on standard error that holds a pattern; waits for it."""
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            ended = self.process.poll() is not None
            for line in list(self.lines):
                if match := re.search(pattern, line):
                    return match
            if ended:
                self._reader.join(1)
                if not any(re.search(pattern, line) for line in self.lines):
                    break
            time.sleep(0.01)
        raise AssertionError(f"{pattern} was not said, but: {self.lines}")

    @property
    def port(self) -> int:
        return int(self.said(r"Listening on https?://\S+:(\d+)")[1])

    def end(self, number: int | None = None) -> int:
        """Waits for the end, after a signal if one is given."""
        if number is not None:
            self.process.send_signal(number)
        code = self.process.wait(PATIENCE)
        self._reader.join(PATIENCE)
        return code

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(PATIENCE)
        self._reader.join(PATIENCE)
        for stream in (self.process.stdout, self.process.stderr):
            assert stream is not None
            stream.close()


@dataclass(frozen=True)
class Reply:
    status: int
    headers: Mapping[str, str]
    text: str = field(repr=False)

    @property
    def body(self) -> Any:
        return json.loads(self.text)


def ask(port: int, method: str, path: str, body: bytes | None = None, **headers: str) -> Reply:
    """One request; underscores in the names of headers are dashes."""
    line = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
    return asked(line, method, path, body, **headers)


def asked(
    line: http.client.HTTPConnection,
    method: str,
    path: str,
    body: bytes | None = None,
    **headers: str,
) -> Reply:
    """The same on a line that is open; it is closed afterwards."""
    try:
        line.request(
            method, path, body, {name.replace("_", "-"): text for name, text in headers.items()}
        )
        reply = line.getresponse()
        names = {name.lower(): text for name, text in reply.getheaders()}
        return Reply(reply.status, names, reply.read().decode())
    finally:
        line.close()


def said_to(port: int, *parts: bytes, pause: float = 0.0) -> bytes:
    """What comes back for bytes as they are, until the server closes."""
    with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE) as line:
        for part in parts:
            line.sendall(part)
            time.sleep(pause)
        return rest(line)


def rest(line: socket.socket) -> bytes:
    """All that still comes on a line."""
    parts = []
    while part := line.recv(65536):
        parts.append(part)
    return b"".join(parts)


class UnixConnection(http.client.HTTPConnection):
    """HTTP over a unix socket."""

    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=PATIENCE)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(PATIENCE)
        self.sock.connect(self._path)


class Manager:
    """The service manager's end of sd_notify."""

    def __init__(self, address: str) -> None:
        self._line = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._line.bind("\0" + address[1:] if address.startswith("@") else address)
        self._line.settimeout(PATIENCE)
        self.told: list[str] = []

    def wait_for(self, line: str) -> str:
        """The next message that has a line."""
        while True:
            message = self._line.recv(4096).decode()
            self.told.append(message)
            if line in message.splitlines():
                return message

    def close(self) -> None:
        self._line.close()
