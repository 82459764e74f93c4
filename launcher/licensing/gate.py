"""May this be loaded? A pure function: no files, no clock, no environment.

Default is not-allow. Every family that a part can be is tested for what shuts out by
domicile or place of use; users, revenue, commerce and acceptance follow the family that the
statements support best. Forbid overrides permit, the strictest part decides, all reasons
are reported.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

from launcher.clearance import Verdict
from launcher.licensing.acceptance import Acceptances
from launcher.licensing.clauses import Clauses
from launcher.licensing.conditions import gate_reason
from launcher.licensing.decision import BoundDuty, Decision, Reason, gate_reasons
from launcher.licensing.declaration import Declaration
from launcher.licensing.overlay import Overlay
from launcher.licensing.policy import Licence, Policy
from launcher.models.bundle import Bundle, Role
from launcher.models.identity import Candidate, Identity, Kind, modalities

T = TypeVar("T")

# What model files and cards write when they have no licence to name.
_NO_LICENCE = frozenset({"unknown", "none", "other", "n/a"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """Everything a decision rests on."""

    policy: Policy
    bundle: Bundle
    identities: tuple[Identity, ...]
    declaration: Declaration | None
    acceptances: Acceptances
    overlays: tuple[Overlay, ...] = ()


def decide(case: Case) -> Decision:
    """The verdict on a bundle for a declaration."""
    parts = [_Part(case, identity) for identity in case.identities]
    reasons = _deciding([reason for part in parts for reason in part.reasons()])
    licences = _unique(licence for part in parts for licence in part.licences)
    main = parts[0]
    return Decision(
        verdict=reasons[0].effect,
        code=reasons[0].code,
        exit_code=reasons[0].exit_code,
        reasons=tuple(reason for reason in reasons if reason.effect is not Verdict.ALLOW),
        subject=case.bundle.fingerprint,
        ref=str(case.bundle.ref),
        title=main.identity.title,
        family=main.about,
        candidates=tuple(_unique(id for part in parts for id in part.candidates)),
        licence=licences[0].id if licences else "",
        licences=tuple(licence.id for licence in licences),
        modalities=modalities(case.identities),
        architecture=main.identity.architecture,
        evidence=tuple(claim for part in parts for claim in part.identity.evidence),
        declaration=case.declaration,
        duties=tuple(
            BoundDuty(licence=licence.id, duty=duty)
            for licence in licences
            for duty in licence.duties
        ),
        policy_version=case.policy.version,
        policy_sha256=case.policy.sha256,
    )


def _deciding(reasons: Iterable[Reason]) -> list[Reason]:
    """The reasons for the outcome, the deciding one first.

    A refusal stands on what refuses: what could still be asked would not help. Otherwise
    what a person must do (exit 4) comes before what the file is (exit 5).
    """
    found = _unique(reasons)
    refusing = [reason for reason in found if reason.effect is Verdict.REFUSE]
    if refusing:
        return refusing
    return sorted(found, key=lambda reason: reason.exit_code) or [gate_reason("allowed")]


def _unique(items: Iterable[T]) -> list[T]:
    return list(dict.fromkeys(items))


@dataclass(frozen=True, slots=True)
class _Family:
    """A family that a part could be, and what its licence has against the load."""

    candidate: Candidate
    licence: Licence
    territorial: tuple[Reason, ...]
    """What shuts out by domicile or place of use."""
    conditions: tuple[Reason, ...]
    """Commerce, users, revenue, acceptance."""

    @property
    def title(self) -> str:
        return self.candidate.family.title

    @property
    def is_shut_out(self) -> bool:
        return _refuses(self.territorial)

    @property
    def is_refused(self) -> bool:
        return self.is_shut_out or _refuses(self.conditions)

    @property
    def strictness(self) -> tuple[int, int]:
        """Orders families by how much they ask of this asker."""
        weights = {Verdict.REFUSE: 2, Verdict.ASK: 1, Verdict.ALLOW: 0}
        worst = max((weights[reason.effect] for reason in self.conditions), default=0)
        return worst, len(self.licence.rules) + len(self.licence.duties)


def _refuses(reasons: Iterable[Reason]) -> bool:
    return any(reason.effect is Verdict.REFUSE for reason in reasons)


class _Part:
    """One part: the families it could be, the licences that bind, what stands against it."""

    def __init__(self, case: Case, identity: Identity) -> None:
        self.case = case
        self.identity = identity
        self.families = [self._family(candidate) for candidate in identity.candidates]
        self.structural = [found for found in self.families if found.candidate.structural]
        self.added = [found for found in self.families if not found.candidate.structural]
        self.spellings = [
            stated.spelling
            for stated in identity.licences
            if stated.spelling.lower() not in _NO_LICENCE
        ]
        found = (case.policy.find(spelling) for spelling in self.spellings)
        self.stated = [licence for licence in found if licence is not None]
        self.best = self._best()
        self.binding = [*([self.best] if self.best else []), *self.added]
        bound = [family.licence for family in self.binding]
        self.beside = [licence for licence in _unique(self.stated) if licence not in bound]
        self.licences = _unique([*bound, *self.beside])

    def _family(self, candidate: Candidate) -> _Family:
        """Without a declaration nothing is known against a family, nor for it."""
        case, family = self.case, candidate.family
        licence = case.policy.licences[family.licence]
        clauses = Clauses(case.policy, licence, family.released_as)
        declaration = case.declaration
        if declaration is None:
            return _Family(candidate, licence, (), ())
        return _Family(
            candidate,
            licence,
            tuple(clauses.territorial(declaration)),
            tuple(clauses.conditions(declaration, case.acceptances)),
        )

    def _support(self, family: _Family) -> int:
        """How strongly statements choose this family: names, origins, and the licence named."""
        return 2 * family.candidate.support + (family.licence in self.stated)

    def _best(self) -> _Family | None:
        """Of what the structure allows, the family whose conditions bind.

        The one that the statements support best; where nothing is stated, the strictest.
        """
        if not self.structural:
            return None
        return max(self.structural, key=lambda found: (self._support(found), found.strictness))

    @property
    def about(self) -> str:
        """The family that the outcome is about: one that is refused before one that is not."""
        refused = [found for found in self.binding if found.is_refused]
        found = [*refused, *self.binding]
        return found[0].candidate.family.id if found else ""

    @property
    def candidates(self) -> list[str]:
        return [found.family.id for found in self.identity.candidates]

    def reasons(self) -> Iterator[Reason]:
        """Everything that stands against loading this part."""
        yield from self._unknown()
        declaration = self.case.declaration
        if declaration is None:
            yield gate_reason("declaration-missing")
            return
        yield from self._own_policies()
        yield from self._shut_out_by_hub(declaration)
        yield from self._by_families()
        for licence in self.beside:
            yield from self._beside(declaration, licence)

    def _unknown(self) -> Iterator[Reason]:
        """What keeps the file from having a known licence."""
        for spelling in self.spellings:
            if self.case.policy.find(spelling) is None and not self._is_known_for_certain():
                yield gate_reason("unknown-licence", spelling=spelling)
        if not self.structural and not self.spellings and not self._is_named():
            yield gate_reason("unknown-model")

    def _is_known_for_certain(self) -> bool:
        """These very bytes were published or stated as something: whatever they say of a licence.

        Not by a chain of cards: a fine-tune may come under a licence of its own.
        """
        settled = self.identity.settled
        return settled is not None and settled.kind in (Kind.DIGEST, Kind.IDENTIFICATION)

    def _is_named(self) -> bool:
        """Whether a name is enough: in our own catalogue, or for a part beside a model.

        A projector or an adapter has no shape of its own to be known by.
        """
        if self.identity.role is not Role.WEIGHTS:
            return bool(self.added)
        return any(claim.kind is Kind.CATALOGUE for claim in self.identity.evidence)

    def _by_families(self) -> Iterator[Reason]:
        """Refuse, where all that the part can be or what it is named is; else ask; else follow."""
        named = list(_refusing(self._refused_by_name()))
        yield from named
        withheld = [found for found in self.structural if self._is_withheld(found)]
        possible = [found for found in self.structural if found not in withheld]
        if withheld and not possible:
            yield from _together(withheld, named)
        for found in self.families:
            yield from _asking(found.territorial)
        if withheld and possible:
            # Whose conditions hold is not known before it is known what the file is.
            yield _needs_identification(withheld, possible)
            return
        for found in self.binding:
            yield from found.conditions

    def _refused_by_name(self) -> list[_Family]:
        """Families that the part is said to be, or to come from, and that are refused."""
        return [
            found
            for found in self.families
            if (found.candidate.said and found.is_shut_out)
            or (found in self.binding and self._is_stated(found) and found.is_refused)
        ]

    def _is_stated(self, family: _Family) -> bool:
        return self._support(family) > 0

    def _is_withheld(self, family: _Family) -> bool:
        """Territory binds for every family; conditions of one that nothing speaks for, too,

        as long as nothing says which of the set the part is.
        """
        nothing_stated = not any(self._is_stated(found) for found in self.structural)
        return family.is_refused if nothing_stated else family.is_shut_out

    def _own_policies(self) -> Iterator[Reason]:
        """What a user's or a site's own policy has against anything that binds here."""
        for overlay in self.case.overlays:
            for licence in self.licences:
                yield from overlay.against(licence)
            for candidate in self.identity.candidates:
                yield from overlay.against_family(candidate.family.id, candidate.family.title)

    def _shut_out_by_hub(self, declaration: Declaration) -> Iterator[Reason]:
        """A repository's own gate against a region; not a clause, so a person settles it."""
        region = self.case.policy.regions[gate_reasons()["hub-excludes-region"].region]
        inside = region.clear | set(region.arguable)
        if not inside & {*declaration.domicile, *declaration.place_of_use}:
            return
        for repository in self.identity.eu_flags:
            reason = gate_reason(
                "hub-excludes-region",
                about=repository,
                repository=repository,
                region=region.title,
            )
            answer = declaration.answers.get(reason.code)
            if answer == "applies":
                yield gate_reason("hub-excludes-you", about=repository, repository=repository)
            elif answer != "does-not-apply":
                yield reason

    def _beside(self, declaration: Declaration, licence: Licence) -> Iterator[Reason]:
        """A licence that is stated, but not that of a family the part could be."""
        released_as = licence.releases[0] if len(licence.releases) == 1 else ""
        clauses = Clauses(self.case.policy, licence, released_as)
        yield from clauses.territorial(declaration)
        yield from clauses.conditions(declaration, self.case.acceptances)


def _refusing(families: Iterable[_Family]) -> Iterator[Reason]:
    for found in families:
        for reason in (*found.territorial, *found.conditions):
            if reason.effect is Verdict.REFUSE:
                yield reason


def _together(families: Sequence[_Family], cited: Collection[Reason]) -> Iterator[Reason]:
    """What refuses all of a set: nothing new where one is refused by what was cited already."""
    if not any(set(_refusing([found])) <= set(cited) for found in families):
        yield from _refusing(families)


def _asking(reasons: Iterable[Reason]) -> Iterator[Reason]:
    return (reason for reason in reasons if reason.effect is not Verdict.REFUSE)


def _needs_identification(withheld: Sequence[_Family], others: Sequence[_Family]) -> Reason:
    def titles(families: Sequence[_Family]) -> str:
        return " or ".join(_unique(found.title for found in families))

    return gate_reason("needs-identification", withheld=titles(withheld), others=titles(others))
