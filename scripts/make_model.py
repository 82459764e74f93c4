"""Writes a GGUF file of a real model's shape with random weights, for measurements and tests.

    python scripts/make_model.py llama-3.2-1b model-f16.gguf
    llama-quantize model-f16.gguf model-q4_k_m.gguf Q4_K_M

The vocabulary is SmolLM2's, filled up with made-up tokens; the text it writes is noise. Speed and
memory are those of the shape.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import gguf
import numpy as np

from launcher.models import catalogue, sources


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """The sizes of a model of the architecture `llama`."""

    name: str
    layers: int
    embedding: int
    feed_forward: int
    heads: int
    kv_heads: int
    vocabulary: int
    context: int
    rope_base: float

    @property
    def head(self) -> int:
        return self.embedding // self.heads


SHAPES = {
    "tiny": Shape(
        name="Tiny",
        layers=2,
        embedding=256,
        feed_forward=512,
        heads=4,
        kv_heads=2,
        vocabulary=49152,
        context=2048,
        rope_base=10000.0,
    ),
    "llama-3.2-1b": Shape(
        name="Llama 3.2 1B Instruct",
        layers=16,
        embedding=2048,
        feed_forward=8192,
        heads=32,
        kv_heads=8,
        vocabulary=128256,
        context=131072,
        rope_base=500000.0,
    ),
    "llama-3.2-3b": Shape(
        name="Llama 3.2 3B Instruct",
        layers=28,
        embedding=3072,
        feed_forward=8192,
        heads=24,
        kv_heads=8,
        vocabulary=128256,
        context=131072,
        rope_base=500000.0,
    ),
}


def write(shape: Shape, path: Path, *, licence: str, seed: int = 1) -> None:
    """Writes the file in 16-bit floats, norms in 32-bit."""
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_name(shape.name)
    writer.add_license(licence)
    writer.add_block_count(shape.layers)
    writer.add_embedding_length(shape.embedding)
    writer.add_feed_forward_length(shape.feed_forward)
    writer.add_head_count(shape.heads)
    writer.add_head_count_kv(shape.kv_heads)
    writer.add_context_length(shape.context)
    writer.add_rope_freq_base(shape.rope_base)
    writer.add_rope_dimension_count(shape.head)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_vocab_size(shape.vocabulary)
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_F16)
    _add_vocabulary(writer, shape.vocabulary)
    random = np.random.default_rng(seed)
    for name, dimensions in _tensors(shape):
        writer.add_tensor(name, _values(random, name, dimensions))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _values(
    random: np.random.Generator, name: str, dimensions: tuple[int, ...]
) -> np.ndarray[tuple[int, ...], np.dtype[np.generic]]:
    if name.endswith("norm.weight"):
        return np.ones(dimensions, dtype=np.float32)
    if name == "rope_freqs.weight":
        return np.linspace(1.0, 32.0, dimensions[0], dtype=np.float32)
    # One row of noise, rolled: a full draw of a billion numbers takes minutes.
    row = (random.standard_normal(dimensions[-1], dtype=np.float32) * 0.02).astype(np.float16)
    whole = np.empty(dimensions, dtype=np.float16)
    for index in range(dimensions[0]):
        whole[index] = np.roll(row, index * 7)
    return whole


def _tensors(shape: Shape) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Name and shape as numpy has it: rows first. The output is tied to the embeddings."""
    width, kv = shape.embedding, shape.kv_heads * shape.head
    yield "token_embd.weight", (shape.vocabulary, width)
    yield "output_norm.weight", (width,)
    if shape.rope_base > 100_000:
        yield "rope_freqs.weight", (shape.head // 2,)
    for layer in range(shape.layers):
        block = f"blk.{layer}"
        yield f"{block}.attn_norm.weight", (width,)
        yield f"{block}.attn_q.weight", (width, width)
        yield f"{block}.attn_k.weight", (kv, width)
        yield f"{block}.attn_v.weight", (kv, width)
        yield f"{block}.attn_output.weight", (width, width)
        yield f"{block}.ffn_norm.weight", (width,)
        yield f"{block}.ffn_gate.weight", (shape.feed_forward, width)
        yield f"{block}.ffn_up.weight", (shape.feed_forward, width)
        yield f"{block}.ffn_down.weight", (width, shape.feed_forward)


def _add_vocabulary(writer: gguf.GGUFWriter, count: int) -> None:
    """SmolLM2's tokenizer and chat template, the rest of the tokens made up."""
    model = catalogue.load().models["smollm2:135m"]
    path = sources.packaged_file(model)
    if path is None:
        raise SystemExit("The default model is missing: run scripts/test once.")
    fields = gguf.GGUFReader(path).fields
    tokens = fields["tokenizer.ggml.tokens"].contents()
    types = fields["tokenizer.ggml.token_type"].contents()
    extra = count - len(tokens)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("smollm")
    writer.add_token_list([*tokens, *(f"<made-up-{index}>" for index in range(extra))])
    writer.add_token_types([*types, *([gguf.TokenType.UNUSED] * extra)])
    writer.add_token_merges(fields["tokenizer.ggml.merges"].contents())
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_chat_template(fields["tokenizer.chat_template"].contents())


def main() -> None:
    parser = argparse.ArgumentParser(description="Writes a model of a real shape.")
    parser.add_argument("shape", choices=SHAPES)
    parser.add_argument("path", type=Path)
    parser.add_argument("--licence", default="llama3.2")
    arguments = parser.parse_args()
    write(SHAPES[arguments.shape], arguments.path, licence=arguments.licence)


if __name__ == "__main__":
    main()
