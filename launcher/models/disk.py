"""What it means that something cannot be written into the cache."""

from __future__ import annotations

import contextlib
import errno
import shutil
from collections.abc import Iterator
from pathlib import Path

from launcher.errors import LauncherError


@contextlib.contextmanager
def disk_failures(root: Path) -> Iterator[None]:
    """Says what it means when the block cannot write below a folder."""
    try:
        yield
    except BrokenPipeError:  # not of the disk: whoever read what is shown of the progress left
        raise
    except OSError as error:
        raise disk_failure(error, root) from error


def disk_failure(error: OSError, root: Path) -> LauncherError:
    """What it means that something could not be written into the cache."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return _full(root, "")
    if error.errno == errno.EFBIG:
        return LauncherError(
            f"The disk under {root} does not take files as large as this one",
            hint=f"FAT takes 4 GB at most. {_ELSEWHERE}",
        )
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return LauncherError(f"You may not write to {error.filename or root}", hint=_ELSEWHERE)
    if isinstance(error, FileNotFoundError):
        return LauncherError(
            f"{error.filename or root} was removed while it was being written",
            hint="Another program clears up there. Run the same command again.",
        )
    return LauncherError(f"{error.filename or root} cannot be written: {error.strerror}")


_ELSEWHERE = "HF_HUB_CACHE names a folder on another disk, for models that are yet to come."


def _full(root: Path, how_much: str) -> LauncherError:
    return LauncherError(
        f"There is too little room on the disk under {root}{how_much}",
        hint=f"What is here is kept. Make room, then run the same command again. {_ELSEWHERE}",
        commands=["launcher list"],
    )


def refuse_full_disk(root: Path, needed: int) -> None:
    """Raises `LauncherError` when so many bytes do not fit any more."""
    folder = root
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise _full(root, f": {needed / 1e9:.2f} GB more are needed, {free / 1e9:.2f} GB are free")
