"""Adapters (LoRA): whether one belongs to the model that it is given with.

The engine compares architectures and sizes itself, but asserts the rest while it computes, and
an adapter that is made for other weights of the same sizes gives nonsense without a word.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from launcher.errors import IntegrityError, Unsupported
from launcher.models import ggml
from launcher.models.bundle import Bundle, Part, Role
from launcher.models.gguf import Header, Tensor

KIND = ("adapter", "lora")  # general.type, adapter.type
_A, _B = ".lora_a", ".lora_b"
_LEFT_OUT = "_norm.weight"  # the engine leaves such tensors of an adapter alone
_EMBEDDINGS = "token_embd.weight"
_INVOKED = "adapter.alora.invocation_tokens"

Shape = tuple[int, ...]


def refuse_misfits(bundle: Bundle) -> None:
    """Raises `IntegrityError` for a part that is no adapter, or none for this model.

    Raises `Unsupported` for kinds that the engine would load and use wrongly. Of a model that
    is still at the hub only the architecture is compared; the rest follows when it is here.
    """
    model = [part.header for part in bundle.sets[0] if part.header is not None]
    for part in bundle.parts:
        if part.role is Role.ADAPTER and part.header is not None and model:
            _refuse_misfit(part, part.header, model)


def _refuse_misfit(part: Part, header: Header, model: Sequence[Header]) -> None:
    kind = (header.text("general.type"), header.text("adapter.type"))
    if kind != KIND:
        raise IntegrityError(f"{part.name} is no adapter: it says that it is {_said(kind)}")
    ours, theirs = header.architecture, model[0].architecture
    if ours != theirs:
        raise IntegrityError(
            f"{part.name} is an adapter for models of the architecture {ours}, not {theirs}",
            hint="Nothing was loaded. Use it with the model that it was made for.",
        )
    if _INVOKED in header.metadata:
        raise Unsupported(
            f"{part.name} is an adapter that certain words call up (aLoRA), which this launcher "
            "cannot do"
        )
    if all(read.complete for read in model):
        known = {tensor.name: _shape(tensor) for read in model for tensor in read.tensors}
        fault = _fault(header, known)
        if _EMBEDDINGS in _changed(header) and "output.weight" not in known:
            raise Unsupported(
                f"{part.name} changes the embeddings, which this model also uses for its output; "
                "the engine cannot do that"
            )
        if fault:
            raise IntegrityError(
                f"{part.name} does not fit the model: {fault}",
                hint="Nothing was loaded. Use it with the model that it was made for.",
            )


def _said(kind: tuple[str | None, str | None]) -> str:
    return " of the type ".join(f"'{word}'" if word else "nothing" for word in kind)


def _changed(header: Header) -> set[str]:
    return {tensor.name[: -len(_A)] for tensor in header.tensors}


def _shape(tensor: Tensor) -> Shape:
    """Without the ones at its end, which files may spell out or leave out."""
    sizes = tensor.shape
    while len(sizes) > 2 and sizes[-1] == 1:
        sizes = sizes[:-1]
    return sizes


def _fault(header: Header, model: Mapping[str, Shape]) -> str:
    """What is wrong with the tensors; empty where nothing is."""
    pairs: dict[str, dict[str, Tensor]] = {}
    for tensor in header.tensors:
        half = tensor.name[-len(_A) :]
        if half in (_A, _B):
            pairs.setdefault(tensor.name.removesuffix(half), {})[half] = tensor
        elif not tensor.name.endswith(_LEFT_OUT):
            return f"the tensor '{tensor.name}' is no half of a pair"
    if not pairs:
        return "it changes nothing"
    return next(filter(None, (_pair_fault(name, pairs[name], model) for name in pairs)), "")


def _pair_fault(name: str, pair: Mapping[str, Tensor], model: Mapping[str, Shape]) -> str:
    if len(pair) != 2:
        return f"one half of '{name}' is missing"
    for half in pair.values():
        if half.type in ggml.NO_WEIGHTS:
            return f"'{half.name}' is of a type that is not computed with"
    if name not in model:
        return f"the model has no tensor '{name}'"
    wanted, a, b = model[name], _shape(pair[_A]), _shape(pair[_B])
    if len(wanted) < 2 or not len(wanted) == len(a) == len(b):
        return f"'{name}' is no matrix in one of them"
    flipped = name.endswith(_EMBEDDINGS)  # the engine looks up rows of A there
    found = (b[1], a[1]) if flipped else (a[0], b[1])
    inner = a[0] == b[0] if flipped else a[1] == b[0]
    if found != wanted[:2] or not inner or not a[2:] == b[2:] == wanted[2:]:
        return f"'{name}' is {wanted} in the model, and the halves are {a} and {b}"
    return ""
