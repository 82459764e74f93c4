"""What a model keeps of the tokens that it has read: keys and values, or states. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from launcher.errors import Unsupported
from launcher.models.gguf import Header

# How keys and values are kept: numbers in a block, and its bytes.
TYPES = {"f16": (1, 2), "q8_0": (32, 34)}
USUAL = "f16"  # 8 bits cost a little quality in every answer, so only memory decides for them

# Architectures in which but every so many-th layer keeps a state in place of keys and values,
# where the file does not say which; and those in which every layer keeps both.
# Source: llama.cpp src/models, `is_recr_impl`.
_INTERVALS = {"minimax-01": 8, "qwen35": 4, "qwen35moe": 4, "qwen3next": 4, "qwen4exp": 4}
_BOTH = frozenset({"falcon-h1"})

Pair = tuple[str, str]
"""How keys, and how values are kept."""


def bytes_per_token(header: Header, types: Pair = (USUAL, USUAL)) -> int:
    """Bytes that one token takes in the KV cache, all layers together."""
    count = sum(_kv_heads(header))
    sizes = [_size(kind, count * width) for kind, width in zip(types, widths(header), strict=True)]
    return sum(sizes)


def states(header: Header) -> int:
    """Bytes of the states that recurrent layers keep, whatever the context is; for each slot.

    Source: llama.cpp src/llama-hparams.cpp, n_embd_r and n_embd_s; numbers in 32 bits.
    """
    return 4 * _recurrent(header) * _state_numbers(header)


def _state_numbers(header: Header) -> int:
    """Numbers in the state of one layer: its last inputs, and what it made of all before."""

    def value(name: str) -> int:
        return header.parameter(name) or 0

    wide = value("embedding_length")
    if value("wkv.head_size"):
        shifts = header.parameter("token_shift_count")
        return wide * ((2 if shifts is None else shifts) + value("wkv.head_size"))
    if value("shortconv.l_cache"):
        return wide * (value("shortconv.l_cache") - 1)
    kernel, count = value("ssm.conv_kernel"), heads(header)[0]
    if value("kda.head_dim"):
        inner = count * value("kda.head_dim")
        return 3 * (kernel - 1 if kernel else 3) * inner + value("kda.head_dim") * inner
    inner, state = value("ssm.inner_size"), value("ssm.state_size")
    groups = 2 * value("ssm.group_count") * state
    return max(kernel - 1, 0) * (inner + groups) + state * inner


def _recurrent(header: Header) -> int:
    """Layers that keep a state; of a model that has none, those without keys and values."""
    layers = header.parameter("block_count") or 0
    if header.architecture in _BOTH:
        return layers
    every = _kv_heads(header)
    inner = _per_layer(header, "feed_forward_length", layers, [0] * layers)
    if header.architecture.startswith("nemotron_h"):  # where a layer is one thing alone
        return sum(not a and not b for a, b in zip(every, inner, strict=False))
    return every.count(0)


def pairs(
    header: Header, type_k: str | None, type_v: str | None, flash_attention: str
) -> Sequence[Pair]:
    """How the engine can keep keys and values of this model, the best first.

    A type that is named is kept to. Raises `Unsupported` where the engine cannot.
    """
    wanted = [(type_k or kind, type_v or kind) for kind in (USUAL, "q8_0")]
    possible = [pair for pair in dict.fromkeys(wanted) if not _fault(header, pair, flash_attention)]
    if not possible:
        raise Unsupported(
            f"Keys and values cannot be kept as asked: {_fault(header, wanted[0], flash_attention)}"
        )
    return possible


def _fault(header: Header, pair: Pair, flash_attention: str) -> str:
    """Why the engine cannot keep them so; empty where it can.

    Source: llama.cpp src/llama-context.cpp, llama_init_from_model.
    """
    if pair == (USUAL, USUAL):
        return ""
    if pair[1] != USUAL and flash_attention == "off":
        return "values in 8 bits take flash attention"
    if header.architecture == "grok":
        return "this architecture has no flash attention"
    key, value = widths(header)
    block, _ = TYPES["q8_0"]
    if key != value or not key or key % block:
        return f"blocks of {block} numbers do not fill the heads of this model"
    return ""


def _size(kind: str, numbers: int) -> int:
    block, size = TYPES[kind]
    return numbers * size // block


def heads(header: Header) -> tuple[int, int]:
    """Heads of an attention layer, and of its keys and values; 0 where there are none."""
    all_heads = _per_layer(header, "attention.head_count", 1, [0])
    return max(all_heads, default=0), max(_kv_heads(header), default=0)


def _kv_heads(header: Header) -> list[int]:
    """Heads of keys and values in each layer."""
    layers = header.parameter("block_count") or 0
    every = _per_layer(header, "attention.head_count", layers, [0] * layers)
    kept = _per_layer(header, "attention.head_count_kv", layers, every)
    usual = _INTERVALS.get(header.architecture, 0)
    interval = usual and (header.parameter("full_attention_interval") or usual)
    if not interval:
        return kept
    return [count if not number % interval else 0 for number, count in enumerate(kept, 1)]


def widths(header: Header) -> tuple[int, int]:
    """Numbers in the key and in the value of one head."""
    count, _ = heads(header)
    embedding = header.parameter("embedding_length") or 0
    width = embedding // max(count, 1)
    key = header.parameter("attention.key_length") or width
    return key, header.parameter("attention.value_length") or width


def _per_layer(header: Header, name: str, layers: int, default: list[int]) -> list[int]:
    entry = header.metadata.get(f"{header.architecture}.{name}")
    if entry is None:
        return default
    if isinstance(entry.value, tuple):
        return [value for value in entry.value if isinstance(value, int)]
    return [entry.value] * layers if isinstance(entry.value, int) else default
