"""What is known of this machine and its engine when a load is planned, and how it is learnt."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import replace

from launcher.asker import Asker
from launcher.engine import calibration, machine, standin
from launcher.engine.calibration import Calibrations, Found
from launcher.engine.client import Worker
from launcher.engine.fit import Tuning, Wishes
from launcher.engine.machine import Machine
from launcher.engine.standin import Kind
from launcher.errors import EngineDied
from launcher.installation import installed
from launcher.models.bundle import Bundle


def known(bundle: Bundle, asker: Asker, here: Machine) -> Tuning:
    """What was found to be fastest for models of this kind, and to work."""
    kind = _kind(bundle)
    found = calibrations(asker, here).found(kind) if kind is not None else None
    tuning = found.tuning if found is not None else Tuning()
    return tuning if installed.uses_extra_buffers() else replace(tuning, extra_buffers=False)


def calibrations(asker: Asker, here: Machine) -> Calibrations:
    """All that was measured here."""
    return Calibrations(asker.places.calibrations, here.processors)


def learn(bundle: Bundle, wishes: Wishes, worker: Worker, asker: Asker) -> bool:
    """Measures once for each kind of models, in about 3 seconds; says so. Whether it did.

    A machine that is busy is left alone for a while. The worker is used up.
    """
    kind, here = _kind(bundle), machine.measure()
    if kind is None or os.environ.get(calibration.VARIABLE) or _all_is_said(wishes):
        return False
    kept = calibrations(asker, here)
    if not kept.is_wanted(kind) or not calibration.is_affordable(here):
        return False
    asker.say(
        f"Finding out once how models of this kind run fastest here ({kind.title}; about 3 s)."
    )
    kept.put_off(kind)  # also where it is cut off
    try:
        found = calibration.measure(kind, here, worker, repacked=installed.uses_extra_buffers())
    except (EngineDied, OSError):
        return False
    if found is not None:
        kept.keep(found)
    return found is not None


def learn_anew(asker: Asker) -> Iterator[tuple[Kind, Found | None]]:
    """Measures every kind that was looked for here, and the default model's, in more time.

    Nothing is found where the machine is busy, or the engine does not survive it.
    """
    here = machine.measure()
    kept = calibrations(asker, here)
    kinds = [*kept.kinds(), *_default_kind()]
    for kind in dict.fromkeys(kinds):
        found = None
        with contextlib.suppress(EngineDied), contextlib.closing(Worker()) as worker:
            extra = installed.uses_extra_buffers()
            found = calibration.measure(
                kind, here, worker, repacked=extra, seconds=calibration.LONG
            )
        if found is not None:
            kept.keep(found)
        yield kind, found


def _default_kind() -> Iterator[Kind]:
    from launcher.installation.build import PROVING_MODEL
    from launcher.models import catalogue, sources
    from launcher.models.refs import PathRef

    known_models = catalogue.load()
    model = known_models.model(PROVING_MODEL)
    path = sources.packaged_file(model) if model is not None else None
    if path is not None:
        with sources.resolved(PathRef(path), known_models) as bundle:
            kind = _kind(bundle)
        if kind is not None:
            yield kind


def _all_is_said(wishes: Wishes) -> bool:
    """Whether the user has left nothing open that could be measured."""
    decided = wishes.flash_attention != "auto" and wishes.extra_buffers is not None
    return decided and wishes.threads is not None


def _kind(bundle: Bundle) -> Kind | None:
    headers = [part.header for part in bundle.sets[0] if part.header is not None]
    return standin.kind_of(headers) if headers and headers[0].complete else None
