"""When models were used last, as far as this program knows."""

from __future__ import annotations

import json
from pathlib import Path

from launcher.files import locked, read_bounded, write_atomically

MAX_USES = 1 << 20  # bytes of the memory of last uses
KEPT_USES = 2000


def note_use(memory: Path, path: Path, now: float) -> None:
    """Notes that a file was used; a memory that cannot be written is no reason to stop."""
    try:
        with locked(memory):
            uses = {key: value for key, value in last_uses(memory).items() if key != str(path)}
            uses[str(path)] = now
            kept = dict(list(uses.items())[-KEPT_USES:])
            write_atomically(memory, json.dumps(kept, indent=0).encode())
    except OSError:
        return


def last_uses(memory: Path) -> dict[str, float]:
    """When files were used, in seconds since 1970, by the path of their blob."""
    try:
        known = json.loads(read_bounded(memory, MAX_USES))
    except (OSError, ValueError, RecursionError):
        return {}
    if not isinstance(known, dict):
        return {}
    return {key: float(value) for key, value in known.items() if isinstance(value, int | float)}
