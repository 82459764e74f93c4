"""The number of threads follows what other processes leave."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from launcher.engine.worker.pace import WINDOW, Look, Pace


@pytest.fixture
def crowd() -> Iterator[None]:
    """Other processes on every processor."""
    processors = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 2
    spinning = [sys.executable, "-c", "print(flush=True)\nwhile True: pass"]
    started = [subprocess.Popen(spinning, stdout=subprocess.PIPE) for _ in range(2 * processors)]
    for process in started:
        assert process.stdout is not None
        process.stdout.readline()
    yield
    for process in started:
        process.kill()
        process.communicate()


def feed(pace: Pace, share: float, steps: int = 20, start: float = 0.0) -> float:
    """Steps whose threads got this share of a processor each; gives the time after them."""
    now = start
    for _ in range(steps):
        now += WINDOW / 4
        pace.note(now, WINDOW / 4, share * pace.threads * WINDOW / 4)
    return now


def test_undisturbed_threads_stay() -> None:
    used: list[int] = []
    pace = Pace(4, used.append)
    feed(pace, 0.98)
    assert (pace.threads, used) == (4, [])


def test_crowded_threads_go_one_after_the_other() -> None:
    used: list[int] = []
    pace = Pace(3, used.append)
    feed(pace, 0.6, steps=8)
    assert used == [2, 1]


def test_one_step_that_takes_long_is_enough() -> None:
    used: list[int] = []
    pace = Pace(2, used.append)
    pace.note(0.3, 0.3, 0.3)
    assert used == [1]


def test_one_thread_is_left_alone() -> None:
    used: list[int] = []
    pace = Pace(1, used.append)
    pace.look_around(1)
    pace.settle()
    feed(pace, 0.1)
    assert used == []


@pytest.mark.usefixtures("crowd")
def test_a_crowd_is_seen() -> None:
    assert sum(_seen() for _ in range(5)) <= 1


def _seen() -> int:
    look = Look(1)
    look.wait()
    return look.free


def test_threads_come_back_when_there_is_room() -> None:
    used: list[int] = []
    pace = Pace(2, used.append)
    feed(pace, 0.5, steps=4)
    deadline, now = time.monotonic() + 20, 1.0
    while pace.threads < 2 and time.monotonic() < deadline:
        now = feed(pace, 1.0, steps=100, start=now)
        time.sleep(0.02)
    assert used[:2] == [1, 2]
