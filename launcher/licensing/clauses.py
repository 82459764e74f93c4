"""What the clauses of a licence have against a load by whoever declared: reasons, or none."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from launcher.clearance import Verdict
from launcher.errors import ExitCode
from launcher.licensing.acceptance import Acceptances
from launcher.licensing.conditions import Truth, applies, gate_reason
from launcher.licensing.decision import Reason
from launcher.licensing.declaration import Declaration
from launcher.licensing.policy import Effect, Licence, Policy, Rule


@dataclass(frozen=True, slots=True)
class Clauses:
    """The clauses of one licence, applied to models released in one way."""

    policy: Policy
    licence: Licence
    released_as: str
    """Empty where it is not known."""

    def territorial(self, declaration: Declaration) -> Iterator[Reason]:
        """What shuts out by domicile or place of use."""
        rules = [rule for rule in self.licence.rules if rule.is_territorial]
        return self._reasons(rules, declaration)

    def conditions(self, declaration: Declaration, given: Acceptances) -> Iterator[Reason]:
        """What else it withholds or asks for, acceptance included."""
        rules = [rule for rule in self.licence.rules if not rule.is_territorial]
        yield from self._reasons(rules, declaration)
        yield from self._acceptance(declaration, given)

    def _reasons(self, rules: Sequence[Rule], declaration: Declaration) -> Iterator[Reason]:
        for rule in rules:
            finding = applies(
                rule, self.licence, self.released_as, declaration, self.policy.regions
            )
            if finding.truth is Truth.YES:
                yield _reason(rule, self.licence)
            yield from finding.missing

    def _acceptance(self, declaration: Declaration, given: Acceptances) -> Iterator[Reason]:
        if not self.licence.acceptance:
            return
        answer = given.answer(self.licence, declaration.person)
        if answer is None:
            needed = gate_reason("acceptance-needed", self.licence)
            changed = given.changed(self.licence, declaration.person)
            yield replace(needed, text=_anew(self.licence, changed)) if changed else needed
        elif not answer:
            yield gate_reason("acceptance-refused", self.licence)


def _anew(licence: Licence, changed: Sequence[str]) -> str:
    """What is said where other texts were accepted than those of today."""
    return (
        f"{licence.title} has to be accepted anew. Changed since you accepted it: "
        f"{', '.join(changed)}."
    )


def _reason(rule: Rule, licence: Licence) -> Reason:
    """A rule that applies, as a reason."""
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
        turns_on=rule.when.declared[0] if rule.when.declared else "",
    )
