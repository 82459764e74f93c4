"""What a file really is, as far as its structure and what is said of it can tell.

Structure gives the set of families that the file could be. Statements (names, `base_model`,
the card) may add families to the set and say which one is meant; they never take one out,
so stripping or faking them cannot make the outcome more permissive. Only three things settle
what a file is: a published digest, a pinned commit whose chain of cards leads to a known
release, and a person's recorded statement on exactly these bytes.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from launcher.models.bundle import Bundle, Part, Role
from launcher.models.card import HUB, flagged
from launcher.models.catalogue import (
    PROJECTOR,
    PROJECTOR_KEYS,
    Catalogue,
    Family,
    KnownFile,
    Release,
    fits,
    plain,
    says,
)
from launcher.models.gguf import TOKENS, Header, Summary
from launcher.models.identification import Identification
from launcher.models.refs import HubRef


class Kind(StrEnum):
    """How far a claim can be trusted: faking structure mostly breaks the load."""

    STRUCTURE = "structure"
    STATEMENT = "statement"
    CATALOGUE = "catalogue"
    DIGEST = "digest"
    COMMIT = "commit"
    IDENTIFICATION = "identification"


@dataclass(frozen=True, slots=True)
class Claim:
    """One thing that was seen, and where."""

    source: str
    """Such as `gguf:general.architecture`, `card:owner/name`, `file name`."""
    value: str
    kind: Kind


@dataclass(frozen=True, slots=True)
class Candidate:
    """A family that the part could be, or is said to be."""

    family: Family
    structural: bool
    """The structure allows it, or it is settled that the part is this."""
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
    settled: Claim | None = None
    """What settles it; None while the structure is all there is."""
    eu_flags: tuple[str, ...] = ()
    """Repositories whose gate shuts out the European Union."""
    title: str = ""
    """Of the family with its size, where the shape tells: `Llama 3.2 1B`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Knowledge:
    """What is known beyond the files themselves."""

    catalogue: Catalogue
    published: Callable[[], Mapping[str, KnownFile]]
    """Published files by digest; read when a digest is at hand."""
    identifications: Mapping[str, Identification]
    """What people stated, by digest."""
    hubs: frozenset[str] = frozenset({HUB})
    """Addresses whose cards can settle what a file is; others only add to what it could be."""

    def could_settle(self, identity: Identity) -> bool:
        """Whether the digest of a part could say which of its families it is."""
        possible = {candidate.family.id for candidate in identity.candidates}
        published = any(file.family in possible for file in self.published().values())
        return published or bool(self.identifications)


# How much each source counts when statements have to choose among candidates.
_SETTLED, _CATALOGUE, _ORIGIN, _NAME, _FILE_NAME = 16, 8, 4, 2, 1


@dataclass(frozen=True, slots=True)
class _Statement:
    claim: Claim
    weight: int
    repository: str = ""


def identify(bundle: Bundle, known: Knowledge) -> tuple[Identity, ...]:
    """The identity of every part, in the order of the bundle.

    Later shards say nothing of their own: they belong to the first.
    """
    return tuple(
        _identify(part, bundle, known) for part in bundle.parts if part.role is not Role.SHARD
    )


def _identify(part: Part, bundle: Bundle, known: Knowledge) -> Identity:
    statements = tuple(_statements(part, bundle, known.catalogue))
    settled = _settled(part, known)
    if settled is not None and settled[1]:
        families = settled[1]
        candidates = tuple(Candidate(family, True, _SETTLED) for family in families)
    else:
        structural = _structural(part, known.catalogue)
        candidates = tuple(_candidates(structural, statements, known.catalogue))
    licences = tuple(_licences(part, known))
    return Identity(
        role=part.role,
        name=part.name,
        architecture=part.header.architecture if part.header else "",
        candidates=candidates,
        licences=licences,
        evidence=(
            *([settled[0]] if settled else []),
            *(_structure(part.header) if part.header else ()),
            *_unread(part),
            *(statement.claim for statement in statements),
            *(Claim(licence.source, licence.spelling, Kind.STATEMENT) for licence in licences),
        ),
        settled=settled[0] if settled else None,
        eu_flags=tuple(card.repository for card in flagged(part.chain)) if part.chain else (),
        title=_title(part, bundle, candidates, known.catalogue),
    )


# --- What settles it ------------------------------------------------------------------------


def _settled(part: Part, known: Knowledge) -> tuple[Claim, tuple[Family, ...]] | None:
    """The claim that settles what a part is, and the families it is then."""
    families = known.catalogue.families
    at_hand = part.sha256 and part.header is not None
    published = known.published().get(part.sha256) if at_hand else None
    if published is not None:
        claim = Claim("sha256", f"{published.repository} {published.file}", Kind.DIGEST)
        return claim, (families[published.family],)
    stated = known.identifications.get(part.sha256) if part.sha256 else None
    if stated is not None:
        claim = Claim("identification", _said(stated), Kind.IDENTIFICATION)
        family = families.get(stated.family)
        possible = family is not None and is_plausible(family, part)
        return claim, (family,) if family is not None and possible else ()
    return _settled_by_chain(part, known)


