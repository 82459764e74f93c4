"""What was once found out, by key, and can be found out again.

A memory that is missing or broken is empty, and one that cannot be written is no reason to
stop: nothing hangs on it but time.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from launcher.files import locked, read_bounded, write_atomically


@dataclass(frozen=True, slots=True)
class Memory:
    """One file of notes as JSON; the oldest are dropped first."""

    path: Path
    kept: int = 2000
    """Notes at most."""
    max_size: int = 4 << 20
    """Bytes; a larger file is not read."""

    def all(self) -> dict[str, Any]:
        """Every note by its key, the newest last."""
        try:
            data = read_bounded(self.path, self.max_size)
        except OSError:
            return {}
        import json  # slow to import, and mostly there is nothing to read

        try:
            known = json.loads(data)
        except (ValueError, RecursionError):
            return {}
        return known if isinstance(known, dict) else {}

    def get(self, key: str) -> Any:
        """The note under a key; None where there is none."""
        return self.all().get(key)

    def note(self, key: str, value: Any) -> None:
        """Keeps a note, in place of what was under its key."""
        import json

        try:
            with locked(self.path):
                known = self.all()
                known.pop(key, None)
                known[key] = value
                last = dict(list(known.items())[-self.kept :])
                data = json.dumps(last, indent=0).encode()
                write_atomically(self.path, data, durable=False)
        except OSError:
            return
