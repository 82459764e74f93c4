"""A chat: what a person types, and what comes of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click
from prompt_toolkit.history import InMemoryHistory

from launcher.cli import render
from launcher.cli.chat import answering, commands
from launcher.cli.chat.about import About
from launcher.cli.chat.history import PrivateHistory
from launcher.cli.chat.manner import Manner
from launcher.cli.chat.prompt import Prompt, unquoted
from launcher.cli.chat.state import Ask, Chat, Draft, Leave, Turn, View, tell
from launcher.cli.generation import Style
from launcher.errors import EngineDied, LauncherError
from launcher.paths import Places
from launcher.sessions import Session, Shelf

if TYPE_CHECKING:
    from launcher.engine.client import Engine


def chat(engine: Engine, style: Style, about: About, places: Places, manner: Manner) -> None:
    """Holds a chat until the person leaves it."""
    talk = Chat(
        engine=engine,
        about=about,
        style=style,
        view=View(thinking=not manner.hides_thinking, markdown=not manner.plain),
        session=Session(model=about.ref, system=style.system or ""),
        shelf=Shelf(places.sessions),
        private=manner.private,
    )
    _greet(talk)
    if manner.continues:
        _take_up(talk, style.system)
    prompt = Prompt(
        InMemoryHistory() if manner.private else PrivateHistory(places.chat_history),
        lambda line: commands.completions(talk, line),
    )
    try:
        _converse(talk, prompt)
    except (EngineDied, KeyboardInterrupt):
        _say_where(talk)
        raise
    _say_where(talk)


def _greet(talk: Chat) -> None:
    about = talk.about
    words = "".join(f" {text}." for text in about.displays)
    licences = ", ".join(about.licences) or "licence not known"
    tell(f"Talking to {about.title} ({licences}).{words} /? for help.")


def _take_up(talk: Chat, system: str | None) -> None:
    """Goes on with the session that was written last."""
    session = talk.shelf.last()
    if session is None:
        tell("There is no conversation to take up yet: this is a new one.")
        return
    commands.take_up(talk, session)
    if system is not None:
        talk.session.system = system


def _say_where(talk: Chat) -> None:
    if talk.session.name and talk.session.exchanges:
        tell(f"Kept as {talk.session.name}; --continue takes it up.")


def _converse(talk: Chat, prompt: Prompt) -> None:
    turn: Turn = None
    while not isinstance(turn, Leave):
        turn = _turn(talk, prompt, turn)


def _turn(talk: Chat, prompt: Prompt, turn: Turn) -> Turn:
    """One step: an answer, or what is typed next."""
    try:
        if isinstance(turn, Ask):
            return answering.answer(talk, turn)
        draft = turn if isinstance(turn, Draft) else Draft("")
        return _typed(talk, prompt, draft)
    except EngineDied:
        raise
    except LauncherError as error:
        click.echo(render.error_text(error), err=True, nl=False)
        return None


def _typed(talk: Chat, prompt: Prompt, draft: Draft) -> Turn:
    try:
        text = prompt.ask(draft.text)
    except EOFError:
        return Leave()
    except KeyboardInterrupt:
        if not prompt.typed:
            tell("Leave with Ctrl-D or /bye.")
        return None
    if text.startswith("/"):
        return commands.handle(talk, text)
    question = unquoted(text)
    return Ask(question, draft.instead) if question.strip() else None
