"""The program `launcher`, and `python -m launcher`."""

from __future__ import annotations

import gc
import os
import sys
import threading

from launcher.engine import process

_LOADING = ("run", "chat", "bench")  # commands for which the worker starts before all else
_HELP = {"-h", "--help"}
_GARBAGE = 20_000  # objects until cycles are looked for: a start makes many objects, few cycles


def main() -> None:
    """Runs the command line; a worker gets ready while it is still being imported."""
    gc.set_threshold(_GARBAGE)
    if sys.argv[1:2] and sys.argv[1] in _LOADING and not _HELP & set(sys.argv):
        process.start_early()
    code: str | int | None = None
    try:
        from launcher.cli import main as line

        line.main()
    except SystemExit as error:
        code = error.code
    finally:
        process.discard()
    _leave(code)


def _leave(code: str | int | None) -> None:
    """Ends this process; taking it apart piece by piece takes a tenth of a short command."""
    if threading.active_count() > 1 or isinstance(code, str):
        sys.exit(code)
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    except OSError:
        sys.exit(code)  # which says what is wrong
    os._exit(code or 0)


if __name__ == "__main__":
    main()
