"""A server with the real model, as a test sees it."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import openai

from launcher import settings
from launcher.asker import Asker, Request
from launcher.engine.fit import Wishes
from launcher.licensing.declaration import Stated, who
from launcher.paths import Places
from launcher.serving.app import create_app
from launcher.serving.fleet import Fleet, Offer, Terms
from tests.headers import write_model
from tests.serving.loopback import serving

MODEL = "smollm2:135m"
REFUSED = "scout"
CONTEXT = 512  # tokens
SLOTS = 4


@dataclass(frozen=True)
class Running:
    """A server under way."""

    url: str
    fleet: Fleet

    def client(self) -> openai.OpenAI:
        """OpenAI's own client; the caller closes it."""
        return openai.OpenAI(base_url=f"{self.url}/v1", api_key="none", max_retries=0, timeout=60)

    def post(self, path: str, body: object) -> httpx.Response:
        return httpx.post(f"{self.url}{path}", json=body, timeout=60)

    @property
    def questions(self) -> int:
        """How many the worker is still busy with, as the server sees it."""
        engine = self.fleet.served(MODEL).engine
        return engine.asked if engine is not None else 0


@contextlib.contextmanager
def running(folder: Path, **how: Any) -> Iterator[Running]:
    """The default model and one that the gate refuses, served from a home of their own.

    `how` are further `Terms`.
    """
    home = Places(config=folder, state=folder, cache=folder, data=folder, site=folder / "site")
    asker = Asker(
        places=home, settings=settings.load(home), stated=Stated(who=who("individual:DE"))
    )
    scout = write_model(folder / f"{REFUSED}.gguf", "llama-4-scout")
    offers = [
        Offer(name=MODEL, request=Request(model=MODEL)),
        Offer(name=REFUSED, request=Request(model=str(scout))),
    ]
    # With flash attention a row says the same by itself as among others, here at least.
    wishes = Wishes(context=CONTEXT, threads=1, slots=SLOTS, flash_attention="on")
    terms = Terms(**{"wishes": wishes, "keep_alive": None, "grammars": True, **how})
    fleet = Fleet(offers, asker, terms)

    @contextlib.asynccontextmanager
    async def around() -> AsyncIterator[None]:
        await fleet.start()
        try:
            yield
        finally:
            await fleet.close()

    with serving(create_app(fleet), around) as url:
        yield Running(url, fleet)
