"""The sandbox by what cannot be done in it: tried for real, by a process that entered it."""

from __future__ import annotations

import contextlib
import json
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from launcher.clearance import Cleared
from launcher.engine import sandbox, syscalls
from launcher.engine.client import Engine, Text, Worker
from launcher.engine.sandbox import Level
from launcher.licensing import records
from launcher.paths import places
from tests.command import Here
from tests.engine import forbidden, old_kernel
from tests.engine.conftest import QUESTION

BOTH = "landlock,seccomp"


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """What a user may have: files, and a program that listens."""
    for name in ("precious", "spare", "other"):
        (tmp_path / name).write_text("x")
    with socket.socket(socket.AF_UNIX) as line:
        line.bind(str(tmp_path / "socket"))
        line.listen()
        yield tmp_path


def tried(folder: Path, model: Path, how: str) -> dict[str, Any]:
    with socket.create_server(("127.0.0.1", 0)) as server, model.open("rb") as stream:
        done = subprocess.run(
            [sys.executable, forbidden.__file__, how, str(server.getsockname()[1])],
            stdin=stream,
            cwd=folder,
            capture_output=True,
            check=False,
        )
    assert done.returncode == 0, done.stderr
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def test_nothing_forbidden_is_possible_in_the_sandbox(folder: Path, smollm2: Path) -> None:
    result = tried(folder, smollm2, "confined")
    assert result["level"] == Level.FULL
    assert result["forbidden"].keys() == forbidden.FORBIDDEN.keys()
    assert set(result["forbidden"].values()) <= {"EPERM", "EACCES"}
    assert set(result["needed"].values()) == {"done"}
    assert (folder / "precious").read_text() == "x"


def test_nor_in_that_of_a_graphics_driver(folder: Path, smollm2: Path) -> None:
    result = tried(folder, smollm2, "graphics")
    assert result["level"] == Level.DEVICE
    assert set(result["forbidden"].values()) <= {"EPERM", "EACCES"}
    assert set(result["needed"].values()) == {"done"}
    assert (folder / "precious").read_text() == "x"


def test_all_of_it_is_possible_outside(folder: Path, tmp_path: Path, smollm2: Path) -> None:
    copy = tmp_path / "copy.gguf"
    shutil.copyfile(smollm2, copy)
    result = tried(folder, copy, "free")
    assert set(result["forbidden"].values()) == {"done"}


def status(pid: int) -> Mapping[str, str]:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


def confined_threads(worker: Worker) -> int:
    """How many threads it has, each of them confined."""
    threads = [int(task.name) for task in Path(f"/proc/{worker.process.pid}/task").iterdir()]
    for thread in threads:
        assert status(thread)["Seccomp"] == "2"
        assert status(thread)["NoNewPrivs"] == "1"
    return len(threads)


def test_the_worker_is_confined_before_it_answers(cleared: Cleared) -> None:
    with contextlib.closing(Worker(require_sandbox=True)) as worker:
        engine = Engine(cleared, worker)
        assert engine.loaded.sandbox is Level.FULL
        assert confined_threads(worker) >= 1
        events = engine.generate(QUESTION, sampling={"temperature": 0.0}, max_tokens=8)
        assert "".join(event.text for event in events if isinstance(event, Text)).strip()
        assert confined_threads(worker) > 1
        limits = Path(f"/proc/{worker.process.pid}/limits").read_text()
        assert re.search(r"Max core file size +0 +0", limits)
        assert re.search(r"Max open files +256 +256", limits)


def test_no_network_is_asked_for_from_the_load_to_the_end(cleared: Cleared, tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    with contextlib.closing(Worker()) as worker:
        calls = Recorder(worker.process.pid, trace)
        engine = Engine(cleared, worker)
        *_, done = engine.generate(QUESTION, sampling={"temperature": 0.0}, max_tokens=8)
        assert not isinstance(done, Text)
        assert calls.asked() == []


class Recorder:
    """The network calls of a process: by strace where there is one, else what seccomp refuses."""

    def __init__(self, pid: int, trace: Path) -> None:
        self.pid, self.trace = pid, trace
        self.tracer: subprocess.Popen[bytes] | None = None
        if shutil.which("strace"):
            command = ["strace", "-f", "-e", "trace=%network", "-o", str(trace), "-p", str(pid)]
            self.tracer = subprocess.Popen(command, stderr=subprocess.PIPE)
            assert self.tracer.stderr is not None
            self.tracer.stderr.readline()  # attached

    def asked(self) -> list[str]:
        """All but the talk with the launcher, over the line that was there before."""
        if self.tracer is None:
            refused = dict(syscalls.refused())
            assert status(self.pid)["Seccomp"] == "2"
            return [name for name in ("socket", "connect", "bind") if name not in refused]
        assert "sendto" in self.trace.read_text()
        self.tracer.terminate()
        self.tracer.communicate()
        asking = re.compile(r"\b(socket|connect|bind|listen|accept4?)\(")
        return [line for line in self.trace.read_text().splitlines() if asking.search(line)]


@pytest.mark.parametrize(
    ("missing", "level"), [("landlock", "partial"), ("seccomp", "partial"), (BOTH, "none")]
)
def test_on_a_kernel_that_lacks_something_the_level_is_lower(missing: str, level: str) -> None:
    done = older(missing, "-I", "-m", "launcher.engine.sandbox")
    assert done.stdout.decode() == level


def test_who_insists_on_the_sandbox_gets_no_answer_without_it() -> None:
    run = (
        "-m",
        "launcher",
        "run",
        "smollm2:135m",
        "hi",
        "--as",
        "individual:DE",
        "-n",
        "4",
        "-t",
        "1",
    )
    refused = older("landlock", *run, "--require-sandbox")
    assert refused.returncode == 8
    assert b"only in part" in refused.stderr
    assert refused.stdout == b""
    first, second = older(BOTH, *run), older(BOTH, *run)
    assert first.returncode == second.returncode == 0
    assert b"not confined" in first.stderr
    assert second.stderr == b""  # it is said once
    kept = records.recent(records.Log(places().records, 1 << 20))
    assert [one.get("sandbox") for one in kept if one["kind"] == "load"] == [None, "none", "none"]


def older(missing: str, *arguments: str) -> subprocess.CompletedProcess[bytes]:
    """Python with these arguments, on a kernel that lacks something."""
    command = [sys.executable, old_kernel.__file__, missing, sys.executable, *arguments]
    return subprocess.run(command, capture_output=True, check=False, timeout=60)


def test_the_level_is_found_by_trying(here: Here) -> None:
    assert sandbox.reachable() is Level.FULL
    assert here("doctor", "--json").body["sandbox"] == "full"
    assert "Sandbox:      full" in here("doctor").out


def test_every_call_has_its_own_number() -> None:
    for column in range(len(syscalls.COLUMNS)):
        numbers = [found[column] for _, found in syscalls.refused() if found[column] is not None]
        assert len(numbers) == len(set(numbers)) > 80
