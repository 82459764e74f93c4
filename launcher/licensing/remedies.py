"""What helps after a decision, as commands that can be pasted, the narrowest first. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from launcher.clearance import Verdict
from launcher.errors import ExitCode
from launcher.licensing.decision import Decision, Reason
from launcher.licensing.declaration import Declaration
from launcher.licensing.gate import Case, decide
from launcher.models.identity import Knowledge, identify
from launcher.models.refs import CatalogueRef
from launcher.models.sources import absent

WANTED = 2  # models that may run instead


def remedies(case: Case, decision: Decision, known: Knowledge) -> tuple[str, ...]:
    """The commands that lead on from here; none after `allow`."""
    if decision.verdict is Verdict.ALLOW:
        return ()
    if decision.verdict is Verdict.REFUSE:
        return tuple(f"launcher run {name}" for name in alternatives(case, known))
    found = (command for reason in decision.reasons for command in _for(reason, decision))
    return tuple(dict.fromkeys(found))


def alternatives(case: Case, known: Knowledge) -> list[str]:
    """Models that whoever declared so may run: none of them refused, none unidentified."""
    allowed = []
    for name in known.catalogue.alternatives:
        model = known.catalogue.models[name]
        bundle = absent(CatalogueRef(name), model)
        other = replace(case, bundle=bundle, identities=identify(bundle, known))
        if decide(other).exit_code in (ExitCode.DONE, ExitCode.PERSON_NEEDED):
            allowed.append(name)
        if len(allowed) == WANTED:
            break
    return allowed


def _for(reason: Reason, decision: Decision) -> Iterator[str]:
    code = reason.code.partition(":")[0]
    if code == "declaration-missing":
        yield "launcher declare --as individual:COUNTRY"
    elif code in ("acceptance-needed", "acceptance-refused"):
        yield f"launcher licences accept {reason.licence} --as {_who(decision.declaration)}"
    elif code == "commercial-use-undeclared":
        yield "launcher declare --commercial no"
        yield "launcher declare --commercial yes"
    elif code == "territory-arguable":
        yield f"launcher declare --answer {reason.code}=outside"
        yield f"launcher declare --answer {reason.code}=inside"
    elif code in ("rule-unverified", "hub-excludes-region"):
        yield f"launcher declare --answer {reason.code}=does-not-apply"
        yield f"launcher declare --answer {reason.code}=applies"
    elif code == "end-user-incomplete":
        yield "launcher declare --role licensee"
    elif reason.exit_code is ExitCode.UNIDENTIFIED:
        yield f"launcher identify {decision.ref}"


def _who(declaration: Declaration | None) -> str:
    if declaration is None:
        return "individual:COUNTRY"
    return f"{declaration.person}:{','.join(declaration.domicile)}"
