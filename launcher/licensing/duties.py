"""What goes with a model that is passed on: the licence's texts, the notice, the words to show.

The texts are taken from where the model came from and checked by their digest; the launcher
ships none of them.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from launcher.files import read_bounded
from launcher.licensing.policy import Document, Licence

MAX_TEXT = 1 << 20  # bytes; licence texts are some kilobytes
_TEXT = re.compile(
    r"(.*(licen[cs]e|copying|policy|notice|terms|agreement).*)(\.(md|txt|rst))?", re.IGNORECASE
)


@dataclass(frozen=True, slots=True)
class Supplement:
    """The files to lay beside a model, and the texts that have to be fetched by hand."""

    files: dict[str, bytes]
    missing: tuple[Document, ...]


def supplement(licences: Sequence[Licence], folders: Sequence[Path]) -> Supplement:
    """What these licences ask for, with the texts found in the folders near the model."""
    near = {hashlib.sha256(data).hexdigest(): data for data in _texts(folders)}
    files: dict[str, bytes] = {}
    missing: list[Document] = []
    for licence in licences:
        for document in licence.documents:
            found = next((near[sha] for sha in document.sha256 if sha in near), None)
            if found is None:
                missing.append(document)
            else:
                files[f"{licence.id}-{document.id}.txt"] = found
    lines = dict.fromkeys(duty.notice for each in licences for duty in each.duties if duty.notice)
    if lines:
        files["Notice.txt"] = ("\n".join(lines) + "\n").encode()
    words = dict.fromkeys(duty.display for each in licences for duty in each.duties if duty.display)
    if words:
        files["Display.txt"] = ("\n".join(words) + "\n").encode()
    return Supplement(files, tuple(missing))


def _texts(folders: Sequence[Path]) -> Iterator[bytes]:
    """Small files in the folders whose names are those of licence texts."""
    for folder in dict.fromkeys(folders):
        if not folder.is_dir():
            continue
        for path in sorted(folder.iterdir()):
            if _TEXT.fullmatch(path.name) and path.is_file():
                try:
                    yield read_bounded(path, MAX_TEXT)
                except OSError:
                    continue  # too large, or not to be read: then it is not at hand
