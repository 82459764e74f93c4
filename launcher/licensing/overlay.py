"""A user's or a site's own policy. It can only tighten: everything in it refuses.

schema = 1
title = "Models at Example Ltd"
contact = "it@example.com"            # named in every refusal that rests on it
osi_approved_only = true
no_non_commercial = true
only_licences = ["apache-2.0", "mit"]
refuse_licences = ["gemma"]
refuse_families = ["llama-4"]
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from launcher.clearance import Verdict
from launcher.errors import ExitCode, PersonNeeded
from launcher.files import read_bounded
from launcher.licensing.decision import Reason, gate_reasons
from launcher.licensing.policy import Licence, Policy
from launcher.paths import Places
from launcher.tables import Faults, parse

NAME = "policy.toml"
MAX_SIZE = 1 << 20  # bytes
SCHEMA = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Overlay:
    """What is refused beyond what the licences refuse."""

    path: str
    title: str
    contact: str = ""
    osi_approved_only: bool = False
    no_non_commercial: bool = False
    only_licences: tuple[str, ...] = ()
    refuse_licences: tuple[str, ...] = ()
    refuse_families: tuple[str, ...] = ()

    def against(self, licence: Licence) -> Iterator[Reason]:
        """What this policy has against a licence."""
        if self.osi_approved_only and not licence.osi_approved:
            yield self._reason("own-policy-osi-only", licence.title, licence.id)
        if self.no_non_commercial and is_non_commercial(licence):
            yield self._reason("own-policy-no-non-commercial", licence.title, licence.id)
        if self.only_licences and licence.id not in self.only_licences:
            yield self._reason("own-policy-licence", licence.title, licence.id)
        if licence.id in self.refuse_licences:
            yield self._reason("own-policy-licence", licence.title, licence.id)

    def against_family(self, family: str, title: str) -> Iterator[Reason]:
        """What this policy has against a family of models."""
        if family in self.refuse_families:
            yield self._reason("own-policy-family", title, "")

    def _reason(self, code: str, title: str, licence: str) -> Reason:
        text = gate_reasons()[code].text.format(title=title, policy=self.title)
        if self.contact:
            text += f" Ask {self.contact}."
        return Reason(
            code=code,
            effect=Verdict.REFUSE,
            exit_code=ExitCode.REFUSED,
            text=text,
            licence=licence,
            document=self.title,
            source=self.path,
        )


def is_non_commercial(licence: Licence) -> bool:
    """Whether a rule of the licence withholds commercial use altogether."""
    return any(
        rule.when.commercial and rule.when.annual_revenue_usd is None for rule in licence.rules
    )


def load(folders: Places, policy: Policy, families: frozenset[str]) -> tuple[Overlay, ...]:
    """The site's and the user's own policies. Raises `PersonNeeded` for a broken one."""
    found = (read(folder / NAME, policy, families) for folder in (folders.site, folders.config))
    return tuple(overlay for overlay in found if overlay is not None)


def read(path: Path, policy: Policy, families: frozenset[str]) -> Overlay | None:
    """The policy in a file, or None when there is no file."""
    try:
        data = read_bounded(path, MAX_SIZE)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise PersonNeeded(
            f"The policy {path} cannot be read: {error.strerror or error}",
            hint="Nothing is allowed while it cannot be read.",
        ) from error
    return from_toml(data, str(path), policy, families)


def from_toml(data: bytes, file: str, policy: Policy, families: frozenset[str]) -> Overlay:
    """A policy from TOML. Raises `PersonNeeded` with every fault and its place."""
    faults = Faults(file)
    table = parse(data, faults)
    if table.number("schema") != SCHEMA and "schema" in table:
        table.fault("schema", f"this launcher reads schema {SCHEMA}")
    overlay = Overlay(
        path=file,
        title=table.text("title"),
        contact=table.text("contact", ""),
        osi_approved_only=table.flag("osi_approved_only", False),
        no_non_commercial=table.flag("no_non_commercial", False),
        only_licences=table.texts("only_licences", []),
        refuse_licences=table.texts("refuse_licences", []),
        refuse_families=table.texts("refuse_families", []),
    )
    for key in ("only_licences", "refuse_licences"):
        for id in getattr(overlay, key):
            if id not in policy.licences:
                table.fault(key, f"'{id}' is no licence here (see: launcher licences list)")
    for id in overlay.refuse_families:
        if id not in families:
            table.fault("refuse_families", f"'{id}' is no family here")
    table.finish()
    faults.refuse(PersonNeeded, hint="Nothing is allowed while the policy cannot be read.")
    return overlay
