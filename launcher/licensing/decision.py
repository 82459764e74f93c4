"""What the gate says, with every reason for it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

from launcher.clearance import Verdict
from launcher.data import shipped
from launcher.errors import ExitCode, LauncherError
from launcher.licensing.declaration import Declaration
from launcher.licensing.policy import Duty
from launcher.models.identity import Claim
from launcher.tables import Faults, parse


@dataclass(frozen=True, slots=True, kw_only=True)
class Reason:
    """One reason: what stands against the load, where it is written, what it does."""

    code: str
    effect: Verdict
    exit_code: ExitCode
    text: str
    licence: str = ""
    document: str = ""
    clause: str = ""
    quote: str = ""
    source: str = ""
    sha256: str = ""
    """Of the document quoted."""
    turns_on: str = ""
    """The key of the declaration that it turns on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BoundDuty:
    """A duty, and the licence it comes from."""

    licence: str
    duty: Duty


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """The outcome for one bundle and one declaration."""

    verdict: Verdict
    code: str
    """Of the deciding reason."""
    exit_code: ExitCode
    reasons: tuple[Reason, ...]
    """All of them, the deciding one first."""
    subject: str
    """The fingerprint of the bundle."""
    ref: str
    title: str
    family: str
    candidates: tuple[str, ...]
    licence: str
    """The id whose conditions bind; empty where none is known."""
    licences: tuple[str, ...]
    """All that bind."""
    modalities: tuple[str, ...]
    architecture: str
    evidence: tuple[Claim, ...]
    declaration: Declaration | None
    duties: tuple[BoundDuty, ...]
    policy_version: str
    policy_sha256: str


@dataclass(frozen=True, slots=True)
class GateReason:
    """A reason of the gate's own, from `configs/reasons.toml`."""

    code: str
    effect: Verdict
    exit_code: ExitCode
    text: str
    more: str
    region: str
    """The region it is about, where it is about one."""

    @property
    def sentence(self) -> str:
        """The text, with capitals for what the gate fills in."""
        return re.sub(r"\{(\w+)\}", lambda match: match[1].upper(), self.text)


@cache
def gate_reasons() -> Mapping[str, GateReason]:
    """Every reason of the gate's own, by code."""
    faults = Faults("configs/reasons.toml")
    top = parse(shipped("reasons.toml"), faults)
    reasons = {}
    for code in top.values:
        table = top.table(code)
        reasons[code] = GateReason(
            code=code,
            effect=table.member("effect", Verdict),
            exit_code=ExitCode(table.number("exit")),
            text=table.text("text"),
            more=table.text("more").strip(),
            region=table.text("region", ""),
        )
        table.finish()
    faults.refuse(LauncherError)
    return reasons
