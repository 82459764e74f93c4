"""Lays spans out in lines of a terminal: words are kept whole, and no cursor is ever moved."""

from __future__ import annotations

import unicodedata

from launcher.cli.chat.inline import Look, Span

_CODES = {
    Look.STRONG: "1",
    Look.DIM: "2",
    Look.EMPHASIS: "3",
    Look.UNDERLINED: "4",
    Look.CODE: "36",
}


def painted(text: str, look: Look) -> str:
    """Text with the codes for its look around it."""
    codes = ";".join(code for each, code in _CODES.items() if each in look)
    return f"\x1b[{codes}m{text}\x1b[0m" if codes and text else text


def cells(character: str) -> int:
    """How many columns a character takes.

    >>> [cells(character) for character in "aé漢\u0301"]
    [1, 1, 2, 0]
    """
    if unicodedata.combining(character) or unicodedata.category(character) in ("Mn", "Me", "Cf"):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


class Layout:
    """Text that flows into lines of a width; what is put in comes out as soon as it is clear
    on which line it stands.
    """

    def __init__(self, width: int) -> None:
        self.width = width
        self.indent = 0
        self._column = 0
        self._gap: list[Span] = []
        self._word: list[Span] = []
        self._size = 0

    def start(self, indent: int = 0) -> None:
        """A new line, whose continuations are indented."""
        self.indent = min(indent, self.width // 2)
        self._column = 0

    def prefix(self, text: str, look: Look = Look.PLAIN) -> str:
        """What stands before the text of a line."""
        self._column += sum(map(cells, text))
        return painted(text, look)

    def put(self, span: Span) -> str:
        """Adds a span; returns what can be written by now."""
        written = []
        for character in span.text:
            if character in " \t":
                written.append(self.flush())
                self._gap.append(Span(" ", span.look))
            else:
                self._word.append(Span(character, span.look))
                self._size += cells(character)
                if cells(character) > 1 or self._size >= self.width - self.indent:
                    written.append(self.flush())
        return "".join(written)

    def flush(self) -> str:
        """Writes the word that was begun."""
        if not self._word:
            return ""
        gap, word, size = self._gap, self._word, self._size
        self._gap, self._word, self._size = [], [], 0
        if self._column + len(gap) + size > self.width and self._column > self.indent:
            self._column = self.indent + size
            return "\n" + " " * self.indent + _joined(word)
        self._column += len(gap) + size
        return _joined([*gap, *word])

    def end(self) -> str:
        """The end of the line."""
        rest = self.flush()
        self._gap = []
        return rest


def _joined(spans: list[Span]) -> str:
    """Spans as text; neighbours of one look share their codes."""
    parts: list[Span] = []
    for span in spans:
        if parts and parts[-1].look == span.look:
            parts[-1] = Span(parts[-1].text + span.text, span.look)
        else:
            parts.append(span)
    return "".join(painted(part.text, part.look) for part in parts)
