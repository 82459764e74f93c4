"""How a model is to be loaded so that it fits: threads, context, memory. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from launcher.engine.machine import Machine
from launcher.errors import DoesNotFit
from launcher.models.gguf import Header

DEFAULT_CONTEXT = 4096  # tokens
SMALLEST_CONTEXT = 512  # tokens; below this no conversation fits
COMPUTE_ROWS = 512  # tokens in one step of prompt processing
# Bytes that a worker takes besides its model, as measured: its interpreter, the engine's libraries
# and their tables; and for each token of a vocabulary, with its place in the merges.
OVERHEAD = 33 << 20
TOKEN = 345
# How keys and values are kept: numbers in a block, and its bytes.
KV_TYPES = {"f16": (1, 2), "q8_0": (32, 34)}

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
    slots: int = 1
    """How many may ask at once, each with a context of its own."""
    force: bool = False
    """Load it though it seems not to fit."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """Bytes that a load is expected to take."""

    weights: int
    repacked: int
    kv_cache: int
    compute: int
    vocabulary: int = 0
    correction: int = 0
    """By how much a load of this model took more or less before, on this machine."""

    @property
    def fixed(self) -> int:
        """What it takes whatever the context is."""
        parts = self.weights + self.repacked + self.compute + self.vocabulary + OVERHEAD
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
    memory: Memory
    available: int
    """Bytes that were free when the plan was made."""
    kv_type: str = "f16"
    slots: int = 1
    note: str = ""
    """What was chosen so that it fits, and why; empty where nothing had to be."""


def plan(
    headers: Sequence[Header], size: int, machine: Machine, wishes: Wishes, correction: int = 0
) -> Plan:
    """A plan for a model whose files have these headers and this size together (bytes).

    What does not fit is made to, if it can be: keys and values in 8 bits first, then a shorter
    context where none was asked for. Raises `DoesNotFit` with what would.
    """
    main = headers[0]
    trained = main.parameter("context_length") or DEFAULT_CONTEXT
    usual = wishes.context or min(trained, DEFAULT_CONTEXT)
    memory = _memory(headers, size, machine, usual * wishes.slots, correction)
    context, kv_type = usual, "f16"
    if memory.total > machine.memory_available and not wishes.force:
        context, kv_type = _smaller(main, machine, memory, wishes, usual)
    kv_cache = context * wishes.slots * kv_bytes_per_token(main, kv_type)
    return Plan(
        context=context,
        threads=wishes.threads or default_threads(machine),
        memory=replace(memory, kv_cache=kv_cache),
        available=machine.memory_available,
        kv_type=kv_type,
        slots=wishes.slots,
        note=_note(usual, context, kv_type, memory, machine),
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


def kv_bytes_per_token(header: Header, kv_type: str = "f16") -> int:
    """Bytes that one token takes in the KV cache, all layers together."""
    block, size = KV_TYPES[kv_type]
    return sum(_kv_heads(header)) * sum(_kv_widths(header)) * size // block


def _kv_heads(header: Header) -> list[int]:
    """Heads of keys and values in each layer."""
    layers = header.parameter("block_count") or 0
    heads = _per_layer(header, "attention.head_count", layers, [0] * layers)
    return _per_layer(header, "attention.head_count_kv", layers, heads)


def _kv_widths(header: Header) -> tuple[int, int]:
    """Numbers in the key and in the value of one head."""
    heads = _per_layer(header, "attention.head_count", 1, [0])
    embedding = header.parameter("embedding_length") or 0
    width = embedding // max(max(heads, default=1), 1)
    key = header.parameter("attention.key_length") or width
    return key, header.parameter("attention.value_length") or width


def _kv_types(header: Header) -> Sequence[str]:
    """How the engine can keep keys and values of this model, the best first.

    Blocks of 8 bits take whole blocks in each head and flash attention, which it has everywhere
    but where heads are not of one width, and in Grok.
    """
    key, value = _kv_widths(header)
    block, _ = KV_TYPES["q8_0"]
    possible = key == value and key and not key % block and header.architecture != "grok"
    return ("f16", "q8_0") if possible else ("f16",)


def _per_layer(header: Header, name: str, layers: int, default: list[int]) -> list[int]:
    entry = header.metadata.get(f"{header.architecture}.{name}")
    if entry is None:
        return default
    if isinstance(entry.value, tuple):
        return [value for value in entry.value if isinstance(value, int)]
    return [entry.value] * layers if isinstance(entry.value, int) else default


def _memory(
    headers: Sequence[Header], size: int, machine: Machine, context: int, correction: int
) -> Memory:
    main = headers[0]
    read = sum(header.data_offset for header in headers if header.complete)
    return Memory(
        weights=max(size - read, 0),  # what is before them is read once and let go
        repacked=_repacked(headers) if "avx2" in machine.features else 0,
        kv_cache=context * kv_bytes_per_token(main),
        compute=_compute(main, context),
        vocabulary=(main.vocabulary or 0) * TOKEN,
        correction=correction,
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


def _compute(header: Header, context: int) -> int:
    """The scratch space of one step that is really used: activations, and one row of scores."""
    embedding = header.parameter("embedding_length") or 0
    feed_forward = header.parameter("feed_forward_length") or 4 * embedding
    rows = min(COMPUTE_ROWS, context)
    return 4 * rows * (4 * embedding + 2 * feed_forward) + 4 * (header.vocabulary or 0)


def _smaller(
    header: Header, machine: Machine, memory: Memory, wishes: Wishes, usual: int
) -> tuple[int, str]:
    """A context, and how keys and values are kept, that fit; raises `DoesNotFit`."""
    kinds = _kv_types(header)
    for kind in kinds:
        if usual <= _possible(header, machine, memory, wishes.slots, kind):
            return usual, kind
    possible = _possible(header, machine, memory, wishes.slots, kinds[-1]) // 256 * 256
    if wishes.context is None and possible >= SMALLEST_CONTEXT:
        return possible, kinds[-1]
    raise _does_not_fit(machine, memory, usual, possible)


def _possible(header: Header, machine: Machine, memory: Memory, slots: int, kv_type: str) -> int:
    """The longest context that there is room for, in each slot."""
    room = machine.memory_available - memory.fixed
    return room // max(slots * kv_bytes_per_token(header, kv_type), 1)


def _note(usual: int, context: int, kv_type: str, memory: Memory, machine: Machine) -> str:
    chosen = []
    if kv_type != "f16":
        chosen.append("keys and values are kept in 8 bits")
    if context < usual:
        chosen.append(f"the context is {context} tokens, not {usual}")
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