def _said(stated: Identification) -> str:
    return f"{stated.family or stated.licence}, by {stated.by or 'user'}: {stated.reason}"


def _settled_by_chain(part: Part, known: Knowledge) -> tuple[Claim, tuple[Family, ...]] | None:
    """A chain settles only what it leads to: a known release that has this architecture."""
    if part.chain is None or not part.chain.is_complete or not part.is_as_published:
        return None
    if part.chain.hub not in known.hubs:
        return None
    names = {card.repository.lower() for card in part.chain.cards}
    reached = tuple(
        family
        for family in known.catalogue.families.values()
        if any(repository.lower() in names for repository in family.repositories)
    )
    if not reached or not all(is_plausible(family, part) for family in reached):
        return None
    first = part.chain.cards[0]
    return Claim(f"card:{first.repository}", first.commit, Kind.COMMIT), reached


def is_plausible(family: Family, part: Part) -> bool:
    """Whether a part's architecture is one that the family is known to have."""
    if part.header is None or not family.shapes:
        return True
    architecture = part.header.architecture
    if architecture == PROJECTOR:
        return True
    return any(shape.architecture == architecture for shape in family.shapes)


# --- Candidates -------------------------------------------------------------------------------


def _structural(part: Part, catalogue: Catalogue) -> tuple[Family, ...]:
    if part.header is None:
        return ()
    fitting = catalogue.that_fit(part.header)
    same_checkpoint = tuple(
        family
        for family in catalogue.families.values()
        if part.fingerprint and part.fingerprint in family.fingerprints
    )
    return tuple(dict.fromkeys((*fitting, *same_checkpoint)))


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


# --- Statements -------------------------------------------------------------------------------


def _statements(part: Part, bundle: Bundle, catalogue: Catalogue) -> Iterator[_Statement]:
    asked = bundle.asked(part)
    model = catalogue.model(asked.model) if asked is not None and asked.model else None
    if model is not None:
        yield _Statement(Claim("catalogue", model.family, Kind.CATALOGUE), _CATALOGUE)
    if part.header is not None:
        yield from _header_statements(part.header)
    if part.chain is not None:
        for card in part.chain.cards:
            for name in (card.repository, *card.base_models):
                claim = Claim(f"card:{card.repository}", name, Kind.STATEMENT)
                yield _Statement(claim, _ORIGIN, name)
    elif asked is not None and isinstance(asked.ref, HubRef):
        claim = Claim("repository", asked.ref.repository, Kind.STATEMENT)
        yield _Statement(claim, _ORIGIN, asked.ref.repository)
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
        if re.fullmatch(r"general\.(base_model\.\d+|source)\.(name|repo_url|url)", key):
            value = header.text(key) or ""
            claim = Claim(f"gguf:{key}", value, Kind.STATEMENT)
            yield _Statement(claim, _ORIGIN, _repository(value) if "url" in key else "")


def _repository(url: str) -> str:
    """`owner/name` of a hub address; empty when it is none."""
    match = re.match(r"(?:https?://)?(?:www\.)?(?:huggingface\.co|hf\.co)/([^/]+/[^/?#]+)", url)
    return match[1] if match else ""


def _licences(part: Part, known: Knowledge) -> Iterator[StatedLicence]:
    """`license: other` falls through to the licence's name."""
    if part.header is not None:
        for key in ("general.license", "general.license.name"):
            for spelling in (part.header.text(key) or "").split(","):
                if spelling.strip() and spelling.strip().lower() != "other":
                    yield StatedLicence(spelling.strip(), f"gguf:{key}")
    for card in part.chain.cards if part.chain else ():
        for spelling in card.licences:
            yield StatedLicence(spelling, f"card:{card.repository}")
    published = known.published().get(part.sha256) if part.sha256 and part.header else None
    if published is not None and published.licence_stated:
        yield StatedLicence(published.licence_stated, "sha256")
    stated = known.identifications.get(part.sha256) if part.sha256 else None
    if stated is not None and stated.licence:
        yield StatedLicence(stated.licence, "identification")


def _unread(part: Part) -> Iterator[Claim]:
    """Parents whose cards could not be read: they state nothing, and that is said."""
    for repository in part.chain.unread if part.chain is not None else ():
        yield Claim(f"card:{repository}", "could not be read", Kind.STATEMENT)


# --- What is shown ----------------------------------------------------------------------------

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
    tokens = header.metadata.get(TOKENS)
    if tokens is not None and isinstance(tokens.value, Summary):
        shown = f"{tokens.value.length} tokens, sha256 {tokens.value.sha256[:16]}"
        yield Claim(f"gguf:{TOKENS}", shown, Kind.STRUCTURE)


def _shown(value: object) -> str:
    if isinstance(value, tuple):
        return ", ".join(str(item) for item in sorted(set(value), key=str))
    return str(value)


def _title(
    part: Part, bundle: Bundle, candidates: Sequence[Candidate], catalogue: Catalogue
) -> str:
    """The most telling name: the catalogue's, else that of the likeliest family."""
    asked = bundle.asked(part)
    model = catalogue.model(asked.model) if asked is not None and asked.model else None
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
    )
    return ("text", "image") if images else ("text",)
