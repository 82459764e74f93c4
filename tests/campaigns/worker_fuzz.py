"""What does the launcher do with damaged files, from the path to the last token?

Models, adapters and projectors that say that they are free are damaged field by field, and go
the way that `launcher run` goes: the gate for a private person in Germany, the real worker in its
sandbox, two tokens of an answer, about an image where there is a projector. Each ends in time,
with an error of the launcher's own or with none, and what the gate has not allowed is never sent
to the worker.
"""

from __future__ import annotations

import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from random import Random

from launcher import flow, settings
from launcher.asker import Asker, Request
from launcher.engine.client import Worker
from launcher.engine.fit import Wishes
from launcher.engine.messages import Message
from launcher.errors import ExitCode, LauncherError
from launcher.licensing.declaration import Stated, who
from launcher.models import catalogue, sources
from launcher.models.bundle import Bundle
from launcher.models.refs import PathRef
from launcher.paths import places
from tests import eyes, headers
from tests.campaigns import parser_agreement
from tests.campaigns.campaign import Campaign, Tally, ranges, spread
from tests.campaigns.parser_agreement import LIMIT, Hang, Seed, alarm, unpadded
from tests.headers import SMALL, Written

COUNTS = {"model": 20_000, "adapter": 1_000, "projector": 1_000}
TURN = 44  # in this many cases, 40 models, 2 adapters, 2 projectors
SHARE = 88  # cases in one share
CONTEXT = 256  # tokens
DEATHS = 0.01  # of what is loaded: the engine may assert while it computes, and dies alone
QUESTION = {"role": "user", "content": "Hi"}
IMAGE = eyes.png()  # what a projector is shown
ALLOWED_CODES = frozenset({ExitCode.DONE}) | {code for code in ExitCode if 3 <= code <= 9}
# What no private person in Germany may load, whatever else a file says.
WITHHELD = frozenset({"llama4", "mllama", "hunyuan-dense", "hunyuan-moe", "hunyuan_vl"})

_FREE: dict[str, Written | None] = {"general.license": "apache-2.0"}
_EXPERTS = {"experts": 4, "expert_feed_forward": SMALL.feed_forward}


def kind_of(number: int) -> str:
    """What is damaged under this number."""
    place = number % TURN
    return "model" if place < 40 else "adapter" if place < 42 else "projector"


# --- Good files ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Beside:
    """A good model, and a good file that is given beside it."""

    model: bytes
    file: Seed
    option: str
    """The field of `Request` that names it."""

    def request(self, folder: Path, data: bytes) -> Request:
        """The model, and other bytes in the place of the file beside it."""
        model, beside = folder / "model.gguf", folder / "beside.gguf"
        model.write_bytes(self.model)
        beside.write_bytes(data)
        if self.option == "mmproj":
            return Request(model=str(model), mmproj=beside)
        return Request(model=str(model), adapters=(beside,))


@cache
def models() -> tuple[Seed, ...]:
    """Good models that say that they are free; the first is the real one, as it is published."""
    with tempfile.TemporaryDirectory() as folder:
        free = [_stating(model) for model in parser_agreement.MODELS]
        small = [parser_agreement.small(Path(folder), model) for model in free]
    return (parser_agreement.real(), *small)


def _stating(model: Mapping[str, object]) -> dict[str, object]:
    said = model.get("metadata", {})
    assert isinstance(said, dict)
    return {**model, "metadata": {**_FREE, **said}}


@cache
def besides() -> dict[str, tuple[Beside, ...]]:
    """Good adapters and projectors, each with a model."""
    with tempfile.TemporaryDirectory() as folder:
        plain, experts = (
            parser_agreement.small(Path(folder), _stating(model)).whole for model in ({}, _EXPERTS)
        )
        adapters = [
            Beside(plain, _drawn(headers.write_adapter(_in(folder), SMALL, _FREE)), "adapters"),
            Beside(experts, _drawn(_for_experts(_in(folder))), "adapters"),
        ]
        path = eyes.write_eye(_in(folder), SMALL.embedding)
        projector = _seed(path, path.read_bytes())
    return {"adapter": tuple(adapters), "projector": (Beside(plain, projector, "mmproj"),)}


def _in(folder: str) -> Path:
    return Path(folder, "beside.gguf")


def _for_experts(path: Path) -> Path:
    """An adapter of three dimensions, and of numbers of 16 bits."""
    name, count = "blk.1.ffn_up_exps.weight", _EXPERTS["experts"]
    shapes = {
        f"{name}.lora_a": ((SMALL.embedding, 8, count), headers.F16),
        f"{name}.lora_b": ((8, SMALL.feed_forward, count), headers.F16),
    }
    return headers.write_adapter(path, SMALL, _FREE, shapes)


def _drawn(path: Path) -> Seed:
    """A file with numbers drawn by lot where it has holes."""
    whole = path.read_bytes()
    return _seed(path, Random(2).randbytes(len(whole)))


def _seed(path: Path, filling: bytes) -> Seed:
    """A file with the same header, and after it what the filling has there."""
    with sources.resolved(PathRef(path), catalogue.load()) as bundle:
        assert bundle.main.header is not None
        start = bundle.main.header.data_offset
    return Seed(unpadded(path.read_bytes()[:start]), filling[start:])


# --- One damaged file ---------------------------------------------------------------------------


