"""Writes an answer to standard output as it comes: safe, laid out, the reasoning apart."""

from __future__ import annotations

import sys

from launcher.cli import render
from launcher.cli.chat.inline import Look
from launcher.cli.chat.layout import painted
from launcher.cli.chat.markdown import Dim, Markdown, Painter, Plain
from launcher.cli.chat.state import View
from launcher.cli.chat.thinking import Piece, Splitter
from launcher.cli.render import Paper

BEGINS, ENDS = "Thinking...", "...done thinking."


class Voice:
    """One answer, on a terminal."""

    def __init__(self, view: View) -> None:
        paper = Paper.of(sys.stdout)
        self._styled = paper.styled and view.markdown
        self._width = max(paper.width - 1, 20)
        self._shows_thinking = view.thinking
        self.splitter = Splitter()
        self._thinks = False
        self._painter = self._painter_of(Piece(""))
        self._fresh = True
        """Whether the cursor stands at the beginning of a line."""

    def say(self, text: str) -> None:
        """Adds to the answer."""
        for piece in self.splitter.feed(render.speech(text.replace("\r\n", "\n"))):
            self._piece(piece)
        sys.stdout.flush()

    def finish(self) -> None:
        """Writes what was held back, and ends the line."""
        for piece in self.splitter.finish():
            self._piece(piece)
        self._write(self._painter.finish())
        if not self._fresh:
            self._write("\n")
        sys.stdout.flush()

    def _piece(self, piece: Piece) -> None:
        if piece.is_thought != self._thinks:
            self._turn(piece)
        if self._shows_thinking or not piece.is_thought:
            self._write(self._painter.feed(piece.text))

    def _turn(self, piece: Piece) -> None:
        """Between the reasoning and the answer."""
        self._write(self._painter.finish())
        if not self._fresh:
            self._write("\n")
        self._thinks = piece.is_thought
        if piece.is_thought:
            self._write(self._dim(BEGINS) + "\n")
        elif self._shows_thinking:
            self._write(self._dim(ENDS) + "\n\n")
        else:
            self._write("\n")
        self._painter = self._painter_of(piece)

    def _painter_of(self, piece: Piece) -> Painter:
        if not self._styled:
            return Plain()
        if piece.is_thought:
            return Dim(self._width)
        encoding = (sys.stdout.encoding or "").lower()
        return Markdown(self._width, "•" if encoding.startswith("utf") else "-")

    def _dim(self, text: str) -> str:
        return painted(text, Look.DIM) if self._styled else text

    def _write(self, text: str) -> None:
        if text:
            sys.stdout.write(text)
            self._fresh = text.endswith("\n")
