"""What a process of the engine sets itself before it does anything: its end and its limits."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import sys
from pathlib import Path

_PR_SET_PDEATHSIG = 1
_FILE_SIZE = 1 << 20  # bytes; its last words, which go to a file
OPEN_FILES = 256  # in a process; a model in 64 shards needs two for each
_FIRST_TO_DIE = "500"  # of 1000: how readily the system ends it when memory runs out


def end_with_parent() -> None:
    """Linux: this process is killed when the one that started it dies, whatever it is doing."""
    if sys.platform == "linux":
        parent = os.getppid()
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(1)


def limit() -> None:
    """No core dumps, small files, few of them, and first to go when memory runs out.

    Not limited: processes, since threads count as such and the user's others with them;
    address space, since weights are mapped.
    """
    if sys.platform == "win32":
        return
    import resource

    for kind, wanted in (
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_FSIZE, _FILE_SIZE),
        (resource.RLIMIT_NOFILE, OPEN_FILES),
    ):
        lower(kind, wanted)
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text(_FIRST_TO_DIE)


def lower(kind: int, wanted: int) -> None:
    """Lowers a limit for good; one that is lower already stays as it is."""
    import resource

    hard = resource.getrlimit(kind)[1]
    value = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    resource.setrlimit(kind, (value, value))
