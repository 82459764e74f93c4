"""Does the engine see the model that the header showed us?

Good files are damaged field by field, with all their weights in place, and put through the
launcher's reader and then through the real worker. What both take must be the same model to
both. The launcher may raise nothing but its own errors, and nothing may hang.
"""

from __future__ import annotations

import contextlib
import os
import signal
import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from random import Random

from launcher.clearance import Cleared, Verdict
from launcher.engine import fit, machine
from launcher.engine.client import Engine, Worker
from launcher.engine.fit import Wishes
from launcher.errors import DoesNotFit, EngineDied, HeaderError, IntegrityError, LauncherError
from launcher.models import catalogue, sources
from launcher.models.bundle import Bundle
from launcher.models.gguf import Header
from launcher.models.identity import Knowledge, identify
from launcher.models.refs import PathRef
from tests import headers, mutations
from tests.campaigns.campaign import Campaign, Tally, ranges, spread
from tests.headers import SMALL, Written

LIMIT = 15.0  # seconds for one file, from its opening to the engine's answer
DEATHS = 0.0005  # of the headers that the reader accepts
SHARE = 100  # headers in one share
CONTEXT = 256  # tokens


@dataclass(frozen=True, slots=True)
class Seed:
    """A good file in two halves."""

    header: bytes
    """Without the padding at its end."""
    weights: bytes

    @property
    def whole(self) -> bytes:
        return headers.padded(self.header) + self.weights

    def damaged(self, number: int) -> tuple[bytes, str]:
        """The file with its header damaged, and what was done to it."""
        mutant = mutations.mutate(self.header, number)
        about = f"{number}: {'; '.join(mutant.changes)}"
        return headers.padded(mutant.data) + self.weights, about


# --- Good files -------------------------------------------------------------------------------

_SAID: dict[str, Written | None] = {
    **headers.statements(
        name="Small 1B Instruct",
        basename="Small",
        size_label="1B",
        finetune="Instruct",
        license="apache-2.0",
        base_models=["example/Small-1B"],
    ),
    "general.tags": ["text-generation", "example"],
    "general.languages": ["en", "de"],
}
_SCALED: dict[str, Written | None] = {
    "llama.rope.scaling.type": "linear",
    "llama.rope.scaling.factor": 2.0,
    "llama.attention.key_length": 16,
    "llama.attention.value_length": 16,
    "tokenizer.ggml.add_bos_token": True,
    "tokenizer.ggml.add_space_prefix": False,
    "tokenizer.ggml.unknown_token_id": 0,
    "tokenizer.ggml.padding_token_id": 2,
}
_YARN: dict[str, Written | None] = {
    "llama.rope.scaling.type": "yarn",
    "llama.rope.scaling.factor": 4.0,
    "llama.rope.scaling.original_context_length": 64,
}
_WIDE = {"embedding": 256, "feed_forward": 512, "heads": 8, "kv_heads": 4}
_EXPERTS = {"experts": 4, "expert_feed_forward": SMALL.feed_forward}

MODELS: tuple[dict[str, object], ...] = (
    {"metadata": _SAID},
    {"metadata": _SAID | _SCALED, "rope_factors": True},
    {"metadata": _SAID, "vocabulary": 1024, "tied": True},
    {"quant": headers.Q4_K, "layers": 3, **_WIDE},
    {"quant": 14, **_WIDE},  # Q6_K
    {"quant": headers.Q8_0},
    {"quant": headers.Q4_0, "kv_heads": (2, 2)},
    {"quant": headers.F16, **_EXPERTS},
    {"metadata": _YARN | {"tokenizer.ggml.model": "t5"}},
    {"metadata": _SAID | {"tokenizer.ggml.model": "plamo2"}},
    {"architecture": "qwen2", "metadata": _SAID, "vocabulary": 1024},
    {"architecture": "qwen3", "head_size": 32},
    {"architecture": "gemma", "tied": True},
    {"architecture": "gemma2", "tied": True, "head_size": 32},
    {"architecture": "gemma3", "metadata": _SAID, "tied": True},
    {"architecture": "phi3", "metadata": _SAID},
    {"architecture": "granite", "vocabulary": 1024},
    {"architecture": "olmo2"},
    {"architecture": "exaone4"},
    {"architecture": "lfm2", "kv_heads": (0, 2)},
    {"architecture": "mistral3"},
    {"architecture": "smollm3", "vocabulary": 1024},
    {"architecture": "minicpm"},
    {"architecture": "internlm2"},
    {"architecture": "ernie4_5", "metadata": _SAID},
    {"architecture": "baichuan"},
    {"architecture": "hunyuan-dense", "metadata": _SAID},
    {"architecture": "hunyuan-moe", **_EXPERTS},
    {"architecture": "hunyuan_vl"},
    {"architecture": "llama4", **_EXPERTS},
)


