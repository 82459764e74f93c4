"""A file is swapped while it is being checked and loaded: is the wrong model ever served?

Two models of one size, one free and one that is withheld, with other weights. While the launcher
goes its way with the free one, the other takes its place at a random moment: renamed over it,
written into it piece by piece, or reached by a link that is turned. What is served must be the
free model, to the last weight, by the scores of its tokens.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import struct
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from random import Random

from launcher import flow, settings
from launcher.asker import Asker, Request
from launcher.engine.client import Engine, Text, Worker
from launcher.engine.fit import Wishes
from launcher.errors import LauncherError
from launcher.licensing.declaration import Stated, who
from launcher.models import catalogue, sources
from launcher.models.gguf import Tensor
from launcher.models.refs import PathRef
from launcher.paths import places
from tests.campaigns.campaign import Campaign, Tally, ranges, spread
from tests.headers import F16, F32, Written, statements, write_model

SHARE = 25  # swaps in one share
BEFORE = 0.004  # seconds before the launcher opens the file, at most, that a swap begins
EARLY = 0.02  # seconds in which every second swap begins: the file is opened and judged then
LATE = 0.002  # seconds; a swap that begins so shortly before the end of the load is too late
AGE = 0.05  # seconds that a good file has been left alone, as files are
PIECE = 16 << 10  # bytes
QUESTION = [{"role": "user", "content": "Hi"}]

_NAMES = {True: "Small and free model", False: "Llama 4 Scout Instr."}  # of one length


@cache
def model(*, free: bool) -> bytes:
    """The free model or the withheld one, as long as the other."""
    licence = "apache-2.0" if free else "llama4"
    said: dict[str, Written | None] = {
        **statements(name=_NAMES[free], license=licence),
        "general.description": "." * (20 - len(licence)),
    }
    with tempfile.TemporaryDirectory() as folder:
        path = write_model(Path(folder, "model.gguf"), metadata=said, quant=F16)
        with sources.resolved(PathRef(path), catalogue.load()) as bundle:
            header = bundle.main.header
            assert header is not None
        data, lot = bytearray(path.read_bytes()), Random(free)
    for tensor in header.tensors:
        start = header.data_offset + tensor.offset
        data[start : start + tensor.size] = _drawn(tensor, lot)
    return bytes(data)


def _drawn(tensor: Tensor, lot: Random) -> bytes:
    """Numbers that a computation survives, so that every one of them shows in what comes out."""
    if tensor.type == F32:
        return struct.pack("<f", 1.0) * (tensor.size // 4)
    count = tensor.size // 2
    return struct.pack(f"<{count}e", *(lot.gauss(0, 0.1) for _ in range(count)))


# --- Ways to swap a file ------------------------------------------------------------------------


def _rename(path: Path, lot: Random) -> None:
    other = path.with_name("other.gguf")
    other.write_bytes(model(free=False))
    other.replace(path)


def _write(path: Path, lot: Random) -> None:
    """Piece by piece, in any order, as a program does that patches a file."""
    data = model(free=False)
    starts = list(range(0, len(data), PIECE))
    lot.shuffle(starts)
    with path.open("r+b", buffering=0) as stream:
        for start in starts:
            os.pwrite(stream.fileno(), data[start : start + PIECE], start)


def _turn(path: Path, lot: Random) -> None:
    link = path.with_name("link")
    link.symlink_to(path.with_name("withheld.gguf"))
    link.replace(path)


WAYS: dict[str, Callable[[Path, Random], None]] = {
    "renamed over": _rename,
    "written into": _write,
    "links turned": _turn,
}


# --- One swap -----------------------------------------------------------------------------------


class Trial:
    """A launcher for many swaps, and how long its way to a loaded model takes."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.tally = Tally()
        home = places({"LAUNCHER_HOME": str(folder / "home")})
        stated = Stated(who=who("individual:DE"))
        self.asker = Asker(places=home, settings=settings.load(home), stated=stated, offline=True)
        self.path = folder / "model.gguf"
        self.span = 0.0
        self.right = self._undisturbed(free=True)
        wrong = self._undisturbed(free=False)
        assert "logprob" in self.right
        assert wrong == "exit 3"

    def _undisturbed(self, *, free: bool) -> str:
        self.path.write_bytes(model(free=free))
        started = time.monotonic()
        text, loaded = self._served()
        self.span = max(self.span, loaded - started)
        return text

    def _served(self) -> tuple[str, float]:
        """The tokens and their scores, or how it ended; and when the model had been loaded."""
        with contextlib.closing(Worker()) as worker:
            loaded = time.monotonic()
            try:
                with flow.judged(Request(model=str(self.path)), self.asker) as judgement:
                    cleared = flow.clear(judgement, Wishes(context=256, threads=1), self.asker)
                    engine = Engine(cleared, worker)
                    loaded = time.monotonic()
                    asked = {"sampling": {"temperature": 0.0}, "max_tokens": 8, "logprobs": 2}
                    events = list(engine.generate(QUESTION, **asked))  # type: ignore[arg-type]
            except LauncherError as error:
                return f"exit {int(error.exit_code)}", loaded
        said = [(event.text, event.logprobs) for event in events if isinstance(event, Text)]
        return ascii(said), loaded

    def swap(self, number: int) -> None:
        """One race; counts how it ended."""
        lot = Random(number)
        way = list(WAYS)[number % len(WAYS)]
        self._lay_out(way)
        begun: list[float] = []
        delay = lot.uniform(-BEFORE, lot.choice((self.span, EARLY)))
        swapper = threading.Thread(target=self._swap, args=(way, max(delay, 0), lot, begun))
        swapper.start()
        time.sleep(max(-delay, 0))
        text, loaded = self._served()
        swapper.join()
        if begun[0] > loaded - LATE and not text.startswith("exit "):
            self.tally.counts["too late"] += 1  # it was loaded by then, and is not judged
            return
        self.tally.counts[way] += 1
        self._judge(text, f"{number}: {way} after {delay * 1000:.1f} ms")

    def _judge(self, text: str, about: str) -> None:
        if text.startswith("exit "):
            self.tally.counts[text] += 1
            if text not in ("exit 3", "exit 6"):
                self.tally.faults.append(f"{text}: {about}")
        elif text == self.right:
            self.tally.counts["the right model"] += 1
        else:
            self.tally.counts["the wrong model"] += 1
            self.tally.faults.append(f"the wrong model was served: {about}")

    def _lay_out(self, way: str) -> None:
        self.path.unlink(missing_ok=True)
        real = self.path if way != "links turned" else self.folder / "free.gguf"
        real.write_bytes(model(free=True))
        if way == "links turned":
            self.path.symlink_to(real)
            (self.folder / "withheld.gguf").write_bytes(model(free=False))
        time.sleep(AGE)

    def _swap(self, way: str, delay: float, lot: Random, begun: list[float]) -> None:
        time.sleep(delay)
        begun.append(time.monotonic())
        WAYS[way](self.path, lot)


def share(numbers: range) -> Tally:
    """The swaps with these numbers."""
    with tempfile.TemporaryDirectory() as folder:
        trial = Trial(Path(folder))
        for number in numbers:
            trial.swap(number)
        shutil.rmtree(folder, ignore_errors=True)
    return trial.tally


def run(seed: int, count: int) -> Iterator[Tally]:
    """Swaps `count` times; the seed says when."""
    yield from spread(share, ranges(seed * 1_000_000, count, SHARE))


def summary(counts: Counter[str]) -> str:
    """One line with the figures."""
    raced = sum(counts[way] for way in WAYS)
    ways = ", ".join(f"{counts[way]} {way}" for way in WAYS)
    return (
        f"{raced} swaps before the load was over ({ways}): the wrong model served "
        f"{counts['the wrong model']} times; {counts['the right model']} times the right one, "
        f"{counts['exit 6']} exit 6, {counts['exit 3']} exit 3; {counts['too late']} more came "
        "too late"
    )


CAMPAIGN = Campaign(
    about="Files swapped between check and load: the wrong model is never served.",
    count=1_250,  # some come too late
    run=run,
    summary=summary,
)
