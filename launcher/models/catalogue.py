"""The families of models we know: what tells them apart, and the names people use.

Facts only, from `configs/models.toml`, each with its source. What a family's licence says
is the gate's business.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import cache

from launcher.data import shipped
from launcher.errors import LauncherError
from launcher.models.gguf import Header
from launcher.models.quants import label
from launcher.tables import Faults, Table, parse


class Release(StrEnum):
    """What a model was released as. Licences speak of this, not of what a file carries."""

    TEXT = "text"
    MULTIMODAL = "multimodal"


class HeldBy(StrEnum):
    """What keeps a family among those that a file could be."""

    ARCHITECTURE = "architecture"
    """The architecture alone, at any size: files can be cut, and rights are withheld here."""
    SHAPE = "shape"
    """The exact shape."""
    NAME = "name"
    """Only what the file or its card says: the shape is that of another family."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """The sizes that a header shows. None: not known, so not compared."""

    architecture: str
    size: str = ""
    """The label people use: `8B`."""
    layers: int | None = None
    embedding: int | None = None
    feed_forward: int | None = None
    heads: int | None = None
    kv_heads: int | None = None
    experts: int | None = None
    vocabulary: int | None = None
    rope_factors: bool | None = None
    """Whether there is a tensor `rope_freqs.weight`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """Models that share a licence and a kind of release."""

    id: str
    title: str
    licence: str
    """The licence's id in the policy."""
    released_as: Release
    held_by: HeldBy
    shapes: tuple[Shape, ...]
    names: tuple[str, ...]
    """Phrases that identify it in a name; see `says`."""
    repositories: tuple[str, ...]
    """Of the original releases, on the hub."""
    projectors: tuple[str, ...]
    """The projector types of its image or audio half."""
    fingerprints: tuple[str, ...]
    """Of the norm tensors of its checkpoints; see `fingerprint`."""
    sources: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """A published file of a model."""

    repository: str = ""
    """Of the hub; empty where a package carries the file."""
    file: str = ""
    sha256: str = ""

    @property
    def quant(self) -> str:
        """As the file's name gives it."""
        return label(self.file)


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """A name in the catalogue, and where its file comes from."""

    name: str
    family: str
    title: str
    package: str = ""
    """A package of the Python registry that carries the file: `name==version`."""
    files: tuple[Published, ...] = ()
    """The usual one first; none where no file of it is known."""

    @property
    def usual(self) -> Published:
        """The file that the bare name stands for."""
        return self.files[0] if self.files else Published()


@dataclass(frozen=True, slots=True)
class Catalogue:
    """Every family and every name."""

    families: Mapping[str, Family]
    models: Mapping[str, Model]
    aliases: Mapping[str, str]
    alternatives: tuple[str, ...]
    """Names to offer after a refusal, in order."""

    def model(self, name: str) -> Model | None:
        """The model of that name; a bare name stands for its usual size."""
        return self.models.get(self.aliases.get(name, name))

    def asked(self, name: str) -> tuple[Model, str] | None:
        """The model of a name that may end in a quant, and the quant: `llama3.2:1b-q8_0`."""
        quant = "" if self.model(name) else label(name)
        model = self.model(name[: -len(quant)].rstrip("-") if quant else name)
        return (model, quant) if model is not None else None

    def nearest(self, name: str) -> str:
        """The known name that looks most like this one; empty when none does."""
        import difflib  # only for this, and slow to import

        close = difflib.get_close_matches(name, [*self.models, *self.aliases], n=1, cutoff=0.6)
        return close[0] if close else ""

    def that_fit(self, header: Header) -> tuple[Family, ...]:
        """The families that a file of this structure could be."""
        return tuple(family for family in self.families.values() if _could_be(family, header))


PROJECTOR = "clip"  # the architecture that every projector file carries
PROJECTOR_KEYS = ("clip.projector_type", "clip.vision.projector_type", "clip.audio.projector_type")


def _could_be(family: Family, header: Header) -> bool:
    if family.held_by is HeldBy.NAME:
        return False
    if header.architecture == PROJECTOR:
        return any(header.text(key) in family.projectors for key in PROJECTOR_KEYS)
    if family.held_by is HeldBy.ARCHITECTURE:
        return any(shape.architecture == header.architecture for shape in family.shapes)
    return any(fits(shape, header) for shape in family.shapes)


# Fine-tunes add a few tokens to a vocabulary; this many more are taken for the same family.
ADDED_TOKENS = 512


def fits(shape: Shape, header: Header) -> bool:
    """Whether a header shows this shape, as far as both say."""
    if shape.architecture != header.architecture:
        return False
    for expected, name in (
        (shape.layers, "block_count"),
        (shape.embedding, "embedding_length"),
        (shape.feed_forward, "feed_forward_length"),
        (shape.heads, "attention.head_count"),
        (shape.kv_heads, "attention.head_count_kv"),
        (shape.experts, "expert_count"),
    ):
        if expected is not None and _largest(header, name) != expected:
            return False
    return _vocabulary_fits(shape, header) and _rope_fits(shape, header)


def _largest(header: Header, name: str) -> int | None:
    """A hyper-parameter; of one that differs by layer, its largest value."""
    if name == "attention.head_count_kv" and f"{header.architecture}.{name}" not in header.metadata:
        name = "attention.head_count"  # as the engine does
    entry = header.metadata.get(f"{header.architecture}.{name}")
    if entry is None:
        return 0 if name == "expert_count" else None
    values = entry.value if isinstance(entry.value, tuple) else (entry.value,)
    numbers = [value for value in values if isinstance(value, int)]
    return max(numbers) if numbers else None


