"""What the launcher and its worker say to each other, and how.

A message is a JSON object with its length before it (four bytes, little-endian). Open files
travel beside a message over a Unix socket, so the worker never needs a path. Of images the
message has the sizes, and their bytes follow it.

    to the worker                             from the worker
    load      files, context, threads, ...    ready     what llama.cpp sees
    generate  messages, sampling, images ...  text      a piece of the answer
    stop                                      state     size; so many bytes follow
                                              done      why it ended, counts, seconds
                                              failed    kind and message
"""

from __future__ import annotations

import json
import os
import select
import socket
import struct
import sys
from collections.abc import Iterator, Sequence
from typing import Any

_LENGTH = struct.Struct("<I")
MAX_MESSAGE = 64 << 20  # bytes
MAX_FILES = 64  # open files with one message

Message = dict[str, Any]


class Closed(Exception):
    """The other side is gone."""


class Channel:
    """One end of the line between the launcher and a worker."""

    def __init__(self, connection: socket.socket, *, takes_files: bool = False) -> None:
        """Open files that nobody takes are closed by the system."""
        self.connection = connection
        self._takes_files = takes_files

    def send(self, message: Message, files: Sequence[int] = ()) -> None:
        """Sends a message, and open files with it. Raises `Closed`."""
        # Escaped: bytes that are not UTF-8, typed or in a file, stand as lone surrogates.
        body = json.dumps(message, separators=(",", ":")).encode()
        data = _LENGTH.pack(len(body)) + body
        try:
            if files:
                sent = socket.send_fds(self.connection, [data], list(files))
                data = data[sent:]
            if data:  # sending nothing fails, too, once the other side has answered and gone
                self.connection.sendall(data)
        except (BrokenPipeError, ConnectionError) as error:
            raise Closed from error

    def send_bytes(self, data: bytes | memoryview) -> None:
        """Sends what a message has announced. Raises `Closed`."""
        try:
            self.connection.sendall(data)
        except (BrokenPipeError, ConnectionError) as error:
            raise Closed from error

    def receive_bytes(self, size: int) -> Iterator[bytes]:
        """What a message has announced, in pieces. Raises `Closed`."""
        while size:
            piece = self._exactly(min(size, 1 << 20))
            size -= len(piece)
            yield piece

    def wait(self, seconds: float | None = None) -> bool:
        """Until something has come, or the other side is gone; False: not in that time."""
        return bool(select.select([self.connection], [], [], seconds)[0])

    def receive(self) -> tuple[Message, list[int]]:
        """Waits for a message; the open files that came with it are the caller's to close.

        Raises `Closed`, also for what is no message: nothing that follows could be read.
        """
        head, files = self._start()
        (size,) = _LENGTH.unpack(head)
        if size > MAX_MESSAGE:
            raise Closed
        try:
            message = json.loads(self._exactly(size))
        except (ValueError, RecursionError) as error:
            raise Closed from error
        if not isinstance(message, dict):
            raise Closed
        return message, files

    def _start(self) -> tuple[bytes, list[int]]:
        """The length, which the files travel with."""
        if sys.platform == "win32" or not self._takes_files:
            return self._exactly(_LENGTH.size), []
        try:
            data, files, _, _ = socket.recv_fds(self.connection, _LENGTH.size, MAX_FILES)
        except ConnectionError as error:
            raise Closed from error
        if not data:
            raise Closed
        return data + self._exactly(_LENGTH.size - len(data)), files

    def _exactly(self, size: int) -> bytes:
        parts = []
        while size:
            try:
                part = self.connection.recv(min(size, 1 << 20))
            except ConnectionError as error:
                raise Closed from error
            if not part:
                raise Closed
            parts.append(part)
            size -= len(part)
        return b"".join(parts)

    def close(self) -> None:
        self.connection.close()


def close_all(descriptors: Sequence[int]) -> None:
    """Closes open files that are no longer needed."""
    for descriptor in descriptors:
        os.close(descriptor)
