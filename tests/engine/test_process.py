"""A worker that is started before it is needed."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from launcher.clearance import Cleared
from launcher.engine import process
from launcher.engine.client import Done, Engine, Worker
from launcher.errors import ExitCode
from tests.engine.conftest import GREEDY, QUESTION


@pytest.fixture
def early() -> Iterator[process.Process]:
    process.start_early()
    (started,) = process._early
    yield started
    process.discard()


def test_whoever_asks_first_gets_it(early: process.Process) -> None:
    with contextlib.closing(Worker()) as first, contextlib.closing(Worker()) as second:
        assert first.process.pid == early.running.pid
        assert second.process.pid != early.running.pid


def test_what_nobody_takes_is_ended(early: process.Process) -> None:
    assert Path(f"/proc/{early.running.pid}").exists()
    process.discard()
    assert early.running.returncode is not None
    assert not Path(f"/proc/{early.running.pid}").exists()


def test_it_answers_like_any_other(early: process.Process, cleared: Cleared) -> None:
    with contextlib.closing(Worker()) as worker, Engine(cleared, worker) as engine:
        assert worker.process.pid == early.running.pid
        *_, done = engine.generate(QUESTION, sampling=GREEDY, max_tokens=4)
        assert isinstance(done, Done)
        assert done.tokens == 4


def test_a_command_that_ends_before_it_needs_one_leaves_none_behind(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "launcher", "run", str(tmp_path / "none.gguf"), "Hi"]
    environment = {**os.environ, "LAUNCHER_HOME": str(tmp_path)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == ExitCode.NOT_FOUND
    assert done.stderr.startswith("Error: ")
    assert "Traceback" not in done.stderr
