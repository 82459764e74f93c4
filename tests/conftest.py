"""What every test needs: a home of its own, and ways to call the launcher in it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest

from launcher.licensing import acceptance, policy
from launcher.licensing.acceptance import Acceptance
from launcher.licensing.declaration import Person
from launcher.paths import Places, places
from tests.command import Here
from tests.terminal import Start, Terminal


def pytest_configure() -> None:
    """Where tests run side by side, each side keeps to a core of its own.

    Threads of two engines that spin on one core bring both nearly to a stop.
    """
    side = os.environ.get("PYTEST_XDIST_WORKER", "").removeprefix("gw")
    if side and hasattr(os, "sched_setaffinity"):
        cores = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(0, {cores[int(side) % len(cores)]})


@pytest.fixture(autouse=True)
def home(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder in place of the user's own, so that theirs are never read or written."""
    for name in [name for name in os.environ if name.startswith(("LAUNCHER_", "HF_"))]:
        monkeypatch.delenv(name)
    folder = tmp_path_factory.mktemp("home")
    monkeypatch.setenv("LAUNCHER_HOME", str(folder))
    monkeypatch.setenv("LAUNCHER_NO_CALIBRATION", "1")  # which each test would do anew
    monkeypatch.setenv("HF_HOME", str(folder / "huggingface"))
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")  # where nothing listens
    return folder


@pytest.fixture
def here(capsys: pytest.CaptureFixture[str]) -> Here:
    """The launcher, called in this process."""
    return Here(capsys)


@pytest.fixture
def terminal() -> Iterator[Start]:
    """Starts the launcher on a terminal; whatever still runs afterwards is ended."""
    started: list[Terminal] = []

    def start(*arguments: str) -> Terminal:
        started.append(Terminal(*arguments))
        return started[-1]

    yield start
    for screen in started:
        screen.kill()


@pytest.fixture
def folders(home: Path) -> Places:
    """Where the launcher keeps things in this test."""
    return places()


@pytest.fixture(scope="session")
def every_acceptance(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A file of acceptances in which everybody has accepted everything."""
    folder = tmp_path_factory.mktemp("accepted")
    site = Places(config=folder, state=folder, cache=folder, data=folder, site=folder / "site")
    for licence in policy.load().licences.values():
        for person in Person if licence.acceptance else ():
            answer = Acceptance(
                licence=licence.id,
                text_sha256=licence.text_sha256,
                person=person,
                accepted=True,
                at="",
                by="option",
            )
            acceptance.add(site, answer)
    return site.acceptances.read_bytes()


@pytest.fixture
def accepted(folders: Places, every_acceptance: bytes) -> Places:
    """Folders in which everybody has accepted everything."""
    folders.config.mkdir(parents=True)
    folders.acceptances.write_bytes(every_acceptance)
    return folders


# `scripts/campaign` asks for more examples than a test run has time for.
hypothesis.settings.register_profile(
    "suite",
    max_examples=int(os.environ.get("HYPOTHESIS_EXAMPLES", "100")),
    deadline=None,
    derandomize="HYPOTHESIS_EXAMPLES" not in os.environ,
)
hypothesis.settings.load_profile("suite")
