"""What stands out about a load without standing against it: recorded with it, and said. Pure.

None of it keeps anything from being loaded. The clock above all must not: a device without
one has to start, too.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any, TypeAlias

from launcher.licensing.declaration import Declaration, Role

Records: TypeAlias = Sequence[Mapping[str, Any]]
"""In the order of time, the latest last."""

OLD = 180  # days


@dataclass(frozen=True, slots=True)
class Note:
    """One of them. Its code stands in the record; docs/limits.md lists them."""

    code: str
    text: str


def from_the_clock(version: str, today: date) -> Iterator[Note]:
    """What today's date says of the policy's, if this computer knows it."""
    age = (today - date.fromisoformat(version)).days
    if age > OLD:
        yield Note(
            "policy-old",
            f"The policy is of {version}, {age} days old. Licences change: update the launcher.",
        )
    if age < 0:
        yield Note(
            "clock-early",
            f"This computer's clock says {today}, which is before the policy's date, {version}.",
        )


def from_the_records(
    version: str, sha256: str, declared: Declaration | None, recent: Records, computer: str
) -> Iterator[Note]:
    """What the records before say of this policy, this declaration and this computer."""
    yield from _of_the_policy(version, sha256, recent)
    if declared is not None:
        yield from _of_the_declaration(declared, recent)
    before = next((record["computer"] for record in reversed(recent) if "computer" in record), "")
    if computer and before and computer != before:
        yield Note(
            "another-computer",
            "The latest records were made on another computer.",
        )


def highest_policy(version: str, recent: Records) -> str:
    """The latest policy that was ever in use here, as far as the records say."""
    before = _last(recent, "policy")
    return max(version, str(before.get("highest", ""))) if before else version


def _of_the_policy(version: str, sha256: str, recent: Records) -> Iterator[Note]:
    before = _last(recent, "policy")
    if before is None:
        return
    highest = highest_policy(version, recent)
    if version < highest:
        yield Note(
            "policy-older-than-before",
            f"The policy is of {version}; one of {highest} was used here before.",
        )
    elif before.get("version") == version and before.get("sha256") != sha256:
        yield Note(
            "policy-changed",
            f"The policy is of {version} as before, but it is not the same: its files were "
            "changed.",
        )


def _of_the_declaration(declared: Declaration, recent: Records) -> Iterator[Note]:
    if declared.role is Role.END_USER:
        yield Note(
            "end-user-stated",
            f"It is stated that you are an end user of {declared.product or '?'}, supplied by "
            f"{declared.supplied_by or '?'}. Who fetches and starts a model is usually not one.",
        )
    if declared.source != "user":
        return
    made = [
        record["declaration"]
        for record in recent
        if record.get("declaration") and record["declaration"].get("source") in ("", "user")
    ]
    if not made and declared.declared_by != "provisioned":
        yield Note(
            "declaration-not-made-here",
            f"The records know nothing of the declaration {declared.path}: it was written by "
            "hand, copied from elsewhere, or the records are gone.",
        )
    elif made and made[-1].get("sha256") != declared.sha256:
        yield Note(
            "declaration-changed",
            f"The declaration {declared.path} is not the one that was recorded last: it was "
            "changed by hand, or copied from elsewhere.",
        )


def _last(recent: Records, key: str) -> Mapping[str, Any] | None:
    found = (record[key] for record in reversed(recent) if isinstance(record.get(key), dict))
    return next(found, None)
