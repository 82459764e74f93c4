"""How a model is to be loaded so that it fits: threads, context, memory. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from launcher.engine import kv, offload
from launcher.engine.companions import COMPUTE_ROWS, Companions, scratch, vocabulary
from launcher.engine.graphics import Device
from launcher.engine.machine import Machine
from launcher.engine.offload import NOTHING, Offload
from launcher.errors import DoesNotFit
from launcher.models.gguf import Header, Tensor

DEFAULT_CONTEXT = 4096  # tokens
SMALLEST_CONTEXT = 512  # tokens; below this no conversation fits
# Bytes that a worker takes besides its model, as measured: its interpreter, the engine's libraries
# and their tables.
OVERHEAD = 33 << 20

# Types that the CPU backend repacks on load, which keeps a second copy in memory.
# Source: llama.cpp ggml/src/ggml-cpu/repack.cpp as vendored by llama-cpp-python 0.3.36.
REPACKED = frozenset({2, 12, 20})  # Q4_0, Q4_K, IQ4_NL
# The same as `general.file_type`, in which a header says what most of its tensors are: Q4_0,
# Q4_K_S, Q4_K_M, IQ4_NL. Source: llama.cpp include/llama.h, enum llama_ftype.
REPACKED_FILES = frozenset({2, 14, 15, 25})


@dataclass(frozen=True, slots=True, kw_only=True)
class Wishes:
    """What the user asked for; None: choose."""

    context: int | None = None
    threads: int | None = None
    threads_batch: int | None = None
    """For prompts; None: as many as `threads`."""
    flash_attention: str = "auto"
    """`on`, `off` or `auto`."""
    extra_buffers: bool | None = None
    """Whether weights may be laid out anew for the processor."""
    type_k: str | None = None
    """How keys are kept, by the names of `kv.TYPES`."""
    type_v: str | None = None
    gpu_layers: int | None = None
    """Layers to put on graphics devices; `graphics.ALL`: all of them."""
    slots: int = 1
    """How many may ask at once, each with a context of its own."""
    force: bool = False
    """Load it though it seems not to fit."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tuning:
    """What was found to be fastest on this machine, or to work; None: the usual."""

    threads: int | None = None
    threads_batch: int | None = None
    flash_attention: str | None = None
    extra_buffers: bool | None = None


