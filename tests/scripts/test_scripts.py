"""The two commands of a checkout, called as a user calls them."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TOOLS = ("cat", "cmp", "dirname")  # what the scripts need besides a shell


def program(path: Path, text: str) -> Path:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


@pytest.fixture
def tools(tmp_path: Path) -> Path:
    """A PATH with no Python on it."""
    folder = tmp_path / "tools"
    folder.mkdir()
    for name in TOOLS:
        found = shutil.which(name)
        assert found is not None
        (folder / name).symlink_to(found)
    return folder


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A checkout of what the set-up reads, in a folder with a space in its name."""
    folder = tmp_path / "a folder" / "launcher"
    ignored = shutil.ignore_patterns("__pycache__")
    for name in ("scripts", "launcher", "configs"):
        shutil.copytree(ROOT / name, folder / name, ignore=ignored)
    shutil.copy(ROOT / "pyproject.toml", folder)
    return folder


def ran(
    command: list[str | Path], environment: dict[str, str], text: str = "", folder: Path = ROOT
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command,
        env=environment,
        input=text,
        capture_output=True,
        text=True,
        check=False,
        cwd=folder,
    )


# --- Finding Python ---------------------------------------------------------------------


def test_an_old_python_is_told_with_its_version(tools: Path) -> None:
    program(tools / "python3", "echo '3.9 whole'")
    done = ran([ROOT / "scripts" / "python", "x.py"], {"PATH": str(tools)})
    assert done.returncode == 1
    assert done.stderr.splitlines() == [
        "Python 3.11 or newer is needed; found here is 3.9 (python3). To get one:",
        "  PYTHON=/path/to/python3 scripts/run MODEL",
    ]


@pytest.mark.parametrize("version", ["2.7", "3.1", "3.8", "3.10"])
def test_every_python_before_3_11_is_old(tools: Path, version: str) -> None:
    program(tools / "python", f"echo '{version} whole'")
    done = ran([ROOT / "scripts" / "python", "x.py"], {"PATH": str(tools)})
    assert f"found here is {version} (python)" in done.stderr


def test_no_python_at_all_is_told(tools: Path) -> None:
    done = ran([ROOT / "scripts" / "python", "x.py"], {"PATH": str(tools)})
    assert done.returncode == 1
    assert done.stderr.startswith("Python 3.11 or newer is needed, and none was found here.")


def test_a_python_that_does_not_run_is_passed_over(tools: Path) -> None:
    program(tools / "python3.13", "exit 127")
    program(tools / "python3", "echo '3.9 whole'")
    (tools / "python3.14").symlink_to(sys.executable)
    done = ran([ROOT / "scripts" / "python", "-c", "print('here')"], {"PATH": str(tools)})
    assert done.stdout == "here\n"


def test_a_python_that_cannot_make_environments_is_told_what_it_lacks(tools: Path) -> None:
    program(tools / "python3", "echo '3.12 bare'")
    done = ran([ROOT / "scripts" / "python", "x.py"], {"PATH": str(tools)})
    assert "Python 3.12 is here, but it cannot make environments" in done.stderr
    assert done.stderr.endswith("  sudo apt install python3.12-venv\n")


def test_the_python_that_the_user_names_is_taken(tools: Path) -> None:
    program(tools / "python3", "exit 1")
    environment = {"PATH": str(tools), "PYTHON": sys.executable}
    done = ran([ROOT / "scripts" / "python", "-c", "print('here')"], environment)
    assert done.stdout == "here\n"


def test_the_remedy_names_a_package_that_the_system_has(tools: Path) -> None:
    program(tools / "python3", "echo '3.10 whole'")
    program(tools / "apt-get", "exit 0")
    program(tools / "apt-cache", '[ "$2" = python3.11-venv ]')
    done = ran([ROOT / "scripts" / "python", "x.py"], {"PATH": str(tools)})
    assert done.stderr.endswith("  sudo apt install python3.11 python3.11-venv\n")


# --- scripts/run ------------------------------------------------------------------------


def set_up_before(copy: Path) -> None:
    """An environment whose launcher says what it was called with."""
    folder = copy / ".venv" / "bin"
    folder.mkdir(parents=True)
    (folder / "python").symlink_to(sys.executable)
    program(folder / "launcher", 'printf "<%s>" "$@"; cat')
    code = "import sys; sys.path.insert(0, 'scripts'); import set_up; print(end='', flush=True);"
    code += "sys.stdout.buffer.write(set_up._made_from())"
    stamp = subprocess.check_output([sys.executable, "-c", code], cwd=copy)
    (copy / ".venv" / "set-up").write_bytes(stamp)


def test_a_set_up_checkout_goes_straight_to_the_launcher(
    copy: Path, tools: Path, tmp_path: Path
) -> None:
    set_up_before(copy)
    command: list[str | Path] = [copy / "scripts" / "run", "smollm2:135m", "Why? *"]
    seconds = []
    for _ in range(3):
        started = time.perf_counter()
        done = ran(command, {"PATH": str(tools)}, "piped in", tmp_path)
        seconds.append(time.perf_counter() - started)
    assert min(seconds) < 0.3
    assert done.stderr == ""
    assert done.stdout == "<run><--set-up><smollm2:135m><Why? *>piped in"


