"""Guesses tokens by what the text said before, and lets the engine check several at once.

Where it said nothing of the kind, a smaller model may guess (`draft`).

Where an answer copies (a quote, code that is edited, a name), the words after the last three
are likely those that followed them earlier. A batch of guesses costs less than as many steps,
and each token is still chosen by the samplers from its own scores: a guess only decides
whether the next scores are there already. Guessing goes by counts, never by the clock, so that
the same seed takes the same steps.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Protocol

from launcher.engine.worker.llama import Context

KEY = 3  # tokens that must have occurred before
SHORT, LONG = 3, 11  # guesses in a batch; with the token before them, what the engine does best
_FIRST_PAUSE, _LONGEST_PAUSE = 8, 128  # tokens without guesses after one that failed
_MANY = 1 << 16  # a draft has a limit of its own
_PATIENCE = 3  # times that a draft may be wrong at once before it rests


class Source(Protocol):
    """Whatever guesses."""

    def add(self, token: int) -> None:
        """The text goes on."""

    def after(self, count: int) -> list[int]:
        """What may follow, at most so many tokens."""


class Guesses:
    """What followed the last tokens when they stood in the text before.

    >>> guesses = Guesses([1, 2, 3, 4, 5, 6, 1, 2, 3])
    >>> guesses.after(2)
    [4, 5]
    >>> guesses.add(9)
    >>> guesses.after(2)
    []
    """

    def __init__(self, text: Sequence[int]) -> None:
        self._text: list[int] = []
        self._follows: dict[tuple[int, ...], int] = {}
        self._found: int | None = None
        for token in text:
            self.add(token)

    def add(self, token: int) -> None:
        self._text.append(token)
        key = tuple(self._text[-KEY:])
        self._found = self._follows.get(key)
        self._follows[key] = len(self._text)

    def after(self, count: int) -> list[int]:
        """At most so many tokens."""
        if self._found is None or len(self._text) < KEY:
            return []
        return self._text[self._found : self._found + count]


class Trust:
    """How many guesses a source is asked for, by what became of its last ones."""

    def __init__(self, first: int, most: int, patience: int) -> None:
        """`first` after a failure, `most` after a success; a rest after so many in vain."""
        self._first, self._most, self._patience = first, most, patience
        self._count = first
        self._vain = self._rest = 0
        self._pause = _FIRST_PAUSE

    def wanted(self) -> int:
        """How many; none while it rests."""
        if self._rest:
            self._rest -= 1
            return 0
        return self._count

    def succeeded(self) -> None:
        """All that it guessed was right."""
        self._count, self._pause, self._vain = self._most, _FIRST_PAUSE, 0

    def failed(self, right: int) -> None:
        """So many of its guesses were right, and the next was wrong."""
        self._count = self._first
        self._vain = 0 if right else self._vain + 1
        if self._vain >= self._patience:
            self._rest, self._pause = self._pause, min(2 * self._pause, _LONGEST_PAUSE)


class Steps:
    """Computes an answer's tokens; `at` is where the scores of the next one lie."""

    def __init__(
        self,
        context: Context,
        prompt: Sequence[int],
        end: int,
        *,
        guesses: bool = True,
        draft: Source | None = None,
    ) -> None:
        """`end` is how many tokens may be held in the end; a `draft` guesses where the text
        itself says nothing.
        """
        self._context, self._end = context, end
        self._sources: list[tuple[Source, Trust]] = []
        if guesses and context.can_be_cut:
            self._sources.append((Guesses(prompt), Trust(SHORT, LONG, 1)))
            if draft is not None:
                self._sources.append((draft, Trust(1, _MANY, _PATIENCE)))
        self._length = len(prompt)  # of what is sure
        self._ahead: list[int] = []
        self._trust: Trust | None = None  # of whoever guessed what is ahead
        self.at = -1
        self.guessed = self.right = 0

    def take(self, token: int) -> None:
        """Goes on with the token that was chosen."""
        if not self._sources:
            self._context.step(token)
            return
        for source, _ in self._sources:
            source.add(token)
        self._length += 1
        if self._ahead and self._ahead[0] == token:
            del self._ahead[0]
            self.at += 1
            self.right += 1
            if self._trust is not None and not self._ahead:
                self._trust.succeeded()
            return
        if self._ahead and self._trust is not None:
            self._trust.failed(self.at)
        self.finish(self._length - 1)
        self._ahead = self._guess()
        self.guessed += len(self._ahead)
        self._context.steps([token, *self._ahead])
        self.at = 0 if self._ahead else -1

    def finish(self, length: int | None = None) -> None:
        """Takes guesses that came to nothing out of the context."""
        if not self._sources:
            return
        self._ahead = []
        self._context.cut(self._length if length is None else length)

    def _guess(self) -> list[int]:
        """By the first source that has something to say."""
        room = self._end - self._length
        for source, trust in self._sources:
            wanted = min(trust.wanted(), room)
            found = source.after(wanted) if wanted > 0 else []
            found = list(itertools.takewhile(lambda token: token >= 0, found))  # not of images
            if found:
                self._trust = trust
                return found
        return []
