"""HTTP as uvicorn speaks it, with bounds on what comes before the application sees anything."""

from __future__ import annotations

import asyncio
from typing import ClassVar

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from launcher.serving.door.limits import Limits


class Bounded(HttpToolsProtocol):
    """A connection whose headers are short, and come in time."""

    limits: ClassVar[Limits] = Limits()

    _in_head = True
    _head_size = 0
    _clock: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begins to wait for a request."""
        super().connection_made(transport)
        if len(self.connections) > self.limits.connections:
            self._refuse(b"429 Too Many Requests", b"Too many connections are open.")
        else:
            self._wait_for_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stops waiting."""
        self._stop_waiting()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Takes some bytes, unless the connection is being closed."""
        if self.transport.is_closing():
            return
        if self._in_head:
            self._head_size += len(data)
            if self._clock is None:
                self._wait_for_head()
        super().data_received(data)
        if self._in_head and self._head_size > self.limits.head:
            self._refuse_head()

    def on_message_begin(self) -> None:
        """A request begins."""
        super().on_message_begin()
        self._in_head = True
        if self._clock is None:
            self._wait_for_head()

    def on_headers_complete(self) -> None:
        """All headers are here."""
        self._stop_waiting()
        self._in_head, self._head_size = False, 0
        size = len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers)
        if size > self.limits.head:
            self._refuse_head()
        elif not self.transport.is_closing():
            super().on_headers_complete()

    def on_message_complete(self) -> None:
        """All of a request is here; what comes now is the head of the next one."""
        super().on_message_complete()
        self._in_head = True

    def _wait_for_head(self) -> None:
        self._clock = self.loop.call_later(self.limits.head_seconds, self._head_is_late)

    def _stop_waiting(self) -> None:
        if self._clock is not None:
            self._clock.cancel()
            self._clock = None

    def _head_is_late(self) -> None:
        if self._is_answering():
            self._wait_for_head()  # it came too early, so it may be late
        else:
            self._refuse(b"408 Request Timeout", b"The request did not come in time.")

    def _refuse_head(self) -> None:
        self._refuse(b"431 Request Header Fields Too Large", b"The headers are too long.")

    def _refuse(self, status: bytes, sentence: bytes) -> None:
        """Answers without the application, and closes; a running answer is left alone."""
        self._stop_waiting()
        if self.transport.is_closing() or self._is_answering():
            return
        head = b"HTTP/1.1 %b\r\ncontent-type: text/plain\r\nconnection: close\r\n" % status
        size = b"content-length: %d\r\n\r\n" % (len(sentence) + 1)
        self.transport.write(head + size + sentence + b"\n")
        self.transport.close()

    def _is_answering(self) -> bool:
        cycle: RequestResponseCycle | None = self.cycle
        return cycle is not None and not cycle.response_complete


def bounded(limits: Limits) -> type[Bounded]:
    """The protocol with these limits."""
    return type("Bounded", (Bounded,), {"limits": limits})
