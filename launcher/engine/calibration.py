"""Which settings are fastest on this machine for a kind of models: measured once, and kept.

Measured are the number of threads, flash attention, and whether weights are better laid out
anew. A setting takes the place of the usual one only where it was clearly faster, round by
round. On a machine that is busy nothing is learnt: it is put off. The types of keys and values
are not measured: 16 bits are what the answers are best with, and memory alone decides for less.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import threading
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from launcher.engine import machine, standin
from launcher.engine.client import Worker
from launcher.engine.fit import Tuning, default_threads
from launcher.engine.messages import Message
from launcher.engine.standin import Kind
from launcher.errors import EngineDied
from launcher.memory import Memory

SECONDS = 2.4  # of measuring at a first load; with the start of its process about 3
LONG = 12.0  # when it is asked for
VARIABLE = "LAUNCHER_NO_CALIBRATION"
_GRACE = 3.0  # seconds after which what does not end is ended
_CLEARLY = 0.95  # of the usual one's time
_AGREED = 0.75  # of all rounds, in which it must have been faster
_LEAST = 4  # rounds
_AGAIN = 3600.0  # seconds until what was put off is tried again
_MEMORY = 512 << 20  # bytes that must be free for it


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What was measured of a kind of models, and what follows."""

    kind: Kind
    tuning: Tuning
    repacked_prompt: float | None = None
    """How many times as fast prompts are read with weights laid out anew; None: not measured."""
    repacked_answer: float | None = None
    flash_prompt: float | None = None
    """How many times as fast attention is with flash attention."""
    flash_answer: float | None = None
    at: float = 0.0
    """Seconds since 1970."""


class Calibrations:
    """What was found on this machine, by kinds of models, with the engine that is installed."""

    def __init__(self, path: Path, processors: int) -> None:
        self._memory = Memory(path, kept=100)
        self._here = _engine_and_machine(processors)

    def found(self, kind: Kind) -> Found | None:
        """What is known of a kind; None where nothing is."""
        note = self._memory.get(self._key(kind))
        return _found(note) if isinstance(note, dict) and "tuning" in note else None

    def all(self) -> list[Found]:
        """All that is known."""
        notes = [note for key, note in self._memory.all().items() if key.startswith(self._here)]
        return [_found(note) for note in notes if "tuning" in note]

    def kinds(self) -> list[Kind]:
        """All that were looked for, with success or not."""
        notes = [note for key, note in self._memory.all().items() if key.startswith(self._here)]
        return [Kind(**note["kind"]) for note in notes]

    def is_wanted(self, kind: Kind) -> bool:
        """Whether it is to be measured: not known, nor put off a short time ago."""
        note = self._memory.get(self._key(kind))
        if not isinstance(note, dict):
            return True
        return "tuning" not in note and abs(time.time() - note["at"]) > _AGAIN

    def keep(self, found: Found) -> None:
        self._memory.note(self._key(found.kind), asdict(found))

    def put_off(self, kind: Kind) -> None:
        """Notes that it was tried, and is not to be tried again soon."""
        self._memory.note(self._key(kind), {"kind": asdict(kind), "at": time.time()})

    def _key(self, kind: Kind) -> str:
        return f"{self._here} {kind.key}"


def _found(note: dict[str, Any]) -> Found:
    return Found(**{**note, "kind": Kind(**note["kind"]), "tuning": Tuning(**note["tuning"])})


def _engine_and_machine(processors: int) -> str:
    """Changes with the engine's libraries, the processor, and how much of it there is."""
    import importlib.util

    spec = importlib.util.find_spec("llama_cpp")
    folders = spec.submodule_search_locations if spec is not None else None
    libraries = sorted((Path(folders[0]) / "lib").glob("*")) if folders else []
    stamps = [(path.name, path.stat().st_size, path.stat().st_mtime_ns) for path in libraries]
    facts = (stamps, machine.processor_name(), sorted(machine.features()), processors)
    return hashlib.sha256(repr(facts).encode()).hexdigest()[:16]


def candidates(here: machine.Machine) -> list[int]:
    """Numbers of threads worth trying, the usual one first."""
    usual = default_threads(here)
    cores, fast = machine.cores()
    counts = {min(count, here.processors) for count in (cores, fast, here.processors) if count}
    return [usual, *sorted(counts - {usual})]