_USUAL = Tuning()
_NOTHING = Companions()


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """Bytes that a load is expected to take."""

    weights: int
    repacked: int
    kv_cache: int
    compute: int
    vocabulary: int = 0
    states: int = 0
    """Of recurrent layers."""
    correction: int = 0
    """By how much a load of this model took more or less before, on this machine."""

    @property
    def fixed(self) -> int:
        """What it takes whatever the context is."""
        parts = (
            self.weights + self.repacked + self.compute + self.vocabulary + self.states + OVERHEAD
        )
        return parts + self.correction

    @property
    def total(self) -> int:
        return self.fixed + self.kv_cache


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How the engine is to load a bundle."""

    context: int
    """Tokens."""
    threads: int
    """For answers."""
    memory: Memory
    available: int
    """Bytes that were free when the plan was made."""
    threads_batch: int = 0
    """For prompts; 0: as many as `threads`."""
    type_k: str = "f16"
    type_v: str = "f16"
    flash_attention: str = "auto"
    extra_buffers: bool = True
    """Whether weights are laid out anew for the processor."""
    gpu_layers: int = 0
    """Layers on graphics devices."""
    slots: int = 1
    note: str = ""
    """What was chosen so that it fits, and why; empty where nothing had to be."""

    @property
    def kv_type(self) -> str:
        """How keys and values are kept, in a word."""
        return self.type_k if self.type_k == self.type_v else f"{self.type_k}/{self.type_v}"

    def message(self) -> dict[str, Any]:
        """As much of it as the worker is told with a load."""
        return {
            "context": self.context,
            "threads": self.threads,
            "threads_batch": self.threads_batch or self.threads,
            "type_k": self.type_k,
            "type_v": self.type_v,
            "flash_attention": self.flash_attention,
            "extra_buffers": self.extra_buffers,
            "gpu_layers": self.gpu_layers,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class _Way:
    """What of a load decides how much memory it takes."""

    context: int
    slots: int
    types: kv.Pair
    extra_buffers: bool
    flash_attention: str
    beside: Companions
    away: Offload = NOTHING

    def per_token(self, header: Header) -> int:
        """Bytes that a token of context takes: keys and values in all slots, and scores.

        Without flash attention, each token of a step has a score for each one before it.
        """
        scores = 4 * COMPUTE_ROWS * kv.heads(header)[0] if self.flash_attention == "off" else 0
        kept = self.slots * kv.bytes_per_token(header, self.types)
        return kept + scores + self.beside.per_token - self.away.per_token


def plan(
    headers: Sequence[Header],
    size: int,
    machine: Machine,
    wishes: Wishes,
    correction: int = 0,
    tuning: Tuning = _USUAL,
    beside: Companions = _NOTHING,
    devices: Sequence[Device] = (),
) -> Plan:
    """A plan for a model whose files have these headers and this size together (bytes).

    What does not fit is made to, if it can be: scores are not kept, weights stay as they are in
    the file, which cost speed alone; then keys and values are kept in 8 bits; then the context is
    shortened, where none was asked for. Raises `DoesNotFit` with what would, and `Unsupported`
    for types in which the engine cannot keep keys and values of this model.
    """
    main = headers[0]
    trained = main.parameter("context_length") or DEFAULT_CONTEXT
    pairs = kv.pairs(main, wishes.type_k, wishes.type_v, wishes.flash_attention)
    usual = _Way(
        context=wishes.context or min(trained, DEFAULT_CONTEXT),
        slots=wishes.slots,
        types=pairs[0],
        extra_buffers=_first(wishes.extra_buffers, tuning.extra_buffers, True),
        flash_attention=_flash_attention(wishes.flash_attention, pairs[0], tuning),
        beside=beside,
    )
    usual = _with_devices(headers, usual, devices, wishes)
    memory = _memory(headers, size, machine, usual, correction)
    way = usual
    if memory.total > machine.memory_available and not wishes.force:
        way = _smaller(main, machine, memory, wishes, usual, pairs)
    threads = wishes.threads or tuning.threads or default_threads(machine)
    batch = wishes.threads_batch or wishes.threads or tuning.threads_batch or threads
    return Plan(
        context=way.context,
        threads=threads,
        threads_batch=batch,
        memory=_with(memory, main, way),
        available=machine.memory_available,
        type_k=way.types[0],
        type_v=way.types[1],
        flash_attention=way.flash_attention,
        extra_buffers=way.extra_buffers,
        gpu_layers=way.away.layers,
        slots=wishes.slots,
        note=_note(usual, way, memory, machine),
    )


def fits(header: Header, size: int, machine: Machine) -> bool:
    """Whether a model of this header and size (bytes) fits with its usual context."""
    try:
        plan([header], size, machine, Wishes())
    except DoesNotFit:
        return False
    return True


def default_threads(machine: Machine) -> int:
    """All processors of a small machine; of a larger one as many as have a core to themselves."""
    return machine.processors if machine.processors <= 4 else -(-machine.processors // 2)


def _with_devices(
    headers: Sequence[Header], way: _Way, devices: Sequence[Device], wishes: Wishes
) -> _Way:
    """The same, with as many layers on devices as are wanted."""
    kept = way.slots * kv.bytes_per_token(headers[0], way.types)
    wanted, force = wishes.gpu_layers, wishes.force
    away = offload.chosen(headers, devices, wanted, way.context, kept, _copy, force=force)
    return replace(way, away=away)


def _flash_attention(asked: str, types: kv.Pair, tuning: Tuning = _USUAL) -> str:
    """As asked; else as was found best, but that values in 8 bits cannot do without."""
    if asked != "auto":
        return asked
    return "on" if types[1] != kv.USUAL else tuning.flash_attention or "auto"


def _first(*values: bool | None) -> bool:
    return next(value for value in values if value is not None)


def _memory(
    headers: Sequence[Header], size: int, machine: Machine, way: _Way, correction: int
) -> Memory:
    main = headers[0]
    read = sum(header.data_offset for header in headers if header.complete)
    copied = way.extra_buffers and "avx2" in machine.features
    return Memory(
        weights=max(
            size - read - way.away.weights, 0
        ),  # what is before them is read once and let go
        repacked=max(_repacked(headers) - way.away.repacked, 0) if copied else 0,
        kv_cache=way.context * way.per_token(main),
        compute=scratch(main, min(COMPUTE_ROWS, way.context)) + way.beside.fixed,
        states=way.slots * kv.states(main),
        vocabulary=vocabulary(main),
        correction=correction,
    )


def _with(memory: Memory, header: Header, way: _Way) -> Memory:
    """What it takes when it is loaded in this way, which is no larger."""
    return replace(
        memory,
        repacked=memory.repacked if way.extra_buffers else 0,
        kv_cache=way.context * way.per_token(header),
    )


def _repacked(headers: Sequence[Header]) -> int:
    """Bytes that the engine copies into another order; all, where the tensors were not read."""
    if not headers[0].complete and headers[0].number("general.file_type") in REPACKED_FILES:
        return headers[0].file_size
    return sum(_copy(tensor) for header in headers for tensor in header.tensors)


def _copy(tensor: Tensor) -> int:
    """Bytes of a tensor's copy in another order; 0 where none is made."""
    is_copied = tensor.type in REPACKED and len(tensor.shape) > 1
    return tensor.size if is_copied and "token_embd" not in tensor.name else 0


