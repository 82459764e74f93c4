"""How the cache's folders are laid out: read, linked and tidied, one step at a time."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path

from launcher.files import read_bounded

MAX_REF = 200  # bytes

_TEMPORARY = re.compile(r"\.[0-9a-f]{12}\.tmp")


def root(environment: Mapping[str, str]) -> Path:
    """As the hub's client finds it; a variable that is empty counts as not set."""
    for name in ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"):
        if environment.get(name):
            return _expanded(environment[name])
    home = environment.get("HF_HOME")
    if not home:
        above = environment.get("XDG_CACHE_HOME") or "~/.cache"
        home = os.path.join(above, "huggingface")  # noqa: PTH118  # expanded as a text
    return _expanded(home) / "hub"


def _expanded(text: str) -> Path:
    return Path(os.path.expandvars(os.path.expanduser(text))).absolute()  # noqa: PTH111  # as the client does


def entries(folder: Path) -> list[Path]:
    """What lies in a folder; nothing where there is none."""
    try:
        return sorted(folder.iterdir())
    except OSError:
        return []


def name_of(folder: Path) -> str:
    """The repository whose folder it is."""
    return folder.name.removeprefix("models--").replace("--", "/")


def pointers(folder: Path) -> Iterator[tuple[str, str, Path]]:
    """Commit, name and path of everything in a repository's snapshots."""
    for snapshot in entries(folder / "snapshots"):
        for parent, _, names in os.walk(snapshot):
            for name in sorted(names):
                path = Path(parent, name)
                yield snapshot.name, path.relative_to(snapshot).as_posix(), path


def blob_of(pointer: Path) -> Path:
    """One step only: a blob can be a link itself."""
    if not pointer.is_symlink():
        return pointer
    return Path(os.path.abspath(pointer.parent / pointer.readlink()))  # noqa: PTH100  # as it is spelt


def temporary_beside(path: Path) -> Path:
    """A name for what becomes `path` when it is whole."""
    return path.with_name(f".{os.urandom(6).hex()}.tmp")


def temporaries(folder: Path) -> Iterator[Path]:
    """What was to become a ref or a link; a repository may have files of its own in .tmp."""
    for below in ("refs", "snapshots"):
        for path in sorted((folder / below).glob("**/.*.tmp")):
            if _TEMPORARY.fullmatch(path.name):
                yield path


def link(blob: Path, pointer: Path) -> bool:
    """Makes a name lead to a blob, at once; False where the disk has no links."""
    target = os.path.relpath(blob, pointer.parent)
    temporary = temporary_beside(pointer)
    try:
        temporary.symlink_to(target)
    except OSError:
        return False
    temporary.replace(pointer)
    return True


def is_needed(folder: Path, blob: Path) -> bool:
    """Whether any name leads to a blob."""
    return any(blob_of(path) == blob for _, _, path in pointers(folder))


def size(path: Path) -> int:
    """Of a file itself, not of what it leads to; 0 where there is none."""
    try:
        return path.lstat().st_size
    except OSError:
        return 0


def unlink(path: Path) -> int:
    """Removes a file, and gives its size."""
    freed = size(path)
    path.unlink(missing_ok=True)
    return freed


def remove_empty(below: Path, top: Path) -> None:
    """Removes folders that became empty, up to but without `top`."""
    while top in below.parents:
        try:
            below.rmdir()
        except OSError:
            return
        below = below.parent


def tidy(folder: Path) -> None:
    """Removes the names of commits that are gone, and a repository of which nothing is left."""
    snapshots = folder / "snapshots"
    for ref in sorted((folder / "refs").glob("**/*")):
        if _TEMPORARY.fullmatch(ref.name):
            continue  # somebody may just be writing it
        with contextlib.suppress(OSError, UnicodeDecodeError):
            if not (snapshots / read_bounded(ref, MAX_REF).decode()).is_dir():
                ref.unlink()
    for below in (snapshots, folder / "blobs"):
        try:
            below.rmdir()  # only if nothing is in it: somebody may just be starting a download
        except FileNotFoundError:
            continue
        except OSError:
            return
    shutil.rmtree(folder, ignore_errors=True)
