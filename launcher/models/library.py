"""Files that the user brought in, under names of their choice, in a folder that can be read.

NAME.gguf, or NAME-00001-of-00003.gguf and the rest
"""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from launcher.errors import LauncherError
from launcher.files import make_private_folder

_NAME = re.compile(r"[a-z0-9][a-z0-9._\-]{0,95}")
_FILE = re.compile(r"(.+?)(-\d{5}-of-\d{5})?\.gguf")


@dataclass(frozen=True, slots=True)
class Kept:
    """A model of the library."""

    name: str
    paths: tuple[Path, ...]
    """All its files, the first shard first."""


def kept(folder: Path) -> Iterator[Kept]:
    """Every model of the library, by name."""
    found: dict[str, list[Path]] = {}
    for path in sorted(folder.glob("*.gguf")):
        match = _FILE.fullmatch(path.name)
        if match and _NAME.fullmatch(match[1]):
            found.setdefault(match[1], []).append(path)
    return (Kept(name, tuple(paths)) for name, paths in sorted(found.items()))


def find(folder: Path, name: str) -> Path | None:
    """The file, or the first shard, of a name; None where there is none."""
    if _NAME.fullmatch(name) is None:
        return None
    alone = folder / f"{name}.gguf"
    return alone if alone.is_file() else next(iter(sorted(folder.glob(f"{name}-00001-of-*"))), None)


def name_for(text: str) -> str:
    """A name that can be typed, from a file's; empty where nothing is left of it.

    >>> name_for("My Model (v2).Q4_K_M.gguf")
    'my-model-v2-.q4_k_m'
    """
    match = _FILE.fullmatch(text)
    plain = re.sub(r"[^a-z0-9._\-]+", "-", (match[1] if match else text).lower())
    return plain.strip("-._")[:96]


def is_name(text: str) -> bool:
    """Whether a text can be the name of a file in the library."""
    return _NAME.fullmatch(text) is not None


def keep(folder: Path, name: str, files: Sequence[Path], *, copy: bool) -> tuple[Path, ...]:
    """Brings the files of a model in, and gives where they are now.

    They are linked where both folders are on one disk, so that nothing is stored twice, and
    copied elsewhere, or where `copy` says so. Raises `LauncherError` where the disk does not
    take them; nothing is left then.
    """
    make_private_folder(folder)
    places = tuple(folder / _kept_name(name, path) for path in files)
    done: list[Path] = []
    try:
        for path, place in zip(files, places, strict=True):
            _bring(path, place, copy=copy)
            done.append(place)
    except OSError as error:
        for place in done:
            place.unlink(missing_ok=True)
        if error.errno == errno.EEXIST:
            raise LauncherError(
                f"There is a model called {name} already",
                hint="Choose another name with --name, or remove it first:",
                commands=[f"launcher rm {name}"],
            ) from error
        raise LauncherError(f"{folder} cannot be written: {error.strerror}") from error
    return places


def remove(model: Kept) -> int:
    """Removes a model from the library, and gives the bytes of its files."""
    size = sum(path.stat().st_size for path in model.paths)
    for path in model.paths:
        path.unlink()
    return size


def _kept_name(name: str, path: Path) -> str:
    match = _FILE.fullmatch(path.name)
    return f"{name}{(match and match[2]) or ''}.gguf"


def _bring(path: Path, place: Path, *, copy: bool) -> None:
    if place.exists():
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(place))
    if not copy:
        try:
            place.hardlink_to(path.resolve())
        except OSError as error:
            if error.errno not in (errno.EXDEV, errno.EPERM, errno.EMLINK, errno.EOPNOTSUPP):
                raise
        else:
            return
    import shutil  # slow to import, and only needed here

    temporary = place.with_name(f".{place.name}.{os.urandom(4).hex()}.tmp")
    try:
        shutil.copyfile(path, temporary)  # a reflink where the disk can
        temporary.replace(place)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
