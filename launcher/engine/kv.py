"""What a model keeps of the tokens that it has read: keys and values. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from launcher.errors import Unsupported
from launcher.models.gguf import Header

# How keys and values are kept: numbers in a block, and its bytes.
TYPES = {"f16": (1, 2), "q8_0": (32, 34)}
USUAL = "f16"  # 8 bits cost a little quality in every answer, so only memory decides for them

Pair = tuple[str, str]
"""How keys, and how values are kept."""


def bytes_per_token(header: Header, types: Pair = (USUAL, USUAL)) -> int:
    """Bytes that one token takes in the KV cache, all layers together."""
    count = sum(_kv_heads(header))
    sizes = [_size(kind, count * width) for kind, width in zip(types, widths(header), strict=True)]
    return sum(sizes)


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
    return _per_layer(header, "attention.head_count_kv", layers, every)


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
