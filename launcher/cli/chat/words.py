"""Writes an answer to standard output as it is: the model's words and nothing else."""

from __future__ import annotations

import sys

from launcher.cli import render
from launcher.cli.chat.thinking import Piece, Splitter


class Words:
    """One answer. A terminal is not steered by it; a pipe gets it to the byte."""

    def __init__(self, *, hides_thinking: bool) -> None:
        self._hides = hides_thinking
        self._steered = sys.stdout.isatty()
        self.splitter = Splitter()
        self._ended = False

    def say(self, text: str) -> None:
        """Adds to the answer."""
        pieces = list(self.splitter.feed(text))
        self._write(self._said(pieces) if self._hides else text)
        sys.stdout.flush()

    def finish(self) -> None:
        """Writes what was held back, and ends the line."""
        pieces = list(self.splitter.finish())
        self._write(self._said(pieces) if self._hides else "")
        if not self._ended:
            self._write("\n")
        sys.stdout.flush()

    @staticmethod
    def _said(pieces: list[Piece]) -> str:
        return "".join(piece.text for piece in pieces if not piece.is_thought)

    def _write(self, text: str) -> None:
        if text:
            sys.stdout.write(render.speech(text) if self._steered else text)
            self._ended = text.endswith("\n")
