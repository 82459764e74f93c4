"""Markdown on a terminal, as it comes: headings, lists, quotes, code, emphasis.

It only ever appends: nothing that was written is touched again, so nothing flickers, and it
looks the same in what a terminal scrolled away. What it does not know stands as it was written.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Protocol

from launcher.cli.chat.inline import Inline, Look, Span
from launcher.cli.chat.layout import Layout, painted

# A line's beginning that may still become another kind of line.
_UNDECIDED = re.compile(
    r" *(#{0,6} *|[-*_+][-*_+ ]*|\d{1,3}[.)]? *|`{1,2}|~{1,2}|[`~]{3}[^`]*|> ?)"
)
_HEADING = re.compile(r" {0,3}(#{1,6}) +")
_ITEM = re.compile(r"( *)([-*+]|\d{1,3}[.)]) +")
_RULE = re.compile(r" {0,3}([-*_])( *\1){2,} *")
_FENCE = re.compile(r" *(`{3,}|~{3,})[^`]*")
_QUOTE = re.compile(r" {0,3}> ?")


class Painter(Protocol):
    """Turns a model's words into what is written to the terminal."""

    def feed(self, text: str) -> str: ...

    def finish(self) -> str: ...


class Plain:
    """Words as they are."""

    def feed(self, text: str) -> str:
        return text

    def finish(self) -> str:
        return ""


class Dim:
    """Words that stand back: a model's reasoning."""

    def __init__(self, width: int) -> None:
        self._layout = Layout(width)

    def feed(self, text: str) -> str:
        """What can be written by now."""
        first, *others = text.split("\n")
        written = self._layout.put(Span(first, Look.DIM))
        for line in others:
            written += self._layout.end() + "\n"
            self._layout.start()
            written += self._layout.put(Span(line, Look.DIM))
        return written

    def finish(self) -> str:
        return self._layout.end()


class Markdown:
    """Markdown, laid out in lines of a width."""

    def __init__(self, width: int, bullet: str = "•") -> None:
        self._layout = Layout(width)
        self._bullet = bullet
        self._start = ""
        self._inline: Inline | None = None
        """The rest of a line whose kind is known; None: raw, or not yet known."""
        self._raw: Look | None = None
        self._fence = ""

    def feed(self, text: str) -> str:
        """What can be written by now."""
        first, *others = text.split("\n")
        written = self._add(first)
        for line in others:
            written += self._end_line() + "\n" + self._add(line)
        return written

    def finish(self) -> str:
        """What was held back."""
        return self._end_line()

    def _add(self, text: str) -> str:
        if not text:
            return ""
        if self._raw is not None:
            return painted(text, self._raw)
        if self._inline is not None:
            return self._put(self._inline.feed(text))
        self._start += text
        return self._decide(final=False)

    def _end_line(self) -> str:
        written = self._decide(final=True) if self._start else ""
        if self._inline is not None:
            written += self._put(self._inline.finish()) + self._layout.end()
        self._start, self._inline, self._raw = "", None, None
        return written

    def _put(self, spans: Iterable[Span]) -> str:
        return "".join(map(self._layout.put, spans))

    def _decide(self, *, final: bool) -> str:
        """Finds out what kind of line this is, as soon as it can be told."""
        start = self._start
        if self._fence:
            return self._in_code(start, final=final)
        if not final and _UNDECIDED.fullmatch(start):
            return ""
        if fence := _FENCE.fullmatch(start):
            self._fence = fence[1]
            return self._whole(start)
        if _RULE.fullmatch(start):
            return self._whole("─" * (self._layout.width // 2) if self._bullet == "•" else start)
        if start.startswith("|"):
            self._raw, self._start = Look.PLAIN, ""
            return start
        return self._text(start)

    def _whole(self, line: str) -> str:
        self._raw, self._start = Look.DIM, ""
        return painted(line, Look.DIM)

    def _in_code(self, start: str, *, final: bool) -> str:
        line = start.strip()
        may_close = self._fence.startswith(line) or not line.strip(self._fence[0])
        if may_close and not final:
            return ""
        if len(line) >= len(self._fence) and not line.strip(self._fence[0]):
            self._fence = ""
            return self._whole(start)
        self._raw, self._start = Look.CODE, ""
        return painted(start, Look.CODE)

    def _text(self, start: str) -> str:
        look, prefix, length = Look.PLAIN, "", 0
        layout = self._layout
        layout.start()
        if heading := _HEADING.match(start):
            look = Look.STRONG | (Look.UNDERLINED if len(heading[1]) == 1 else Look.PLAIN)
            length = heading.end()
        elif item := _ITEM.match(start):
            mark = item[2] if item[2][0].isdigit() else self._bullet
            prefix, length = f"{item[1]}{mark} ", item.end()
        elif quote := _QUOTE.match(start):
            prefix, length = "> ", quote.end()
        else:
            length = len(start) - len(start.lstrip(" "))
            prefix = start[:length]
        layout.start(len(prefix))
        self._inline, self._start = Inline(look), ""
        written = layout.prefix(prefix)
        return written + self._put(self._inline.feed(start[length:]))
