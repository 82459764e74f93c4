"""Models on their way into a server: judged, asked about, fetched."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from launcher import flow
from launcher.asker import Asker, Request
from launcher.clearance import Verdict
from launcher.cli import obtaining, render, settling
from launcher.engine.fit import Wishes
from launcher.flow import NotCleared
from launcher.reach import Look

if TYPE_CHECKING:
    from launcher.serving.fleet import Offer


def admitted(offers: Sequence[Offer], wishes: Wishes, asker: Asker) -> Asker:
    """Brings all models as far as they can be loaded; the asker as the answers left them.

    What is refused is said, and the rest goes on: requests for it are told why. Raises
    `NotCleared` where nothing is left, or where a person has to act first, and whatever else
    keeps a model that is allowed from being loaded.
    """
    refused: list[tuple[str, NotCleared]] = []
    for offer in offers:
        try:
            asker = _admitted(offer.request, wishes, asker)
        except NotCleared as error:
            if error.judgement.decision.verdict is not Verdict.REFUSE:
                raise
            refused.append((offer.name, error))
    if len(refused) == len(offers):
        raise refused[0][1]
    for name, refusal in refused:
        _say_refused(name, refusal)
    return asker


def _admitted(request: Request, wishes: Wishes, asker: Asker) -> Asker:
    with flow.judged(request, asker, Look.HUB) as judgement:
        judgement, asker = settling.settled(judgement, asker)
        cleared = flow.clear(judgement, wishes, asker)
        with obtaining.obtained(cleared, wishes, asker):
            return asker


def _say_refused(name: str, error: NotCleared) -> None:
    code = error.judgement.decision.code
    click.echo(f"Refused, and not served: {render.safe(name)} ({code}).", err=True)
    click.echo(f"  More: {render.pasteable(f'launcher explain {code}')}", err=True)
