"""Image halves of models (mmproj) with numbers drawn by lot, and images to show them."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gguf
import numpy as np

SIDE, PATCH, WIDTH, LAYERS = 56, 14, 64, 2
PLACES = (SIDE // PATCH) ** 2  # tokens that an image takes


def write_eye(path: Path, width: int, *, seed: int = 1, **changes: Any) -> Path:
    """A small image encoder and a projector to a model whose embeddings have this width.

    It is of LLaVA's kind (`mlp`). `changes` are other metadata, by their keys with `__` for `.`.
    """
    lot = np.random.default_rng(seed)
    writer = gguf.GGUFWriter(path, "clip")
    writer.add_type("mmproj")
    writer.add_license("apache-2.0")
    said = {key.replace("__", "."): value for key, value in changes.items()}
    writer.add_bool("clip.has_vision_encoder", said.pop("clip.has_vision_encoder", True))
    writer.add_string("clip.projector_type", said.pop("clip.projector_type", "mlp"))
    for key, value in said.items():
        writer.add_bool(key, value)
    for name, number in {
        "image_size": SIDE,
        "patch_size": PATCH,
        "embedding_length": WIDTH,
        "feed_forward_length": 2 * WIDTH,
        "block_count": LAYERS,
        "projection_dim": width,
        "attention.head_count": 4,
    }.items():
        writer.add_uint32(f"clip.vision.{name}", number)
    writer.add_float32("clip.vision.attention.layer_norm_epsilon", 1e-5)
    writer.add_array("clip.vision.image_mean", [0.5, 0.5, 0.5])
    writer.add_array("clip.vision.image_std", [0.5, 0.5, 0.5])
    writer.add_bool("clip.use_gelu", True)
    for name, shape in _tensors(width):
        values = lot.standard_normal(shape, dtype=np.float32) * 0.2
        writer.add_tensor(name, 1 + values if ".ln" in name and "weight" in name else values)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def _tensors(width: int) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Name and shape as numpy has it: rows first."""
    yield "v.class_embd", (WIDTH,)
    yield "v.patch_embd.weight", (WIDTH, 3, PATCH, PATCH)
    yield "v.position_embd.weight", (PLACES + 1, WIDTH)
    yield from _norm("v.pre_ln")
    for layer in range(LAYERS):
        block = f"v.blk.{layer}"
        yield from _norm(f"{block}.ln1")
        yield from _norm(f"{block}.ln2")
        for name in ("attn_q", "attn_k", "attn_v", "attn_out"):
            yield from _linear(f"{block}.{name}", WIDTH, WIDTH)
        yield from _linear(f"{block}.ffn_up", WIDTH, 2 * WIDTH)
        yield from _linear(f"{block}.ffn_down", 2 * WIDTH, WIDTH)
    yield from _linear("mm.0", WIDTH, width)
    yield from _linear("mm.2", width, width)


def _norm(name: str) -> Iterator[tuple[str, tuple[int, ...]]]:
    yield f"{name}.weight", (WIDTH,)
    yield f"{name}.bias", (WIDTH,)


def _linear(name: str, before: int, after: int) -> Iterator[tuple[str, tuple[int, ...]]]:
    yield f"{name}.weight", (after, before)
    yield f"{name}.bias", (after,)


def png(
    seed: int = 1, width: int = 40, height: int = 30, *, light: bool = False, claim: int = 0
) -> bytes:
    """An image of dots by lot, dark or light; it says that it is `claim` wide where given."""
    lot = np.random.default_rng(seed)
    rows = lot.integers(0, 60, (height, 3 * width), dtype=np.uint8) + 190 * light
    data = zlib.compress(b"".join(b"\0" + row.tobytes() for row in rows))
    head = struct.pack(">IIBBBBB", claim or width, height, 8, 2, 0, 0, 0)
    parts = ((b"IHDR", head), (b"IDAT", data), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(kind, body) for kind, body in parts)


def _chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
