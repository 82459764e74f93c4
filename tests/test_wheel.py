"""What users install: the wheel, with the light dependencies alone."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tomllib
import venv
import zipfile
from pathlib import Path

import pytest

from launcher import __version__
from tests.headers import statements, write_model

ROOT = Path(__file__).parent.parent
ENGINE = "llama-cpp-python"


def run(*command: object, **options: object) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [str(word) for word in command],
        capture_output=True,
        text=True,
        timeout=240,
        **options,  # type: ignore[call-overload]
    )
    assert isinstance(done, subprocess.CompletedProcess)
    return done


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built as the package index would get it."""
    folder = tmp_path_factory.mktemp("wheel")
    options = ("--no-deps", "--no-build-isolation", "--quiet", "--wheel-dir", folder)
    built = run(sys.executable, "-m", "pip", "wheel", *options, ROOT)
    assert built.returncode == 0, built.stderr
    (path,) = folder.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the programs of an environment that has the wheel, and no engine."""
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, with_pip=True)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    light = [name for name in project["dependencies"] if not name.startswith(ENGINE)]
    assert len(light) == len(project["dependencies"]) - 1
    python = folder / "bin" / "python"
    for what in (["--only-binary", ":all:", *light], ["--no-deps", str(wheel)]):
        done = run(python, "-m", "pip", "install", "--quiet", *what)
        assert done.returncode == 0, done.stderr
    return folder / "bin"


def test_the_wheel_holds_the_package_its_data_and_nothing_else(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    tops = {name.partition("/")[0] for name in names}
    assert tops == {"launcher", f"licence_launcher-{__version__}.dist-info"}
    shipped = {name.removeprefix("launcher/configs/") for name in names if "/configs/" in name}
    ours = {
        path.relative_to(ROOT / "configs").as_posix()
        for path in (ROOT / "configs").rglob("*")
        if path.is_file()
    }
    assert shipped == ours


def test_check_needs_no_engine(installed: Path, tmp_path: Path) -> None:
    python = installed / "python"
    without = run(python, "-c", "import importlib.util as u; print(u.find_spec('llama_cpp'))")
    assert without.stdout.strip() == "None"
    said = statements(name="Llama 4 Scout Instruct", license="llama4")
    file = write_model(tmp_path / "scout.gguf", "llama-4-scout", metadata=said)
    for model in (str(file), "llama4:scout"):
        environment = {**os.environ, "PYTHONPATH": ""}
        arguments = ("check", model, "--as", "individual:DE", "--json")
        done = run(installed / "launcher", *arguments, cwd=tmp_path, env=environment)
        assert done.returncode == 3, done.stderr
        assert json.loads(done.stdout)["code"] == "llama-eu-multimodal"


def test_run_without_an_engine_says_how_to_get_one(installed: Path, tmp_path: Path) -> None:
    file = write_model(tmp_path / "m.gguf", metadata=statements(license="mit"))
    done = run(installed / "launcher", "run", file, "hi", "--as", "individual:DE", cwd=tmp_path)
    assert done.returncode == 8
    assert "doctor --rebuild" in done.stderr
    assert "Traceback" not in done.stderr
