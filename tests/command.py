"""Calls the launcher as a user does: a process of its own, or, for long tables, in this one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pytest

from launcher.cli.main import main

TIMEOUT = 60.0  # seconds; no call may hang


@dataclass(frozen=True, slots=True)
class Result:
    """How a call ended."""

    code: int
    out: str
    err: str

    @property
    def body(self) -> Any:
        """What was printed as JSON."""
        return json.loads(self.out)


def launcher(
    *arguments: object, stdin: str | None = None, variables: Mapping[str, str] | None = None
) -> Result:
    """Runs `launcher` as a process, without a terminal."""
    done = subprocess.run(
        [sys.executable, "-m", "launcher", *map(str, arguments)],
        input=stdin,
        stdin=subprocess.DEVNULL if stdin is None else None,
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=TIMEOUT,
        env={**os.environ, **(variables or {})},
    )
    return Result(done.returncode, done.stdout, done.stderr)


class Here:
    """Calls the launcher in this process: the same entry, without the start of a process."""

    def __init__(self, capture: pytest.CaptureFixture[str]) -> None:
        self.capture = capture

    def __call__(self, *arguments: object) -> Result:
        self.capture.readouterr()
        code = 0
        try:
            main([str(argument) for argument in arguments])
        except SystemExit as error:
            code = int(error.code or 0)
        captured = self.capture.readouterr()
        return Result(code, captured.out, captured.err)
