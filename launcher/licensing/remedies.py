"""What helps after a decision, as commands that can be pasted, the narrowest first. Pure.

Words in capitals (COUNTRY, LICENCE, REASON) are for the person to replace.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from dataclasses import replace

from launcher.clearance import Verdict
from launcher.errors import ExitCode
from launcher.licensing.decision import Decision, Reason
from launcher.licensing.declaration import Declaration
from launcher.licensing.gate import Case, decide
from launcher.models.bundle import Part, Role
from launcher.models.identity import Identity, Knowledge, identify, is_plausible
from launcher.models.refs import CatalogueRef, typed
from launcher.models.sources import absent

WANTED = 2  # remedies after a refusal


def remedies(case: Case, decision: Decision, known: Knowledge) -> tuple[str, ...]:
    """The commands that lead on from here; none after `allow`."""
    if decision.verdict is Verdict.ALLOW:
        return ()
    if decision.verdict is Verdict.REFUSE:
        return tuple(_instead(case, decision, known))
    found = [command for reason in decision.reasons for command in _for(reason, decision)]
    return tuple(dict.fromkeys((*found, *_identifying(case, known))))


def _instead(case: Case, decision: Decision, known: Knowledge) -> list[str]:
    """What may run instead; where that is little, where to see what may, and why so little."""
    found = [f"launcher run {name}" for name in alternatives(case, known)]
    found += ["launcher list --all", f"launcher explain {decision.code.partition(':')[0]}"]
    return found[:WANTED]


def alternatives(case: Case, known: Knowledge) -> list[str]:
    """Models that whoever declared so may run: none refused, turned down or unidentified."""
    allowed = []
    for name in known.catalogue.alternatives:
        model = known.catalogue.models[name]
        bundle = absent(CatalogueRef(name), model)
        other = decide(replace(case, bundle=bundle, identities=identify(bundle, known)))
        turned_down = any(reason.code == "acceptance-refused" for reason in other.reasons)
        if other.exit_code in (ExitCode.DONE, ExitCode.PERSON_NEEDED) and not turned_down:
            allowed.append(name)
        if len(allowed) == WANTED:
            break
    return allowed


def _for(reason: Reason, decision: Decision) -> Iterator[str]:
    code = reason.code.partition(":")[0]
    declared = decision.declaration
    if declared is None:
        if code == "declaration-missing":
            yield "launcher declare --as individual:COUNTRY"
    elif code in ("acceptance-needed", "acceptance-refused"):
        yield f"launcher licences accept {reason.licence} --as {_who(declared)}"
    else:
        yield from (_stating(option, decision, declared) for option in _options(code, reason.code))


def _options(code: str, point: str) -> Iterator[str]:
    """What has to be stated to settle a reason."""
    if code == "commercial-use-undeclared":
        yield from ("--commercial no", "--commercial yes")
    elif code == "monthly-users-undeclared":
        yield "--monthly-active-users NUMBER"
    elif code == "annual-revenue-undeclared":
        yield "--annual-revenue-usd NUMBER"
    elif code == "territory-arguable":
        yield from (f"--answer {point}=outside", f"--answer {point}=inside")
    elif code in ("rule-unverified", "hub-excludes-region"):
        yield from (f"--answer {point}=does-not-apply", f"--answer {point}=applies")
    elif code == "end-user-incomplete":
        yield "--role licensee"


def _stating(option: str, decision: Decision, declared: Declaration) -> str:
    """Where the declaration is kept, the option is added to it; one for a run is said again."""
    who = " ".join((f"--as {_who(declared)}", *_used(declared)))
    if declared.source == "user":
        return f"launcher declare {option}"
    if declared.source == "site":
        return f"launcher declare {who} {option}"
    return f"launcher check {shlex.quote(decision.ref)} {who} {option}"


def _who(declared: Declaration) -> str:
    return f"{declared.person}:{','.join(declared.domicile)}"


def _used(declared: Declaration) -> Iterator[str]:
    if declared.place_of_use != declared.domicile:
        yield from (f"--use-in {country}" for country in declared.place_of_use)


def _identifying(case: Case, known: Knowledge) -> Iterator[str]:
    """For each part that lies here and is not identified: everything it can be stated to be."""
    parts = [part for part in case.bundle.parts if part.role is not Role.SHARD]
    for part, identity in zip(parts, case.identities, strict=True):
        open_points = [
            reason
            for reason in decide(replace(case, identities=(identity,))).reasons
            if reason.exit_code is ExitCode.UNIDENTIFIED
        ]
        if part.file is None or not open_points:
            continue
        path = shlex.quote(typed(part.file.path))
        families = dict.fromkeys(_possible(part, identity, open_points, known))
        for said in [f"--family {id}" for id in families] or ["--licence LICENCE"]:
            yield f"launcher identify {path} {said} --reason REASON"


def _possible(
    part: Part, identity: Identity, open_points: list[Reason], known: Knowledge
) -> Iterator[str]:
    """The families that a part can be stated to be; of a licence it names where none is seen."""
    for candidate in identity.candidates:
        if is_plausible(candidate.family, part):
            yield candidate.family.id
    named = {reason.licence for reason in open_points if reason.licence}
    for family in known.catalogue.families.values():
        if family.licence in named and is_plausible(family, part):
            yield family.id
