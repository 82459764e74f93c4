"""Tells what a model writes as its reasoning from what it says."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from launcher.serving.tools.reasoning import TAGS

OPENING = tuple(opening for opening, _ in TAGS)
ALL = tuple(tag for tags in TAGS for tag in tags)
_LONGEST = max(map(len, ALL))


@dataclass(frozen=True, slots=True)
class Piece:
    """A part of an answer."""

    text: str
    is_thought: bool = False


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

    def __init__(self) -> None:
        self.thought = ""
        self.said = ""
        self._inside = False
        self._closing = ""  # of the reasoning
        self._held = ""

    def feed(self, text: str) -> Iterator[Piece]:
        """The pieces that can be told by now."""
        self._held += text
        while (found := self._next_tag()) is not None:
            tag, before, after = found
            yield from self._piece(before)
            self._inside, self._held = not self._inside, after
            self._closing = dict(TAGS).get(tag, "")
        kept = self._undecided()
        ready, self._held = self._held[: len(self._held) - kept], self._held[-kept:] * (kept > 0)
        yield from self._piece(ready)

    def finish(self) -> Iterator[Piece]:
        """What was held back in vain."""
        held, self._held = self._held, ""
        yield from self._piece(held)

    def _tags(self) -> tuple[str, ...]:
        if self._inside:
            return (self._closing,)
        return () if self.said or self.thought else OPENING

    def _next_tag(self) -> tuple[str, str, str] | None:
        """The next tag, the text before it and after it."""
        for tag in self._tags():
            before, found, after = self._held.partition(tag)
            if found and (self._inside or not before.strip()):
                return tag, before, after
        return None

    def _undecided(self) -> int:
        """How much of the end of what is held may be the beginning of a tag."""
        tags = self._tags()
        if tags and not self._inside and not self._held.strip():
            return len(self._held)
        sizes = range(min(len(self._held), _LONGEST - 1), 0, -1)
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