def small(folder: Path, model: dict[str, object]) -> Seed:
    """A complete model of a few hundred kilobytes, its weights drawn by lot."""
    path = headers.write_model(folder / "seed.gguf", SMALL, **model)  # type: ignore[arg-type]
    size = path.stat().st_size
    with sources.resolved(PathRef(path), catalogue.load()) as bundle:
        start = _header(bundle).data_offset
    return Seed(unpadded(path.read_bytes()[:start]), Random(1).randbytes(size - start))


def real() -> Seed:
    """The default model, as it is published."""
    model = catalogue.load().model("smollm2:135m")
    assert model is not None
    path = sources.packaged_file(model)
    assert path is not None, "the default model is missing: run scripts/test"
    with sources.resolved(PathRef(path), catalogue.load()) as bundle:
        start = _header(bundle).data_offset
    data = path.read_bytes()
    return Seed(unpadded(data[:start]), data[start:])


def unpadded(header: bytes) -> bytes:
    """Up to the last field of the last tensor."""
    fields = mutations.fields(header)
    return header[: fields[-1].start] if fields[-1].kind == "padding" else header


def _header(bundle: Bundle) -> Header:
    assert bundle.main.header is not None
    return bundle.main.header


@cache
def seeds() -> tuple[Seed, ...]:
    """Every good file; the first is the real one."""
    with tempfile.TemporaryDirectory() as folder:
        return (real(), *(small(Path(folder), model) for model in MODELS))


REAL_EVERY = 20  # the real file takes a hundred times as long to load as a small one


def seed_of(number: int) -> Seed:
    """The file that is damaged under this number."""
    whole, *rest = seeds()
    return whole if number % REAL_EVERY == 0 else rest[number % len(rest)]


# --- One damaged file ---------------------------------------------------------------------------


class Hang(Exception):
    """It took too long."""


class Permit:
    """A decision that allows whatever was read: what is tried here comes after the gate."""

    verdict = Verdict.ALLOW

    def __init__(self, subject: str) -> None:
        self.subject = subject


class Trial:
    """A worker for many files, one after the other, each in a process of its own."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "model.gguf"
        self.worker = Worker()
        self.tally = Tally()
        self.machine = machine.measure()

    def close(self) -> None:
        self.worker.close()

    def renew(self) -> None:
        self.worker.close()
        self.worker = Worker()

    def put(self, data: bytes, about: str) -> None:
        """Counts what becomes of a file."""
        self.path.write_bytes(data)
        self.tally.counts["headers"] += 1
        try:
            self.tally.counts[self._outcome(about)] += 1
        except Hang:
            self._fault("hung", f"more than {LIMIT} s: {about}")
            self.renew()
        except Exception as error:  # noqa: BLE001  # any other error is what is looked for
            self._fault("other errors", f"{type(error).__name__}: {error}: {about}")
            self.renew()

    def _fault(self, count: str, text: str) -> None:
        self.tally.counts[count] += 1
        self.tally.faults.append(text)

    def _outcome(self, about: str) -> str:
        with alarm(), contextlib.ExitStack() as stack:
            try:
                opened = sources.resolved(PathRef(self.path), catalogue.load())
                bundle = stack.enter_context(opened)
                identify(bundle, _nothing_more())
            except HeaderError:
                return "refused by the reader"
            self.tally.counts["accepted by the reader"] += 1
            header = _header(bundle)
            wishes = Wishes(context=CONTEXT, threads=1)
            try:
                plan = fit.plan([header], bundle.size, self.machine, wishes)
            except DoesNotFit:
                return "too large for this machine"
            decision = Permit(bundle.fingerprint)
            cleared = Cleared(bundle=bundle, decision=decision, plan=plan, record="")
            return self._loaded(cleared, header, about)

    def _loaded(self, cleared: Cleared, header: Header, about: str) -> str:
        try:
            engine = Engine(cleared, self.worker)
        except EngineDied as death:
            self.renew()
            return self._died(cleared, about, death)
        except IntegrityError as error:
            if "another model" not in error.message:
                return "refused by the engine"
            self.tally.faults.append(f"seen by the launcher: {error.message}: {about}")
            return "differences"
        except LauncherError:
            return "refused by the engine"
        found = list(differences(header, engine))
        self.tally.counts["values compared"] += len(engine.loaded.metadata)
        if found:
            self.tally.faults.append(f"{'; '.join(found)}: {about}")
            return "differences"
        return "loaded, and the same to both"

    def _died(self, cleared: Cleared, about: str, death: EngineDied) -> str:
        """What the engine dies of, it dies of again; any other death is the launcher's fault."""
        try:
            Engine(cleared, self.worker)
        except EngineDied as again:
            self.renew()
            self.tally.notes.append(f"{again.message}: {about}")
            return "died"
        except LauncherError:
            pass
        self.tally.faults.append(f"died, and not again: {death.message}: {about}")
        return "died once"


