"""Tells what a model writes as its reasoning from what it says."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

_OPENING = ("<think>", "<thinking>")
_CLOSING = ("</think>", "</thinking>")
# A template whose last output opens the reasoning: the answer then begins inside of it.
_OPENED = re.compile(r"<think(?:ing)?>(?:\\n|\s)*['\"]\s*-?\}\}(?:\s*\{%-?\s*endif\s*-?%\})*\s*\Z")


@dataclass(frozen=True, slots=True)
class Piece:
    """A part of an answer."""

    text: str
    is_thought: bool = False


def begins_thinking(template: str) -> bool:
    r"""Whether a chat template opens the reasoning itself, so that an answer only closes it.

    >>> begins_thinking("{% if add_generation_prompt %}{{'<A><think>\\n'}}{% endif %}")
    True
    >>> begins_thinking("{{ '<think></think>' }}")
    False
    """
    return _OPENED.search(template[-400:]) is not None


class Splitter:
    """Splits an answer as it comes.

    A tag opens the reasoning only where nothing was said before; elsewhere it is text.

    >>> splitter = Splitter()
    >>> [
    ...     piece.text
    ...     for part in ("<th", "ink>Hm", ".</think", ">So")
    ...     for piece in splitter.feed(part)
    ... ]
    ['Hm', '.', 'So']
    >>> splitter.thought, splitter.said
    ('Hm.', 'So')
    """

    def __init__(self, *, begins_thinking: bool = False) -> None:
        self.thought = ""
        self.said = ""
        self._inside = begins_thinking
        self._held = ""

    def feed(self, text: str) -> Iterator[Piece]:
        """The pieces that can be told by now."""
        self._held += text
        while (found := self._next_tag()) is not None:
            before, after = found
            yield from self._piece(before)
            self._inside, self._held = not self._inside, after
        kept = self._undecided()
        ready, self._held = self._held[: len(self._held) - kept], self._held[-kept:] * (kept > 0)
        yield from self._piece(ready)

    def finish(self) -> Iterator[Piece]:
        """What was held back in vain."""
        held, self._held = self._held, ""
        yield from self._piece(held)

    def _tags(self) -> tuple[str, ...]:
        if self._inside:
            return _CLOSING
        return () if self.said or self.thought else _OPENING

    def _next_tag(self) -> tuple[str, str] | None:
        """The text before the next tag and after it."""
        for tag in self._tags():
            before, found, after = self._held.partition(tag)
            if found and (self._inside or not before.strip()):
                return before, after
        return None

    def _undecided(self) -> int:
        """How much of the end of what is held may be the beginning of a tag."""
        tags = self._tags()
        if tags and not self._inside and not self._held.strip():
            return len(self._held)
        sizes = range(min(len(self._held), 10), 0, -1)
        return next((n for n in sizes if any(t.startswith(self._held[-n:]) for t in tags)), 0)

    def _piece(self, text: str) -> Iterator[Piece]:
        if self._inside:
            text = text if self.thought else text.lstrip("\n")
            self.thought += text
        else:
            text = text if self.said else text.lstrip()
            self.said += text
        if text:
            yield Piece(text, self._inside)
