"""`launcher doctor`: what it finds out, and what it says of an engine that dies."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
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
    if engine is not None:
        package = folder / "engine" / "llama_cpp"
        package.mkdir(parents=True)
        (package / "__init__.py").touch()
        (package / "llama_cpp.py").write_text(engine)
    return _in_an_environment(folder)


def changed(folder: Path, more: str) -> list[str]:
    """The same with the real engine, and more text at the end of its interface."""
    real = importlib.util.find_spec("llama_cpp")
    assert real is not None
    assert real.origin is not None
    package = shutil.copytree(Path(real.origin).parent, folder / "engine" / "llama_cpp")
    with (package / "llama_cpp.py").open("a") as stream:
        stream.write(more)
    return _in_an_environment(folder)


def _in_an_environment(folder: Path) -> list[str]:
    """The command; an engine in the folder comes before the real one."""
    venv.create(folder / "venv", with_pip=False, symlinks=True)
    python = folder / "venv" / "bin" / "python"
    paths = [folder / "engine", ROOT, Path(sysconfig.get_path("purelib"))]
    (site,) = (folder / "venv" / "lib").glob("python*/site-packages")
    (site / "around.pth").write_text("".join(f"{path}\n" for path in paths))
    return [str(python), "-m", "launcher"]


def doctor(command: list[str], folder: Path, *more: str) -> str:
    return output([*command, "doctor", *more], folder)


def output(command: list[str], folder: Path) -> str:
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


# --- An engine whose extra buffers are at fault -------------------------------------------------

FAULTY = """
import signal

_load, _tokenise, _extra = llama_model_load_from_file, llama_tokenize, False


def llama_model_load_from_file(path, parameters):
    global _extra
    _extra = parameters.use_extra_bufts
    if _extra and {dies}:
        signal.raise_signal(signal.SIG{signal})
    return _load(path, parameters)


def llama_tokenize(vocabulary, text, size, *rest):
    return _tokenise(vocabulary, b"x " * (size // 2) if _extra else text, size, *rest)
"""
QUESTION = ["run", "smollm2:135m", "--as", "individual:DE", "--temp", "0", "-n", "8"]


@pytest.mark.parametrize(
    "text",
    [
        FAULTY.format(dies=True, signal="ILL"),
        FAULTY.format(dies=True, signal="SEGV"),
        FAULTY.format(dies=False, signal="ILL"),
    ],
    ids=["SIGILL", "SIGSEGV", "nonsense"],
)
def test_an_engine_whose_extra_buffers_are_at_fault_is_used_without(
    tmp_path: Path, text: str
) -> None:
    command = changed(tmp_path, text)
    out = doctor(command, tmp_path)
    assert "has answered on this processor" in out
    assert "but not with its extra buffers" in out
    assert json.loads(doctor(command, tmp_path, "--json"))["engine_extra_buffers"] is False
    assert "Hello" in output([*command, *QUESTION, "Hi"], tmp_path)
    shown = output([*command, "show", "smollm2:135m", "--as", "individual:DE", "--json"], tmp_path)
    assert json.loads(shown)["fit"]["repacked"] is False


def test_an_engine_at_fault_in_every_way_is_told_by_its_first_fault(tmp_path: Path) -> None:
    dying = "\ndef llama_decode(*_):\n    import signal\n    signal.raise_signal(signal.SIGILL)\n"
    out = doctor(changed(tmp_path, dying), tmp_path)
    assert "The engine was ended by SIGILL" in out
    assert "extra buffers" not in out
