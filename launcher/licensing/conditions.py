"""Whether the facts of a case meet the conditions of a rule: yes, no, or not known.

A fact that is missing makes a condition unknown, never false, and says what would settle it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum

from launcher.licensing.decision import Reason, gate_reasons
from launcher.licensing.declaration import Declaration, Person, Role
from launcher.licensing.policy import Conditions, Licence, Limit, Rule
from launcher.licensing.regions import Country, Region, name_of


class Truth(IntEnum):
    """Ordered so that the stricter of two is the larger."""

    NO = 0
    UNKNOWN = 1
    YES = 2


@dataclass(frozen=True, slots=True)
class Finding:
    """Whether something holds, and what is missing where that is not known."""

    truth: Truth
    missing: tuple[Reason, ...] = ()


NO = Finding(Truth.NO)
YES = Finding(Truth.YES)


def unknown(*missing: Reason) -> Finding:
    """Not known for lack of what these reasons name."""
    return Finding(Truth.UNKNOWN, missing)


def gate_reason(
    code: str, licence: Licence | None = None, *, about: str = "", **words: str
) -> Reason:
    """A reason of the gate's own, with its words filled in; `about` follows the code."""
    known = gate_reasons()[code]
    document = licence.documents[0] if licence is not None and licence.documents else None
    title = licence.title if licence is not None else ""
    return Reason(
        code=f"{code}:{about}" if about else code,
        effect=known.effect,
        exit_code=known.exit_code,
        text=known.text.format(title=title, **words),
        licence=licence.id if licence is not None else "",
        document=document.title if document is not None else "",
        source=document.url if document is not None else "",
        sha256=document.sha256[0] if document is not None and document.sha256 else "",
    )


def applies(
    rule: Rule,
    licence: Licence,
    released_as: str,
    declaration: Declaration,
    regions: Mapping[str, Region],
) -> Finding:
    """Whether a rule applies to a model released so, for who declared so."""
    case = _Case(licence, released_as, declaration, regions)
    persons = _persons(declaration)
    when = max(
        (case.all_of(rule.when, person) for person in persons), key=lambda finding: finding.truth
    )
    if when.truth is Truth.NO:
        return NO
    if not rule.unless.is_empty:
        unless = min(
            (case.all_of(rule.unless, person) for person in persons), key=lambda f: f.truth
        )
        if unless.truth is Truth.YES:
            return NO
        if unless.truth is Truth.UNKNOWN:
            return unknown(*when.missing, *unless.missing)
    if when.truth is Truth.YES and not rule.verified:
        return _unverified(rule, licence, declaration)
    return when


def _persons(declaration: Declaration) -> Sequence[Person]:
    """Another body is tested as a private person and as a company; the stricter holds."""
    if declaration.person is Person.OTHER_BODY:
        return (Person.INDIVIDUAL, Person.COMPANY)
    return (declaration.person,)


def _unverified(rule: Rule, licence: Licence, declaration: Declaration) -> Finding:
    reason = gate_reason("rule-unverified", licence, about=rule.code, text=rule.text)
    answer = declaration.answers.get(reason.code)
    return {"applies": YES, "does-not-apply": NO}.get(answer or "", unknown(reason))


@dataclass(frozen=True, slots=True)
class _Case:
    licence: Licence
    released_as: str
    declaration: Declaration
    regions: Mapping[str, Region]

    def all_of(self, conditions: Conditions, person: Person) -> Finding:
        """All conditions together: one that fails settles it, whatever is missing elsewhere."""
        findings = list(self._each(conditions, person))
        if any(finding.truth is Truth.NO for finding in findings):
            return NO
        missing = tuple(reason for finding in findings for reason in finding.missing)
        return unknown(*missing) if missing else YES

    def _each(self, conditions: Conditions, person: Person) -> Iterable[Finding]:
        declaration = self.declaration
        if conditions.released_as:
            yield self._released(conditions.released_as)
        if conditions.person:
            yield _equal(conditions.person, person)
        if conditions.domicile:
            yield self._in_any(conditions.domicile, declaration.domicile)
        if conditions.place_of_use:
            yield self._in_any(conditions.place_of_use, declaration.place_of_use)
        if conditions.role:
            yield self._role(conditions.role)
        if conditions.commercial is not None:
            yield self._commercial(conditions.commercial)
        if conditions.monthly_active_users is not None:
            users = declaration.monthly_active_users
            yield self._beyond(conditions.monthly_active_users, users, "monthly-users-undeclared")
        if conditions.annual_revenue_usd is not None:
            revenue = declaration.annual_revenue_usd
            yield self._beyond(conditions.annual_revenue_usd, revenue, "annual-revenue-undeclared")

    def _released(self, wanted: str) -> Finding:
        if not self.released_as:
            return unknown(gate_reason("kind-of-release-unknown", self.licence))
        return _equal(wanted, self.released_as)

    def _in_any(self, names: Sequence[str], countries: Sequence[Country]) -> Finding:
        """Any country in any of the regions is enough."""
        findings = [
            self._in(self.regions[name], country) for name in names for country in countries
        ]
        if any(finding.truth is Truth.YES for finding in findings):
            return YES
        missing = tuple(reason for finding in findings for reason in finding.missing)
        return unknown(*missing) if missing else NO

    def _in(self, region: Region, country: Country) -> Finding:
        if country in region.clear:
            return YES
        why = region.arguable.get(country)
        if why is None:
            return NO
        reason = gate_reason(
            "territory-arguable",
            self.licence,
            about=country,
            country=name_of(country),
            region=region.title,
            why=why,
        )
        answer = self.declaration.answers.get(reason.code)
        return {"inside": YES, "outside": NO}.get(answer or "", unknown(reason))

    def _role(self, wanted: str) -> Finding:
        declaration = self.declaration
        complete = bool(declaration.product and declaration.supplied_by)
        if wanted == declaration.role == Role.END_USER and not complete:
            return unknown(gate_reason("end-user-incomplete", self.licence))
        return _equal(wanted, declaration.role)

    def _commercial(self, wanted: bool) -> Finding:
        if self.declaration.commercial is None:
            return unknown(gate_reason("commercial-use-undeclared", self.licence))
        return YES if self.declaration.commercial is wanted else NO

    def _beyond(self, limit: Limit, number: int | None, code: str) -> Finding:
        if number is None:
            # Accepting the licence includes the statement that one is below its limits.
            return NO if self.licence.acceptance else unknown(gate_reason(code, self.licence))
        beyond = number >= limit.value if limit.reached_counts else number > limit.value
        return YES if beyond else NO


def _equal(wanted: str, found: str) -> Finding:
    return YES if wanted == found else NO
