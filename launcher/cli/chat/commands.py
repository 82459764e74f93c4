"""What begins with a slash."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import click

from launcher.cli import render
from launcher.cli.chat import answering, clipboard, setting
from launcher.cli.chat.prompt import QUOTES
from launcher.cli.chat.state import Ask, Chat, Draft, Leave, Turn, tell
from launcher.cli.chat.thread import other_model
from launcher.cli.render import Paper
from launcher.engine.sampling import RANDOM
from launcher.errors import LauncherError
from launcher.sessions import Session, is_name

LISTED = 10  # sessions that /load shows
_CODE = re.compile(r"^ *(`{3,})[^\n`]*\n(.*?)^ *\1`* *$", re.DOTALL | re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Command:
    """A command, as `/help` shows it."""

    usage: str
    help: str
    act: Callable[[Chat, str], Turn]


def handle(chat: Chat, line: str) -> Turn:
    """Does what a line says that begins with a slash. Raises `LauncherError`."""
    word, _, argument = line.partition(" ")
    name = ALIASES.get(word, word)
    if name not in COMMANDS:
        raise LauncherError(
            f"There is no command {word!a}",
            hint='/help shows them. A message that begins with a slash goes between """.',
        )
    return COMMANDS[name].act(chat, argument.strip())


def completions(chat: Chat, line: str) -> list[str]:
    """What the last word of an unfinished line can become."""
    words = line.split(" ")
    if len(words) == 1:
        known = list(COMMANDS)
    elif words[0] == "/set" and len(words) == 2:
        known = setting.names()
    elif words[0] == "/set" and words[1] in setting.SWITCHES and len(words) == 3:
        known = ["on", "off"]
    elif words[0] == "/load" and len(words) == 2:
        known = chat.shelf.names()
    elif words[0] == "/copy" and len(words) == 2:
        known = ["code"]
    else:
        known = []
    return [each for each in known if each.startswith(words[-1])]


# --- Looking ------------------------------------------------------------------------------


def _help(chat: Chat, argument: str) -> Turn:
    width = max(len(command.usage) for command in COMMANDS.values())
    for command in COMMANDS.values():
        tell(f"  {command.usage:<{width}}  {command.help}")
    tell("")
    for keys, text in KEYS:
        tell(f"  {keys:<{width}}  {text}")
    return None


def _show(chat: Chat, argument: str) -> Turn:
    for line in _shown(chat, Paper.of(sys.stderr)):
        click.echo(line, err=True)
    return None


def _shown(chat: Chat, paper: Paper) -> Iterator[str]:
    about, session = chat.about, chat.session
    kept = str(chat.shelf.path(session.name)) if session.name else "not yet"
    yield render.safe(f"{about.title} ({about.ref})")
    yield render.safe(f"  Licence:   {', '.join(about.licences) or 'not known'}")
    yield f"  Context:   {chat.used or '?'} of {chat.engine.loaded.context} tokens in use"
    yield render.safe(f"  System:    {session.system or 'none'}")
    yield f"  Exchanges: {len(session.exchanges)}" + (
        f", the oldest {session.dropped} of them not shown to the model" * bool(session.dropped)
    )
    yield render.safe(f"  Settings:  {', '.join(setting.changed(chat)) or 'as by default'}")
    yield render.safe(f"  Kept in:   {'nowhere (--private)' if chat.private else kept}")
    for words in about.displays:
        yield f"  {words}"
    if about.duties:
        yield "  If you pass the model on, or a product with it:"
    for bound in about.duties:
        yield paper.fold(f"- {bound.duty.text}", "    ")


def _stats(chat: Chat, argument: str) -> Turn:
    if chat.last is None:
        raise LauncherError("Nothing was answered yet")
    for line in answering.stats(chat.last, chat.engine.loaded.context):
        tell(f"  {line}")
    speed = f", {chat.tokens / chat.seconds:.1f} a second" if chat.seconds else ""
    tell(f"  {chat.tokens} tokens in all{speed}")
    return None


# --- Changing -----------------------------------------------------------------------------


def _set(chat: Chat, argument: str) -> Turn:
    name, _, value = argument.partition(" ")
    if name == "system":
        return _system(chat, value)
    if name:
        setting.change(chat, name, value.strip())
    else:
        tell(f"  {', '.join(setting.names())}")
        tell("  /set NAME shows one, /set NAME default resets it.")
    return None


def _system(chat: Chat, argument: str) -> Turn:
    session = chat.session
    if argument:
        session.system = _unquoted(argument)
        chat.keep()
    tell(f"System: {session.system}" if session.system else "There is no system message.")
    return None


def _unquoted(text: str) -> str:
    """A text without the quotes around it."""
    for quotes in (QUOTES, '"', "'"):
        if len(text) >= 2 * len(quotes) and text.startswith(quotes) and text.endswith(quotes):
            return text[len(quotes) : -len(quotes)].strip("\n")
    return text


def _clear(chat: Chat, argument: str) -> Turn:
    kept = chat.session.name if chat.session.exchanges else ""
    chat.begin()
    tell(f"A new conversation. The one before: /load {kept}" if kept else "A new conversation.")
    return None