def _smaller(
    header: Header,
    machine: Machine,
    memory: Memory,
    wishes: Wishes,
    usual: _Way,
    pairs: Sequence[kv.Pair],
) -> _Way:
    """The best way that fits; raises `DoesNotFit`."""
    asked = wishes.flash_attention
    small = replace(usual, flash_attention=_flash_attention(asked, usual.types))
    plain = replace(small, extra_buffers=usual.extra_buffers and not memory.repacked)
    kept = (
        replace(plain, types=pair, flash_attention=_flash_attention(asked, pair)) for pair in pairs
    )
    for way in (small, *kept):
        if _with(memory, header, way).total <= machine.memory_available:
            return way
    room = machine.memory_available - _with(memory, header, way).fixed
    possible = room // max(way.per_token(header), 1) // 256 * 256
    if wishes.context is None and possible >= SMALLEST_CONTEXT:
        return replace(way, context=possible)
    raise _does_not_fit(machine, _with(memory, header, plain), usual.context, possible)


def _note(usual: _Way, way: _Way, memory: Memory, machine: Machine) -> str:
    chosen = []
    if usual.extra_buffers and not way.extra_buffers:
        chosen.append("prompts are read slower, without a second copy of the weights")
    if way.types != usual.types:
        chosen.append("keys and values are kept in 8 bits")
    if way.context < usual.context:
        chosen.append(f"the context is {way.context} tokens, not {usual.context}")
    if not chosen:
        return ""
    needed, free = megabytes(memory.total), megabytes(machine.memory_available)
    what = " and ".join(chosen)
    return f"{what[0].upper()}{what[1:]}: else it would need {needed}, and {free} are free."


def _does_not_fit(machine: Machine, memory: Memory, context: int, possible: int) -> DoesNotFit:
    needed, free = megabytes(memory.total), megabytes(machine.memory_available)
    return DoesNotFit(
        f"The model needs about {needed} of memory with a context of {context} tokens; "
        f"{free} are free",
        hint=(
            f"It would fit with --ctx-size {possible}."
            if possible >= SMALLEST_CONTEXT
            else f"Its weights alone need {megabytes(memory.fixed)}: use a smaller model or quant, "
            "or close other programs."
        ),
    )


def megabytes(size: int) -> str:
    """Bytes for people: `1.2 GB`, `98 MB`."""
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{size / 1e6:.0f} MB"
