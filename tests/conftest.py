"""What every test needs: a home of its own."""

from __future__ import annotations

import os
from pathlib import Path

import hypothesis
import pytest


@pytest.fixture(autouse=True)
def home(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder in place of the user's own, so that theirs are never read or written."""
    for name in [name for name in os.environ if name.startswith(("LAUNCHER_", "HF_"))]:
        monkeypatch.delenv(name)
    folder = tmp_path_factory.mktemp("home")
    monkeypatch.setenv("LAUNCHER_HOME", str(folder))
    return folder


# `scripts/campaign` asks for more examples than a test run has time for.
hypothesis.settings.register_profile(
    "suite",
    max_examples=int(os.environ.get("HYPOTHESIS_EXAMPLES", "100")),
    deadline=None,
    derandomize="HYPOTHESIS_EXAMPLES" not in os.environ,
)
hypothesis.settings.load_profile("suite")
