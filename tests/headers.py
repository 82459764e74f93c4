"""Writes GGUF files: broken ones byte by byte, and real-shaped ones whose weights are a hole.

The first half puts bytes together and checks nothing, so that a test can be wrong in exactly
one way. The second half, from `Sizes` on, writes what a converter would write for a model of
`shapes.tsv`: every key, token and tensor, and a data section that takes no room on the disk.
Sizes of quantised tensors come from the `gguf` package, not from the code under test.
"""

from __future__ import annotations

import dataclasses
import os
import struct
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import TypeAlias

from gguf.constants import GGML_QUANT_SIZES, GGMLQuantizationType

from launcher.models.gguf import Entry, ValueType

Plain: TypeAlias = bool | int | float | str | bytes
Written: TypeAlias = Plain | Sequence[Plain] | Entry

F32, F16, Q4_0, Q4_K, Q8_0 = 0, 1, 2, 12, 8

_LAYOUTS = {
    ValueType.UINT8: "<B",
    ValueType.INT8: "<b",
    ValueType.UINT16: "<H",
    ValueType.INT16: "<h",
    ValueType.UINT32: "<I",
    ValueType.INT32: "<i",
    ValueType.FLOAT32: "<f",
    ValueType.BOOL: "<?",
    ValueType.UINT64: "<Q",
    ValueType.INT64: "<q",
    ValueType.FLOAT64: "<d",
}

# --- Bytes, as they are asked for -----------------------------------------------------------


def string(text: str | bytes, length: int | None = None) -> bytes:
    """A string; `length` announces another one than it has."""
    raw = text.encode("utf-8") if isinstance(text, str) else text
    return struct.pack("<Q", len(raw) if length is None else length) + raw


def scalar(kind: ValueType, value: Plain) -> bytes:
    """A single value, without its type."""
    if kind is ValueType.STRING:
        assert isinstance(value, str | bytes)
        return string(value)
    return struct.pack(_LAYOUTS[kind], value)


def array(kind: ValueType, values: Sequence[Plain], length: int | None = None) -> bytes:
    """An array with the type and the number of its elements; `length` announces another."""
    count = len(values) if length is None else length
    return struct.pack("<IQ", kind, count) + b"".join(scalar(kind, value) for value in values)


def typed(value: Written) -> Entry:
    """The type that a converter would give a value."""
    if isinstance(value, Entry):
        return value
    if isinstance(value, list | tuple):
        return Entry(
            typed(value[0]).type if value else ValueType.INT32, tuple(value), is_array=True
        )
    for python, kind in (
        (bool, ValueType.BOOL),
        (int, ValueType.UINT32),
        (float, ValueType.FLOAT32),
        (str, ValueType.STRING),
        (bytes, ValueType.STRING),
    ):
        if isinstance(value, python):
            return Entry(kind, value)  # type: ignore[arg-type]  # bytes: not what is read back
    raise AssertionError(value)


def entry(key: str | bytes, value: Written) -> bytes:
    """A metadata entry. Whole numbers are u32, in arrays too, unless an `Entry` says more."""
    kind = typed(value)
    if kind.is_array:
        assert isinstance(kind.value, tuple)
        return raw_entry(key, ValueType.ARRAY, array(kind.type, kind.value))
    return raw_entry(key, kind.type, scalar(kind.type, kind.value))  # type: ignore[arg-type]


def raw_entry(key: str | bytes, kind: int, payload: bytes) -> bytes:
    """A metadata entry of any type, known or not."""
    return string(key) + struct.pack("<I", kind) + payload


def tensor(
    name: str | bytes,
    shape: Sequence[int] = (32,),
    kind: int = F32,
    offset: int = 0,
    *,
    dimensions: int | None = None,
) -> bytes:
    """What the header says of one tensor; `dimensions` announces another number of them."""
    count = len(shape) if dimensions is None else dimensions
    sizes = struct.pack(f"<{len(shape)}Q", *shape)
    return string(name) + struct.pack("<I", count) + sizes + struct.pack("<IQ", kind, offset)