@cache
def _nothing_more() -> Knowledge:
    return Knowledge(catalogue=catalogue.load(), published=dict, identifications={})


@contextlib.contextmanager
def alarm() -> Iterator[None]:
    """Raises `Hang` in the block when it takes too long."""

    def ring(number: int, frame: object) -> None:
        raise Hang

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, LIMIT)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


# --- Comparison -----------------------------------------------------------------------------


def differences(header: Header, engine: Engine) -> Iterator[str]:
    """What the header says otherwise than the engine, which computes with it."""
    sizes, metadata = engine.loaded.sizes, engine.loaded.metadata
    arch = header.architecture
    pairs: dict[str, tuple[object, object]] = {
        "architecture": (arch, metadata["general.architecture"]),
        "licence": (header.text("general.license"), metadata.get("general.license")),
        "layers": (_layers(header), sizes["block_count"]),
        "embedding": (header.parameter("embedding_length"), sizes["embedding_length"]),
        "context": (header.parameter("context_length"), sizes["context_length"] % (1 << 32)),
        "heads": (_first(header, "attention.head_count"), sizes["attention.head_count"]),
        "kv heads": (_kv_heads(header), sizes["attention.head_count_kv"]),
        "vocabulary": (header.vocabulary, sizes["vocabulary"]),
    }
    for name in ("feed_forward_length", "expert_count", "expert_used_count", "vocab_size"):
        number = header.parameter(name)
        if number is not None:
            pairs[name] = (str(number), metadata[f"{arch}.{name}"])
    for name, (ours, theirs) in pairs.items():
        if ours != theirs:
            yield f"{name}: {ours!a} in the header, {theirs!a} in the engine"


def _layers(header: Header) -> int:
    """Without those that predict ahead, which are left out of what is loaded."""
    return (header.parameter("block_count") or 0) - (header.parameter("nextn_predict_layers") or 0)


def _first(header: Header, name: str) -> int | None:
    """A number, or that of the first layer."""
    entry = header.metadata.get(f"{header.architecture}.{name}")
    if entry is None:
        return None
    value = entry.value[0] if isinstance(entry.value, tuple) else entry.value
    assert isinstance(value, int)
    return value


def _kv_heads(header: Header) -> int | None:
    """As many as heads where nothing is said."""
    heads = _first(header, "attention.head_count_kv")
    return _first(header, "attention.head_count") if heads is None else heads


# --- The campaign ---------------------------------------------------------------------------


def share(numbers: range) -> Tally:
    """The files under these numbers."""
    room = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    with (
        tempfile.TemporaryDirectory(dir=room) as folder,
        contextlib.closing(Trial(Path(folder))) as trial,
    ):
        for number in numbers:
            trial.put(*seed_of(number).damaged(number))
    return trial.tally


def run(seed: int, count: int) -> Iterator[Tally]:
    """Damages `count` files; the seed says which ways."""
    seeds()  # once, before the processes part
    yield from spread(share, ranges(seed * 1_000_000, count, SHARE))


def fails(counts: Counter[str]) -> str:
    if any(counts[fault] for fault in ("differences", "died once", "hung", "other errors")):
        return "the launcher and the engine do not agree"
    if counts["died"] > DEATHS * counts["accepted by the reader"]:
        return f"more than {DEATHS:.2%} of what the reader accepts kills the engine"
    return ""


def summary(counts: Counter[str]) -> str:
    return (
        f"{counts['headers']} damaged headers: {counts['refused by the reader']} refused by the "
        f"reader, {counts['too large for this machine']} too large, "
        f"{counts['refused by the engine']} refused by the engine, "
        f"{counts['loaded, and the same to both']} loaded, with {counts['values compared']} values "
        f"compared and {counts['differences']} differences; {counts['died']} deaths of the engine "
        f"on {counts['accepted by the reader']} accepted headers "
        f"({counts['died once']} that did not come again), {counts['hung']} hung, "
        f"{counts['other errors']} other errors of the launcher"
    )


CAMPAIGN = Campaign(
    about="The engine sees the model that the header showed us, or we refuse it.",
    count=20_000,
    run=run,
    summary=summary,
    fails=fails,
)
