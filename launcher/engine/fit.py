"""How a model is to be loaded so that it fits: threads, context, memory. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from launcher.engine.machine import Machine
from launcher.errors import DoesNotFit
from launcher.models.gguf import Header

DEFAULT_CONTEXT = 4096  # tokens
SMALLEST_CONTEXT = 512  # tokens; below this no conversation fits
KV_BYTES = 2  # a 16-bit number for each key and value
OVERHEAD = 96 << 20  # bytes: the interpreter, the engine's libraries, its tables
COMPUTE_ROWS = 512  # tokens in one step of prompt processing

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
    force: bool = False
    """Load it though it seems not to fit."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """Bytes that a load is expected to take."""

    weights: int
    repacked: int
    kv_cache: int
    compute: int

    @property
    def total(self) -> int:
        return self.weights + self.repacked + self.kv_cache + self.compute + OVERHEAD


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How the engine is to load a bundle."""

    context: int
    """Tokens."""
    threads: int
    memory: Memory
    available: int
    """Bytes that were free when the plan was made."""


def plan(headers: Sequence[Header], size: int, machine: Machine, wishes: Wishes) -> Plan:
    """A plan for a model whose files have these headers and this size together (bytes).

    Raises `DoesNotFit` with what would.
    """
    main = headers[0]
    trained = main.parameter("context_length") or DEFAULT_CONTEXT
    context = wishes.context or min(trained, DEFAULT_CONTEXT)
    memory = _memory(headers, size, machine, context)
    if memory.total > machine.memory_available and not wishes.force:
        if wishes.context is not None:
            _refuse(main, machine, memory, context)
        context = _largest_context(main, machine, context, memory)
        memory = _memory(headers, size, machine, context)
    return Plan(
        context=context,
        threads=wishes.threads or default_threads(machine),
        memory=memory,
        available=machine.memory_available,
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


def kv_bytes_per_token(header: Header) -> int:
    """Bytes that one token takes in the KV cache, all layers together."""
    layers = header.parameter("block_count") or 0
    heads = _per_layer(header, "attention.head_count", layers, [0] * layers)
    kv_heads = _per_layer(header, "attention.head_count_kv", layers, heads)
    embedding = header.parameter("embedding_length") or 0
    width = embedding // max(max(heads, default=1), 1)
    key = header.parameter("attention.key_length") or width
    value = header.parameter("attention.value_length") or width
    return sum(kv_heads) * (key + value) * KV_BYTES


def _per_layer(header: Header, name: str, layers: int, default: list[int]) -> list[int]:
    entry = header.metadata.get(f"{header.architecture}.{name}")
    if entry is None:
        return default
    if isinstance(entry.value, tuple):
        return [value for value in entry.value if isinstance(value, int)]
    return [entry.value] * layers if isinstance(entry.value, int) else default


def _memory(headers: Sequence[Header], size: int, machine: Machine, context: int) -> Memory:
    main = headers[0]
    return Memory(
        weights=size,
        repacked=_repacked(headers) if "avx2" in machine.features else 0,
        kv_cache=context * kv_bytes_per_token(main),
        compute=_compute(main),
    )


def _repacked(headers: Sequence[Header]) -> int:
    """Bytes that the engine copies into another order; all, where the tensors were not read."""
    if not headers[0].complete and headers[0].number("general.file_type") in REPACKED_FILES:
        return headers[0].file_size
    return sum(
        tensor.size
        for header in headers
        for tensor in header.tensors
        if tensor.type in REPACKED and len(tensor.shape) > 1 and "token_embd" not in tensor.name
    )


def _compute(header: Header) -> int:
    """The scratch space of one step: activations, and the scores of the whole vocabulary."""
    embedding = header.parameter("embedding_length") or 0
    feed_forward = header.parameter("feed_forward_length") or 4 * embedding
    vocabulary = header.vocabulary or 0
    return (
        4 * COMPUTE_ROWS * (4 * embedding + 2 * feed_forward) + 4 * vocabulary * COMPUTE_ROWS // 8
    )


def _largest_context(header: Header, machine: Machine, wanted: int, memory: Memory) -> int:
    """The longest context up to `wanted` that fits; raises `DoesNotFit` when none does."""
    fixed = memory.total - memory.kv_cache
    per_token = max(kv_bytes_per_token(header), 1)
    possible = (machine.memory_available - fixed) // per_token // 256 * 256
    if possible < SMALLEST_CONTEXT:
        _refuse(header, machine, memory, wanted)
    return min(possible, wanted)


def _refuse(header: Header, machine: Machine, memory: Memory, context: int) -> None:
    fixed = memory.total - memory.kv_cache
    room = machine.memory_available - fixed
    possible = room // max(kv_bytes_per_token(header), 1) // 256 * 256
    needed, free = megabytes(memory.total), megabytes(machine.memory_available)
    raise DoesNotFit(
        f"The model needs about {needed} of memory with a context of {context} tokens; "
        f"{free} are free",
        hint=(
            f"It would fit with --ctx-size {possible}."
            if possible >= SMALLEST_CONTEXT
            else f"Its weights alone need {megabytes(fixed)}: use a smaller model or quant, "
            "or close other programs."
        ),
    )


def megabytes(size: int) -> str:
    """Bytes for people: `1.2 GB`, `98 MB`."""
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{size / 1e6:.0f} MB"
