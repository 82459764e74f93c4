"""Several models that do not all fit: the one that was used least recently makes room."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from launcher import settings
from launcher.asker import Asker, Request
from launcher.engine import machine
from launcher.engine.fit import Wishes
from launcher.errors import DoesNotFit
from launcher.licensing.declaration import Stated, who
from launcher.paths import Places
from launcher.serving.fleet import Fleet, Offer, State, Terms
from tests.serving.running import MODEL

EACH = 250 << 20  # bytes; more than one of them takes, less than two do
WISHES = Wishes(context=512, threads=1, slots=2)


def started() -> set[int]:
    """The processes that this one has started, by whichever thread."""
    lists = (path.read_text() for path in Path("/proc/self/task").glob("*/children"))
    return {int(word) for text in lists for word in text.split()}


def resident(processes: set[int]) -> int:
    """Bytes that they take."""
    pages = (int(Path(f"/proc/{pid}/statm").read_text().split()[1]) for pid in processes)
    return sum(pages) * os.sysconf("SC_PAGE_SIZE")


def play(
    folder: Path, scene: Callable[[Fleet], Coroutine[Any, Any, None]], wishes: Wishes = WISHES
) -> None:
    """Three models that are one file, each in a worker of its own."""
    home = Places(config=folder, state=folder, cache=folder, data=folder, site=folder / "site")
    stated = Stated(who=who("individual:DE"))
    asker = Asker(places=home, settings=settings.load(home), stated=stated)
    offers = [Offer(name=name, request=Request(model=MODEL)) for name in ("a", "b", "c")]
    fleet = Fleet(offers, asker, Terms(wishes=wishes, keep_alive=None))

    async def whole() -> None:
        async with opened(fleet):
            await scene(fleet)

    asyncio.run(whole())


@contextlib.asynccontextmanager
async def opened(fleet: Fleet) -> AsyncIterator[None]:
    await fleet.start()
    try:
        yield
    finally:
        await fleet.close()


def loaded(fleet: Fleet) -> set[str]:
    return {name for name, served in fleet.models.items() if served.state is State.READY}


async def use(fleet: Fleet, name: str) -> None:
    async with fleet.engine(name):
        pass


@pytest.fixture
def room(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Sets a limit to what the workers take together, as a control group's would be."""
    others = started()

    def limited(size: int) -> None:
        monkeypatch.setattr(machine, "_cgroup_memory", lambda: (size, resident(started() - others)))

    return limited


def test_the_least_recently_used_makes_room(tmp_path: Path, room: Callable[[int], None]) -> None:
    room(2 * EACH)

    async def scene(fleet: Fleet) -> None:
        await use(fleet, "a")
        await use(fleet, "b")
        await use(fleet, "a")
        assert loaded(fleet) == {"a", "b"}
        await use(fleet, "c")
        assert loaded(fleet) == {"a", "c"}
        await use(fleet, "b")
        assert loaded(fleet) == {"b", "c"}

    play(tmp_path, scene)


def test_what_is_in_use_stays(tmp_path: Path, room: Callable[[int], None]) -> None:
    room(EACH)

    async def scene(fleet: Fleet) -> None:
        async with fleet.engine("a"):
            with pytest.raises(DoesNotFit, match="of memory"):
                await use(fleet, "b")
            assert loaded(fleet) == {"a"}

    play(tmp_path, scene)


def test_less_than_the_usual_is_for_a_model_that_is_alone(
    tmp_path: Path, room: Callable[[int], None]
) -> None:
    """The others go before keys and values are kept in 8 bits."""
    room(450 << 20)  # for one as usual, and another that is kept in less

    async def scene(fleet: Fleet) -> None:
        await use(fleet, "a")
        await use(fleet, "b")
        assert loaded(fleet) == {"b"}
        assert fleet.models["b"].loads == 1

    play(tmp_path, scene, Wishes(context=2048, threads=1, slots=2))
