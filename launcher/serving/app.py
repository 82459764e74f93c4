"""The application: which routers there are. What stands before it is `door`'s."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fastapi import FastAPI

from launcher import __version__
from launcher.serving import failures
from launcher.serving.ollama import routes
from launcher.serving.openai import listing
from launcher.serving.openai import routes as openai
from launcher.serving.responses import router as responses

if TYPE_CHECKING:
    from launcher.serving.fleet import Fleet

ROUTERS = (openai.router, responses.router, listing.router, routes.router)


def create_app(fleet: Fleet) -> FastAPI:
    """An application that answers with the models of a fleet, which somebody else starts."""
    app = FastAPI(
        title="launcher",
        version=__version__,
        description="Quantised GGUF models, kept to their licences.",
        redoc_url=None,
        redirect_slashes=False,
    )
    app.state.fleet = fleet
    failures.install(app)
    for router in ROUTERS:
        app.include_router(router)
    return app
