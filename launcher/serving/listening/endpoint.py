"""Where a server is reached, and by whom: as it is asked for, before anything is opened."""

from __future__ import annotations

import os
import socket
import ssl
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from launcher.serving.door import security
from launcher.serving.door.keys import KeyFile
from launcher.serving.door.security import Guard
from launcher.serving.listening import server, sockets


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """What whoever starts the server says about it."""

    host: str = "127.0.0.1"
    port: int = 8080
    unix: Path | None = None
    unix_mode: int = 0o600
    key_file: Path | None = None
    no_key: bool = False
    hosts: tuple[str, ...] = ()
    origins: tuple[str, ...] = ()
    certificate: Path | None = None
    certificate_key: Path | None = None

    @property
    def listen(self) -> str:
        """Where it listens, as systemd's ListenStream= has it."""
        if self.unix:
            return str(self.unix.absolute())
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"

    def guard(self, passed: Sequence[socket.socket], say: Callable[[str], None]) -> Guard:
        """What is asked of requests. Raises `LauncherError` for what would be unsafe.

        `passed` are the listeners that the service manager opened, in place of our own.
        """
        bound = self._bound(passed)
        for host in bound:
            has_keys = self.key_file is not None
            security.refuse_unguarded(host, has_keys=has_keys, no_key=self.no_key)
        return Guard(
            hosts=security.allowed_hosts(bound, self.hosts),
            origins=self.origins,
            keys=KeyFile(self.key_file, say) if self.key_file else None,
        )

    def tls(self) -> ssl.SSLContext | None:
        """The context of the certificate; raises `BadCertificate`."""
        if self.certificate is None:
            return None
        return server.tls(self.certificate, self.certificate_key)

    def is_plain(self, passed: Sequence[socket.socket]) -> bool:
        """Whether what is sent can be read by others on the way."""
        return self.certificate is None and not all(map(security.is_loopback, self._bound(passed)))

    def _bound(self, passed: Sequence[socket.socket]) -> list[str]:
        if passed or self.unix:
            return [line.getsockname()[0] for line in passed if line.family != socket.AF_UNIX]
        return [self.host]

    def open(self) -> list[socket.socket]:
        """Begins to listen; raises `LauncherError`."""
        if self.unix is not None:
            return [sockets.unix(self.unix, self.unix_mode)]
        return sockets.tcp(self.host, self.port)

    def close(self) -> None:
        """Takes away the unix socket that `open` has made."""
        if self.unix is not None:
            self.unix.unlink(missing_ok=True)


def passed() -> list[socket.socket]:
    """The listeners that the service manager opened."""
    return sockets.inherited(os.environ)
