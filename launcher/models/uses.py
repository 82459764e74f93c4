"""When models were used last, as far as this program knows."""

from __future__ import annotations

from pathlib import Path

from launcher.memory import Memory


def note_use(memory: Path, path: Path, now: float) -> None:
    """Notes that a file was used."""
    Memory(memory).note(str(path), now)


def last_uses(memory: Path) -> dict[str, float]:
    """When files were used, in seconds since 1970, by the path of their blob."""
    known = Memory(memory).all()
    return {key: float(value) for key, value in known.items() if isinstance(value, int | float)}
