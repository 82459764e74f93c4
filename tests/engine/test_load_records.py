"""What the records keep of a load, also of one that fails or that the engine dies of."""

from __future__ import annotations

import contextlib
import os
import signal
from typing import Any

import pytest

from launcher import flow
from launcher.asker import Asker
from launcher.clearance import Cleared
from launcher.engine.client import Worker
from launcher.errors import EngineDied, LauncherError
from launcher.licensing import records
from tests.command import Here


def kept(asker: Asker) -> list[dict[str, Any]]:
    return list(records.recent(asker.log))


def test_a_load_of_which_the_engine_dies_leaves_a_record(
    cleared: Cleared, asker: Asker, here: Here
) -> None:
    with contextlib.closing(Worker()) as worker:
        os.kill(worker.process.pid, signal.SIGSEGV)
        with pytest.raises(EngineDied, match="SIGSEGV"):
            flow.load(cleared, worker, asker)
    decision, load = kept(asker)
    assert (decision["kind"], load["kind"]) == ("decision", "load")
    assert load["decision"] == load["previous"] == cleared.record
    assert load["failure"]["exit_code"] == 7
    assert "SIGSEGV" in load["failure"]["message"]
    assert "sandbox" not in load
    assert [file["role"] for file in load["files"]] == ["weights"]
    assert "failed, exit 7" in here("records", "list").out
    assert here("records", "verify").code == 0


def test_a_load_that_works_leaves_one_without_a_failure(cleared: Cleared, asker: Asker) -> None:
    with contextlib.closing(Worker()) as worker, flow.load(cleared, worker, asker):
        _, load = kept(asker)
    assert "failure" not in load
    assert load["context"] == 512


def test_a_disk_that_takes_no_record_does_not_hide_why_the_load_failed(
    cleared: Cleared, asker: Asker
) -> None:
    asker.places.records.unlink()
    asker.places.records.mkdir()
    with contextlib.closing(Worker()) as worker:
        os.kill(worker.process.pid, signal.SIGKILL)
        with pytest.raises(LauncherError, match="SIGKILL"):
            flow.load(cleared, worker, asker)
