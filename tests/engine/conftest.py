"""A cleared model, as the engine gets it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from launcher import flow, settings
from launcher.asker import Asker, Request
from launcher.clearance import Cleared
from launcher.engine.fit import Wishes
from launcher.licensing.declaration import Stated, who
from launcher.models import catalogue, sources
from launcher.paths import places

QUESTION = [{"role": "user", "content": "Name three colours."}]
GREEDY = {"temperature": 0.0}


@pytest.fixture(scope="session")
def smollm2() -> Path:
    """The file of the default model; the set-up of the tests installs it."""
    model = catalogue.load().model("smollm2:135m")
    assert model is not None
    path = sources.packaged_file(model)
    assert path is not None, "the default model is missing: run scripts/test"
    return path


@pytest.fixture
def asker() -> Asker:
    """A private person in Germany."""
    folders = places()
    stated = Stated(who=who("individual:DE"))
    return Asker(places=folders, settings=settings.load(folders), stated=stated)


@contextlib.contextmanager
def cleared_file(path: Path, asker: Asker, **wishes: Any) -> Iterator[Cleared]:
    """A file that passed the gate, kept open while the block runs."""
    with flow.judged(Request(model=str(path)), asker) as judgement:
        yield flow.clear(judgement, Wishes(**wishes), asker)


@pytest.fixture
def cleared(smollm2: Path, asker: Asker) -> Iterator[Cleared]:
    """The default model, cleared."""
    with cleared_file(smollm2, asker, context=512, threads=1) as found:
        yield found