def _vocabulary_fits(shape: Shape, header: Header) -> bool:
    if shape.vocabulary is None or header.vocabulary is None:
        return True
    return shape.vocabulary <= header.vocabulary <= shape.vocabulary + ADDED_TOKENS


def _rope_fits(shape: Shape, header: Header) -> bool:
    if shape.rope_factors is None or not header.tensors:
        return True
    present = any(tensor.name == "rope_freqs.weight" for tensor in header.tensors)
    return present == shape.rope_factors


def plain(name: str) -> str:
    """A name in the form that phrases are compared in.

    >>> plain("Llama3.2 11B_Vision")
    'llama-3.2-11b-vision'
    >>> plain("Llama-3.2-3B.Q4_K_M.gguf")
    'llama-3.2-3b-q4-k-m-gguf'
    """
    text = re.sub(r"(?<=\d)_(?=\d)", ".", name.lower())
    text = re.sub(r"([a-z]{3,})(?=\d)", r"\1-", text)
    text = re.sub(r"(?<!\d)\.|\.(?!\d)", "-", text)  # a point belongs to a number or to nothing
    return re.sub(r"[^a-z0-9.]+", "-", text).strip("-")


def says(name: str, phrase: str) -> bool:
    """Whether a name, in its plain form, contains a phrase.

    The words of a phrase must occur in this order; `!word` must not occur at all.

    >>> says("llama-3.2-11b-vision-instruct", "llama-3.2 vision !1b")
    True
    """
    text = f"-{name}-"
    position = 0
    for word in phrase.split():
        if word.startswith("!"):
            if f"-{word[1:]}-" in text:
                return False
            continue
        found = text.find(f"-{word}-", position)
        if found < 0:
            return False
        position = found + len(word) + 1
    return True


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownFile:
    """A published file, known by its digest."""

    sha256: str
    family: str
    repository: str
    file: str
    licence_stated: str
    """As whoever published the list wrote it; some are wrong."""


@cache
def known_files() -> Mapping[str, KnownFile]:
    """The shipped list of published files by digest."""
    faults = Faults("configs/files.toml")
    top = parse(shipped("files.toml"), faults)
    found = [_known_file(table) for table in top.tables("file")]
    top.finish()
    faults.refuse(LauncherError)
    return {file.sha256: file for file in found}


def _known_file(table: Table) -> KnownFile:
    file = KnownFile(
        sha256=table.text("sha256"),
        family=table.text("family"),
        repository=table.text("repository"),
        file=table.text("file"),
        licence_stated=table.text("licence_stated", ""),
    )
    table.text("source", "")
    table.finish()
    return file


@cache
def load() -> Catalogue:
    """The shipped catalogue. Raises `LauncherError` with every fault in it."""
    return read(shipped("models.toml"), "configs/models.toml")


def read(data: bytes, file: str) -> Catalogue:
    """A catalogue from TOML."""
    faults = Faults(file)
    top = parse(data, faults)
    families = {family.id: family for family in map(_family, top.tables("family"))}
    aliases: dict[str, str] = {}
    models = {}
    for table in top.tables("model"):
        model = _model(table, families, aliases)
        if model.name in models:
            table.fault("name", f"'{model.name}' occurs twice")
        models[model.name] = model
    alternatives = top.texts("alternatives", [])
    for name in alternatives:
        if name not in models:
            top.fault("alternatives", f"'{name}' is no name in this catalogue")
    top.finish()
    faults.refuse(LauncherError)
    return Catalogue(families, models, aliases, alternatives)


def _family(table: Table) -> Family:
    family = Family(
        id=table.text("id"),
        title=table.text("title"),
        licence=table.text("licence"),
        released_as=table.member("released_as", Release),
        held_by=table.member("held_by", HeldBy),
        shapes=tuple(_shape(shape) for shape in table.tables("shape")),
        names=table.texts("names", []),
        repositories=table.texts("repositories", []),
        projectors=table.texts("projectors", []),
        fingerprints=table.texts("fingerprints", []),
        sources=table.texts("sources"),
    )
    table.finish()
    return family


def _shape(table: Table) -> Shape:
    def number(key: str) -> int | None:
        return table.number(key) if key in table else None

    shape = Shape(
        architecture=table.text("architecture"),
        size=table.text("size", ""),
        layers=number("layers"),
        embedding=number("embedding"),
        feed_forward=number("feed_forward"),
        heads=number("heads"),
        kv_heads=number("kv_heads"),
        experts=number("experts"),
        vocabulary=number("vocabulary"),
        rope_factors=table.flag("rope_factors") if "rope_factors" in table else None,
    )
    for key in (
        "layers",
        "embedding",
        "feed_forward",
        "heads",
        "kv_heads",
        "experts",
        "vocabulary",
    ):
        table.asked.add(key)
    table.finish()
    return shape


def _model(table: Table, families: Mapping[str, Family], aliases: dict[str, str]) -> Model:
    model = Model(
        name=table.text("name"),
        family=table.choice("family", list(families)),
        title=table.text("title"),
        package=table.text("package", ""),
        files=tuple(_files(table)),
    )
    for alias in table.texts("aliases", []):
        aliases[alias] = model.name
    table.text("source", "")
    table.finish()
    return model


def _files(table: Table) -> Iterator[Published]:
    usual = _published(table)
    if usual.file:
        yield usual
    for other in table.tables("variant"):
        yield _published(other)
        other.finish()


def _published(table: Table) -> Published:
    return Published(
        repository=table.text("repository", ""),
        file=table.text("file", ""),
        sha256=table.text("sha256", ""),
    )