class Watched(Worker):
    """A worker that counts what it is told to load."""

    loads = 0

    def load(self, message: Message, files: Sequence[int]) -> Message:
        self.loads += 1
        return super().load(message, files)


class Trial:
    """A launcher of its own for many files, one after the other."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.tally = Tally()
        home = places({"LAUNCHER_HOME": str(folder / "home")})
        stated = Stated(who=who("individual:DE"))
        self.asker = Asker(places=home, settings=settings.load(home), stated=stated, offline=True)
        self.worker = Watched()

    def close(self) -> None:
        self.worker.close()

    def renew(self) -> None:
        self.worker.close()
        self.worker = Watched()

    def put(self, request: Request, kind: str, about: str) -> None:
        """Counts what becomes of a damaged file."""
        self.tally.counts[kind] += 1
        before = self.worker.loads
        try:
            with alarm():
                code = self._code(request, about)
        except Hang:
            self._fault("hung", f"more than {LIMIT} s: {about}")
            self.renew()
            return
        except Exception as error:  # noqa: BLE001  # any other error is what is looked for
            self._fault("crashed", f"{type(error).__name__}: {error}: {about}")
            self.renew()
            return
        reached = self.worker.loads > before
        self.tally.counts[f"exit {int(code)}"] += 1
        self.tally.counts["reached the worker"] += reached
        if code not in ALLOWED_CODES:
            self._fault("other exit codes", f"exit {int(code)}: {about}")
        if reached and code in (ExitCode.REFUSED, ExitCode.PERSON_NEEDED, ExitCode.UNIDENTIFIED):
            self._fault("past the gate", f"exit {int(code)}, and it was loaded: {about}")

    def _fault(self, count: str, text: str) -> None:
        self.tally.counts[count] += 1
        self.tally.faults.append(text)

    def _code(self, request: Request, about: str) -> ExitCode:
        try:
            self._run(request, about)
        except LauncherError as error:
            if error.exit_code is ExitCode.ENGINE_DIED or error.exit_code not in ALLOWED_CODES:
                self.tally.notes.append(f"{error.message}: {about}")
            return error.exit_code
        return ExitCode.DONE

    def _run(self, request: Request, about: str) -> None:
        wishes = Wishes(context=CONTEXT, threads=1)
        with flow.judged(request, self.asker) as judgement:
            cleared = flow.clear(judgement, wishes, self.asker)
            engine = flow.load(cleared, self.worker, self.asker)
            self._look(cleared.bundle, about)
            images = [IMAGE] if request.mmproj else []
            question = [{**QUESTION, "images": len(images)}]
            sampling = {"temperature": 0.0}
            list(engine.generate(question, images=images, sampling=sampling, max_tokens=2))

    def _look(self, bundle: Bundle, about: str) -> None:
        """By the file itself, and not by what the gate made of it."""
        assert bundle.main.header is not None
        if bundle.main.header.architecture in WITHHELD:
            self._fault("past the gate", f"withheld, and it was loaded: {about}")


def share(numbers: range) -> Tally:
    """The damaged files with these numbers."""
    with tempfile.TemporaryDirectory() as folder:
        trial = Trial(Path(folder))
        for number in numbers:
            trial.put(*_case(number, Path(folder)))
        trial.close()
        shutil.rmtree(folder, ignore_errors=True)
    return trial.tally


def _case(number: int, folder: Path) -> tuple[Request, str, str]:
    kind = kind_of(number)
    if kind == "model":
        whole, *rest = models()
        every = parser_agreement.REAL_EVERY
        seed = whole if number % every == 0 else rest[number % len(rest)]
        data, about = seed.damaged(number)
        path = folder / "model.gguf"
        path.write_bytes(data)
        return Request(model=str(path)), kind, f"{kind} {about}"
    pairs = besides()[kind]
    chosen = pairs[number % len(pairs)]
    data, about = chosen.file.damaged(number)
    return chosen.request(folder, data), kind, f"{kind} {about}"


def run(seed: int, count: int) -> Iterator[Tally]:
    """Damages `count` files; the seed says which ways."""
    models(), besides()  # once, before the processes part
    yield from spread(share, ranges(seed * TURN * 1_000_000, count, SHARE))


# --- Figures ------------------------------------------------------------------------------------

_FAULTS = ("hung", "crashed", "other exit codes", "past the gate")


def fails(counts: Counter[str]) -> str:
    if any(counts[fault] for fault in _FAULTS):
        return "damaged files are not all told as they should be"
    if counts["exit 7"] > DEATHS * counts["reached the worker"]:
        return f"more than {DEATHS:.0%} of what is loaded kills the engine"
    return ""


def summary(counts: Counter[str]) -> str:
    codes = sorted((name for name in counts if name.startswith("exit ")), key=_number)
    return (
        f"{counts['model']} damaged models, {counts['adapter']} adapters, {counts['projector']} "
        f"projectors: {', '.join(f'{counts[code]} {code}' for code in codes)}; "
        f"{counts['reached the worker']} reached the worker, {counts['past the gate']} of them "
        f"past the gate; {counts['hung']} hung, {counts['crashed']} crashes of the launcher, "
        f"{counts['other exit codes']} other exit codes"
    )


_number: Callable[[str], int] = lambda name: int(name.split()[1])  # noqa: E731

CAMPAIGN = Campaign(
    about="Damaged models, adapters and projectors, from the path to the last token.",
    count=sum(COUNTS.values()),
    run=run,
    summary=summary,
    fails=fails,
)
