"""The files that ship with the launcher: licences, regions, models, settings.

They lie in `configs/` of a checkout and in the package once installed. The current
directory is never searched: no folder may change a verdict by holding a file.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path


@cache
def _root() -> Path:
    # Not importlib.resources, which takes 10 ms to import for what two paths do.
    package = Path(__file__).resolve().parent
    installed = package / "configs"
    return installed if installed.is_dir() else package.parent / "configs"


def shipped(name: str) -> bytes:
    """The bytes of one shipped file, named by its path below `configs/`."""
    return (_root() / name).read_bytes()


def shipped_names(folder: str) -> tuple[str, ...]:
    """The paths of the files in a shipped folder, sorted."""
    return tuple(sorted(f"{folder}/{entry.name}" for entry in (_root() / folder).iterdir()))
