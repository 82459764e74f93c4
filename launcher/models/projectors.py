"""Image halves of models (mmproj): whether a file is one, takes in images, and is consistent.

The engine asserts much of them while it loads, and dies of what it finds. What is compared here
holds for every kind; the rest ends the worker, and nothing else.
"""

from __future__ import annotations

from collections.abc import Iterator

from launcher.errors import IntegrityError, Unsupported
from launcher.models.bundle import Bundle, Part, Role
from launcher.models.catalogue import PROJECTOR
from launcher.models.gguf import Header, ValueType

# What the engine reads as such, and of no other type.
# Source: clip_model_loader::load_hparams in llama.cpp's tools/mtmd/clip.cpp.
_NUMBERS = (
    "image_size",
    "patch_size",
    "embedding_length",
    "feed_forward_length",
    "block_count",
    "projection_dim",
    "attention.head_count",
    "attention.head_count_kv",
)
_WEIGHT, _BIAS = ".weight", ".bias"


def refuse_misfits(bundle: Bundle) -> None:
    """Raises `IntegrityError` for a part that is no image half, `Unsupported` for a blind one.

    Whether it fits the model the engine finds out itself, by the width of what it gives.
    """
    for part, *_ in bundle.having(Role.MMPROJ):
        if part.header is not None:
            _refuse_misfit(part, part.header)


def takes_in(header: Header, sense: str) -> bool:
    """Whether an image half says that it has `vision`, or `audio`."""
    entry = header.metadata.get(f"clip.has_{sense}_encoder")
    return entry is not None and entry.value is True


def _refuse_misfit(part: Part, header: Header) -> None:
    if header.architecture != PROJECTOR:
        raise IntegrityError(
            f"{part.name} is no image half of a model: it says that it is '{header.architecture}'",
            hint="Nothing was loaded. Give the file that belongs to the model as its mmproj.",
        )
    if not takes_in(header, "vision"):
        raise Unsupported(f"{part.name} takes in no images, and other things cannot be given")
    fault = next(_faults(header), "")
    if fault:
        raise IntegrityError(
            f"{part.name} cannot be loaded: {fault}",
            hint="The file is damaged. Get it again from where it came from.",
        )


def _faults(header: Header) -> Iterator[str]:
    for name in _NUMBERS:
        key = f"{PROJECTOR}.vision.{name}"
        entry = header.metadata.get(key)
        if entry is not None and (entry.type is not ValueType.UINT32 or entry.is_array):
            yield f"'{key}' is not an unsigned 32-bit number"
    embedding = header.parameter("vision.embedding_length") or 0
    heads = header.parameter("vision.attention.head_count") or 0
    if not heads or (embedding % heads and not header.parameter("vision.attention.head_dim")):
        yield f"{embedding} numbers cannot be shared among {heads} heads"
    yield from _other_biases(header)


def _other_biases(header: Header) -> Iterator[str]:
    """What is added to a product has as many numbers as the product."""
    shapes = {tensor.name: tensor.shape for tensor in header.tensors}
    for name, shape in shapes.items():
        weight = shapes.get(f"{name.removesuffix(_BIAS)}{_WEIGHT}")
        if not name.endswith(_BIAS) or weight is None or len(weight) > 2:
            continue  # of a convolution
        if shape[:1] != weight[-1:] or any(size != 1 for size in shape[1:]):
            yield f"'{name}' is {shape}, and its weight {weight}"
