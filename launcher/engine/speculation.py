"""Guesses tokens by what the text said before, and lets the engine check several at once.

Where an answer copies (a quote, code that is edited, a name), the words after the last three
are likely those that followed them earlier. A batch of guesses costs less than as many steps,
and each token is still chosen by the samplers from its own scores: a guess only decides
whether the next scores are there already. Guessing goes by counts, never by the clock, so that
the same seed takes the same steps.
"""

from __future__ import annotations

from collections.abc import Sequence

from launcher.engine.llama import Context

KEY = 3  # tokens that must have occurred before
SHORT, LONG = 3, 11  # guesses in a batch; with the token before them, what the engine does best
_FIRST_PAUSE, _LONGEST_PAUSE = 8, 128  # tokens without guesses after one that failed


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


class Steps:
    """Computes an answer's tokens; `at` is where the scores of the next one lie."""

    def __init__(
        self, context: Context, prompt: Sequence[int], end: int, *, guesses: bool = True
    ) -> None:
        """`end` is how many tokens may be held in the end."""
        self._context, self._end = context, end
        self._guesses = Guesses(prompt) if guesses and context.can_be_cut else None
        self._length = len(prompt)  # of what is sure
        self._ahead: list[int] = []
        self._pause = _FIRST_PAUSE
        self._rest = 0
        self._count = SHORT
        self.at = -1

    def take(self, token: int) -> None:
        """Goes on with the token that was chosen."""
        if self._guesses is None:
            self._context.step(token)
            return
        self._guesses.add(token)
        self._length += 1
        if self._ahead and self._ahead[0] == token:
            del self._ahead[0]
            self.at += 1
            self._learn(failed=False)
            return
        if self._ahead:
            self._learn(failed=True)
        self.finish(self._length - 1)
        self._ahead = self._guessed()
        self._context.steps([token, *self._ahead])
        self.at = 0 if self._ahead else -1

    def finish(self, length: int | None = None) -> None:
        """Takes guesses that came to nothing out of the context."""
        if self._guesses is None:
            return
        self._ahead = []
        self._context.cut(self._length if length is None else length)

    def _guessed(self) -> list[int]:
        assert self._guesses is not None
        room = self._end - self._length
        if self._rest:
            self._rest -= 1
            return []
        return self._guesses.after(min(self._count, room))

    def _learn(self, *, failed: bool) -> None:
        if not failed and not self._ahead:
            self._count, self._pause = LONG, _FIRST_PAUSE
        elif failed and self.at == 0:
            self._rest, self._pause = self._pause, min(2 * self._pause, _LONGEST_PAUSE)
        if failed:
            self._count = SHORT
