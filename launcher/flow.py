"""The one way from a reference to a running model. `check`, `pull`, `run` and `serve` are
four lengths of it.

    judge    reference -> bundle -> header -> identity -> decision
    clear    decision -> record -> plan -> Cleared
    obtain   Cleared -> files on this disk, verified and judged again -> Cleared
    load     Cleared -> worker -> Engine, and a second record
"""

from __future__ import annotations

import contextlib
import functools
import shlex
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from launcher import reach, shortfalls
from launcher.asker import Asker, Request
from launcher.clearance import Cleared, Verdict
from launcher.engine import support
from launcher.errors import ExitCode, IntegrityError, LauncherError
from launcher.licensing import (
    acceptance,
    contract,
    declaration,
    gate,
    overlay,
    policy,
    remedies,
)
from launcher.licensing.decision import Decision
from launcher.models import catalogue, digests, identification, layout, refs, sources, uses
from launcher.models.bundle import Bundle, Part, PinnedFile
from launcher.models.cache import Cache
from launcher.models.identity import Knowledge, identify
from launcher.reach import Look

if TYPE_CHECKING:
    from launcher.engine.client import Engine, Worker
    from launcher.engine.fit import Plan, Wishes
    from launcher.models.progress import Progress
    from launcher.models.transfer import Options

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

    def as_json(self) -> dict[str, Any]:
        """What `check --json` prints."""
        return contract.decision_json(
            self.decision, remedies=self.remedies, supported=self.supported
        )


class NotCleared(LauncherError):
    """The gate did not allow the load; the judgement says why."""

    def __init__(self, judgement: Judgement) -> None:
        super().__init__(judgement.decision.reasons[0].text, commands=judgement.remedies)
        self.judgement = judgement
        self.exit_code = judgement.decision.exit_code


# --- Judge --------------------------------------------------------------------------------------


@contextlib.contextmanager
def judged(
    request: Request, asker: Asker, look: Look = Look.HERE, *, quick: bool = False
) -> Iterator[Judgement]:
    """Judges what a request stands for; its files stay open while the block runs.

    `quick` takes headers that were read before from memory: for whoever loads nothing.
    """
    known = catalogue.load()
    ref = reach.reference(request)
    way = reach.of(ref, request, asker, look)
    way = replace(way, headers=asker.places.headers) if quick else way
    with sources.resolved(ref, known, way, reach.beside(request, asker, look)) as bundle:
        yield judge(bundle, asker)


def judge(bundle: Bundle, asker: Asker) -> Judgement:
    """The decision on a bundle for whoever asks, as things stand now.

    Raises `NotFound` where the bundle could not be looked at, unless what is said of it is
    enough to refuse it.
    """
    known = knowledge(asker)
    bundle = _with_remembered_digests(bundle, asker)
    case = _case(bundle, known, asker)
    decision = gate.decide(case)
    if decision.exit_code is ExitCode.UNIDENTIFIED and _could_settle(case, known):
        case = _case(_with_digests(bundle, asker), known, asker)
        decision = gate.decide(case)
    if bundle.obstacle and _hangs_on_a_look(decision):
        raise bundle.obstacle
    return Judgement(
        case=case,
        decision=decision,
        remedies=remedies.remedies(case, decision, known),
        supported=_is_supported(bundle, decision),
    )


def _hangs_on_a_look(decision: Decision) -> bool:
    """Whether nothing stands between a model and its load but that it was not looked at."""
    if decision.verdict is Verdict.REFUSE or decision.declaration is None:
        return False
    unknown = any(reason.exit_code is ExitCode.UNIDENTIFIED for reason in decision.reasons)
    return unknown or decision.verdict is Verdict.ALLOW


