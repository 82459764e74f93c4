"""`/set`: what can be changed in a chat, by the names that the options have."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields, replace
from functools import cache
from typing import Any

import click

from launcher.cli import generation
from launcher.cli.chat.state import Chat, View, tell
from launcher.engine.drafting import Drafting
from launcher.engine.sampling import Sampling
from launcher.errors import LauncherError

SWITCHES = {"think": "thinking", "markdown": "markdown", "stats": "stats"}
_WORDS = {"on": True, "off": False}
_DEFAULT = "default"
_NOT_HERE = ("logprobs", "chat_template", "chat_template_file", "template", "reasoning", "raw")
# Which field of `Style` a setting belongs to, and what it is by default.
_GROUPS: dict[str, Sampling | Drafting] = {"sampling": Sampling(), "drafting": Drafting()}
_GROUP = {each.name: group for group, default in _GROUPS.items() for each in fields(default)}
_DEFAULTS = {name: getattr(_GROUPS[group], name) for name, group in _GROUP.items()}


@cache
def _options() -> dict[str, click.Option]:
    """The options of `run` about answers, by each of their names and that of their field."""

    @click.command()
    @generation.styled
    def dummy(**_: Any) -> None:
        """Only to ask it for its options."""

    found: dict[str, click.Option] = {}
    for option in dummy.params:
        if isinstance(option, click.Option) and option.name and option.name not in _NOT_HERE:
            names = [*option.opts, option.name]
            found.update({name.lstrip("-").replace("-", "_"): option for name in names})
    return found


def names() -> list[str]:
    """What can be set."""
    return sorted({*SWITCHES, *(max(option.opts, key=len)[2:] for option in _options().values())})


def change(chat: Chat, name: str, value: str) -> None:
    """Sets one thing, and says what it is now. Raises `LauncherError` for what cannot be."""
    key = name.lstrip("-").replace("-", "_")
    if key in SWITCHES:
        _switch(chat.view, key, value)
        tell(f"{key}: {'on' if getattr(chat.view, SWITCHES[key]) else 'off'}")
        return
    option = _options().get(key)
    if option is None:
        raise LauncherError(f"{name!a} cannot be set", hint=f"These can: {', '.join(names())}.")
    assert option.name is not None
    if value:
        _put(chat, option.name, _value(option, value))
    tell(f"{key}: {_shown(current(chat)[option.name])}")


def _switch(view: View, key: str, value: str) -> None:
    if value and value not in _WORDS:
        raise LauncherError(f"{key} is on or off")
    if value:
        setattr(view, SWITCHES[key], _WORDS[value])


def _value(option: click.Option, text: str) -> Any:
    """A value as the option understands it."""
    if text == _DEFAULT:
        return None
    try:
        value = option.type.convert(text, option, None)
    except click.BadParameter as error:
        raise LauncherError(error.format_message()) from error
    return (value,) if option.multiple else value


def _put(chat: Chat, field: str, value: Any) -> None:
    style = chat.style
    group = _GROUP.get(field)
    if group is not None:
        before: dict[str, Any] = getattr(style, group)
        others = {name: known for name, known in before.items() if name != field}
        given = {} if value is None else {field: generation.as_field(field, value)}
        put: dict[str, Any] = {group: {**others, **given}}
        chat.style = replace(style, **put)
        return
    if field == "max_tokens" and value == -1:
        value = None
    empty: dict[str, Any] = {"max_tokens": None, "stop": ()}
    changed = {field: empty.get(field, "") if value is None else value}
    if field in ("grammar", "json_schema"):  # the one takes the place of the other
        changed = {"grammar": "", "json_schema": "", **changed}
    chat.style = replace(style, **changed)


def current(chat: Chat) -> dict[str, Any]:
    """Everything that can be set but the switches, as it is."""
    others = ("max_tokens", "stop", "grammar", "json_schema")
    kept = {name: getattr(chat.style, name) for name in others}
    return {**_DEFAULTS, **chat.style.sampling, **chat.style.drafting, **kept}


def changed(chat: Chat) -> Iterator[str]:
    """What is not as it is by default."""
    for name, value in current(chat).items():
        if value not in (_DEFAULTS.get(name), None, "", (), {}):
            yield f"{name} {_shown(value)}"


def _shown(value: Any) -> str:
    """As it is typed."""
    if isinstance(value, bool):
        return "on" if value else "off"
    if value is None or value in ("", (), {}):
        return "not set"
    if isinstance(value, dict):
        value = " ".join(f"{token}{bias:+g}" for token, bias in value.items())
    text = " ".join((";".join(value) if isinstance(value, tuple) else str(value)).split())
    return text if len(text) < 60 else text[:57] + "..."
