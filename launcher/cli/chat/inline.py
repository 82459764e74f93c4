"""Emphasis and code within a line of Markdown, told while the line still comes.

Nothing is ever lost: a mark that turns out to be none stands as it was written.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Flag, auto

LONGEST = 400  # characters that a mark waits for its counterpart


class Look(Flag):
    """How text is to look."""

    PLAIN = 0
    STRONG = auto()
    EMPHASIS = auto()
    CODE = auto()
    DIM = auto()
    UNDERLINED = auto()


@dataclass(frozen=True, slots=True)
class Span:
    """Text of one look."""

    text: str
    look: Look = Look.PLAIN


_SPECIAL = re.compile(r"[`*_\\]")
_CODE = re.compile(r"(`+)([^`](?:.*?[^`])?)\1(?!`)")
_BOTH = re.compile(r"(\*\*\*)(?=\S)(.+?)(?<=\S)\1")
_STRONG = re.compile(r"(\*\*|__)(?=\S)(.+?)(?<=[^\s*_\\])\1(?!\w)")
_EMPHASIS = re.compile(r"([*_])(?=[^\s*_])(.+?)(?<=[^\s*_\\])\1(?![*_\w])")
_ESCAPED = re.compile(r"\\([`*_#])")
_MARKS = (
    (_BOTH, Look.STRONG | Look.EMPHASIS),
    (_STRONG, Look.STRONG),
    (_EMPHASIS, Look.EMPHASIS),
)


class Inline:
    """One line."""

    def __init__(self, look: Look = Look.PLAIN) -> None:
        self._look = look
        self._pending = ""
        self._before = ""  # the last character that was passed on

    def feed(self, text: str) -> Iterator[Span]:
        """The spans that can be told by now."""
        self._pending += text
        yield from self._spans(final=False)

    def finish(self) -> Iterator[Span]:
        """The rest of the line."""
        yield from self._spans(final=True)

    def _spans(self, *, final: bool) -> Iterator[Span]:
        while self._pending:
            special = _SPECIAL.search(self._pending)
            if special is None:
                yield self._take(len(self._pending))
                return
            if special.start():
                yield self._take(special.start())
            if not final and self._must_wait():
                return
            yield from self._marked()

    def _take(self, count: int) -> Span:
        text, self._pending = self._pending[:count], self._pending[count:]
        self._before = text[-1:]
        return Span(text, self._look)

    def _marked(self) -> Iterator[Span]:
        """What begins with a special character."""
        if escaped := _ESCAPED.match(self._pending):
            self._pending = self._pending[escaped.end() :]
            self._before = escaped[1]
            yield Span(escaped[1], self._look)
        elif found := self._match():
            match, look = found
            self._pending = self._pending[match.end() :]
            self._before = match[0][-1:]
            if look is Look.CODE:
                yield Span(match[2].strip() or match[2], self._look | look)
            else:
                inner = Inline(self._look | look)
                yield from inner.feed(match[2])
                yield from inner.finish()
        else:
            yield self._take(self._run())

    def _run(self) -> int:
        """How often the first character is repeated."""
        return len(self._pending) - len(self._pending.lstrip(self._pending[0]))

    def _match(self) -> tuple[re.Match[str], Look] | None:
        if code := _CODE.match(self._pending):
            return code, Look.CODE
        if self._before.isalnum() or self._before == "_":
            return None  # snake_case, 5*3
        found = ((pattern.match(self._pending), look) for pattern, look in _MARKS)
        return next(((match, look) for match, look in found if match), None)

    def _must_wait(self) -> bool:
        """Whether what comes can still change what this is."""
        if len(self._pending) > LONGEST:
            return False
        run = self._run()
        after = self._pending[run : run + 1]
        if self._pending[0] == "\\":
            return len(self._pending) < 2
        if not after:
            return True
        if self._pending[0] != "`" and (
            after.isspace() or self._before.isalnum() or self._before == "_"
        ):
            return False  # it cannot open anything
        found = self._match()
        return found is None or found[0].end() == len(self._pending)
