"""Which of a repository's files is meant: by quant, by default, or the largest that fits. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from launcher.errors import NotFound
from launcher.models import ggml
from launcher.models.gguf import Header

# What people expect when they name no quant; after these, whatever is nearest in size to Q4_K_M.
DEFAULTS = ("Q4_K_M", "Q8_0", "Q4_K_S", "Q4_0", "Q5_K_M", "Q6_K", "Q4_1", "IQ4_XS", "Q3_K_M")

_LABEL = re.compile(
    r"(?:^|[-._])((?:UD-)?(?:IQ\d_[A-Z]{1,3}|T?Q\d_\d(?:_\d_\d)?|Q\d_K(?:_[A-Z]{1,2})?|BF16|F16|F32"
    r"|FP16|MXFP4(?:_MOE)?|NVFP4))(?=[-._]|$)",
    re.IGNORECASE,
)
_SHARD = re.compile(r"(.+)-(\d{5})-of-(\d{5})\.gguf", re.IGNORECASE)
_BESIDE = re.compile(r"(^|[-._/])(mmproj|imatrix|lora|adapter|mtp)([-._]|$)", re.IGNORECASE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """One loadable model of a repository: a file, or all shards of one."""

    quant: str
    """Its label; empty where the name has none."""
    files: tuple[str, ...]
    size: int
    """Bytes of all files together."""


def label(name: str) -> str:
    """The quant that a file's name gives, in capitals; empty where it gives none.

    >>> label("Llama-3.2-1B-Instruct-Q4_K_M.gguf")
    'Q4_K_M'
    """
    found = _LABEL.findall(name.rpartition("/")[2].removesuffix(".gguf"))
    return str(found[-1]).upper() if found else ""


def is_beside(name: str) -> bool:
    """Whether a file's name says that it goes with a model, and is none of its own.

    >>> is_beside("mmproj-model-f16.gguf")
    True
    """
    return _BESIDE.search(name) is not None


def choices(files: Sequence[tuple[str, int]]) -> tuple[Choice, ...]:
    """The models among the files (name, size) of a repository, smallest first.

    Projectors, adapters and importance matrices are no models of their own. Shards of one
    model are one choice, as far as all of them are there.
    """
    groups: dict[str, list[tuple[str, int]]] = {}
    for name, size in files:
        if name.lower().endswith(".gguf") and not is_beside(name):
            match = _SHARD.fullmatch(name)
            groups.setdefault(match[1] if match else name, []).append((name, size))
    found = []
    for members in groups.values():
        members.sort()
        match = _SHARD.fullmatch(members[0][0])
        if match is None or len(members) == int(match[3]):
            names = tuple(name for name, _ in members)
            total = sum(size for _, size in members)
            found.append(Choice(quant=label(names[0]), files=names, size=total))
    return tuple(sorted(found, key=lambda choice: (choice.size, choice.files)))


def by_file(found: Sequence[Choice], repository: str, file: str) -> Choice:
    """The model that a file is, or is a shard of. Raises `NotFound`."""
    for choice in found:
        if file in choice.files:
            return choice
    raise NotFound(
        f"{repository} has no model file {file}", hint=f"It has: {_named(found, by_name=True)}."
    )


def by_quant(found: Sequence[Choice], repository: str, quant: str) -> Choice:
    """The model of that quant. Raises `NotFound` with those there are."""
    wanted = quant.upper().removesuffix(".GGUF")
    for choice in found:
        if choice.quant in (wanted, f"UD-{wanted}"):
            return choice
    raise NotFound(f"{repository} has no quant {quant}", hint=f"It has: {_named(found)}.")


def usual(found: Sequence[Choice], repository: str) -> Choice:
    """The model that people expect. Raises `NotFound` where there is none at all."""
    if not found:
        raise NotFound(f"{repository} holds no GGUF model")
    for quant in DEFAULTS:
        for choice in found:
            if choice.quant == quant:
                return choice
    return found[len(found) // 2]


def largest(found: Sequence[Choice], repository: str, fits: Callable[[int], bool]) -> Choice:
    """The largest model whose size in bytes fits; the smallest where none does.

    Full-precision files are left out: they take twice the room of Q8_0 for no better text.
    """
    quantised = [choice for choice in found if choice.quant not in ("F32", "F16", "BF16", "FP16")]
    fitting = [choice for choice in quantised if fits(choice.size)]
    if fitting:
        return fitting[-1]
    return usual(quantised[:1] or found[:1], repository)


def _named(found: Sequence[Choice], *, by_name: bool = False) -> str:
    names = [choice.files[0] if by_name else choice.quant or choice.files[0] for choice in found]
    return ", ".join(dict.fromkeys(names)) or "none"


def held(headers: Sequence[Header]) -> str:
    """The type that holds most of the weights, whatever the names say."""
    sizes: dict[int, int] = {}
    for header in headers:
        for tensor in header.tensors:
            sizes[tensor.type] = sizes.get(tensor.type, 0) + tensor.size
    return ggml.type_name(max(sizes, key=lambda kind: sizes[kind])) if sizes else "-"
