"""A small model that stands in for a kind of models when speed is measured.

It has the types, head sizes and experts of its kind, few layers, and weights that say nothing:
how fast it is computed hangs on its shape alone. So what is measured takes a bounded time,
however large the user's model is, and needs no file that a gate would have to judge.
"""

from __future__ import annotations

import os
import struct
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from launcher.engine import kv
from launcher.models import ggml
from launcher.models.gguf import Header, ValueType

VOCABULARY = 256
CONTEXT = 2048
_ROW = 256  # numbers; every type's blocks divide it
_EMBEDDING = 1024  # about
_WEIGHTS = 32 << 20  # bytes: more than most processors have in their caches
_EXPERTS, _EXPERTS_USED = 8, 2
_THIN = 256  # numbers in the feed-forward part where attention is what is measured
_FILLER = bytes([0x2C]) * (1 << 20)  # as scales, small numbers; no infinities to stumble over
_ALIGNMENT = 32

Tensor = tuple[str, tuple[int, ...], int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """What of a model decides which settings are fastest."""

    type: int
    """Of most of its weights, as ggml numbers it."""
    head: int
    """Numbers in a head."""
    group: int
    """Heads that share keys and values."""
    feed_forward: int
    """How many times as wide as the rest its feed-forward part is."""
    experts: bool

    @property
    def title(self) -> str:
        experts = ", experts" if self.experts else ""
        return f"{ggml.type_name(self.type)}, heads of {self.head}{experts}"

    @property
    def key(self) -> str:
        return " ".join(str(value) for value in asdict(self).values())


def kind_of(headers: Sequence[Header]) -> Kind | None:
    """The kind of a model; None where there is nothing to be measured about it."""
    sizes: dict[int, int] = {}
    for header in headers:
        for tensor in header.tensors:
            if len(tensor.shape) > 1 and tensor.name.startswith("blk."):
                sizes[tensor.type] = sizes.get(tensor.type, 0) + tensor.size
    main = headers[0]
    heads, kv_heads = kv.heads(main)
    width = kv.widths(main)[0]
    wide = main.parameter("embedding_length") or 0
    if not (sizes and heads and kv_heads and wide and width in range(32, 513, 16)):
        return None
    inner = main.parameter("feed_forward_length") or 4 * wide
    return Kind(
        type=max(sizes, key=lambda kind: sizes[kind]),
        head=width,
        group=min(max(heads // kv_heads, 1), 16),
        feed_forward=min(max(round(inner / wide), 1), 8),
        experts=bool(main.parameter("expert_count")),
    )


def written(kind: Kind, *, thin: bool = False) -> int:
    """An open file of such a model, which lies in memory; the caller closes it.

    A thin one has hardly any weights but those around attention. Raises OSError.
    """
    descriptor = _unnamed()
    try:
        with open(descriptor, "wb", closefd=False) as stream:
            sizes = _sizes(kind, thin=thin)
            tensors = list(_tensors(kind, sizes))
            head = _head(kind, sizes, tensors)
            stream.write(head + bytes(-len(head) % _ALIGNMENT))
            left = sum(_padded(_size(tensor)) for tensor in tensors)
            while left:
                left -= stream.write(_FILLER[:left])
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def _unnamed() -> int:
    if sys.platform == "linux":
        return os.memfd_create("stand-in", os.MFD_CLOEXEC)
    with tempfile.TemporaryFile() as stream:
        return os.dup(stream.fileno())


@dataclass(frozen=True, slots=True, kw_only=True)
class _Sizes:
    heads: int
    embedding: int
    inner: int
    layers: int


def _sizes(kind: Kind, *, thin: bool) -> _Sizes:
    """As wide as `_EMBEDDING` or a little more, in whole blocks and whole groups of heads."""
    heads = kind.group
    while heads * kind.head < _EMBEDDING or heads * kind.head % _ROW:
        heads += kind.group
    embedding = heads * kind.head
    inner = _THIN if thin else -(-kind.feed_forward * embedding // _ROW) * _ROW
    one = _Sizes(heads=heads, embedding=embedding, inner=inner, layers=1)
    weights = sum(_size(tensor) for tensor in _tensors(kind, one))
    layers = 1 if thin else max(1, _WEIGHTS // weights)
    return _Sizes(heads=heads, embedding=embedding, inner=inner, layers=layers)


def _tensors(kind: Kind, sizes: _Sizes) -> Iterator[Tensor]:
    wide, inner, keys = sizes.embedding, sizes.inner, sizes.embedding // kind.group
    experts = (_EXPERTS,) if kind.experts else ()
    name = "_exps" if kind.experts else ""
    yield ("token_embd.weight", (wide, VOCABULARY), 1)
    yield ("output_norm.weight", (wide,), 0)
    for number in range(sizes.layers):
        layer = f"blk.{number}."
        yield (layer + "attn_norm.weight", (wide,), 0)
        yield (layer + "ffn_norm.weight", (wide,), 0)
        for part, out in (("q", wide), ("k", keys), ("v", keys), ("output", wide)):
            yield (f"{layer}attn_{part}.weight", (wide, out), kind.type)
        if kind.experts:
            yield (layer + "ffn_gate_inp.weight", (wide, _EXPERTS), 0)
        yield (f"{layer}ffn_gate{name}.weight", (wide, inner, *experts), kind.type)
        yield (f"{layer}ffn_up{name}.weight", (wide, inner, *experts), kind.type)
        yield (f"{layer}ffn_down{name}.weight", (inner, wide, *experts), kind.type)


def _size(tensor: Tensor) -> int:
    return ggml.tensor_size(tensor[2], tensor[1])


def _padded(size: int) -> int:
    return -(-size // _ALIGNMENT) * _ALIGNMENT


def _head(kind: Kind, sizes: _Sizes, tensors: Sequence[Tensor]) -> bytes:
    """All that comes before the weights.

    Format: the GGUF specification, version 3, in ggml's docs/gguf.md.
    """
    values = list(_metadata(kind, sizes))
    parts = [struct.pack("<4sIQQ", b"GGUF", 3, len(tensors), len(values))]
    parts += [_string(name) + value for name, value in values]
    offset = 0
    for name, shape, number in tensors:
        form = f"<I{len(shape)}QIQ"
        parts += [_string(name), struct.pack(form, len(shape), *shape, number, offset)]
        offset += _padded(ggml.tensor_size(number, shape))
    return b"".join(parts)


def _metadata(kind: Kind, sizes: _Sizes) -> Iterator[tuple[str, bytes]]:
    yield "general.architecture", _value(ValueType.STRING, "llama")
    yield "tokenizer.ggml.model", _value(ValueType.STRING, "no_vocab")
    numbers = {
        "block_count": sizes.layers,
        "context_length": CONTEXT,
        "embedding_length": sizes.embedding,
        "feed_forward_length": sizes.inner,
        "attention.head_count": sizes.heads,
        "attention.head_count_kv": sizes.heads // kind.group,
        "rope.dimension_count": kind.head,
        "vocab_size": VOCABULARY,
        "expert_count": _EXPERTS if kind.experts else 0,
        "expert_used_count": _EXPERTS_USED if kind.experts else 0,
    }
    for name, number in numbers.items():
        yield f"llama.{name}", _value(ValueType.UINT32, number)
    yield "llama.attention.layer_norm_rms_epsilon", _value(ValueType.FLOAT32, 1e-5)


def _value(kind: ValueType, value: Any) -> bytes:
    number = struct.pack("<I", kind)
    if kind is ValueType.STRING:
        return number + _string(value)
    return number + struct.pack("<f" if kind is ValueType.FLOAT32 else "<I", value)


def _string(text: str) -> bytes:
    data = text.encode()
    return struct.pack("<Q", len(data)) + data
