"""Pulls a repository as a process of its own, which a test may kill, hinder, or run twice.

    python -m tests.models.puller NAME [chunk=BYTES] [size=BYTES] [fill=FOLDER]

Says the path of every file, or the exit code and the sentence of what went wrong.
"""

from __future__ import annotations

import contextlib
import os
import resource
import subprocess
import sys
from pathlib import Path

from launcher.errors import LauncherError
from launcher.models.cache import Cache
from launcher.models.hub import Hub
from launcher.models.transfer import Options, Patience, Silent, download

PATIENCE = Patience(total=30.0, first=0.01, longest=0.1, stall=5.0)


class Filling(Silent):
    """Fills the disk when the first bytes are here."""

    def __init__(self, folder: Path) -> None:
        self._ballast = folder / "ballast"

    def advanced(self, size: int) -> None:
        if self._ballast.exists():
            return
        with contextlib.suppress(OSError), self._ballast.open("wb", buffering=0) as stream:
            while True:
                stream.write(bytes(4096))


def start(name: str, **how: object) -> subprocess.Popen[str]:
    """Starts to pull with the variables that are set now."""
    arguments = [f"{key}={value}" for key, value in how.items()]
    return subprocess.Popen(
        [sys.executable, "-W", "error", "-m", "tests.models.puller", name, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def said(process: subprocess.Popen[str]) -> list[str]:
    """What a process said until its end; it must not stumble."""
    out, err = process.communicate(timeout=60)
    assert err == ""
    return out.splitlines()


def say(*words: object) -> None:
    """One line."""
    sys.stdout.write(" ".join(map(str, words)) + "\n")


def pull(name: str, chunk: int, progress: Silent) -> None:
    """Pulls, and says how that went."""
    hub, cache = Hub.from_environment(), Cache.from_environment()
    options = Options(chunk=chunk, patience=PATIENCE)
    try:
        files = hub.repository(name).files
        for path in download(files, hub, cache, options=options, progress=progress):
            say(path)
    except LauncherError as error:
        say(int(error.exit_code), error.message, error.hint)


def main(name: str, how: dict[str, str]) -> None:
    """As the arguments say."""
    chunk = int(how.get("chunk", 1 << 20))
    if "size" in how:
        limit = int(how["size"])
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    if "fill" not in how:
        return pull(name, chunk, Silent())
    from tests.campaigns import disks  # it takes half a second to import

    folder = Path(how["fill"])
    try:
        disks._mount(folder)
    except OSError:
        return say("no disk of its own")
    os.environ["HF_HOME"] = str(folder)
    pull(name, chunk, Filling(folder))
    (folder / "ballast").unlink()
    return pull(name, chunk, Silent())


if __name__ == "__main__":
    main(sys.argv[1], dict(argument.split("=", 1) for argument in sys.argv[2:]))
