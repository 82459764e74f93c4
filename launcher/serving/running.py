"""The whole server: models, application, door and listeners, put together and run."""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from launcher.serving.app import create_app
from launcher.serving.door import metrics
from launcher.serving.door.door import Door
from launcher.serving.door.journal import Journal
from launcher.serving.door.limits import Limits
from launcher.serving.door.logs import Logs
from launcher.serving.door.metrics import Metrics, ModelState
from launcher.serving.door.security import Guard
from launcher.serving.fleet import Fleet, Served, State
from launcher.serving.listening import server, sockets
from launcher.serving.listening.notify import Notifier

_STATES = tuple(map(str, State))


@dataclass(frozen=True, slots=True, kw_only=True)
class House:
    """All that a server is made of."""

    fleet: Fleet
    guard: Guard
    limits: Limits
    logs: Logs
    listeners: Sequence[socket.socket]
    tls: ssl.SSLContext | None = None
    grace_seconds: int = 30
    ready: Callable[[str], None]
    """Told in a line where the server listens and what it serves, once it does."""


def run(house: House) -> None:
    """Serves until a signal comes, and the answers that are running have ended."""
    asyncio.run(_run(house))


async def _run(house: House) -> None:
    fleet = house.fleet
    counted = Metrics(lambda: states(fleet))
    app = create_app(fleet)
    app.state.metrics = counted
    app.include_router(metrics.router)
    journal = Journal(logs=house.logs, metrics=counted)
    door = Door(app=app, guard=house.guard, limits=house.limits, journal=journal)
    has_tls = house.tls is not None
    places = ", ".join(sockets.place(line, tls=has_tls) for line in house.listeners)
    service = server.Service(
        sockets=house.listeners,
        limits=house.limits,
        logs=house.logs,
        notifier=Notifier.of(os.environ),
        tls=house.tls,
        grace_seconds=house.grace_seconds,
        status=lambda: f"Serving {_names(fleet)}",
        ready=lambda: house.ready(f"Listening on {places}, serving {_names(fleet)}"),
    )
    await fleet.start()
    try:
        await server.serve(door, service)
    finally:
        await fleet.close()


def _names(fleet: Fleet) -> str:
    return ", ".join(served.name for served in fleet.models.values() if served.is_allowed)


def states(fleet: Fleet) -> Iterator[ModelState]:
    """How the models stand, for the metrics."""
    for served in fleet.models.values():
        yield _state(served)


def _state(served: Served) -> ModelState:
    engine = served.engine
    slots = engine.slots if engine is not None else 0
    asked = engine.asked if engine is not None else served.users
    return ModelState(
        name=served.name,
        state=str(served.state),
        states=_STATES,
        slots=slots,
        active=min(asked, slots),
        waiting=max(asked - slots, 0),
        loads=served.loads,
        deaths=served.deaths,
        memory=_resident(engine.pid) if engine is not None else 0,
    )


def _resident(pid: int) -> int:
    """Bytes of a process that are in memory, as Linux counts them (proc_pid_status(5))."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0  # it has just ended, or this is not Linux
    found = [line.split()[1] for line in lines if line.startswith("VmRSS:")]
    return int(found[0]) << 10 if found else 0