@pytest.mark.parametrize("changed", ["pyproject.toml", "scripts/set_up.py", "place", "python"])
def test_a_checkout_that_changed_since_is_set_up_again(
    copy: Path, tools: Path, changed: str
) -> None:
    set_up_before(copy)
    if changed == "place":
        copy = copy.rename(copy.with_name("moved"))
    elif changed == "python":
        (copy / ".venv" / "bin" / "python").unlink()
    else:
        with (copy / changed).open("a") as stream:
            stream.write("\n# another\n")
    program(tools / "python3", 'case $1 in -c) echo "3.11 whole" ;; *) echo "called: $2" ;; esac')
    environment = {"PATH": str(tools)}
    done = ran([copy / "scripts" / "run", "smollm2:135m"], environment, "piped in")
    assert done.stderr == "called: \n"
    assert done.stdout == "<run><--set-up><smollm2:135m>piped in"


def test_what_the_set_up_says_does_not_reach_standard_output(copy: Path, tools: Path) -> None:
    program(tools / "python3", 'case $1 in -c) echo "3.11 whole" ;; *) echo noise; exit 10 ;; esac')
    done = ran([copy / "scripts" / "run", "smollm2:135m"], {"PATH": str(tools)})
    assert (done.returncode, done.stdout, done.stderr) == (10, "", "noise\n")


# --- The set-up -------------------------------------------------------------------------


def unreachable_registry() -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PIP_")}
    return {
        **kept,
        "PIP_CONFIG_FILE": os.devnull,
        "PIP_INDEX_URL": "http://127.0.0.1:9/simple",
        "PIP_RETRIES": "1",
    }


def test_without_a_network_the_set_up_says_so_and_keeps_what_it_made(copy: Path) -> None:
    set_up: list[str | Path] = [sys.executable, copy / "scripts" / "set_up.py"]
    done = ran(set_up, unreachable_registry())
    assert done.returncode == 10
    lines = done.stderr.splitlines()
    assert lines[0].startswith(f"Setting up in {copy}/.venv, with Python 3.")
    assert "Error: The package registry cannot be reached." in lines
    assert not (copy / ".venv" / "set-up").exists()
    again = ran(set_up, unreachable_registry())
    assert again.returncode == 10
    assert "Setting up in" not in again.stderr


def test_an_environment_that_was_half_made_is_made_anew(copy: Path) -> None:
    (copy / ".venv" / "lib").mkdir(parents=True)
    (copy / ".venv" / "lib" / "half").touch()
    (copy / ".venv" / "set-up.unfinished").touch()
    done = ran([sys.executable, copy / "scripts" / "set_up.py"], unreachable_registry())
    assert done.returncode == 10
    assert "Setting up in" in done.stderr
    assert not (copy / ".venv" / "lib" / "half").exists()
    assert (copy / ".venv" / "bin" / "python").exists()


def test_a_set_up_that_is_killed_at_once_leaves_nothing_in_the_way(copy: Path) -> None:
    set_up: list[str | Path] = [sys.executable, copy / "scripts" / "set_up.py"]
    first = subprocess.Popen(set_up, env=unreachable_registry(), stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 30
    while not (copy / ".venv" / "pyvenv.cfg").exists():
        assert time.monotonic() < deadline
        time.sleep(0.01)
    first.kill()
    first.wait()
    done = ran(set_up, unreachable_registry())
    assert done.returncode == 10
    assert "Setting up in" in done.stderr
    assert "Error: The package registry cannot be reached." in done.stderr


def test_ci_runs_the_same_command_as_a_developer() -> None:
    lines = (ROOT / ".ci" / "run").read_text().splitlines()
    assert lines == ["#!/bin/sh", 'exec "$(dirname -- "$0")/../scripts/test"']
    for name in ("scripts/run", "scripts/test", "scripts/python", ".ci/run"):
        assert os.access(ROOT / name, os.X_OK)


# --- scripts/bench ----------------------------------------------------------------------


def test_bench_lists_every_measurement() -> None:
    done = ran([sys.executable, ROOT / "scripts" / "bench"], dict(os.environ))
    listed = [line.split()[0] for line in done.stdout.splitlines()]
    assert listed == sorted(path.stem[6:] for path in ROOT.glob("scripts/bench_*.py"))
    assert all(len(line.split()) > 3 for line in done.stdout.splitlines())


def test_each_measurement_says_what_it_takes() -> None:
    for script in sorted(ROOT.glob("scripts/bench_*.py")):
        name = script.stem.removeprefix("bench_")
        done = ran([sys.executable, ROOT / "scripts" / "bench", name, "--help"], dict(os.environ))
        assert done.returncode == 0, done.stderr
        assert done.stdout.startswith("usage: ")
        assert f"scripts/bench {name}" in done.stdout