# --- Keeping ------------------------------------------------------------------------------


def _save(chat: Chat, argument: str) -> Turn:
    session, shelf = chat.session, chat.shelf
    if not session.exchanges:
        raise LauncherError("There is nothing to keep yet")
    if argument and not is_name(argument):
        raise LauncherError("A name has letters, digits, dots and dashes, 64 at most")
    if argument and argument != session.name:
        if shelf.exists(argument):
            if not _agreed(f"There is a session {argument} already. Replace it?"):
                return None
            shelf.remove(argument)
        before = session.name
        session.name, session.seen = argument, ""
        shelf.save(session)
        if before:
            shelf.remove(before)
    elif chat.private:
        shelf.save(session)
    tell(f"Kept in {shelf.path(session.name)}. Take it up with: /load {session.name}")
    return None


def _agreed(question: str) -> bool:
    try:
        return click.confirm(question, default=False, err=True)
    except click.Abort:
        click.echo(err=True)
        return False


def _load(chat: Chat, argument: str) -> Turn:
    if argument:
        take_up(chat, chat.shelf.load(argument))
        return None
    found = False
    for session in chat.shelf.lately(LISTED):
        found = True
        first = " ".join(session.exchanges[0].question.split()) if session.exchanges else ""
        tell(f"  {session.name}  {session.model}, {counted(session)}: {first[:50]}")
    if not found:
        raise LauncherError("There is no session yet")
    return None


def counted(session: Session) -> str:
    """How long a conversation is."""
    count = len(session.exchanges)
    return "1 exchange" if count == 1 else f"{count} exchanges"


def take_up(chat: Chat, session: Session) -> None:
    """Goes on with a conversation that was kept."""
    chat.session, chat.last = session, None
    tell(f"Taken up: {session.name}, {counted(session)}.")
    if session.model != chat.about.ref:
        tell(other_model(session, chat.about))
    if session.dropped:
        tell(f"Note: The oldest {session.dropped} of them are not shown to the model.")
    if session.exchanges:
        tell(f">>> {session.exchanges[-1].question}")
        tell(session.exchanges[-1].answer)


# --- Again --------------------------------------------------------------------------------


def _last(chat: Chat) -> str:
    if not chat.session.exchanges:
        raise LauncherError("Nothing was asked yet")
    return chat.session.exchanges[-1].question


def _regen(chat: Chat, argument: str) -> Turn:
    question = _last(chat)
    sampling = chat.style.sampling
    if sampling.get("temperature") == 0:
        tell("Note: At temperature 0 the answer stays the same (/set temp 0.8).")
    elif "seed" in sampling and sampling["seed"] != RANDOM:
        seed = (sampling["seed"] + 1) % 2**32
        chat.style = replace(chat.style, sampling={**sampling, "seed": seed})
        tell(f"seed: {seed}")
    return Ask(question, instead=True)


def _retry(chat: Chat, argument: str) -> Turn:
    return Draft(_last(chat), instead=True)


def _edit(chat: Chat, argument: str) -> Turn:
    try:
        text = click.edit(argument, extension=".md")
    except click.ClickException as error:
        raise LauncherError(error.format_message(), hint="Set $VISUAL or $EDITOR.") from error
    return Draft(text.strip()) if text is not None else None


def _copy(chat: Chat, argument: str) -> Turn:
    _last(chat)
    text = chat.session.exchanges[-1].answer
    if argument == "code":
        blocks = _CODE.findall(text)
        if not blocks:
            raise LauncherError("There is no block of code in the last answer")
        text = blocks[-1][1]
    tell(clipboard.copy(render.speech(text), sys.stdout))
    return None


def _exit(chat: Chat, argument: str) -> Turn:
    return Leave()


COMMANDS = {
    "/help": Command("/help, /?", "this list", _help),
    "/show": Command("/show", "the model, its licence and duties, the context, settings", _show),
    "/set": Command("/set [NAME [VALUE]]", "temp 0.2, think off, stats on, ...", _set),
    "/system": Command("/system [TEXT]", 'what the model is told beforehand; "" for none', _system),
    "/clear": Command("/clear", "start a new conversation", _clear),
    "/save": Command("/save [NAME]", "keep the conversation under a name", _save),
    "/load": Command("/load [NAME]", "take a kept conversation up; the list of them", _load),
    "/regen": Command("/regen", "another answer to the last question", _regen),
    "/retry": Command("/retry", "change the last question, and ask it again", _retry),
    "/edit": Command("/edit [TEXT]", "write a message in an editor ($VISUAL, $EDITOR)", _edit),
    "/copy": Command("/copy [code]", "copy the last answer, or the last code in it", _copy),
    "/stats": Command("/stats", "speed, and use of the context", _stats),
    "/exit": Command("/exit, /bye, /quit", "leave, as Ctrl-D does", _exit),
}
ALIASES = {"/?": "/help", "/bye": "/exit", "/quit": "/exit"}
KEYS = (
    ('"""', "begins and ends a message of several lines"),
    ("Alt-Enter", "a new line"),
    ("Ctrl-X Ctrl-E", "the message in an editor"),
    ("Ctrl-C", "end the answer; Ctrl-D: leave"),
)
