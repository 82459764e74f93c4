"""What a file really is, as far as its structure and what is said of it can tell.

Structure gives the set of families that the file could be. Statements (names, `base_model`,
the card) may add families to the set and say which one is meant; they never take one out,
so stripping or faking them cannot make the outcome more permissive.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum

from launcher.models.bundle import Bundle, Part, Role
from launcher.models.catalogue import (
    PROJECTOR,
    PROJECTOR_KEYS,
    Catalogue,
    Family,
    Release,
    fits,
    plain,
    says,
)
from launcher.models.gguf import Header


class Kind(StrEnum):
    """How far a claim can be trusted: faking structure mostly breaks the load."""

    STRUCTURE = "structure"
    STATEMENT = "statement"
    CATALOGUE = "catalogue"


@dataclass(frozen=True, slots=True)
class Claim:
    """One thing that was seen, and where."""

    source: str
    """Such as `gguf:general.architecture`, `file name`, `catalogue`."""
    value: str
    kind: Kind


@dataclass(frozen=True, slots=True)
class Candidate:
    """A family that the part could be, or is said to be."""

    family: Family
    structural: bool
    """The structure allows it."""
    support: int
    """How strongly statements speak for it; 0 when none does."""

    @property
    def said(self) -> bool:
        """Something says that the part is this family, or comes from it."""
        return self.support > 0


@dataclass(frozen=True, slots=True)
class StatedLicence:
    """A licence as somebody wrote it, not yet looked up."""

    spelling: str
    source: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """What one part of a bundle can be, with every claim and its source."""

    role: Role
    name: str
    architecture: str
    candidates: tuple[Candidate, ...]
    licences: tuple[StatedLicence, ...]
    evidence: tuple[Claim, ...]
    title: str = ""
    """Of the family with its size, where the shape tells: `Llama 3.2 1B`."""

    @property
    def structure_is_known(self) -> bool:
        """Whether the structure alone fits a family."""
        return any(candidate.structural for candidate in self.candidates)


# How much each source counts when statements have to choose among candidates.
_CATALOGUE, _ORIGIN, _NAME, _FILE_NAME = 8, 4, 2, 1


@dataclass(frozen=True, slots=True)
class _Statement:
    claim: Claim
    weight: int
    repository: str = ""


def identify(bundle: Bundle, catalogue: Catalogue) -> tuple[Identity, ...]:
    """The identity of every part, in the order of the bundle.

    Later shards say nothing of their own: they belong to the first.
    """
    return tuple(
        _identify(part, bundle, catalogue) for part in bundle.parts if part.role is not Role.SHARD
    )


def _identify(part: Part, bundle: Bundle, catalogue: Catalogue) -> Identity:
    structural = catalogue.that_fit(part.header) if part.header else ()
    statements = tuple(_statements(part, bundle, catalogue))
    candidates = tuple(_candidates(structural, statements, catalogue))
    structure = tuple(_structure(part.header)) if part.header else ()
    licences = tuple(_licences(part.header)) if part.header else ()
    stated = tuple(Claim(licence.source, licence.spelling, Kind.STATEMENT) for licence in licences)
    return Identity(
        role=part.role,
        name=part.name,
        architecture=part.header.architecture if part.header else "",
        candidates=candidates,
        licences=licences,
        evidence=structure + tuple(statement.claim for statement in statements) + stated,
        title=_title(part, bundle, candidates, catalogue),
    )


def _candidates(
    structural: Sequence[Family], statements: Sequence[_Statement], catalogue: Catalogue
) -> Iterator[Candidate]:
    for family in catalogue.families.values():
        support = sum(item.weight for item in statements if _speaks_for(item, family))
        if family in structural or support:
            yield Candidate(family, family in structural, support)


def _speaks_for(statement: _Statement, family: Family) -> bool:
    if statement.claim.kind is Kind.CATALOGUE:
        return statement.claim.value == family.id
    repository = statement.repository.lower()
    if repository and any(repository == known.lower() for known in family.repositories):
        return True
    name = plain(statement.repository.partition("/")[2] or statement.claim.value)
    return any(says(name, phrase) for phrase in family.names)


def _statements(part: Part, bundle: Bundle, catalogue: Catalogue) -> Iterator[_Statement]:
    model = catalogue.model(bundle.model) if bundle.model else None
    if model is not None and part is bundle.main:
        yield _Statement(Claim("catalogue", model.family, Kind.CATALOGUE), _CATALOGUE)
    if part.header is not None:
        yield from _header_statements(part.header)
    if part.file is not None:
        yield _Statement(Claim("file name", part.name, Kind.STATEMENT), _FILE_NAME)


def _header_statements(header: Header) -> Iterator[_Statement]:
    name = header.text("general.name")
    if name:
        yield _Statement(Claim("gguf:general.name", name, Kind.STATEMENT), _NAME)
    parts = [header.text(f"general.{key}") for key in ("basename", "size_label", "finetune")]
    whole = " ".join(part for part in parts if part)
    if whole:
        source = "gguf:general.basename, size_label, finetune"
        yield _Statement(Claim(source, whole, Kind.STATEMENT), _NAME)
    for key in header.metadata:
        if re.fullmatch(r"general\.base_model\.\d+\.(name|repo_url)", key):
            value = header.text(key) or ""
            claim = Claim(f"gguf:{key}", value, Kind.STATEMENT)
            yield _Statement(claim, _ORIGIN, _repository(value) if "repo_url" in key else "")


def _repository(url: str) -> str:
    """`owner/name` of a hub address; empty when it is none."""
    match = re.fullmatch(
        r"(?:https?://)?(?:www\.)?(?:huggingface\.co|hf\.co)/([^/]+/[^/?#]+)/?", url
    )
    return match[1] if match else ""


def _licences(header: Header) -> Iterator[StatedLicence]:
    """`license: other` falls through to `license.name`."""
    for key in ("general.license", "general.license.name"):
        value = header.text(key)
        for spelling in (value or "").split(","):
            if spelling.strip() and spelling.strip().lower() != "other":
                yield StatedLicence(spelling.strip(), f"gguf:{key}")


_SHOWN = (
    "block_count",
    "embedding_length",
    "feed_forward_length",
    "attention.head_count",
    "attention.head_count_kv",
    "expert_count",
)


def _structure(header: Header) -> Iterator[Claim]:
    yield Claim("gguf:general.architecture", header.architecture, Kind.STRUCTURE)
    keys = [f"{header.architecture}.{name}" for name in _SHOWN]
    keys += PROJECTOR_KEYS if header.architecture == PROJECTOR else ()
    for key in keys:
        entry = header.metadata.get(key)
        if entry is not None:
            yield Claim(f"gguf:{key}", _shown(entry.value), Kind.STRUCTURE)
    if header.vocabulary is not None:
        yield Claim("gguf:tokenizer.ggml.tokens", str(header.vocabulary), Kind.STRUCTURE)


def _shown(value: object) -> str:
    if isinstance(value, tuple):
        return ", ".join(str(item) for item in sorted(set(value), key=str))
    return str(value)


def _title(
    part: Part, bundle: Bundle, candidates: Sequence[Candidate], catalogue: Catalogue
) -> str:
    """The most telling name: the catalogue's, else that of the likeliest family."""
    model = catalogue.model(bundle.model) if bundle.model else None
    if model is not None:
        return model.title
    if not candidates:
        return part.name
    likeliest = max(candidates, key=lambda candidate: (candidate.support, candidate.structural))
    sizes = [
        shape.size for shape in likeliest.family.shapes if part.header and fits(shape, part.header)
    ]
    return f"{likeliest.family.title} {sizes[0]}" if sizes else likeliest.family.title


def modalities(identities: Sequence[Identity]) -> tuple[str, ...]:
    """What the bundle takes in: text, and images where a part or a family brings them."""
    images = any(identity.role is Role.MMPROJ for identity in identities) or any(
        candidate.family.released_as is Release.MULTIMODAL
        for identity in identities
        for candidate in identity.candidates
        if candidate.structural or candidate.said
    )
    return ("text", "image") if images else ("text",)