def is_affordable(here: machine.Machine) -> bool:
    """Whether there is the memory for it."""
    return here.memory_available > _MEMORY


def measure(
    kind: Kind,
    here: machine.Machine,
    worker: Worker,
    *,
    repacked: bool,
    seconds: float = SECONDS,
    only_when_quiet: bool = True,
) -> Found | None:
    """Measures a kind of models in the worker, which is used up; None where it was busy here.

    Without `repacked` the weights are not laid out anew, and neither is that compared. Raises
    `EngineDied` where the engine does not survive it.
    """
    with contextlib.ExitStack() as stack:
        files = []
        for thin in (False, True):
            files.append(standin.written(kind, thin=thin))
            stack.callback(os.close, files[-1])
        threads = candidates(here)
        message = {
            "type": "calibrate",
            "threads": threads,
            "repacked": repacked,
            "seconds": seconds,
            "only_when_quiet": only_when_quiet,
        }
        reply = _asked(worker, message, files)
    is_usable = reply.get("quiet") or (reply and not only_when_quiet)
    return decide(kind, reply, threads) if is_usable else None


def _asked(worker: Worker, message: Message, files: Sequence[int]) -> Message:
    """The worker's answer; an empty one where it took too long."""
    late = threading.Event()

    def end() -> None:
        late.set()
        worker.process.kill()

    timer = threading.Timer(message["seconds"] + _GRACE, end)
    timer.start()
    try:
        return worker.load(message, files)
    except EngineDied:
        if late.is_set():
            return {}
        raise
    finally:
        timer.cancel()


# --- What follows from it -----------------------------------------------------------------------


def decide(kind: Kind, measured: Message, threads: Sequence[int]) -> Found:
    """What follows from rounds of turns; in each, the usual setting comes first."""
    repacking = _Contest(measured["repacking"])
    flash = _Contest(measured["flash_attention"])
    counts = _Contest(measured["threads"])
    answer, prompt = counts.fastest(1), counts.fastest(0)
    tuning = Tuning(
        threads=threads[answer],
        threads_batch=threads[prompt],
        flash_attention="off" if flash.fastest() else None,
        extra_buffers=False if repacking.fastest() else None,
    )
    found = Found(kind=kind, tuning=tuning, at=time.time())
    if repacking.rounds:
        faster = repacking.ratio(1, 0), repacking.ratio(1, 1)
        found = replace(found, repacked_prompt=faster[0], repacked_answer=faster[1])
    if flash.rounds:
        faster = flash.ratio(1, 0), flash.ratio(1, 1)
        found = replace(found, flash_prompt=faster[0], flash_answer=faster[1])
    return found


class _Contest:
    """Rounds in which candidates took turns: seconds for tokens of a prompt and an answer."""

    def __init__(self, rounds: Sequence[Sequence[Sequence[float]]]) -> None:
        self.rounds = rounds

    def fastest(self, part: int | None = None) -> int:
        """The candidate that is clearly fastest at prompts (0), answers (1) or both, or the first.

        Both count by their sum: as many tokens are read as are written.
        """
        best, best_ratio = 0, _CLEARLY
        for number in range(1, len(self.rounds[0]) if len(self.rounds) >= _LEAST else 0):
            ratios = self._ratios(number, part)
            wins = sum(ratio < 1 for ratio in ratios) / len(ratios)
            if wins >= _AGREED and _middle(ratios) < best_ratio:
                best, best_ratio = number, _middle(ratios)
        return best

    def ratio(self, number: int, part: int) -> float:
        """How many times the time of the first one it takes, in the middle of all rounds."""
        return round(_middle(self._ratios(number, part)), 3)

    def _ratios(self, number: int, part: int | None) -> list[float]:
        return [_seconds(each[number], part) / _seconds(each[0], part) for each in self.rounds]


def _seconds(turn: Sequence[float], part: int | None) -> float:
    return sum(turn) if part is None else turn[part]


def _middle(values: Sequence[float]) -> float:
    """The median; `statistics` takes 2 ms to import, before every load."""
    ordered = sorted(values)
    half = len(ordered) // 2
    return (ordered[half] + ordered[-half - 1]) / 2
