"""Runs pip and other programs of the set-up, and shows that they move.

Standard library only: this runs before anything is installed.
"""

from __future__ import annotations

import collections
import contextlib
import os
import re
import shlex
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from launcher.engine import machine
from launcher.installation import failures
from launcher.installation.progress import Progress

_TICK = 1.0  # seconds between looks at a running program
_KEPT_LINES = 2000  # of a program's output, for finding out what went wrong
_STOPPING = 10.0  # seconds for a program to end when it is told to

# What ninja (`[57/193] ...`) and make (`[ 29%] ...`) write, and when pip begins to compile.
_FILES = re.compile(r"\s*\[(\d+)/(\d+)\]")
_PERCENT = re.compile(r"\s*\[ *(\d+)%\]")
_BUILDING = re.compile(r"\s*(Running command )?Building wheel for llama[-_]cpp[-_]python")


def install(
    arguments: Sequence[str],
    *,
    what: str,
    log: Path,
    progress: Progress,
    environment: Mapping[str, str] = os.environ,
    python: str | Path = sys.executable,
) -> None:
    """`pip install` with these arguments; `what` is shown while it runs.

    Raises a `LauncherError` that says why it failed and what helps.
    """
    command = [str(python), "-m", "pip", "install", "--no-input", "--progress-bar", "off"]
    run([*command, *arguments], what=what, log=log, progress=progress, environment=environment)


def forget(wheel: str, *, log: Path, python: str | Path = sys.executable) -> bool:
    """Takes the wheels of `name_with_underscores-version` out of pip's cache.

    False when pip has no cache or cannot change it.
    """
    with log.open("ab") as stream:
        done = subprocess.run(
            [str(python), "-m", "pip", "cache", "remove", wheel],
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=stream,
            check=False,
        )
    return done.returncode == 0


def run(
    command: Sequence[str],
    *,
    what: str,
    log: Path,
    progress: Progress,
    environment: Mapping[str, str] = os.environ,
) -> None:
    """Runs a program of the set-up to its end, its output in `log`.

    Raises a `LauncherError` that says why it failed and what helps.
    """
    stage = Stage(what)
    with log.open("ab") as stream:
        stream.write(f"\n$ {shlex.join(command)}\n".encode())
        stream.flush()
        status = _watched(command, stage, stream.fileno(), progress, environment)
    if status:
        raise failures.explained(command, status, stage.lines, log)


class Stage:
    """How far a program has come, read from its output."""

    def __init__(self, what: str) -> None:
        self.lines: collections.deque[str] = collections.deque(maxlen=_KEPT_LINES)
        self.compiles = False
        self._what = what
        self._done = ""
        self._started = time.monotonic()

    def read(self, line: str) -> None:
        self.lines.append(line)
        if _BUILDING.match(line):
            self.compiles = True
        elif self.compiles:
            if match := _FILES.match(line):
                self._done = f"{match[1]} of {match[2]} files"
            elif match := _PERCENT.match(line):
                self._done = f"{match[1]} %"

    def text(self) -> str:
        """What to show now: `Compiling the engine: 57 of 193 files, 3 min`."""
        seconds = time.monotonic() - self._started
        what = "Compiling the engine" if self.compiles else self._what
        done = f"{what}: {self._done}" if self._done else what
        if seconds < 1:
            return done
        return f"{done}, {seconds:.0f} s" if seconds < 60 else f"{done}, {seconds // 60:.0f} min"


def announcement() -> str:
    """What is said before a compilation: how long it takes on a machine of this size."""
    processors = machine.processors()
    least, most = -(-10 // processors), -(-30 // processors)
    return (
        "The engine is now compiled for this processor. This takes "
        f"{least} to {most} minutes, and only this once."
    )


def _watched(
    command: Sequence[str],
    stage: Stage,
    log: int,
    progress: Progress,
    environment: Mapping[str, str],
) -> int:
    """The exit status of a program, shown while it runs; it is ended when we are."""
    process = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env={**environment, "LC_ALL": "C.UTF-8"},  # reasons are looked for in English
        close_fds=False,  # the lock of `one_at_a_time` is to outlive us with this program
    )
    reader = threading.Thread(target=_read, args=(process, stage, log), daemon=True)
    reader.start()
    announced = False
    try:
        while reader.is_alive():
            if stage.compiles and not announced:
                progress.say(announcement())
                announced = True
            progress.show(stage.text())
            reader.join(_TICK)
        return process.wait()
    finally:
        progress.clear()
        _end(process)


def _read(process: subprocess.Popen[bytes], stage: Stage, log: int) -> None:
    assert process.stdout is not None
    with process.stdout:
        for line in process.stdout:
            stage.read(line.decode("utf-8", "replace").rstrip())
            # A full disk must not stop the reading: the program's own words tell of it.
            with contextlib.suppress(OSError):
                os.write(log, line)


def _end(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(_STOPPING)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
