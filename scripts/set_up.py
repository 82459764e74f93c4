"""Makes the environment in `.venv`; scripts/run and scripts/test call this.

    scripts/python scripts/set_up.py          what the launcher needs to start. The engine comes
                                              later, when a model has been cleared
    scripts/python scripts/set_up.py --test   the test tools, the engine and the default model too

It can be cut off at any point and called again. Standard library only.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from launcher import files  # noqa: E402  # found in the checkout, before it is installed
from launcher.errors import LauncherError  # noqa: E402
from launcher.installation import failures, pip  # noqa: E402
from launcher.installation.installed import PROOF  # noqa: E402
from launcher.installation.progress import Lines, one_at_a_time  # noqa: E402

VENV = ROOT / ".venv"
PYTHON = VENV / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")
STAMP = VENV / "set-up"  # scripts/run reads it
TEST_STAMP = VENV / "set-up-test"
UNFINISHED = VENV / "set-up.unfinished"  # there while something is made or installed
LOG = VENV / "set-up.log"
ENGINE = "llama-cpp-python"
SPACE = 150 << 20  # bytes; the environment takes 0.09 GB before the engine comes
TEST_SPACE = 400 << 20  # with the test tools

_WORKS = "import sys; sys.exit(sys.version_info < (3, 11))"


def main(arguments: Sequence[str]) -> int:
    """Sets up what the arguments ask for; returns the exit status."""
    progress = Lines()
    try:
        if arguments == ["--engine"]:
            from launcher.installation import build

            build.ensure(progress)
        else:
            set_up(progress, test=arguments == ["--test"])
    except LauncherError as error:
        return _told(error)
    except OSError as error:
        return _told(failures.of_system(error))
    except KeyboardInterrupt:
        progress.say("Stopped. The same command goes on from here.")
        return 130
    if arguments == ["--test"]:
        return subprocess.run([PYTHON, __file__, "--engine"], check=False).returncode
    return 0


def _told(error: LauncherError) -> int:
    print(f"Error: {error.message}.", *filter(None, [error.hint]), sep="\n", file=sys.stderr)
    for command in error.commands:
        print(f"  {command}", file=sys.stderr)
    return int(error.exit_code)


def set_up(progress: Lines, *, test: bool) -> None:
    """Makes the environment where it is missing, cut off or out of date."""
    stamp = TEST_STAMP if test else STAMP
    VENV.mkdir(exist_ok=True)
    with one_at_a_time(STAMP, progress):
        if _is_current(stamp):
            return
        if lack := failures.lack_of_space([(VENV, TEST_SPACE if test else SPACE)]):
            raise lack
        if UNFINISHED.exists() or not _works():
            _make(progress)
        UNFINISHED.touch()
        (VENV / PROOF).unlink(missing_ok=True)  # another version of the engine may be wanted now
        try:
            _install(progress, test=test)
        except LauncherError:
            UNFINISHED.unlink()  # pip has put back what it had changed
            raise
        UNFINISHED.unlink()
        for kept in {STAMP, stamp}:
            files.write_atomically(kept, _made_from(), mode=0o644)


def _is_current(stamp: Path) -> bool:
    return PYTHON.exists() and stamp.exists() and stamp.read_bytes() == _made_from()


def _made_from() -> bytes:
    """What the environment depends on; scripts/run writes the same."""
    parts = [f"{ROOT}\n".encode()]
    parts += [(ROOT / name).read_bytes() for name in ("pyproject.toml", "scripts/set_up.py")]
    return b"".join(parts)


def _works() -> bool:
    """Whether there is an environment with a Python that is new enough."""
    if not (VENV / "pyvenv.cfg").exists() or not PYTHON.exists():
        return False
    return subprocess.run([PYTHON, "-c", _WORKS], check=False, capture_output=True).returncode == 0


def _make(progress: Lines) -> None:
    """A new environment in place of what is there; the lock that we hold stays."""
    version = ".".join(map(str, sys.version_info[:3]))
    progress.say(f"Setting up in {VENV}, with Python {version}. This is done once.")
    for entry in VENV.iterdir():
        if entry.name.endswith(".lock"):
            continue
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)
        else:
            entry.unlink()
    UNFINISHED.touch()
    pip.run(
        [sys.executable, "-m", "venv", str(VENV)],
        what="Making the environment",
        log=LOG,
        progress=progress,
    )


def _install(progress: Lines, *, test: bool) -> None:
    """The light dependencies, and the project itself as it stands in the checkout."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    wanted = [line for line in project["dependencies"] if _name(line) != ENGINE]
    if test:
        wanted += project["optional-dependencies"]["test"]
    needed = "Installing what the launcher needs" + (", and the test tools" if test else "")
    itself = ["--no-deps", "--editable", str(ROOT)]
    for arguments, what in ((wanted, needed), (itself, "Installing the launcher")):
        pip.install(arguments, what=what, log=LOG, progress=progress, python=PYTHON)


def _name(requirement: str) -> str:
    return re.split(r"[^\w.-]", requirement, maxsplit=1)[0].lower().replace("_", "-")


if __name__ == "__main__":
    os.environ.pop("PYTHONHOME", None)
    sys.exit(main(sys.argv[1:]))
