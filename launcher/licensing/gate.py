"""May this be loaded? A pure function: no files, no clock, no environment.

Default is not-allow. Every family that a part can be is tested for what shuts out by
domicile or place of use; users, revenue, commerce and acceptance follow the family that the
statements support best. Forbid overrides permit, the strictest part decides, all reasons
are reported.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

from launcher.clearance import Verdict
from launcher.errors import ExitCode
from launcher.licensing.acceptance import Acceptances
from launcher.licensing.conditions import Truth, applies, gate_reason
from launcher.licensing.decision import BoundDuty, Decision, Reason, gate_reasons
from launcher.licensing.declaration import Declaration
from launcher.licensing.overlay import Overlay
from launcher.licensing.policy import Effect, Licence, Policy, Rule
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
    parts = [_PartCase(case, identity) for identity in case.identities]
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
        family=main.family,
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


class _PartCase:
    """One part: the families it could be, the licences that bind, what stands against it."""

    def __init__(self, case: Case, identity: Identity) -> None:
        self.case = case
        self.identity = identity
        self.structural = [found for found in identity.candidates if found.structural]
        self.added = [found for found in identity.candidates if not found.structural]
        # Statements add what they name; they choose only among what the structure allows.
        self.binding = [*([self._best()] if self.structural else []), *self.added]
        self.spellings = [
            stated.spelling
            for stated in identity.licences
            if stated.spelling.lower() not in _NO_LICENCE
        ]
        self.stated = [
            licence for licence in map(case.policy.find, self.spellings) if licence is not None
        ]
        self.licences = _unique([*map(self._licence, self.binding), *self.stated])
        self.withheld: list[Candidate] = []

    @property
    def family(self) -> str:
        """The family that the outcome is about: the withheld one where one is."""
        about = [*self.withheld, *self.binding]
        return about[0].family.id if about else ""

    @property
    def candidates(self) -> list[str]:
        return [found.family.id for found in self.identity.candidates]

    def _licence(self, candidate: Candidate) -> Licence:
        return self.case.policy.licences[candidate.family.licence]

    def _best(self) -> Candidate:
        """The family whose conditions bind: the best supported one, else the strictest."""
        stated = set(map(self.case.policy.find, (s.spelling for s in self.identity.licences)))

        def support(candidate: Candidate) -> int:
            return 2 * candidate.support + (self._licence(candidate) in stated)

        def strictness(candidate: Candidate) -> tuple[int, int, int]:
            licence = self._licence(candidate)
            return (licence.acceptance, len(licence.rules), len(licence.duties))

        return max(self.structural, key=lambda found: (support(found), strictness(found)))

    def reasons(self) -> Iterator[Reason]:
        """Everything that stands against loading this part."""
        yield from self._unknown()
        declaration = self.case.declaration
        if declaration is None:
            yield gate_reason("declaration-missing")
            return
        yield from self._own_policies()
        yield from self._shut_out_by_hub(declaration)
        shut_out = list(self._shut_out(declaration))
        yield from shut_out
        if any(reason.exit_code is ExitCode.UNIDENTIFIED for reason in shut_out):
            return  # whose conditions hold is not known before it is known what the file is
        for candidate in self.binding:
            yield from self._conditions(declaration, candidate)
        for licence in self.stated:
            if licence not in map(self._licence, self.binding):
                yield from self._beside(declaration, licence)

    def _unknown(self) -> Iterator[Reason]:
        """What keeps the file from having a known licence."""
        for spelling in self.spellings:
            if self.case.policy.find(spelling) is None:
                yield gate_reason("unknown-licence", spelling=spelling)
        if not self.structural and not self.spellings and not self._is_named():
            yield gate_reason("unknown-model")

    def _is_named(self) -> bool:
        """Whether a name is enough: in our own catalogue, or for a part beside a model.

        A projector or an adapter has no shape of its own to be known by.
        """
        if self.identity.role is not Role.WEIGHTS:
            return bool(self.added)
        return any(claim.kind is Kind.CATALOGUE for claim in self.identity.evidence)

    def _shut_out(self, declaration: Declaration) -> Iterator[Reason]:
        """Rules on domicile and place of use, over every family that the part can be."""
        found = {
            candidate.family.id: list(self._territorial(declaration, candidate))
            for candidate in self.identity.candidates
        }
        withheld = [
            candidate
            for candidate in self.identity.candidates
            if any(reason.effect is Verdict.REFUSE for reason in found[candidate.family.id])
        ]
        named = [candidate for candidate in withheld if candidate.said]
        possible = [candidate for candidate in self.structural if candidate not in withheld]
        if withheld and not named and possible:
            yield _needs_identification(withheld, possible)
            withheld = []
        self.withheld = withheld
        for candidate in withheld:
            yield from _refusing(found[candidate.family.id])
        for reasons in found.values():
            yield from (reason for reason in reasons if reason.effect is not Verdict.REFUSE)

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

    def _territorial(self, declaration: Declaration, candidate: Candidate) -> Iterator[Reason]:
        licence = self._licence(candidate)
        rules = [rule for rule in licence.rules if rule.is_territorial]
        return self._evaluate(declaration, licence, rules, candidate.family.released_as)

    def _conditions(self, declaration: Declaration, candidate: Candidate) -> Iterator[Reason]:
        """What the licence asks for besides the territory, acceptance included."""
        licence = self._licence(candidate)
        rules = [rule for rule in licence.rules if not rule.is_territorial]
        yield from self._evaluate(declaration, licence, rules, candidate.family.released_as)
        yield from self._acceptance(declaration, licence)

    def _beside(self, declaration: Declaration, licence: Licence) -> Iterator[Reason]:
        """A licence that is stated, but not that of a family the part could be."""
        released_as = licence.releases[0] if len(licence.releases) == 1 else ""
        yield from self._evaluate(declaration, licence, licence.rules, released_as)
        yield from self._acceptance(declaration, licence)

    def _evaluate(
        self,
        declaration: Declaration,
        licence: Licence,
        rules: Sequence[Rule],
        released_as: str,
    ) -> Iterator[Reason]:
        for rule in rules:
            finding = applies(rule, licence, released_as, declaration, self.case.policy.regions)
            if finding.truth is Truth.YES:
                yield _reason(rule, licence)
            yield from finding.missing

    def _acceptance(self, declaration: Declaration, licence: Licence) -> Iterator[Reason]:
        if not licence.acceptance:
            return
        answer = self.case.acceptances.answer(licence, declaration.person)
        if answer is None:
            yield gate_reason("acceptance-needed", licence)
        elif not answer:
            yield gate_reason("acceptance-refused", licence)


def _refusing(reasons: Iterable[Reason]) -> Iterator[Reason]:
    return (reason for reason in reasons if reason.effect is Verdict.REFUSE)


def _needs_identification(withheld: Sequence[Candidate], others: Sequence[Candidate]) -> Reason:
    def titles(candidates: Sequence[Candidate]) -> str:
        return " or ".join(_unique(candidate.family.title for candidate in candidates))

    return gate_reason("needs-identification", withheld=titles(withheld), others=titles(others))


def _reason(rule: Rule, licence: Licence) -> Reason:
    """A rule of a licence as a reason."""
    document = licence.document(rule.document)
    refuses = rule.effect is Effect.REFUSE
    return Reason(
        code=rule.code,
        effect=Verdict.REFUSE if refuses else Verdict.ASK,
        exit_code=ExitCode.REFUSED if refuses else ExitCode.PERSON_NEEDED,
        text=rule.text,
        licence=licence.id,
        document=document.title,
        clause=rule.clause,
        quote=rule.quote,
        source=document.url,
        sha256=document.sha256[0] if document.sha256 else "",
    )
