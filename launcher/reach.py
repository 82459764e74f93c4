"""How far a reference is followed: on this disk, to a repository, to the hub."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from enum import Enum, auto
from pathlib import Path
from typing import TYPE_CHECKING

from launcher.asker import Asker, Request
from launcher.errors import NotFound
from launcher.models import quants, refs
from launcher.models.bundle import Role
from launcher.models.cache import Cache
from launcher.models.gguf import Header
from launcher.models.origin import Pick, Reach, usual
from launcher.models.quants import Choice
from launcher.models.sources import Beside

if TYPE_CHECKING:
    from launcher.models.hub import Hub

AUTO = "auto"


class Look(Enum):
    """Where a model is looked for."""

    HERE = auto()
    """On this disk only."""
    REPOSITORIES = auto()
    """A repository that is named as such is asked about; a name of the catalogue is not."""
    HUB = auto()
    """Whatever is not here is asked about."""
    ANEW = auto()
    """The hub is asked even about what is here: there may be something newer."""


def reference(request: Request) -> refs.Ref:
    """The reference with the quant that was asked for beside it."""
    ref, quant = refs.parse(request.model), request.quant
    if not quant or quant == AUTO:
        return ref
    if isinstance(ref, refs.CatalogueRef):
        return refs.CatalogueRef(f"{ref.name}-{quant.lower()}")
    if isinstance(ref, refs.HubRef) and not ref.file:
        return replace(ref, quant=quant)
    raise NotFound(f"{ref} is one file, so there is no quant to choose", hint="Leave out --quant.")


def beside(request: Request, asker: Asker, look: Look) -> Sequence[Beside]:
    """What is to be loaded beside the model, and how far each may be followed."""
    named = []
    if request.mmproj is not None:
        half = _half(request.mmproj)
        way = of(half, Request(model=str(half)), asker, look)
        named.append(Beside(role=Role.MMPROJ, ref=half, reach=way))
    for path in request.adapters:
        named.append(Beside(role=Role.ADAPTER, ref=refs.PathRef(path)))
    if request.draft:
        alone = Request(model=request.draft)
        ref = reference(alone)
        named.append(Beside(role=Role.DRAFT, ref=ref, reach=of(ref, alone, asker, look)))
    return named


def _half(mmproj: Path | str) -> refs.Ref:
    """What is meant by the file of an image half; a word alone is no name of the catalogue."""
    ref = refs.parse(mmproj) if isinstance(mmproj, str) else refs.PathRef(mmproj)
    if isinstance(ref, refs.HubRef) and not ref.file:
        raise NotFound(
            f"{ref} is a repository, and --mmproj takes a file",
            hint=f"Name the file in it: {ref}/mmproj-model-f16.gguf.",
        )
    return refs.PathRef(Path(str(mmproj))) if isinstance(ref, refs.CatalogueRef) else ref


def of(ref: refs.Ref, request: Request, asker: Asker, look: Look) -> Reach:
    """How far a reference may be followed."""
    asks = look in (Look.HUB, Look.ANEW) or (
        look is Look.REPOSITORIES and isinstance(ref, refs.HubRef)
    )
    return Reach(
        cache=Cache.from_environment(),
        cards=asker.places.cards,
        library=asker.places.library,
        hub=(lambda: hub(asker)) if asks else None,
        anew=look is Look.ANEW and not is_offline(asker),
        pick=_largest_that_fits(asker) if request.quant == AUTO else usual,
    )


def hub(asker: Asker) -> Hub:
    """The way to the hub."""
    from launcher.models.hub import Hub

    return Hub.from_environment(offline=asker.offline)


def is_offline(asker: Asker) -> bool:
    """Whether the user or the environment switched the network off."""
    return asker.offline or hub(asker).offline


def _largest_that_fits(asker: Asker) -> Pick:
    """Picks the largest quant that fits in memory here with its context, and says why."""

    def pick(
        found: Sequence[Choice], repository: str, header: Callable[[Choice], Header]
    ) -> Choice:
        from launcher.engine import fit, machine

        here = machine.measure()
        shape = header(quants.usual(found, repository))
        choice = quants.largest(found, repository, lambda size: fit.fits(shape, size, here))
        asker.say(
            f"{choice.quant or choice.files[0]}: the largest that fits, with "
            f"{fit.megabytes(choice.size)} of weights; {fit.megabytes(here.memory_available)} of "
            "memory are free."
        )
        return choice

    return pick
