"""Image halves of models (mmproj): whether a file is one, and takes in images."""

from __future__ import annotations

from launcher.errors import IntegrityError, Unsupported
from launcher.models.bundle import Bundle, Role
from launcher.models.catalogue import PROJECTOR
from launcher.models.gguf import Header


def refuse_misfits(bundle: Bundle) -> None:
    """Raises `IntegrityError` for a part that is no image half, `Unsupported` for a blind one.

    Whether it fits the model the engine finds out itself, by the width of what it gives.
    """
    for part, *_ in bundle.having(Role.MMPROJ):
        if part.header is None:
            continue
        if part.header.architecture != PROJECTOR:
            raise IntegrityError(
                f"{part.name} is no image half of a model: it says that it is "
                f"'{part.header.architecture}'",
                hint="Nothing was loaded. Give the file that belongs to the model as its mmproj.",
            )
        if not takes_in(part.header, "vision"):
            raise Unsupported(f"{part.name} takes in no images, and other things cannot be given")


def takes_in(header: Header, sense: str) -> bool:
    """Whether an image half says that it has `vision`, or `audio`."""
    entry = header.metadata.get(f"clip.has_{sense}_encoder")
    return entry is not None and entry.value is True
