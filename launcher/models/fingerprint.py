"""A fingerprint of a checkpoint that its quantisations share.

llama.cpp keeps the norm tensors in 32-bit floats whatever the quant, so their bytes are the
same in every file made from one checkpoint: renaming, stripping the metadata, splitting and
another quant leave them alone. Adapters merged into a model mostly do, too; a full fine-tune
moves them. So an equal fingerprint says where a file comes from, and a different one nothing.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Sequence

from launcher.models.bundle import Part
from launcher.models.gguf import Tensor

F32 = 0
MAX_BYTES = 64 << 20  # of all norm tensors together; the largest models have about 20 MiB


def fingerprint(parts: Sequence[Part]) -> str:
    """SHA-256 over names and bytes of the norm tensors; empty where there are none to read.

    Reads some hundred kilobytes. The shards of one model are taken together.
    """
    found: list[tuple[Tensor, Part]] = []
    for part in parts:
        if part.header is not None and part.file is not None:
            found += [(tensor, part) for tensor in part.header.tensors if _is_norm(tensor)]
    if not found or sum(tensor.size for tensor, _ in found) > MAX_BYTES:
        return ""
    digest = hashlib.sha256()
    for tensor, part in sorted(found, key=lambda item: item[0].name):
        assert part.header is not None
        assert part.file is not None
        data = part.file.read(part.header.data_offset + tensor.offset, tensor.size)
        digest.update(struct.pack("<I", len(tensor.name)) + tensor.name.encode() + data)
    return digest.hexdigest()


def _is_norm(tensor: Tensor) -> bool:
    named = tensor.name.endswith("norm.weight")
    return named and tensor.type == F32 and len(tensor.shape) == 1