def knowledge(asker: Asker) -> Knowledge:
    """The catalogue, the published digests, and what people stated on this computer."""
    return Knowledge(
        catalogue=catalogue.load(),
        published=catalogue.known_files,
        identifications=identification.load(
            asker.places.identifications, asker.places.site_identifications
        ),
        hubs=frozenset(asker.settings.hubs),
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
    """Whether a digest could: one that is known, or one that ties a file to its cards."""
    has_cards = any(part.chain is not None and part.expected for part in case.bundle.parts)
    return has_cards or any(known.could_settle(identity) for identity in case.identities)


def _with_remembered_digests(bundle: Bundle, asker: Asker) -> Bundle:
    memory = asker.places.digests
    return _with_sha256(
        bundle, lambda part: digests.remembered(memory, part.file) if part.file else ""
    )


def _with_digests(bundle: Bundle, asker: Asker) -> Bundle:
    """Reads whole files, once each."""
    return _with_sha256(
        bundle, lambda part: _digest(part.file, part.name, asker) if part.file else ""
    )


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
        from launcher import recording

        with contextlib.suppress(LauncherError):  # a full disk must not hide a refusal
            recording.note_refusal(judgement, asker)
        raise NotCleared(judgement)
    if not judgement.supported:
        raise shortfalls.unsupported(judgement.decision)
    shortfalls.refuse_unloadable(judgement.bundle)


def clear(judgement: Judgement, wishes: Wishes, asker: Asker) -> Cleared:
    """The key to the weights, here or still at the hub.

    Raises `NotCleared`, `Unsupported`, `NotFound` or `DoesNotFit`, in this order: what a
    licence withholds is said before what a disk or an engine lacks.
    """
    refuse(judgement, asker)
    decision, bundle = judgement.decision, judgement.bundle
    shortfalls.refuse_missing(bundle, decision)
    from launcher import recording

    plan = planned(bundle, wishes, asker)
    record = recording.decided(judgement, asker)
    return Cleared(bundle=bundle, decision=decision, plan=plan, record=record)


def planned(bundle: Bundle, wishes: Wishes, asker: Asker) -> Plan:
    """How a bundle is to be loaded on this machine; raises `DoesNotFit`."""
    from launcher import tuning
    from launcher.engine import companions, fit, graphics, machine, peaks

    headers = [part.header for part in bundle.parts if part.header is not None]
    correction = peaks.correction(asker.places.peaks, bundle)
    beside = companions.of(bundle)
    here = machine.measure()
    found = tuning.known(bundle, asker, here)
    devices = graphics.usable(wishes.gpu_layers)
    return fit.plan(headers, bundle.size, here, wishes, correction, found, beside, devices)


# --- Obtain -------------------------------------------------------------------------------------


@contextlib.contextmanager
def obtained(
    cleared: Cleared,
    wishes: Wishes,
    asker: Asker,
    options: Options | None = None,
    progress: Progress | None = None,
) -> Iterator[Cleared]:
    """The bundle on this disk, every byte as it was published; its files stay open.

    What had to be fetched is judged again, as the whole file is now to be seen. Raises
    `IntegrityError` for bytes that are not what was published, `NotCleared` where the file is
    not what was judged.
    """
    bundle = cleared.bundle
    if bundle.is_here:
        verify(bundle, asker)
        yield cleared
        return
    paths = [
        path for each in bundle.sets for path in _fetch(bundle, each, asker, options, progress)
    ]
    with sources.fetched(bundle, paths) as here:
        verify(here, asker)
        yield clear(judge(here, asker), wishes, asker)


def _fetch(
    bundle: Bundle,
    parts: Sequence[Part],
    asker: Asker,
    options: Options | None,
    progress: Progress | None,
) -> tuple[Path, ...]:
    """What of these parts is at the hub: one file, or the shards of one."""
    from launcher.models import transfer

    files = [part.origin for part in parts if part.file is None and part.origin is not None]
    if not files:
        return ()
    asked = bundle.asked(parts[0])
    ref = asked.ref if asked is not None else bundle.ref
    return transfer.download(
        files,
        reach.hub(asker),
        Cache.from_environment(),
        revision=ref.revision if isinstance(ref, refs.HubRef) else "",
        options=options,
        progress=progress,
        memory=asker.places.digests,
    )


def verify(bundle: Bundle, asker: Asker) -> None:
    """Raises `IntegrityError` unless every file is what was published, where that is known.

    A file that was found right is not read again before it changes.
    """
    for parts in bundle.sets:
        for part in parts:
            if part.file is None or not part.expected:
                continue
            if _digest(part.file, part.name, asker) != part.expected:
                asked = bundle.asked(parts[0])
                ref = shlex.quote(str(asked.ref if asked is not None else bundle.ref))
                raise IntegrityError(
                    f"{part.file.path} is not what was published: its bytes are others",
                    hint="Nothing was loaded. Remove it, and fetch it again:",
                    commands=[f"launcher rm {ref}", f"launcher pull {ref}"],
                )


def _digest(file: PinnedFile, name: str, asker: Asker) -> str:
    """The digest of a file, read whole once; says so when it takes long."""
    memory, size = asker.places.digests, file.stamp.size
    if size > LONG_READ and not digests.remembered(memory, file):
        asker.say(f"Reading {name} once ({size / 1e9:.1f} GB) to compare its digest.")
    return digests.take(memory, file)


# --- Load ---------------------------------------------------------------------------------------


def calibrated(cleared: Cleared, wishes: Wishes, worker: Worker, asker: Asker) -> Cleared:
    """The same, planned by what is measured now, where models of its kind are new here."""
    from launcher import tuning

    if not tuning.learn(cleared.bundle, wishes, worker, asker):
        return cleared
    return replace(cleared, plan=planned(cleared.bundle, wishes, asker))


def load(cleared: Cleared, worker: Worker, asker: Asker, *, shared: bool = False) -> Engine:
    """Loads a cleared bundle and records which bytes were loaded, or what came of it instead.

    `shared`, for many to ask at once.
    """
    from launcher import recording
    from launcher.engine import environment, peaks
    from launcher.engine.client import Engine

    unusual = ", ".join(environment.unusual())
    if unusual:
        asker.say(f"Note: The engine does not get {unusual}, which could swap it for another.")
    bundle, plan = cleared.bundle, cleared.plan
    if plan.note:
        asker.say(f"Note: {plan.note}")
    try:
        engine = Engine(cleared, worker, shared=shared)
    except LauncherError as error:
        with contextlib.suppress(LauncherError):  # a full disk must not hide what went wrong
            recording.failed(cleared, error, asker)
        raise
    note_use(asker, bundle)
    recording.loaded(cleared, engine, asker)
    estimate = plan.memory.total - plan.memory.correction
    engine.at_end = functools.partial(peaks.note, asker.places.peaks, bundle, estimate)
    return engine


def note_use(asker: Asker, bundle: Bundle) -> None:
    """Keeps when a model was used last: `list` shows it and `prune` goes by it."""
    for first, *_ in bundle.sets:
        if first.file is not None:
            uses.note_use(asker.places.uses, layout.blob_of(first.file.path), time.time())