def header(
    entries: Sequence[bytes] = (),
    tensors: Sequence[bytes] = (),
    *,
    magic: bytes = b"GGUF",
    version: int = 3,
    tensor_count: int | None = None,
    entry_count: int | None = None,
) -> bytes:
    """A header, up to where its padding would start."""
    counts = struct.pack(
        "<IQQ",
        version,
        len(tensors) if tensor_count is None else tensor_count,
        len(entries) if entry_count is None else entry_count,
    )
    return magic + counts + b"".join(entries) + b"".join(tensors)


def padded(data: bytes, alignment: int = 32) -> bytes:
    """Data and zeros up to the next multiple of the alignment."""
    return data + bytes(-len(data) % alignment)


# --- Files as a converter writes them -------------------------------------------------------


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    """The hyper-parameters of a model."""

    architecture: str = "llama"
    layers: int
    embedding: int
    feed_forward: int
    heads: int
    kv_heads: int | tuple[int, ...]
    vocabulary: int
    experts: int = 0
    context: int = 2048
    rope_base: int = 0
    """0: the key is left out."""
    head_size: int = 0
    """0: the embedding's share of a head."""
    expert_feed_forward: int = 0
    expert_step: int = 1
    """Every how many layers there are experts."""
    tied: bool = False
    """No `output.weight`: the embeddings serve."""
    rope_factors: bool = False
    """There is a `rope_freqs.weight`."""

    @property
    def head(self) -> int:
        return self.head_size or self.embedding // self.heads

    def kv(self, layer: int) -> int:
        """KV heads of a layer; 0 where it has no attention."""
        return self.kv_heads if isinstance(self.kv_heads, int) else self.kv_heads[layer]


SMALL = Sizes(
    layers=2, embedding=64, feed_forward=128, heads=4, kv_heads=2, vocabulary=288, context=128
)
"""Small enough to be read a thousand times, and complete: the engine loads it."""


@cache
def sizes(model: str) -> Sizes:
    """The sizes of a real model, such as `llama-3.2-1b`."""
    for line in Path(__file__).with_name("shapes.tsv").read_text("utf-8").splitlines():
        if line.split("\t")[0] == model:
            return _sizes(line.split("\t"))
    raise KeyError(model)


def models() -> tuple[str, ...]:
    """Every name that `sizes` knows."""
    lines = Path(__file__).with_name("shapes.tsv").read_text("utf-8").splitlines()
    return tuple(line.split("\t")[0] for line in lines if not line.startswith("#"))


def _sizes(row: Sequence[str]) -> Sizes:
    more = [field.partition("=") for field in row[11].split(",") if field != "-"]
    extra = {name: int(value) if value else True for name, _, value in more}
    return Sizes(
        architecture=row[1],
        layers=int(row[2]),
        embedding=int(row[3]),
        feed_forward=int(row[4]),
        heads=int(row[5]),
        kv_heads=_kv_heads(row[6], int(row[2])),
        experts=int(row[7]),
        vocabulary=int(row[8]),
        context=int(row[9]),
        rope_base=int(row[10]),
        **extra,  # type: ignore[arg-type]  # the names stand in the file
    )


def _kv_heads(text: str, layers: int) -> int | tuple[int, ...]:
    count, _, places = text.partition("@")
    if not places:
        return int(count)
    chosen = {int(place) for place in places.split(",")}
    return tuple(int(count) if layer in chosen else 0 for layer in range(layers))


def write_model(
    path: Path,
    model: str | Sizes = SMALL,
    *,
    metadata: Mapping[str, Written | None] | None = None,
    tensors: Mapping[str, tuple[Sequence[int], int] | None] | None = None,
    quant: int = Q4_K,
    merges: int = 8,
    **changes: object,
) -> Path:
    """Writes the file of a model: its whole header, and a hole where the weights would be.

    `metadata` adds entries or, with None, takes them out; `tensors` does so with tensors, each
    given as shape and type. `changes` are other `Sizes` than the model's, such as `layers=15`:
    the keys and the tensors follow. Nothing is stated about the model's origin unless
    `metadata` says it: see `statements`.
    """
    chosen = sizes(model) if isinstance(model, str) else model
    chosen = dataclasses.replace(chosen, **changes)  # type: ignore[arg-type]
    blocks = {key: entry(key, value) for key, value in _keys(chosen)}
    blocks |= _vocabulary(chosen, merges)
    for key in metadata or {}:
        blocks.pop(key, None)
    blocks |= _blocks(metadata)
    shapes: dict[str, tuple[Sequence[int], int]] = dict(_tensors(chosen, quant))
    for name, what in (tensors or {}).items():
        shapes.pop(name, None)
        if what is not None:
            shapes[name] = what
    return write_file(path, list(blocks.values()), shapes)


