"""Puts a question to the model, and lets the person choose when the context is full."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass

import click

from launcher.cli import render
from launcher.cli.chat.inline import Look
from launcher.cli.chat.layout import painted
from launcher.cli.chat.state import Ask, Chat, Draft, Leave, Turn, tell
from launcher.cli.chat.voice import Voice
from launcher.cli.chat.words import Words
from launcher.cli.interrupting import interruptible, unseen_keys
from launcher.cli.render import Paper
from launcher.engine.client import Done
from launcher.errors import ContextFull, EngineDied, LauncherError
from launcher.sessions import Exchange

LEFT = 0.5  # the share of a conversation that is left when the oldest part is left out


@dataclass(frozen=True, slots=True)
class _Outcome:
    """What became of a question."""

    exchange: Exchange | None = None
    full: str = ""
    """That the context is full, with numbers; empty where it is not."""


def answer(chat: Chat, wanted: Ask) -> Turn:
    """Puts a question, until there is an answer or the person leaves it."""
    before = chat.session.exchanges.pop() if wanted.instead and chat.session.exchanges else None
    chat.session.dropped = min(chat.session.dropped, len(chat.session.exchanges))
    while True:
        outcome = _attempt(chat, wanted.question)
        choice = _choose(chat, outcome) if outcome.full else "keep"
        if choice == "drop":
            count = chat.session.drop(LEFT)
            tell(f"{_exchanges(count)} left out; kept where the conversation is kept.")
        elif choice == "new":
            chat.begin()
        else:
            break
    if outcome.exchange is not None:
        chat.note(outcome.exchange)
    elif before is not None:
        chat.session.exchanges.append(before)
    if choice == "leave":
        return Leave()
    return Draft(wanted.question) if choice == "back" else None


def _attempt(chat: Chat, question: str) -> _Outcome:
    """One try. Raises `EngineDied`; what else goes wrong is said."""
    try:
        exchange, done = _stream(chat, question)
    except ContextFull as error:
        return _Outcome(full=f"{error.message}.")
    except EngineDied:
        raise
    except LauncherError as error:
        click.echo(render.error_text(error), err=True, nl=False)
        return _Outcome()
    if done.reason != "context":
        return _Outcome(exchange)
    return _Outcome(
        exchange,
        f"The context is full: {done.prompt_tokens} tokens of the conversation and "
        f"{done.tokens} of the answer, of {chat.engine.loaded.context} in all.",
    )


def _stream(chat: Chat, question: str) -> tuple[Exchange, Done]:
    """Shows the answer as it comes; Ctrl-C ends it, not the chat."""
    voice = _voice(chat)
    messages = [*chat.session.messages, {"role": "user", "content": question}]
    done = None
    with unseen_keys(), interruptible(chat.engine.stop) as interrupted:
        events = chat.engine.generate(messages, **chat.style.wishes)
        if interrupted():
            chat.engine.stop()  # Ctrl-C came before there was anything to stop
        for event in events:
            if isinstance(event, Done):
                done = event
            else:
                voice.say(event.text)
    voice.finish()
    assert done is not None
    _count(chat, done)
    click.echo(err=True)
    said = voice.splitter
    return Exchange(question=question, answer=said.said, thought=said.thought), done


def _voice(chat: Chat) -> Voice | Words:
    if sys.stdout.isatty():
        return Voice(chat.view)
    return Words(hides_thinking=not chat.view.thinking)


def _count(chat: Chat, done: Done) -> None:
    chat.last = done
    chat.tokens += done.tokens
    chat.seconds += done.seconds
    if chat.view.stats:
        line, styled = f"({chat.status})", Paper.of(sys.stderr).styled and chat.view.markdown
        click.echo(painted(line, Look.DIM) if styled else line, err=True)


def stats(done: Done, context: int) -> Iterator[str]:
    """An answer in numbers."""
    speed = f" ({done.tokens / done.seconds:.1f} a second)" if done.seconds else ""
    yield f"{done.tokens} tokens in {done.seconds:.1f} s{speed}"
    yield (
        f"{done.prompt_tokens} tokens before it, {done.prompt_computed} of them read anew in "
        f"{done.prompt_seconds:.1f} s"
    )
    if done.guessed:
        yield f"{done.guessed} tokens guessed ahead, {done.guessed_right} of them rightly"
    yield f"{done.prompt_tokens + done.tokens} of {context} tokens of context in use"
    if done.reason == "length":
        yield "ended at --max-tokens"


# --- A full context -----------------------------------------------------------------------


def _choose(chat: Chat, outcome: _Outcome) -> str:
    """What is to be done about a full context: drop, new, keep, back or leave."""
    choices = dict(_choices(chat, outcome))
    tell(f"{outcome.full} Nothing was cut off. You can:")
    for key, (_, label) in choices.items():
        tell(f"  {key}  {label}")
    try:
        key = click.prompt("Your choice", type=click.Choice(list(choices)), err=True)
    except click.Abort:
        click.echo(err=True)
        key = list(choices)[-2]
    return choices[key][0]


def _choices(chat: Chat, outcome: _Outcome) -> Iterator[tuple[str, tuple[str, str]]]:
    """Key: what it does, and how it is told. The last but one changes nothing."""
    again = "answer again" if outcome.exchange is not None else "answer"
    if chat.session.shown:
        yield "d", ("drop", f"drop the oldest part of the conversation, about half, and {again}")
        yield "n", ("new", f"start anew with this question, and {again}")
    if outcome.exchange is not None:
        yield "k", ("keep", "keep the answer as far as it goes")
    else:
        yield "b", ("back", "take the question back, to make it shorter")
    yield "q", ("leave", "leave; a longer context is had with --ctx-size and --continue")


def _exchanges(count: int) -> str:
    return f"The oldest {count} exchanges are" if count > 1 else "The oldest exchange is"
