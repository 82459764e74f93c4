"""A chat as it stands, and what a command makes of it."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

import click

from launcher.cli import render
from launcher.cli.chat.about import About
from launcher.cli.generation import Style
from launcher.errors import LauncherError
from launcher.sessions import Exchange, Session, Shelf

if TYPE_CHECKING:
    from launcher.engine.client import Done, Engine


@dataclass(slots=True, kw_only=True)
class View:
    """How answers are shown."""

    thinking: bool = True
    markdown: bool = True
    stats: bool = True
    """A line after each answer."""


@dataclass(frozen=True, slots=True)
class Ask:
    """Put a question to the model."""

    question: str
    instead: bool = False
    """In the place of the last exchange."""


@dataclass(frozen=True, slots=True)
class Draft:
    """Let the person go on with a text."""

    text: str
    instead: bool = False


@dataclass(frozen=True, slots=True)
class Leave:
    """End the chat."""


_ENDS = {"length": "cut off by max_tokens, ", "stopped": "stopped, "}
Turn = Ask | Draft | Leave | None


@dataclass(slots=True, kw_only=True)
class Chat:
    """A chat as it stands."""

    engine: Engine
    about: About
    style: Style
    view: View
    session: Session
    shelf: Shelf
    private: bool = False
    """Nothing of it is kept."""
    last: Done | None = None
    """How the last answer went."""
    tokens: int = 0
    """Of all answers."""
    seconds: float = 0.0

    @property
    def status(self) -> str:
        """One line: the speed of the last answer, the use of the context."""
        context = f"{self.used} of {self.engine.loaded.context} tokens of context"
        if self.last is None or not self.last.seconds:
            return context
        speed = f"{self.last.tokens / self.last.seconds:.1f} tokens/s"
        return f"{_ENDS.get(self.last.reason, '')}{speed}, {context}"

    @property
    def used(self) -> int:
        """Tokens of the context that the conversation takes, as of the last answer."""
        return self.last.prompt_tokens + self.last.tokens if self.last is not None else 0

    def begin(self) -> None:
        """Begins a new conversation; the old one stays where it is kept."""
        self.session = Session(model=self.about.ref, system=self.session.system)
        self.last = None

    def note(self, exchange: Exchange) -> None:
        """Adds an exchange, and keeps the conversation."""
        self.session.exchanges.append(exchange)
        self.session.model = self.about.ref
        self.keep()

    def keep(self) -> None:
        """Writes the conversation to where it is kept. A full disk is said, and ends nothing."""
        if self.private or not (self.session.exchanges or self.session.name):
            return
        try:
            if not self.shelf.save(self.session):
                tell(
                    "This conversation was changed by another program meanwhile: it goes on as "
                    f"{self.session.name}."
                )
        except LauncherError as error:
            tell(f"Warning: {error.message}.")


def tell(sentence: str) -> None:
    """Says something to the person, apart from the model's words."""
    click.echo(render.Paper.of(sys.stderr).fold(sentence), err=True)
