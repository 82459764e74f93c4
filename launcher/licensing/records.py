"""What was decided and what was loaded, one line each, never rewritten.

Every line holds the digest of the line before it, so that a line that was lost or changed
by accident shows. The owner of the file can always write all of it anew: a chain without an
outside anchor proves no more than that.
"""

from __future__ import annotations

import hashlib
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from launcher.errors import LauncherError
from launcher.files import append_durably, locked
from launcher.licensing.decision import Decision
from launcher.licensing.declaration import Declaration
from launcher.models.bundle import Bundle

SCHEMA = 1
TAIL = 1 << 20  # bytes; no line is longer


def append(path: Path, kind: str, body: dict[str, Any]) -> str:
    """Adds a record and returns its digest. Raises `LauncherError` when it cannot be written."""
    try:
        with locked(path):
            return _append(path, kind, body)
    except OSError as error:
        raise LauncherError(
            f"The record of this decision could not be written to {path}: "
            f"{error.strerror or error}",
            hint="Nothing was loaded. Make room, or make the folder writable.",
        ) from error


def _append(path: Path, kind: str, body: dict[str, Any]) -> str:
    last = _last_line(path)
    record = {
        "schema": SCHEMA,
        "number": json.loads(last)["number"] + 1 if last else 0,
        "previous": hashlib.sha256(last).hexdigest() if last else "",
        "at": now(),
        "kind": kind,
        **body,
    }
    line = canonical(record)
    append_durably(path, line + b"\n")
    return hashlib.sha256(line).hexdigest()


def _last_line(path: Path) -> bytes:
    try:
        with path.open("rb") as stream:
            size = stream.seek(0, 2)
            stream.seek(max(0, size - TAIL))
            lines = stream.read().splitlines()
    except FileNotFoundError:
        return b""
    return lines[-1] if lines else b""


def canonical(value: dict[str, Any]) -> bytes:
    """JSON with one form only: equal values give equal bytes."""
    return json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":")).encode()


def now() -> str:
    """The time in UTC, to the second."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def decided(decision: Decision, bundle: Bundle) -> dict[str, Any]:
    """The body of a record of a decision."""
    return {
        "ref": decision.ref,
        "verdict": str(decision.verdict),
        "code": decision.code,
        "reasons": [reason.code for reason in decision.reasons],
        "family": decision.family,
        "candidates": list(decision.candidates),
        "licences": list(decision.licences),
        "evidence": [
            {"source": claim.source, "value": claim.value, "kind": str(claim.kind)}
            for claim in decision.evidence
        ],
        "declaration": declared(decision.declaration),
        "files": files(bundle),
        "policy": {"version": decision.policy_version, "sha256": decision.policy_sha256},
    }


def declared(declaration: Declaration | None) -> dict[str, Any] | None:
    """A declaration as records keep it."""
    if declaration is None:
        return None
    return {
        "as": str(declaration.person),
        "domicile": list(declaration.domicile),
        "place_of_use": list(declaration.place_of_use),
        "role": str(declaration.role),
        "product": declaration.product,
        "supplied_by": declaration.supplied_by,
        "commercial": declaration.commercial,
        "monthly_active_users": declaration.monthly_active_users,
        "annual_revenue_usd": declaration.annual_revenue_usd,
        "answers": dict(declaration.answers),
        "declared_by": declaration.declared_by,
        "source": declaration.source,
    }


def files(bundle: Bundle) -> list[dict[str, Any]]:
    """Which bytes: path, size and what else tells the file from a changed one."""
    return [
        {
            "role": str(part.role),
            "name": part.name,
            "path": str(part.file.path) if part.file else "",
            "size": part.file.stamp.size if part.file else 0,
            "inode": part.file.stamp.inode if part.file else 0,
            "modified_ns": part.file.stamp.modified_ns if part.file else 0,
            "sha256": part.sha256,
        }
        for part in bundle.parts
    ]
