"""Tells what an answer says from its reasoning and from the tools it calls, as it comes.

What only looks like a call is text: nothing that the model wrote is lost or said twice. How the
answer was cut into pieces changes nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol

from launcher.serving.tools import harmony
from launcher.serving.tools.asking import Asked
from launcher.serving.tools.deltas import (
    CallArguments,
    CallBegun,
    Content,
    Delta,
    Reasoning,
    new_id,
)
from launcher.serving.tools.forced import ForcedReader
from launcher.serving.tools.free import FreeReader
from launcher.serving.tools.harmony import HarmonyReader
from launcher.serving.tools.reasoning import TAGS

__all__ = [
    "Answer",
    "CallArguments",
    "CallBegun",
    "Content",
    "Delta",
    "Made",
    "Reader",
    "Reasoning",
    "joined",
    "new_id",
    "plain",
    "reader",
]


class Reader(Protocol):
    """Reads one answer."""

    calls: int
    """How many tools were called by now; with any, the answer's end is `tool_calls`."""

    @property
    def is_over(self) -> bool:
        """Whether what may still come is not wanted: the one call that may be was made."""

    def feed(self, text: str) -> Iterator[Delta]:
        """What can be told by now. The iterator has to be used up before the next piece."""

    def finish(self) -> Iterator[Delta]:
        """What was held back, when the answer is at its end."""


def reader(
    asked: Asked,
    *,
    reasoning: bool = True,
    template: str = "",
    ids: Callable[[], str] = new_id,
) -> Reader:
    """A reader for the answer to what was asked.

    With `reasoning`, what the model thinks is told apart. `template` is the one in the model's
    file; `ids` names the calls.

    >>> one = reader(Asked())
    >>> [*one.feed("<think>Hm.</th"), *one.feed("ink>So"), *one.finish()]
    [Reasoning(text='Hm.'), Content(text='So')]
    """
    if asked.is_forced:
        return ForcedReader(ids)
    kind = HarmonyReader if harmony.is_form_of(template) else FreeReader
    return kind(asked, reasoning=reasoning, ids=ids)


def plain(asked: Asked, *, reasoning: bool, template: str) -> bool:
    """Whether nothing has to be told apart in the answers: each piece is content as it is."""
    thinks = reasoning and any(opening in template for opening, _ in TAGS)
    return not asked.tools and not thinks and not harmony.is_form_of(template)


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """A call as a whole."""

    id: str
    name: str
    arguments: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """An answer as a whole."""

    content: str
    reasoning: str
    calls: tuple[Made, ...]


def joined(deltas: Iterable[Delta]) -> Answer:
    """What the pieces of an answer come to."""
    content, reasoning = "", ""
    calls: list[Made] = []
    for delta in deltas:
        if isinstance(delta, Content):
            content += delta.text
        elif isinstance(delta, Reasoning):
            reasoning += delta.text
        elif isinstance(delta, CallBegun):
            calls.append(Made(id=delta.id, name=delta.name, arguments=""))
        else:
            made = calls[delta.index]
            arguments = made.arguments + delta.text
            calls[delta.index] = Made(id=made.id, name=made.name, arguments=arguments)
    return Answer(content=content, reasoning=reasoning, calls=tuple(calls))
