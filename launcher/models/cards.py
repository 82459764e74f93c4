"""The cards of repositories that were read, kept for when there is no network.

A card is read at a pinned commit, so what it said then is what it says for ever.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from launcher.memory import Memory
from launcher.models.card import Card, Chain

KEPT = 500  # chains


def recall(path: Path, repository: str, commit: str) -> Chain | None:
    """The chain of a repository's card at a commit; None where it was not kept."""
    try:
        return _chain(Memory(path, KEPT).get(_key(repository, commit)))
    except (KeyError, TypeError):
        return None


def remember(path: Path, repository: str, commit: str, chain: Chain) -> None:
    """Keeps a chain."""
    kept: dict[str, Any] = {"cards": [_table(card) for card in chain.cards], "unread": chain.unread}
    kept["hub"] = chain.hub
    Memory(path, KEPT).note(_key(repository, commit), kept)


def _key(repository: str, commit: str) -> str:
    return f"{repository.lower()}@{commit}"


def _table(card: Card) -> dict[str, Any]:
    return {
        "repository": card.repository,
        "commit": card.commit,
        "licences": card.licences,
        "base_models": card.base_models,
        "gated": card.gated,
        "eu_disallowed": card.eu_disallowed,
    }


def _chain(kept: dict[str, Any]) -> Chain:
    cards = tuple(
        Card(
            repository=str(card["repository"]),
            commit=str(card["commit"]),
            licences=tuple(map(str, card["licences"])),
            base_models=tuple(map(str, card["base_models"])),
            gated=card["gated"] is True,
            eu_disallowed=card["eu_disallowed"] is True,
        )
        for card in kept["cards"]
    )
    return Chain(cards=cards, unread=tuple(map(str, kept["unread"])), hub=str(kept["hub"]))
