"""The line between the launcher and a worker, which may have fallen to a stranger's file."""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest

from launcher.engine.messages import Channel, Closed, close_all


@pytest.fixture
def line() -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield ours, theirs


Line = tuple[socket.socket, socket.socket]


def test_a_message_arrives_with_its_files(line: Line, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("content")
    with path.open("rb") as stream:
        Channel(line[0]).send({"type": "load", "text": "é\udce9"}, [stream.fileno()])
    message, files = Channel(line[1], takes_files=True).receive()
    assert message == {"type": "load", "text": "é\udce9"}
    assert os.read(files[0], 100) == b"content"
    close_all(files)


def test_files_that_nobody_takes_are_not_kept_open(line: Line, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.touch()
    with path.open("rb") as stream:
        Channel(line[0]).send({"type": "text"}, [stream.fileno()] * 20)
    before = len(list(Path("/proc/self/fd").iterdir()))
    assert Channel(line[1]).receive() == ({"type": "text"}, [])
    assert len(list(Path("/proc/self/fd").iterdir())) == before


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b"1", b"\xff\xfe", b"[" * 50_000, b'{"a": ' * 20_000]
)
def test_what_is_no_message_ends_the_talk(line: Line, body: bytes) -> None:
    line[0].sendall(struct.pack("<I", len(body)) + body)
    line[0].close()
    with pytest.raises(Closed):
        Channel(line[1]).receive()


def test_a_message_that_is_too_long_is_not_waited_for(line: Line) -> None:
    line[0].sendall(struct.pack("<I", 0xFFFFFFFF))
    with pytest.raises(Closed):
        Channel(line[1]).receive()


def test_the_end_of_the_other_side_is_seen(line: Line) -> None:
    line[0].close()
    with pytest.raises(Closed):
        Channel(line[1]).receive()
