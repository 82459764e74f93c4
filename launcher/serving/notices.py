"""What goes with every answer of a model: its licence, and the words its duties ask for."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from launcher.licensing.decision import Decision


def headers(decision: Decision) -> dict[str, str]:
    """`X-Model-Licence`, and `X-Model-Notice` where words have to be shown to users."""
    found = {"X-Model-Licence": _plain(decision.licence)} if decision.licence else {}
    shown = dict.fromkeys(bound.duty.display for bound in decision.duties if bound.duty.display)
    return {**found, "X-Model-Notice": _plain("; ".join(shown))} if shown else found


def _plain(text: str) -> str:
    """Text that a header can carry: what is not printable ASCII stands as in an address."""
    return quote(text, safe=" !\"#$&'()*+,-./:;<=>?@[\\]^_`{|}~")


def of(decision: Decision) -> dict[str, Any]:
    """The `launcher` object of an answer."""
    return {"licence": decision.licence, "duties": duties(decision)}


def duties(decision: Decision) -> list[dict[str, str]]:
    """What has to be done by whoever passes the model on, or shows what it writes."""
    return [
        {"code": bound.duty.code, "licence": bound.licence, "text": bound.duty.text}
        | ({"display": bound.duty.display} if bound.duty.display else {})
        for bound in decision.duties
    ]
