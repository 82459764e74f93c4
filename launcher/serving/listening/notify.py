"""Tells systemd how the service is. Source: sd_notify(3) and sd_watchdog_enabled(3)."""

from __future__ import annotations

import os
import socket
from collections.abc import MutableMapping
from contextlib import suppress
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Notifier:
    """Where to tell; says nothing where nobody listens."""

    address: str = ""
    watchdog: float | None = None
    """Seconds within which a sign of life is wanted."""

    @classmethod
    def of(cls, environment: MutableMapping[str, str]) -> Notifier:
        """As the service manager says; what it says is taken out, so that no worker inherits it."""
        address = environment.pop("NOTIFY_SOCKET", "")
        pid = environment.pop("WATCHDOG_PID", "")
        micros = environment.pop("WATCHDOG_USEC", "")
        is_ours = micros.isdigit() and int(micros) > 0 and pid in ("", str(os.getpid()))
        return cls(address, int(micros) / 1e6 if is_ours else None)

    def ready(self, status: str) -> None:
        """The server listens."""
        self._tell(f"READY=1\nSTATUS={status}")

    def status(self, status: str) -> None:
        """What it does, in a line."""
        self._tell(f"STATUS={status}")

    def stopping(self) -> None:
        """No more requests are taken."""
        self._tell("STOPPING=1\nSTATUS=Finishing the answers that are running")

    def alive(self) -> None:
        """A sign of life."""
        self._tell("WATCHDOG=1")

    def _tell(self, text: str) -> None:
        if not self.address:
            return
        is_abstract = self.address.startswith("@")
        address = "\0" + self.address[1:] if is_abstract else self.address
        with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as line:
            line.sendto(text.encode(), address)
