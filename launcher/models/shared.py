"""The store in the cache that repositories share.

The hub's client keeps files of its own transfer protocol once for all repositories, as
blobs/ab/HASH, with HASH.refs listing the blobs that lead there. Its rule is kept: what the
list does not prove to be unused stays.
"""

from __future__ import annotations

import contextlib
import re
from pathlib import Path

from launcher.files import read_bounded
from launcher.models import layout
from launcher.models.turn import Turn

MAX_MANIFEST = 1 << 20  # bytes

_SHA256 = re.compile(r"[0-9a-f]{64}")


def entry_of(blob: Path, root: Path) -> Path | None:
    """The entry of the shared store that a blob leads to."""
    if not blob.is_symlink():
        return None
    entry = layout.blob_of(blob)
    in_store = entry.parent.parent == root / "blobs" and _SHA256.fullmatch(entry.name)
    return entry if in_store and entry.is_file() else None


def sweep(entry: Path, root: Path) -> int:
    """Removes an entry that no blob leads to any more, and gives its size."""
    manifest = entry.with_name(f"{entry.name}.refs")
    with contextlib.closing(Turn(entry.with_name(f"{entry.name}.lock"))) as turn:
        try:
            lines = read_bounded(manifest, MAX_MANIFEST).decode("utf-8").splitlines()
        except (OSError, UnicodeDecodeError):
            return 0
        if not turn.take() or any(_leads_to(root / line, entry) for line in lines):
            return 0
        manifest.unlink(missing_ok=True)
        return layout.unlink(entry)


def _leads_to(blob: Path, entry: Path) -> bool:
    return blob.is_symlink() and layout.blob_of(blob) == entry
