"""Whose turn it is to write one blob of the cache."""

from __future__ import annotations

import contextlib
import errno
import os
import sys
from pathlib import Path

from launcher.files import read_bounded


class Turn:
    """The right to write one blob: an advisory lock, the same that the hub's client takes."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor = -1

    def take(self) -> bool:
        """Whether it is ours now; does not wait. On a disk without locks it always is."""
        if self._descriptor >= 0:
            return True
        self._path.parent.mkdir(parents=True, exist_ok=True)
        flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0)
        descriptor = os.open(self._path, flags, 0o664)
        try:
            is_ours = _try_lock(descriptor) and os.fstat(descriptor).st_nlink > 0
            if is_ours:
                os.truncate(descriptor, 0)
                os.write(descriptor, b"%d" % os.getpid())
                self._descriptor, descriptor = descriptor, -1
        finally:
            if descriptor >= 0:
                os.close(descriptor)
        return is_ours

    def holder(self) -> str:
        """Who has it, as far as is known: `process 4242`, or nothing."""
        with contextlib.suppress(OSError):
            text = read_bounded(self._path, 20)
            return f"process {int(text)}" if text.isdigit() else ""
        return ""

    def close(self) -> None:
        """Gives it back, if it is ours."""
        if self._descriptor >= 0:
            with contextlib.suppress(OSError):
                os.truncate(self._descriptor, 0)
            os.close(self._descriptor)
            self._descriptor = -1


if sys.platform == "win32":
    import msvcrt

    def _try_lock(descriptor: int) -> bool:
        try:
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        return True
else:
    import fcntl

    _HELD = (errno.EACCES, errno.EAGAIN, errno.EWOULDBLOCK)

    def _try_lock(descriptor: int) -> bool:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            return error.errno not in _HELD
        return True
