"""A server around an application of four routes: the door and the endpoints without a model."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import StreamingResponse

from launcher.serving.door import security
from launcher.serving.door.door import Door
from launcher.serving.door.journal import Journal
from launcher.serving.door.keys import KeyFile
from launcher.serving.door.limits import Limits
from launcher.serving.door.logs import Logs
from launcher.serving.door.metrics import Metrics
from launcher.serving.listening import server, sockets
from launcher.serving.listening.notify import Notifier


def application() -> FastAPI:
    app = FastAPI()

    @app.get("/health")
    async def health() -> dict[str, str]:
        return {"status": "ok"}

    @app.post("/v1/length")
    async def length(request: Request) -> dict[str, int]:
        return {"length": len(await request.body())}

    @app.post("/api/length")
    async def length_again(request: Request) -> dict[str, int]:
        return {"length": len(await request.body())}

    @app.get("/v1/count")
    async def count(to: int, pause: float = 0.05) -> StreamingResponse:
        async def numbers() -> AsyncIterator[str]:
            for number in range(to):
                yield f"{number}\n"
                await asyncio.sleep(pause)

        return StreamingResponse(numbers(), media_type="text/plain")

    @app.get("/v1/silent")
    async def silent() -> None:
        await asyncio.sleep(60)

    @app.post("/v1/fault")
    async def fault(request: Request) -> None:
        raise ValueError((await request.body()).decode())

    @app.get("/v1/stuck")
    async def stuck() -> None:
        await asyncio.to_thread(time.sleep, 600)

    return app


async def main(wishes: dict[str, Any]) -> None:
    logs = Logs(wishes.get("format", "text"))
    limits = Limits(**wishes.get("limits", {}))
    listeners = sockets.inherited(os.environ)
    if "unix" in wishes:
        listeners.append(sockets.unix(Path(wishes["unix"])))
    if not listeners:
        listeners = sockets.tcp(wishes.get("host", "127.0.0.1"), 0)
    keys = wishes.get("keys")
    guard = security.Guard(
        hosts=security.allowed_hosts((), wishes.get("hosts", ())),
        origins=tuple(map(security.origin, wishes.get("origins", ()))),
        keys=KeyFile(Path(keys), logs.say) if keys else None,
    )

    context = server.tls(*map(Path, wishes["tls"])) if "tls" in wishes else None
    places = ", ".join(sockets.place(line, tls=context is not None) for line in listeners)
    service = server.Service(
        sockets=listeners,
        limits=limits,
        logs=logs,
        notifier=Notifier.of(os.environ),
        tls=context,
        grace_seconds=wishes.get("grace", 30),
        status=lambda: "Counting",
        ready=lambda: logs.say(f"Listening on {places}"),
    )
    door = Door(
        app=application(), guard=guard, limits=limits, journal=Journal(logs=logs, metrics=Metrics())
    )
    await server.serve(door, service)


if __name__ == "__main__":
    asyncio.run(main(json.loads(sys.argv[1])))
