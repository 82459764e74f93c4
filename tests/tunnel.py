"""A proxy that leads protected lines to where they want to go, and writes down where."""

from __future__ import annotations

import contextlib
import http.server
import select
import socket
import threading
from collections.abc import Iterator


class Tunnel(http.server.ThreadingHTTPServer):
    """The proxy. `url` is its address."""

    daemon_threads = True

    def __init__(self) -> None:
        self.led_to: list[str] = []
        super().__init__(("127.0.0.1", 0), _Handler)
        self.url = f"http://127.0.0.1:{self.server_address[1]}"


class _Handler(http.server.BaseHTTPRequestHandler):
    server: Tunnel

    def log_message(self, format: str, *args: object) -> None:
        """The log is `Tunnel.led_to`."""

    def do_CONNECT(self) -> None:
        self.server.led_to.append(self.path)
        host, _, port = self.path.rpartition(":")
        with socket.create_connection((host, int(port)), timeout=5) as other:
            self.send_response(200)
            self.end_headers()
            with contextlib.suppress(OSError):
                _between(self.connection, other)


def _between(one: socket.socket, other: socket.socket) -> None:
    """Carries bytes both ways until one side has had enough."""
    ways = {one: other, other: one}
    while True:
        for ready in select.select(list(ways), [], [])[0]:
            data = ready.recv(1 << 16)
            if not data:
                return
            ways[ready].sendall(data)


@contextlib.contextmanager
def tunnel() -> Iterator[Tunnel]:
    """A proxy while the block runs."""
    with Tunnel() as proxy:
        thread = threading.Thread(target=proxy.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        try:
            yield proxy
        finally:
            proxy.shutdown()
            thread.join()
