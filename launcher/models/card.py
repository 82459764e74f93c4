"""What a repository's card says, and the chain of models it says it comes from.

A card is written by whoever uploaded the files, so it is a statement, taken as data and
checked as such: wrong types are dropped, long texts cut, a chain that runs in circles ends.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from launcher.models.gguf_rules import is_clean
from launcher.models.refs import is_repository

MAX_DEPTH = 8  # parents of parents
MAX_CARDS = 32  # cards in one chain
MAX_PARENTS = 16
MAX_TEXT = 200  # characters in a field

HUB = "https://huggingface.co"
EU_FLAG = "extra_gated_eu_disallowed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """One repository at one commit."""

    repository: str
    commit: str = ""
    licences: tuple[str, ...] = ()
    """As written; `other` falls through to `license_name`."""
    base_models: tuple[str, ...] = ()
    gated: bool = False
    eu_disallowed: bool = False
    """The hub is told to shut out users by an address in the European Union."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Chain:
    """A card, the cards it says it comes from, and the parents that could not be read."""

    cards: tuple[Card, ...]
    unread: tuple[str, ...] = ()
    hub: str = HUB
    """The address they were read at: whoever answers there could have written them."""

    @property
    def is_complete(self) -> bool:
        return not self.unread


def read_card(repository: str, commit: str, values: Mapping[str, Any], gated: Any = False) -> Card:
    """A card from the values of its metadata, whatever they are."""
    licences = _texts(values.get("license"))
    if "other" in (licence.lower() for licence in licences):
        named = _texts(values.get("license_name"))
        licences = tuple(text for text in licences if text.lower() != "other") + named
    parents = tuple(name for name in _texts(values.get("base_model")) if is_repository(name))
    return Card(
        repository=repository,
        commit=commit,
        licences=licences,
        base_models=parents[:MAX_PARENTS],
        gated=bool(gated),
        eu_disallowed=values.get(EU_FLAG) is True,
    )


def _texts(value: Any) -> tuple[str, ...]:
    values = value if isinstance(value, list) else [value]
    return tuple(
        text.strip()[:MAX_TEXT]
        for text in values
        if isinstance(text, str) and text.strip() and is_clean(text.strip())
    )


def follow(first: Card, fetch: Callable[[str], Card | None]) -> Chain:
    """The chain of a card; `fetch(repository)` gives a parent's card, None when it cannot.

    Every repository is read once, so circles end; what lies deeper than `MAX_DEPTH` counts
    as unread.
    """
    cards = {first.repository.lower(): first}
    unread: list[str] = []
    waiting = [(parent, 1) for parent in first.base_models]
    while waiting:
        name, depth = waiting.pop(0)
        if name.lower() in cards:
            continue
        card = fetch(name) if depth <= MAX_DEPTH and len(cards) < MAX_CARDS else None
        if card is None:
            unread.append(name)
            continue
        cards[name.lower()] = card
        waiting += [(parent, depth + 1) for parent in card.base_models]
    return Chain(cards=tuple(cards.values()), unread=tuple(dict.fromkeys(unread)))


def flagged(chain: Chain) -> Iterator[Card]:
    """The cards that shut out the European Union."""
    return (card for card in chain.cards if card.eu_disallowed)
