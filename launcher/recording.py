"""What the records keep of a way through: the decision, and what was loaded."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from launcher.asker import Asker
from launcher.clearance import Cleared
from launcher.engine import environment
from launcher.errors import LauncherError
from launcher.licensing import notes, records

if TYPE_CHECKING:
    from launcher.engine.client import Engine
    from launcher.flow import Judgement


def note_refusal(judgement: Judgement, asker: Asker) -> None:
    """Records a decision that ends the way."""
    records.append(asker.log, "decision", _noted(judgement, asker))


def decided(judgement: Judgement, asker: Asker) -> str:
    """Records the decision that leads on to a load; gives the record's digest."""
    return _record(asker, "decision", _noted(judgement, asker))


def loaded(cleared: Cleared, engine: Engine, asker: Asker) -> None:
    """Records which bytes were loaded, and how the engine is confined."""
    how = {"context": engine.loaded.context, "sandbox": engine.loaded.sandbox}
    _record(asker, "load", {**_files(cleared), **how})


def failed(cleared: Cleared, error: LauncherError, asker: Asker) -> None:
    """Records a load that came to nothing."""
    failure = {"exit_code": error.exit_code, "message": error.message}
    records.append(asker.log, "load", {**_files(cleared), "failure": failure})


def _files(cleared: Cleared) -> dict[str, Any]:
    return {
        "decision": cleared.record,
        "files": records.files(cleared.bundle),
        "withheld": list(environment.withheld()),
    }


def _noted(judgement: Judgement, asker: Asker) -> dict[str, Any]:
    """The body of a decision's record, with what stands out about it.

    All of that is said as well, but for what hangs on the clock.
    """
    decision = judgement.decision
    recent = records.recent(asker.log)
    version, sha256 = decision.policy_version, decision.policy_sha256
    found = tuple(
        notes.from_the_records(version, sha256, decision.declaration, recent, records.computer())
    )
    for note in found:
        asker.say(f"Note: {note.text}")
    dated = notes.from_the_clock(version, records.today())
    body = records.decided(decision, judgement.bundle)
    body["policy"]["highest"] = notes.highest_policy(version, recent)
    return {**body, "notes": [note.code for note in (*found, *dated)]}


def _record(asker: Asker, kind: str, body: dict[str, Any]) -> str:
    """Writes a record; where it cannot, the setting says whether that ends the load."""
    try:
        return records.append(asker.log, kind, body)
    except LauncherError as error:
        if asker.settings.records_are_required:
            raise
        asker.say(f"Warning: {error.message}. It goes on since records are best-effort.")
        return ""
