"""How a chat is held, as the command line says."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import click

F = TypeVar("F", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True, kw_only=True)
class Manner:
    """How a chat is held."""

    continues: bool
    """Goes on with the conversation that was kept last."""
    plain: bool
    hides_thinking: bool
    private: bool
    """Nothing of it is kept."""


_OPTIONS = (
    click.option(
        "--continue",
        "continues",
        is_flag=True,
        help="Go on with the last conversation.",
    ),
    click.option("--plain", is_flag=True, help="Show answers as they are, without Markdown."),
    click.option(
        "--hide-thinking", "hides_thinking", is_flag=True, help="Do not show what a model reasons."
    ),
    click.option("--private", is_flag=True, help="Keep nothing of this chat."),
)


def held(command: F) -> F:
    """Adds the options of which `manner` makes a `Manner`."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def manner(values: dict[str, Any]) -> Manner:
    """What the options say; they are taken out of the values."""
    names = ("continues", "plain", "hides_thinking", "private")
    return Manner(**{name: values.pop(name) for name in names})
