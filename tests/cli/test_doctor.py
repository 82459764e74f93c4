"""`launcher doctor`: what it finds out, and what it says of an engine that dies."""

from __future__ import annotations

import os
import subprocess
import sysconfig
import venv
from pathlib import Path

import pytest

from tests.command import Here

ROOT = Path(__file__).resolve().parents[2]
DYING = "import os, signal\nos.kill(os.getpid(), signal.SIGILL)\n"


def test_it_says_where_models_lie_and_where_they_come_from(
    here: Here, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "not there yet"))
    monkeypatch.setenv("HF_ENDPOINT", "https://hub.example.org")
    body = here("doctor", "--json").body
    assert body["storage"]["folder"] == str(tmp_path / "not there yet")
    assert body["storage"]["free"] > 0
    assert body["hub"] == {"endpoint": "https://hub.example.org", "offline": False}
    assert body["memory_available"] <= body["memory"]
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    out = here("doctor").out
    assert "Hub:          https://hub.example.org, offline: nothing is asked of it" in out
    assert "not there yet" in out


def test_an_address_that_is_none_is_said_and_is_no_failure(
    here: Here, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "nonsense")
    result = here("doctor")
    assert result.code == 0
    assert "HF_ENDPOINT is 'nonsense', which is no address" in result.out


def around(folder: Path, engine: str | None) -> list[str]:
    """`launcher` in an environment of its own, with an engine of this text or the real one."""
    venv.create(folder / "venv", with_pip=False, symlinks=True)
    python = folder / "venv" / "bin" / "python"
    paths = [ROOT, Path(sysconfig.get_path("purelib"))]
    if engine is not None:
        package = folder / "engine" / "llama_cpp"
        package.mkdir(parents=True)
        (package / "__init__.py").touch()
        (package / "llama_cpp.py").write_text(engine)
        paths.insert(0, package.parent)
    (site,) = (folder / "venv" / "lib").glob("python*/site-packages")
    (site / "around.pth").write_text("".join(f"{path}\n" for path in paths))
    return [str(python), "-m", "launcher", "doctor"]


def doctor(command: list[str], folder: Path) -> str:
    done = subprocess.run(
        command,
        capture_output=True,
        encoding="utf-8",
        check=True,
        timeout=60,
        cwd=folder,
        env={**os.environ, "PYTHONUSERBASE": str(folder / "user")},
    )
    return done.stdout


def test_an_engine_that_dies_of_sigill_is_a_sentence_with_its_remedy(tmp_path: Path) -> None:
    command = around(tmp_path, DYING)
    for _ in range(2):  # and it is tried anew each time
        out = doctor(command, tmp_path)
        assert "The engine was ended by SIGILL: it was built with instructions" in out
        assert "Remedy:       launcher doctor --rebuild" in out


def test_an_engine_that_answers_is_tried_once(tmp_path: Path) -> None:
    command = around(tmp_path, None)
    assert "has answered on this processor" in doctor(command, tmp_path)
    proof = tmp_path / "venv" / "launcher-engine.json"
    noted = proof.stat().st_mtime_ns
    assert "has answered on this processor" in doctor(command, tmp_path)
    assert proof.stat().st_mtime_ns == noted
