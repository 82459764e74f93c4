"""What was declared, decided and loaded: one line each, never rewritten.

Every line holds the digest of the line before it, so a line that was lost, changed or put in
by accident shows. Whoever owns the files can always write all of them anew: a chain without
an anchor outside proves no more than that.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from launcher.errors import IntegrityError, LauncherError
from launcher.files import append_durably, locked

if TYPE_CHECKING:
    from launcher.licensing.decision import Decision
    from launcher.licensing.declaration import Declaration
    from launcher.models.bundle import Bundle, Part

SCHEMA = 1
MAX_LINE = 1 << 20  # bytes
NAME = re.compile(r"records-(\d{6})\.jsonl")


@dataclass(frozen=True, slots=True)
class Log:
    """Where the records lie, and when they go on in a new file."""

    path: Path
    """Of the newest file; older ones beside it are called `records-000001.jsonl` and so on."""
    size: int
    """Bytes after which a new file is begun."""


def append(log: Log, kind: str, body: dict[str, Any]) -> str:
    """Adds a record and returns its digest. Raises `LauncherError` when it cannot be written."""
    try:
        with locked(log.path):
            _set_torn_tail_aside(log.path)
            line = _next_line(log, kind, body)
            _rotate(log, len(line))
            append_durably(log.path, line + b"\n")
    except OSError as error:
        raise LauncherError(
            f"The record could not be written to {log.path}: {error.strerror or error}",
            hint="Nothing was loaded. Make room, make the folder writable, or set "
            'records = "best-effort" in the settings.',
        ) from error
    return digest(line)


def _next_line(log: Log, kind: str, body: dict[str, Any]) -> bytes:
    last = _last_line(log)
    record = {
        "schema": SCHEMA,
        "number": _number(last) + 1 if last else 0,
        "previous": digest(last) if last else "",
        "at": now(),
        "computer": computer(),
        "kind": kind,
        **body,
    }
    if last and record["at"] < json.loads(last).get("at", ""):
        record["clock"] = "set back"
    line = canonical({**record, "check": _check(record)})
    if len(line) > MAX_LINE:
        raise OSError(f"a record of {len(line)} bytes is too long")
    return line


def _check(record: dict[str, Any]) -> str:
    """Shows a change in the last record, too, for which no later one vouches."""
    return digest(canonical({key: value for key, value in record.items() if key != "check"}))


def _number(line: bytes) -> int:
    try:
        return int(json.loads(line)["number"])
    except (ValueError, KeyError, TypeError) as error:
        raise OSError("the last record is damaged (see: launcher records verify)") from error


def _last_line(log: Log) -> bytes:
    for path in (log.path, *reversed(older(log))):
        if path.exists() and path.stat().st_size:
            with path.open("rb") as stream:
                stream.seek(-min(path.stat().st_size, MAX_LINE + 1), os.SEEK_END)
                return stream.read().removesuffix(b"\n").rpartition(b"\n")[2]
    return b""


def _set_torn_tail_aside(path: Path) -> None:
    """A line without its end was cut by a power failure: it is kept beside, and said by verify."""
    try:
        size = path.stat().st_size
    except FileNotFoundError:
        return
    with path.open("r+b") as stream:
        stream.seek(-min(size, MAX_LINE + 1), os.SEEK_END)
        tail = stream.read()
        end = tail.rfind(b"\n") + 1
        if end == len(tail):
            return
        append_durably(path.with_suffix(".torn"), tail[end:] + b"\n")
        stream.truncate(size - len(tail) + end)
        os.fsync(stream.fileno())


def _rotate(log: Log, coming: int) -> None:
    """Begins a new file; the first line of it goes on with the chain of the last."""
    if log.path.exists() and log.path.stat().st_size + coming > log.size:
        number = len(older(log)) + 1
        log.path.rename(log.path.with_name(f"records-{number:06}.jsonl"))


def older(log: Log) -> list[Path]:
    """The files that are full, oldest first."""
    if not log.path.parent.is_dir():
        return []
    return sorted(path for path in log.path.parent.iterdir() if NAME.fullmatch(path.name))


def lines(log: Log) -> Iterator[tuple[Path, int, bytes]]:
    """Every line with its file and number in it, oldest first.

    Raises `IntegrityError` for one without its end.
    """
    for path in (*older(log), log.path):
        try:
            *whole, rest = path.read_bytes().split(b"\n")
        except FileNotFoundError:
            continue
        for index, line in enumerate(whole, start=1):
            yield path, index, line
        if rest:
            raise IntegrityError(
                f"{path}, line {len(whole) + 1}: this record has no end",
                hint="A power failure does this. The next record sets the rest of it aside.",
            )


@dataclass(frozen=True, slots=True)
class Verified:
    """A whole chain."""

    count: int
    head: str
    """The digest of the last line: the anchor to keep somewhere else."""
    torn: bool
    """Whether a line that a power failure cut lies beside the records."""
    set_back: int
    """How often the clock had been set back when a record was made."""


def verify(log: Log, anchor: str = "") -> Verified:
    """Walks the whole chain. Raises `IntegrityError` at the first line that does not fit.

    `anchor` is a head from before, which must be among the records still.
    """
    previous, count, set_back = "", 0, 0
    is_missing = bool(anchor)
    for path, index, line in lines(log):
        where = f"{path}, line {index}"
        record = _parsed(line, where)
        if record.get("check") != _check(record) or canonical(record) != line:
            raise IntegrityError(f"{where}: this record is not as it was written")
        if record.get("previous") != previous or record.get("number") != count:
            raise IntegrityError(
                f"{where}: this record does not follow the one before it",
                hint="A line was lost or put in.",
            )
        previous, count = digest(line), count + 1
        set_back += "clock" in record
        is_missing = is_missing and previous != anchor
    if is_missing:
        raise IntegrityError(
            f"The record {anchor} is not among those in {log.path.parent}",
            hint="The records were deleted, or put back to an earlier state.",
        )
    return Verified(count, previous, log.path.with_suffix(".torn").exists(), set_back)


def _parsed(line: bytes, where: str) -> dict[str, Any]:
    try:
        record = json.loads(line)
    except ValueError as error:
        raise IntegrityError(f"{where}: this is not a record") from error
    if not isinstance(record, dict):
        raise IntegrityError(f"{where}: this is not a record")
    return record


def read(log: Log) -> list[dict[str, Any]]:
    """Every record, oldest first. Raises `IntegrityError` for a line that is none."""
    return [_parsed(line, f"{path}, line {index}") for path, index, line in lines(log)]


RECENT = 1 << 20  # bytes


def recent(log: Log) -> list[dict[str, Any]]:
    """The latest records in the order of time, as far as they can be read."""
    found: list[dict[str, Any]] = []
    room = RECENT
    with contextlib.suppress(OSError):
        for path in (log.path, *reversed(older(log))):
            if room <= 0:
                break
            if not path.exists():
                continue
            with path.open("rb") as stream:
                size = stream.seek(0, os.SEEK_END)
                stream.seek(max(0, size - room))
                lines = stream.read().split(b"\n")
            found = [*_readable(lines), *found]
            room -= size
    return found


def _readable(lines: Iterable[bytes]) -> Iterator[dict[str, Any]]:
    """Records; the first line may be the end of one, and any may be damaged."""
    for line in lines:
        with contextlib.suppress(IntegrityError):
            yield _parsed(line, "")


@cache
def computer() -> str:
    """Tells this computer from others, and says nothing else of it; empty where it cannot.

    A digest of the system's own number of the installation, which is random.
    """
    try:
        number = Path("/etc/machine-id").read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError):
        return ""
    return hashlib.sha256(f"launcher {number}".encode()).hexdigest()[:16] if number else ""


def canonical(value: dict[str, Any]) -> bytes:
    """JSON with one form only: equal values give equal bytes."""
    return json.dumps(value, sort_keys=True, ensure_ascii=True, separators=(",", ":")).encode()


def digest(line: bytes) -> str:
    """What the next record holds of this one."""
    return hashlib.sha256(line).hexdigest()


def now() -> str:
    """The time in UTC, to the second."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def today() -> date:
    """The day in UTC."""
    return datetime.now(UTC).date()


# --- Bodies -----------------------------------------------------------------------------------


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
        "sha256": declaration.sha256,
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
            "origin": _origin(part),
        }
        for part in bundle.parts
    ]


def _origin(part: Part) -> dict[str, str] | None:
    """Where a file of the hub comes from; which hub said so decides what its cards can settle."""
    if part.origin is None:
        return None
    return {
        "hub": part.chain.hub if part.chain is not None else "",
        "repository": part.origin.repository,
        "commit": part.origin.commit,
        "file": part.origin.name,
    }