def write_file(
    path: Path,
    entries: Sequence[bytes],
    tensors: Mapping[str, tuple[Sequence[int], int]],
    alignment: int = 32,
) -> Path:
    """Writes entries and tensors, each tensor after the one before it, and a hole for the data."""
    infos, offset = [], 0
    for name, (shape, kind) in tensors.items():
        infos.append(tensor(name, shape, kind, offset))
        offset += -(-size_of(shape, kind) // alignment) * alignment
    data = header(entries, infos)
    path.write_bytes(padded(data, alignment) if tensors else data)
    os.truncate(path, path.stat().st_size + offset)
    return path


def size_of(shape: Sequence[int], kind: int) -> int:
    """Bytes that a tensor takes."""
    elements, size = GGML_QUANT_SIZES[GGMLQuantizationType(kind)]
    count = 1
    for dimension in shape:
        count *= dimension
    assert count % elements == 0
    return int(count // elements * size)


def statements(
    *,
    name: str = "",
    basename: str = "",
    size_label: str = "",
    finetune: str = "",
    license: str = "",
    license_name: str = "",
    base_models: Sequence[str] = (),
) -> dict[str, Written | None]:
    """What a converter writes about a model's origin; `base_models` are `owner/name`."""
    said: dict[str, Written | None] = {
        "general.name": name,
        "general.basename": basename,
        "general.size_label": size_label,
        "general.finetune": finetune,
        "general.license": license,
        "general.license.name": license_name,
    }
    said = {key: value for key, value in said.items() if value}
    if base_models:
        said["general.base_model.count"] = len(base_models)
    for index, repository in enumerate(base_models):
        owner, _, title = repository.partition("/")
        said[f"general.base_model.{index}.name"] = title.replace("-", " ")
        said[f"general.base_model.{index}.organization"] = owner
        said[f"general.base_model.{index}.repo_url"] = f"https://huggingface.co/{repository}"
    return said


def write_shards(
    folder: Path,
    model: str | Sizes = SMALL,
    *,
    stem: str = "model",
    count: int = 3,
    metadata: Mapping[str, Written | None] | None = None,
) -> list[Path]:
    """Writes a model split as `llama-gguf-split` does it: only the first part says what it is."""
    chosen = sizes(model) if isinstance(model, str) else model
    shapes = list(_tensors(chosen, Q4_K))
    blocks = {key: entry(key, value) for key, value in _keys(chosen)}
    blocks |= _vocabulary(chosen, 8)
    blocks |= _blocks(metadata)
    share = -(-len(shapes) // count)
    paths = []
    for index in range(count):
        split = [
            entry("split.no", Entry(ValueType.UINT16, index)),
            entry("split.count", Entry(ValueType.UINT16, count)),
            entry("split.tensors.count", Entry(ValueType.INT32, len(shapes))),
        ]
        entries = ([] if index else list(blocks.values())) + split
        path = folder / f"{stem}-{index + 1:05}-of-{count:05}.gguf"
        part = dict(shapes[index * share : (index + 1) * share])
        paths.append(write_file(path, entries, part))
    return paths


def write_projector(
    path: Path, projector: str = "llama4", metadata: Mapping[str, Written | None] | None = None
) -> Path:
    """Writes an image projector (mmproj), in small."""
    keys: dict[str, Written | None] = {
        "general.architecture": "clip",
        "general.type": "mmproj",
        "clip.has_vision_encoder": True,
        "clip.projector_type": projector,
        "clip.vision.image_size": 336,
        "clip.vision.patch_size": 14,
        "clip.vision.embedding_length": 64,
        "clip.vision.feed_forward_length": 128,
        "clip.vision.block_count": 2,
        "clip.vision.attention.head_count": 4,
        "clip.vision.image_mean": [0.5, 0.5, 0.5],
        "clip.vision.image_std": [0.5, 0.5, 0.5],
        "clip.vision.attention.layer_norm_epsilon": 0.00001,
        "clip.use_gelu": True,
    }
    shapes: dict[str, tuple[Sequence[int], int]] = {
        "v.patch_embd.weight": ((14, 14, 3, 64), F16),
        "v.blk.0.attn_q.weight": ((64, 64), F16),
        "v.blk.1.attn_q.weight": ((64, 64), F16),
        "mm.model.fc.weight": ((64, 64), F16),
    }
    return write_file(path, list(_blocks(keys | dict(metadata or {})).values()), shapes)


def write_adapter(
    path: Path,
    model: str | Sizes = SMALL,
    metadata: Mapping[str, Written | None] | None = None,
    tensors: Mapping[str, tuple[Sequence[int], int]] | None = None,
) -> Path:
    """Writes a LoRA adapter for a model, with other `tensors` than usual where they are given."""
    chosen = sizes(model) if isinstance(model, str) else model
    keys: dict[str, Written | None] = {
        "general.architecture": chosen.architecture,
        "general.type": "adapter",
        "adapter.type": "lora",
        "adapter.lora.alpha": 16.0,
    }
    shapes: dict[str, tuple[Sequence[int], int]] = {}
    for layer in range(chosen.layers):
        name = f"blk.{layer}.attn_q.weight"
        shapes[f"{name}.lora_a"] = ((chosen.embedding, 8), F32)
        shapes[f"{name}.lora_b"] = ((8, chosen.heads * chosen.head), F32)
    chosen_tensors = shapes if tensors is None else tensors
    return write_file(path, list(_blocks(keys | dict(metadata or {})).values()), chosen_tensors)


def _blocks(metadata: Mapping[str, Written | None] | None) -> dict[str, bytes]:
    found = (metadata or {}).items()
    return {key: entry(key, value) for key, value in found if value is not None}


# --- What is in them ------------------------------------------------------------------------

_QK_NORMS = frozenset(
    {"qwen3", "qwen3vl", "gemma3", "gemma3n", "olmo2", "exaone4", "lfm2"}
    | {"hunyuan-dense", "hunyuan-moe", "hunyuan_vl"}
)
_POST_NORMS = frozenset({"gemma2", "gemma3", "gemma3n", "olmo2", "exaone4"})
_NO_PRE_NORMS = frozenset({"olmo2", "exaone4"})
_SHARED_EXPERTS = frozenset({"llama4", "hunyuan-moe"})
_SENTENCEPIECE = frozenset({32000, 32016, 32064, 32768, 256000, 262144, 262208})


def _keys(model: Sizes) -> Iterator[tuple[str, Written]]:
    """What a converter writes, in its order, without the vocabulary."""
    a = model.architecture
    yield "general.architecture", a
    yield "general.type", "model"
    yield f"{a}.block_count", model.layers
    yield f"{a}.context_length", model.context
    yield f"{a}.embedding_length", model.embedding
    yield f"{a}.feed_forward_length", model.feed_forward
    yield f"{a}.attention.head_count", model.heads
    kv = model.kv_heads
    yield f"{a}.attention.head_count_kv", kv if isinstance(kv, int) else _int32s(kv)
    yield f"{a}.attention.layer_norm_rms_epsilon", 0.00001
    if model.rope_base:
        yield f"{a}.rope.freq_base", float(model.rope_base)
    yield f"{a}.rope.dimension_count", model.head
    if model.head_size:
        yield f"{a}.attention.key_length", model.head
        yield f"{a}.attention.value_length", model.head
    yield f"{a}.vocab_size", model.vocabulary
    yield from _expert_keys(model)
    yield from _own_keys(model)
    yield "general.quantization_version", 2
    yield "general.file_type", 15


def _expert_keys(model: Sizes) -> Iterator[tuple[str, Written]]:
    a = model.architecture
    if a == "llama4":
        yield f"{a}.interleave_moe_layer_step", model.expert_step
        yield f"{a}.expert_feed_forward_length", model.expert_feed_forward or model.feed_forward
    if model.experts:
        yield f"{a}.expert_count", model.experts
        yield f"{a}.expert_used_count", min(model.experts, 2)
    if model.experts and a != "llama4":
        yield f"{a}.expert_feed_forward_length", model.expert_feed_forward
    if a == "hunyuan-moe":
        yield f"{a}.expert_shared_feed_forward_length", model.expert_feed_forward


def _own_keys(model: Sizes) -> Iterator[tuple[str, Written]]:
    """Of one architecture only."""
    a = model.architecture
    if a == "gemma2":
        yield f"{a}.attn_logit_softcapping", 50.0
        yield f"{a}.final_logit_softcapping", 30.0
    if a in ("gemma2", "gemma3", "gemma3n"):
        yield f"{a}.attention.sliding_window", 4096
    if a == "granite":
        yield f"{a}.logit_scale", 8.0
    if a == "lfm2":
        yield f"{a}.shortconv.l_cache", 3
    if a == "mllama":
        yield f"{a}.attention.cross_attention_layers", _int32s(_cross_attention(model))


def _cross_attention(model: Sizes) -> tuple[int, ...]:
    return tuple(range(3, model.layers, 5))


def _int32s(values: Sequence[int]) -> Entry:
    return Entry(ValueType.INT32, tuple(values), is_array=True)


@cache
def tokens(count: int) -> tuple[str, ...]:
    """Different tokens, the bytes among them."""
    first = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), "Ċ"]
    return tuple((first + [f"t{index}" for index in range(len(first), count)])[:count])


@cache
def _token_block(count: int) -> bytes:
    return entry("tokenizer.ggml.tokens", tokens(count))


@cache
def _token_types(count: int) -> bytes:
    kinds = [2, 3, 3, *[6] * 256, *[1] * count]
    return entry("tokenizer.ggml.token_type", _int32s(kinds[:count]))


@cache
def _scores(count: int) -> bytes:
    return entry("tokenizer.ggml.scores", [-float(index) for index in range(count)])


@cache
def _merges(count: int) -> bytes:
    return entry("tokenizer.ggml.merges", tuple(f"t{index} t{index + 1}" for index in range(count)))


def _vocabulary(model: Sizes, merges: int) -> dict[str, bytes]:
    count = model.vocabulary
    blocks: dict[str, Written] = {}
    sentencepiece = count in _SENTENCEPIECE or count < 1000
    blocks["tokenizer.ggml.model"] = "llama" if sentencepiece else "gpt2"
    blocks["tokenizer.ggml.pre"] = "default" if sentencepiece else "llama-bpe"
    blocks["tokenizer.ggml.bos_token_id"] = 1
    blocks["tokenizer.ggml.eos_token_id"] = 2
    blocks["tokenizer.chat_template"] = "{% for m in messages %}{{ m.content }}\n{% endfor %}"
    written = {key: entry(key, value) for key, value in blocks.items()}
    written["tokenizer.ggml.tokens"] = _token_block(count)
    written["tokenizer.ggml.token_type"] = _token_types(count)
    if sentencepiece:
        written["tokenizer.ggml.scores"] = _scores(count)
    else:
        written["tokenizer.ggml.merges"] = _merges(merges)
    return written


def _tensors(model: Sizes, quant: int) -> Iterator[tuple[str, tuple[Sequence[int], int]]]:
    def weight(*shape: int) -> tuple[Sequence[int], int]:
        return shape, _fitting(quant, shape[0])

    if model.rope_factors:
        yield "rope_freqs.weight", ((model.head // 2,), F32)
    yield "token_embd.weight", weight(model.embedding, model.vocabulary)
    for layer in range(model.layers):
        for name, shape in _layer(model, layer):
            whole = len(shape) == 1 or "_inp." in name or "conv.conv." in name
            what = (shape, F32) if whole else weight(*shape)
            yield f"blk.{layer}.{name}", what
    if model.architecture == "phi3":
        yield "rope_factors_long.weight", ((model.head // 2,), F32)
        yield "rope_factors_short.weight", ((model.head // 2,), F32)
    last = "token_embd_norm" if model.architecture == "lfm2" else "output_norm"
    yield f"{last}.weight", ((model.embedding,), F32)
    if not model.tied:
        yield "output.weight", weight(model.embedding, model.vocabulary)


def _fitting(quant: int, row: int) -> int:
    """The type itself, or, for rows that it cannot hold, the next that can."""
    for kind in (quant, Q8_0, F16):
        if row % GGML_QUANT_SIZES[GGMLQuantizationType(kind)][0] == 0:
            return kind
    raise AssertionError(row)


def _layer(model: Sizes, layer: int) -> Iterator[tuple[str, tuple[int, ...]]]:
    if model.architecture not in _NO_PRE_NORMS:
        yield "attn_norm.weight", (model.embedding,)
    if model.architecture == "mllama" and layer in _cross_attention(model):
        yield from _cross_layer(model)
    elif model.kv(layer):
        yield from _attention(model, layer)
    else:
        yield "shortconv.conv.weight", (3, model.embedding)
        yield "shortconv.in_proj.weight", (model.embedding, 3 * model.embedding)
        yield "shortconv.out_proj.weight", (model.embedding, model.embedding)
    if model.architecture in _POST_NORMS:
        yield "post_attention_norm.weight", (model.embedding,)
        yield "post_ffw_norm.weight", (model.embedding,)
    if model.architecture not in _NO_PRE_NORMS:
        yield "ffn_norm.weight", (model.embedding,)
    if model.experts and (layer + 1) % model.expert_step == 0:
        yield from _experts(model)
    else:
        yield from _feed_forward(model)


def _attention(model: Sizes, layer: int) -> Iterator[tuple[str, tuple[int, ...]]]:
    query, kv = model.heads * model.head, model.kv(layer) * model.head
    if model.architecture == "phi3":
        yield "attn_qkv.weight", (model.embedding, query + 2 * kv)
    else:
        for name, size in (("q", query), ("k", kv), ("v", kv)):
            yield f"attn_{name}.weight", (model.embedding, size)
            if model.architecture == "qwen2":
                yield f"attn_{name}.bias", (size,)
    yield "attn_output.weight", (query, model.embedding)
    if model.architecture in _QK_NORMS:
        whole = model.architecture == "olmo2"
        yield "attn_q_norm.weight", (query if whole else model.head,)
        yield "attn_k_norm.weight", (kv if whole else model.head,)


def _cross_layer(model: Sizes) -> Iterator[tuple[str, tuple[int, ...]]]:
    """As the files of Llama 3.2 Vision have it; llama.cpp cannot load them."""
    query, kv = model.heads * model.head, model.kv(0) * model.head
    for name, size in (("q", query), ("k", kv), ("v", kv)):
        yield f"cross_attn_{name}_proj.weight", (model.embedding, size)
    yield "cross_attn_o_proj.weight", (query, model.embedding)
    yield "cross_attn_q_norm.weight", (model.head,)
    yield "cross_attn_k_norm.weight", (model.head,)
    yield "cross_attn_attn_gate", (1,)
    yield "cross_attn_mlp_gate", (1,)


def _feed_forward(model: Sizes) -> Iterator[tuple[str, tuple[int, ...]]]:
    if model.architecture == "phi3":
        yield "ffn_up.weight", (model.embedding, 2 * model.feed_forward)
    else:
        yield "ffn_gate.weight", (model.embedding, model.feed_forward)
        yield "ffn_up.weight", (model.embedding, model.feed_forward)
    yield "ffn_down.weight", (model.feed_forward, model.embedding)


def _experts(model: Sizes) -> Iterator[tuple[str, tuple[int, ...]]]:
    size, count = model.expert_feed_forward, model.experts
    yield "ffn_gate_inp.weight", (model.embedding, count)
    yield "ffn_gate_exps.weight", (model.embedding, size, count)
    yield "ffn_up_exps.weight", (model.embedding, size, count)
    yield "ffn_down_exps.weight", (size, model.embedding, count)
    if model.architecture in _SHARED_EXPERTS:
        yield "ffn_gate_shexp.weight", (model.embedding, size)
        yield "ffn_up_shexp.weight", (model.embedding, size)
        yield "ffn_down_shexp.weight", (size, model.embedding)
