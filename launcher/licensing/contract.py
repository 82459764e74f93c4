"""A decision and a declaration as objects: what `check --json` prints and the server sends."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from launcher.licensing import passage
from launcher.licensing.decision import Decision, Reason
from launcher.licensing.declaration import Declaration


def decision_json(
    decision: Decision, *, remedies: Sequence[str], supported: bool
) -> dict[str, Any]:
    """A decision as the contract has it: equal inputs give equal bytes."""
    return {
        "schema": 1,
        "verdict": str(decision.verdict),
        "code": decision.code,
        "exit_code": int(decision.exit_code),
        "model": {
            "ref": decision.ref,
            "title": decision.title,
            "family": decision.family,
            "candidates": list(decision.candidates),
            "licence": decision.licence,
            "licences": list(decision.licences),
            "modalities": list(decision.modalities),
            "evidence": [
                {"source": claim.source, "value": claim.value, "kind": str(claim.kind)}
                for claim in decision.evidence
            ],
        },
        "declaration": declaration_json(decision.declaration),
        "reasons": [_reason_json(reason, decision.declaration) for reason in decision.reasons],
        "duties": [
            {"code": bound.duty.code, "licence": bound.licence, "text": bound.duty.text}
            for bound in decision.duties
        ],
        "remedies": list(remedies),
        "engine": {"supported": supported},
        "policy": {"version": decision.policy_version, "sha256": decision.policy_sha256},
    }


def _reason_json(reason: Reason, declaration: Declaration | None) -> dict[str, Any]:
    body: dict[str, Any] = {
        "code": reason.code,
        "effect": str(reason.effect),
        "licence": reason.licence,
        "document": reason.document,
        "clause": reason.clause,
        "quote": reason.quote,
        "text": reason.text,
        "source": reason.source,
        "sha256": reason.sha256,
    }
    if reason.turns_on and declaration is not None:
        body["declared"] = _declared_json(declaration, reason.turns_on)
    return body


def _declared_json(declaration: Declaration, key: str) -> dict[str, Any]:
    """Which part of the declaration a reason turns on, and where it stands if in a file."""
    found = passage.find(declaration, key)
    if found is None:
        return {"key": key, "source": declaration.source}
    place = {"file": declaration.path, "line": found.number}
    return {"key": found.key, "source": declaration.source, **place}


def declaration_json(declaration: Declaration | None) -> dict[str, Any] | None:
    """A declaration as the contract has it."""
    if declaration is None:
        return None
    body: dict[str, Any] = {
        "as": str(declaration.person),
        "domicile": list(declaration.domicile),
        "place_of_use": list(declaration.place_of_use),
        "role": str(declaration.role),
        "source": declaration.source,
    }
    for name in ("product", "supplied_by", "commercial", "monthly_active_users"):
        if getattr(declaration, name) not in (None, ""):
            body[name] = getattr(declaration, name)
    if declaration.annual_revenue_usd is not None:
        body["annual_revenue_usd"] = declaration.annual_revenue_usd
    if declaration.answers:
        body["answers"] = dict(sorted(declaration.answers.items()))
    return body
