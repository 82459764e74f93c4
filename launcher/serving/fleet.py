"""The models that are served, each in a worker of its own.

A model is loaded when somebody asks for it, and judged anew each time. It is unloaded when
nobody has asked for a while, or when another needs the memory, the one that was used least
recently first. A worker that dies takes its own questions with it, and is started again.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import Any, TypeVar

from launcher import flow
from launcher.asker import Asker, Request
from launcher.clearance import Verdict
from launcher.engine.client import Engine, Worker
from launcher.engine.fit import Wishes
from launcher.engine.shared import SharedEngine
from launcher.errors import DoesNotFit, LauncherError
from launcher.flow import Judgement, NotCleared
from launcher.reach import Look
from launcher.serving.failures import BackingOff, QueueFull, UnknownModel

T = TypeVar("T")
STEADY = 120.0  # seconds after which a worker that dies counts as the first that did


class State(StrEnum):
    """Of a model."""

    UNLOADED = "unloaded"
    LOADING = "loading"
    READY = "ready"
    REFUSED = "refused"
    FAILED = "failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """A model to be served, under a name."""

    name: str
    request: Request


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """How models are served."""

    wishes: Wishes
    """`slots` among them: how many answers a model computes side by side."""
    keep_alive: float | None = 300.0
    """Seconds that a model stays loaded when nobody asks; None: for good."""
    queue: int = 64
    """How many questions may wait for a slot, for each model."""
    most_tokens: int | None = None
    """Of an answer; None: as many as the context holds."""
    grammars: bool = False
    """Whether clients may give grammars. A short one can take so long that the worker ends itself,
    and the answers of others with it: llama.cpp tries every way in which a grammar goes on."""
    require_sandbox: bool = False
    pauses: tuple[float, float] = (1.0, 60.0)
    """Seconds before a worker that died is started again: the first time, and at most."""


def name_of(model: str) -> str:
    """What clients call a model: as it was given; a file by its name.

    >>> name_of("smollm2:135m"), name_of("./models/Some-Model-Q4_0.gguf")
    ('smollm2:135m', 'Some-Model-Q4_0')
    """
    return Path(model).stem if model.endswith(".gguf") else model


@dataclass(frozen=True, slots=True, kw_only=True)
class _Loaded:
    """An engine, and what has to be closed with it."""

    engine: SharedEngine
    stack: contextlib.ExitStack
    since: float


class Served:
    """One model of the fleet."""

    def __init__(self, offer: Offer, judgement: Judgement) -> None:
        self.name, self.request = offer.name, offer.request
        self.judgement = judgement
        """The latest."""
        self.users = 0
        """Questions under way or waiting."""
        self.loads = self.deaths = 0
        self.used = time.monotonic()
        self.error: LauncherError | None = None
        """Why it could not be loaded, while that is not tried again."""
        self.loaded: _Loaded | None = None
        self.loading: asyncio.Task[SharedEngine] | None = None
        self.pause = 0.0
        """Seconds before it was tried again last."""
        self.retry_at = 0.0
        self.timer: asyncio.TimerHandle | None = None

    @property
    def engine(self) -> SharedEngine | None:
        return self.loaded.engine if self.loaded is not None else None

    @property
    def is_allowed(self) -> bool:
        return self.judgement.decision.verdict is Verdict.ALLOW

    @property
    def state(self) -> State:
        if self.loaded is not None:
            return State.READY
        if self.loading is not None:
            return State.LOADING
        if not self.is_allowed:
            return State.REFUSED
        return State.FAILED if self.error is not None else State.UNLOADED


class Fleet:
    """All models that are served."""

    def __init__(self, offers: Sequence[Offer], asker: Asker, terms: Terms) -> None:
        self.terms = terms
        self._offers, self._asker = offers, asker
        self._models: dict[str, Served] = {}
        # One thread for as long as the fleet lives: workers end with the thread that starts them.
        self._hands = ThreadPoolExecutor(1, "loader")
        self._tasks: set[asyncio.Task[Any]] = set()
        self._open: set[contextlib.ExitStack] = set()  # that thread's; a load may outlive its task
        self._closed = False

    @property
    def models(self) -> Mapping[str, Served]:
        return self._models

    async def start(self) -> None:
        """Judges all models; loads none. Raises `LauncherError` for what cannot be judged."""
        for offer in self._offers:
            judgement = await self._by_hand(functools.partial(self._judged, offer.request))
            self._models[offer.name] = Served(offer, judgement)

    async def close(self) -> None:
        """Ends all workers."""
        self._closed = True
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for served in self._models.values():
            await self.unload(served)
        await self._by_hand(self._shut_all)
        self._hands.shutdown()

    def served(self, name: str) -> Served:
        """The model of a name. Raises `UnknownModel`."""
        if name not in self._models:
            raise UnknownModel(name, list(self._models))
        return self._models[name]

    @contextlib.asynccontextmanager
    async def engine(
        self, name: str, keep_alive: float | None = None
    ) -> AsyncIterator[SharedEngine]:
        """The engine of a model, for as long as the block runs; loads it where needed.

        `keep_alive` (seconds) holds for this time instead of what the fleet has agreed.
        Raises `UnknownModel`, `NotCleared`, `QueueFull`, `BackingOff`, or what keeps it from
        being loaded.
        """
        served = self.served(name)
        if served.users >= self.terms.wishes.slots + self.terms.queue:
            raise QueueFull(name, served.users)
        served.users += 1
        self._stop_timer(served)
        try:
            yield await self._ready(served)
        finally:
            served.users -= 1
            served.used = time.monotonic()
            self._keep(served, self.terms.keep_alive if keep_alive is None else keep_alive)

    async def unload(self, served: Served) -> None:
        """Ends the worker of a model, where it has one."""
        loaded, served.loaded = served.loaded, None
        self._stop_timer(served)
        if loaded is not None:
            loaded.engine.at_death = None
            loaded.engine.hang_up()
            await self._by_hand(lambda: self._shut(loaded.stack))

    # --- Loading --------------------------------------------------------------------------------

    async def _ready(self, served: Served) -> SharedEngine:
        if served.engine is not None:
            return served.engine
        if served.loading is None:
            self._refuse_too_soon(served)
            served.loading = self._task(self._load(served))
        return await asyncio.shield(served.loading)

    def _refuse_too_soon(self, served: Served) -> None:
        wait = served.retry_at - time.monotonic()
        if wait > 0:
            raise BackingOff(served.name, wait, served.error)

    async def _load(self, served: Served) -> SharedEngine:
        try:
            engine, stack = await self._made_room_for(served)
        except NotCleared as error:
            served.judgement = error.judgement
            raise
        except LauncherError as error:
            self._back_off(served, error)
            raise
        finally:
            served.loading = None
        shared = SharedEngine(engine, self.terms.wishes.slots, most_tokens=self.terms.most_tokens)
        await shared.connect()
        served.loaded = _Loaded(engine=shared, stack=stack, since=time.monotonic())
        served.error = None
        served.loads += 1
        shared.at_death = lambda: self._died(served)
        self._keep(served, self.terms.keep_alive)
        return shared

    async def _made_room_for(self, served: Served) -> tuple[Engine, contextlib.ExitStack]:
        """Loads a model; ends others for it, where nobody uses them, as long as it needs room.

        It has to put up with less than the usual only where there are no others to end.
        """
        while True:
            idle = [other for other in self._models.values() if _is_idle(other)]
            opened = functools.partial(self._opened, served, whole=bool(idle))
            try:
                return await self._by_hand(opened)
            except DoesNotFit:
                if not idle:
                    raise
                await self.unload(min(idle, key=lambda other: other.used))

    def _judged(self, request: Request) -> Judgement:
        with flow.judged(request, self._asker, Look.HUB) as judgement:
            return judgement

    def _opened(self, served: Served, *, whole: bool) -> tuple[Engine, contextlib.ExitStack]:
        """The whole way, in the thread that loads; `whole`: as usual, or `DoesNotFit`."""
        wishes, asker = self.terms.wishes, self._asker
        with contextlib.ExitStack() as stack:
            judgement = stack.enter_context(flow.judged(served.request, asker, Look.HUB))
            served.judgement = judgement
            cleared = flow.clear(judgement, wishes, asker)
            if whole and cleared.plan.note:
                raise DoesNotFit(cleared.plan.note)
            here = stack.enter_context(flow.obtained(cleared, wishes, asker))
            worker = Worker(require_sandbox=self.terms.require_sandbox)
            stack.enter_context(contextlib.closing(worker))
            here = flow.calibrated(here, wishes, worker, asker)
            engine = stack.enter_context(flow.load(here, worker, asker, shared=True))
            kept = stack.pop_all()
        self._open.add(kept)
        return engine, kept

    def _shut_all(self) -> None:
        for stack in list(self._open):
            self._shut(stack)

    def _shut(self, stack: contextlib.ExitStack) -> None:
        self._open.discard(stack)
        stack.close()

    # --- What ends a worker ---------------------------------------------------------------------

    def _died(self, served: Served) -> None:
        """Takes note, and starts it again after a while."""
        loaded = served.loaded
        if loaded is None or self._closed:
            return
        served.deaths += 1
        if time.monotonic() - loaded.since > STEADY:
            served.pause = 0.0
        assert loaded.engine.death is not None
        self._back_off(served, loaded.engine.death)
        served.loaded = None
        self._task(self._again(served, loaded))

    async def _again(self, served: Served, dead: _Loaded) -> None:
        await self._by_hand(lambda: self._shut(dead.stack))
        await asyncio.sleep(max(served.retry_at - time.monotonic(), 0))
        with contextlib.suppress(LauncherError):
            await self._ready(served)

    def _back_off(self, served: Served, error: LauncherError) -> None:
        first, longest = self.terms.pauses
        served.error = error
        served.pause = min(max(first, 2 * served.pause), longest)
        served.retry_at = time.monotonic() + served.pause

    def _keep(self, served: Served, seconds: float | None) -> None:
        """Unloads a model after a while, unless somebody asks for it."""
        self._stop_timer(served)
        if seconds is not None and seconds >= 0 and not served.users and not self._closed:
            loop = asyncio.get_running_loop()
            served.timer = loop.call_later(seconds, self._unload_idle, served)

    def _unload_idle(self, served: Served) -> None:
        if _is_idle(served):
            self._task(self.unload(served))

    def _stop_timer(self, served: Served) -> None:
        if served.timer is not None:
            served.timer.cancel()
            served.timer = None

    # --- Threads and tasks ----------------------------------------------------------------------

    async def _by_hand(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._hands, work)

    def _task(self, work: Any) -> asyncio.Task[Any]:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task


def _is_idle(served: Served) -> bool:
    return served.loaded is not None and not served.users


def offers(requests: Sequence[Request], alias: str = "") -> list[Offer]:
    """The models under the names that clients call them by; `alias` is the name of the first.

    Raises `LauncherError` where two would have the same.
    """
    made = [Offer(name=name_of(request.model), request=request) for request in requests]
    if alias and made:
        made[0] = replace(made[0], name=alias)
    names = [offer.name for offer in made]
    for name in names:
        if names.count(name) > 1:
            raise LauncherError(
                f"Two of the models would be called {name}",
                hint="Serve one of them, or give the first another name with --alias.",
            )
    return made
