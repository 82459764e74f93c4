"""Runs the server: from the first connection to the last answer."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import ssl
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

import uvicorn

from launcher.errors import ExitCode, LauncherError
from launcher.serving.door.limits import Limits
from launcher.serving.door.logs import Handler, Logs
from launcher.serving.listening.notify import Notifier
from launcher.serving.listening.protocol import Bounded, bounded
from launcher.serving.listening.sockets import BACKLOG

if TYPE_CHECKING:
    from starlette.types import ASGIApp


LAST = 3.0  # seconds after a second signal in which what blocks can still be left in order


class BadCertificate(LauncherError):
    """The files for TLS cannot be used."""

    exit_code = ExitCode.USAGE


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """How a server is run."""

    sockets: Sequence[socket.socket]
    limits: Limits
    logs: Logs
    notifier: Notifier
    tls: ssl.SSLContext | None = None
    grace_seconds: int = 30
    """How long running answers get to end when the server is to stop."""
    status: Callable[[], str] = lambda: "Listening"
    """What it does, in a line."""
    ready: Callable[[], None] = lambda: None
    """Called once it listens."""


class _Server(uvicorn.Server):
    """Uvicorn's, with systemd told, and signals that end it with 0."""

    def __init__(self, config: uvicorn.Config, service: Service) -> None:
        super().__init__(config)
        self._service = service
        self._beat: asyncio.Task[None] | None = None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listens; uvicorn's own way has no limit on the time that a TLS greeting takes."""
        await super().startup([])
        loop = asyncio.get_running_loop()
        tls = self.config.ssl
        for line in sockets or ():
            listening = await loop.create_server(
                self._connection,
                sock=line,
                ssl=tls,
                backlog=BACKLOG,
                ssl_handshake_timeout=self._service.limits.head_seconds if tls else None,
            )
            self.servers.append(listening)
        self._service.ready()
        self._service.notifier.ready(self._service.status())
        if self._service.notifier.watchdog is not None:
            self._beat = asyncio.create_task(self._live(self._service.notifier.watchdog / 3))

    def _connection(self) -> Bounded:
        kind = bounded(self._service.limits)
        return kind(self.config, self.server_state, self.lifespan.state)

    async def _live(self, pause: float) -> None:
        while True:
            self._service.notifier.alive()
            await asyncio.sleep(pause)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._service.notifier.stopping()
        await super().shutdown(sockets)
        if self._beat is not None:
            self._beat.cancel()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """The first signal lets running answers end; the second one waits for nothing."""
        if self.should_exit and not self.force_exit:
            self.force_exit = True
            last = threading.Timer(LAST, os._exit, (0,))
            last.daemon = True
            last.start()
        self.should_exit = True


async def serve(app: ASGIApp, service: Service) -> None:
    """Serves until a signal comes and the running answers have ended."""
    logging.getLogger().handlers = [Handler(service.logs)]
    config = uvicorn.Config(
        app,
        http=bounded(service.limits),
        ws="none",
        loop="asyncio",
        lifespan="off",
        log_config=None,
        log_level="error",
        access_log=False,
        proxy_headers=False,
        server_header=False,
        timeout_keep_alive=service.limits.idle_seconds,
        timeout_graceful_shutdown=service.grace_seconds,
        ssl_context_factory=None if service.tls is None else lambda *_: _given(service.tls),
    )
    await _Server(config, service).serve(list(service.sockets))


def _given(context: ssl.SSLContext | None) -> ssl.SSLContext:
    assert context is not None
    return context


def tls(certificate: Path, key: Path | None) -> ssl.SSLContext:
    """A context that serves with a certificate; raises `BadCertificate`.

    Without `key` the certificate's file holds it too.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(certificate, key, password=_no_password)
    except (OSError, ssl.SSLError, _NeedsPassword) as error:
        why = getattr(error, "reason", None) or getattr(error, "strerror", None) or error
        raise BadCertificate(
            f"The certificate {certificate} and its key cannot be used: {why}",
            hint="Give a certificate with its chain, and its key, both in PEM and without a "
            "password (--tls-cert, --tls-key).",
        ) from error
    return context


class _NeedsPassword(Exception):
    """A key is locked; a service has nobody who could be asked."""


def _no_password() -> bytes:
    raise _NeedsPassword("the key has a password")
