"""What every test needs: a home of its own."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def home(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder in place of the user's own, so that theirs are never read or written."""
    for name in [name for name in os.environ if name.startswith(("LAUNCHER_", "HF_"))]:
        monkeypatch.delenv(name)
    folder = tmp_path_factory.mktemp("home")
    monkeypatch.setenv("LAUNCHER_HOME", str(folder))
    return folder
