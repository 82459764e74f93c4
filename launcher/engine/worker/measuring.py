"""Measures, in the worker, which settings are fastest: what is compared takes turns.

Each round gives every candidate its turn, in one order and then in the other, so that what
disturbs the machine for a while disturbs them alike. The launcher decides; see `calibration`.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass

from launcher.engine.computing import Computing
from launcher.engine.messages import Message
from launcher.engine.worker import llama
from launcher.engine.worker.pace import Look, Pace

_PROMPT, _LONG_PROMPT, _ANSWER = 16, 64, 4  # tokens of one turn
_DEPTH = 512  # tokens that are there before, where attention is measured
_PIECE = 64  # tokens of them at a time
_MOST = 24  # rounds
_LOOKS, _PAUSE = 6, 0.05  # how often it is looked whether the machine is quiet; seconds between
_QUIET = 0.85  # the share of its threads' time that a turn gets on a quiet machine

Turn = tuple[float, float, float]
"""Seconds for a token of a prompt and of an answer, and the share of the processors."""


class _Candidate:
    """One way to compute, which can be given a turn."""

    def __init__(self, model: llama.Model, computing: Computing, prompt: int = _PROMPT) -> None:
        self.computing = computing
        self.prompt = [1] * prompt
        self.context = llama.Context(
            model, tokens=_DEPTH + 2 * prompt, computing=computing, pace=Pace(1, _nothing)
        )
        self.depth = 0

    def deepen(self) -> None:
        """Reads some tokens that stay."""
        self.context.fill([1] * _PIECE, _goes_on)
        self.depth += _PIECE

    def turn(self) -> Turn:
        threads = self.computing.threads
        llama.lib.llama_set_n_threads(self.context.handle, threads, threads)
        self.context.cut(self.depth)
        began, used = time.perf_counter(), time.process_time()
        self.context.fill(self.prompt, _goes_on)
        read = time.perf_counter()
        for _ in range(_ANSWER):
            self.context.step(1)
        done = time.perf_counter()
        share = (time.process_time() - used) / ((done - began) * threads)
        return (read - began) / len(self.prompt), (done - read) / _ANSWER, share


def _goes_on() -> bool:
    return False


def _nothing(_: int) -> None:
    pass


@dataclass(frozen=True, slots=True, kw_only=True)
class _Clock:
    """Until when each part may go on (seconds of `perf_counter`)."""

    began: float
    seconds: float

    def until(self, share: float) -> float:
        return self.began + share * self.seconds


def measured(message: Message, paths: Sequence[str]) -> Message:
    """What was measured, as a message. Raises `LoadFailed` or `DecodeFailed`.

    `paths` are a stand-in and a thin one. `threads` of the message are the candidates, the usual
    one first; `seconds` bound it all; without `repacked` nothing is laid out anew.
    """
    clock = _Clock(began=time.perf_counter(), seconds=message["seconds"])
    candidates: list[int] = message["threads"]
    if message["only_when_quiet"] and not _is_quiet(max(candidates)):
        return {"type": "measured", "quiet": False}
    usual = Computing(threads=candidates[0])
    thick, repacking = _repacking(paths[0], message["repacked"], usual, clock.until(0.4))
    flash = _flash_attention(paths[1], usual, clock.until(0.7))
    threads = _threads(thick, candidates, clock.until(1.0))
    parts = {"repacking": repacking, "flash_attention": flash, "threads": threads}
    turns = [turn for part in parts.values() for each in part for turn in each]
    quiet = bool(turns) and statistics.median(share for _, _, share in turns) >= _QUIET
    return {
        "type": "measured",
        "quiet": quiet,
        **{name: _plain(each) for name, each in parts.items()},
    }


def _is_quiet(processors: int) -> bool:
    """Whether so many processors are free, or get free in a moment."""
    for _ in range(_LOOKS):
        look = Look(processors)
        look.wait()
        if look.free >= processors:
            return True
        time.sleep(_PAUSE)
    return False


def _repacking(
    path: str, repacked: bool, usual: Computing, until: float
) -> tuple[llama.Model, list[list[Turn]]]:
    """A model to go on with; turns with extra buffers and without."""
    model = llama.Model([path], extra_buffers=repacked)
    if not repacked:
        return model, []
    plain = llama.Model([path], extra_buffers=False)
    turns = _contest([_Candidate(each, usual) for each in (model, plain)], until)
    return model, turns


def _flash_attention(path: str, usual: Computing, until: float) -> list[list[Turn]]:
    """Turns as the engine chooses and without, some tokens deep."""
    model = llama.Model([path], extra_buffers=False)
    off = Computing(threads=usual.threads, flash_attention="off")
    candidates = [_Candidate(model, each, _LONG_PROMPT) for each in (usual, off)]
    while candidates[0].depth < _DEPTH and time.perf_counter() < until - 0.1:
        for candidate in candidates:
            candidate.deepen()
    return _contest(candidates, until)


def _threads(model: llama.Model, counts: Sequence[int], until: float) -> list[list[Turn]]:
    """Turns with each number of threads."""
    if len(counts) == 1:
        return []
    return _contest([_Candidate(model, Computing(threads=each)) for each in counts], until)


def _contest(candidates: Sequence[_Candidate], until: float) -> list[list[Turn]]:
    """Whole rounds, as many as there is time for; the first, which warms up, does not count."""
    rounds: list[list[Turn]] = []
    longest = 0.0
    while len(rounds) <= _MOST and time.perf_counter() + longest < until:
        began = time.perf_counter()
        order = candidates if len(rounds) % 2 else candidates[::-1]
        turns = {id(candidate): candidate.turn() for candidate in order}
        rounds.append([turns[id(candidate)] for candidate in candidates])
        longest = max(longest, time.perf_counter() - began)
    for candidate in candidates:
        candidate.context.close()
    return rounds[1:]


def _plain(rounds: Sequence[Sequence[Turn]]) -> list[list[list[float]]]:
    """What the launcher is told: seconds alone."""
    return [[[read, written] for read, written, _ in turns] for turns in rounds]
