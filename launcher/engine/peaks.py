"""By how much a model took more or less memory than was estimated, on this computer.

The estimate is corrected by that the next time. Nothing but the estimate hangs on it.
"""

from __future__ import annotations

import re
from pathlib import Path

from launcher.engine import machine
from launcher.memory import Memory
from launcher.models.bundle import Bundle

_LONG = 256  # tokens: such a prompt uses the scratch space
_SAME = 0.02  # of the estimate: not worth a write
_MOST = 0.25  # of the estimate: what is off by more was disturbed


def correction(memory: Path, bundle: Bundle) -> int:
    """Bytes to add to the estimate; 0 where nothing is known."""
    known = Memory(memory).get(_key(bundle))
    return known if isinstance(known, int) else 0


def note(memory: Path, bundle: Bundle, estimate: int, peak: int, prompt: int) -> None:
    """Keeps what a worker took that had computed a prompt of so many tokens at once.

    `estimate` is what was expected without a correction. A short prompt does not use all of the
    scratch space, so what it shows counts only where it is more than was expected.
    """
    off = peak - estimate
    if not peak or (off < 0 and prompt < _LONG):
        return
    bound = int(estimate * _MOST)
    found = max(-bound, min(off, bound))
    if abs(found - correction(memory, bundle)) > estimate * _SAME:
        Memory(memory, kept=200).note(_key(bundle), found)


def of_process(number: int) -> int:
    """The most memory that a process has had (bytes); 0 where the system does not say."""
    try:
        status = Path(f"/proc/{number}/status").read_text(encoding="ascii", errors="replace")
    except OSError:
        return 0
    found = re.search(r"^VmHWM:\s+(\d+) kB$", status, re.MULTILINE)
    return int(found[1]) << 10 if found else 0


def _key(bundle: Bundle) -> str:
    """The model's very files, and the processor, which decides how they are laid out."""
    files = [
        f"{part.name}:{part.file.stamp.size}:{part.file.stamp.modified_ns}"
        for part in bundle.parts
        if part.file is not None
    ]
    return " ".join([*files, machine.processor_name()])
