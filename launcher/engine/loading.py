"""What a worker loads: the model, and what is given beside it."""

from __future__ import annotations

import contextlib
import functools
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from launcher.engine import llama
from launcher.engine.computing import Computing
from launcher.engine.draft import Draft, Unsuitable
from launcher.engine.messages import Message
from launcher.engine.slots import Slots
from launcher.models.bundle import Role


class Failed(Exception):
    """A part could not be loaded."""

    def __init__(self, kind: str, message: str, at: int) -> None:
        """`at` is the number of the set that it is in."""
        super().__init__(message)
        self.kind = kind
        self.at = at


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """All that one worker computes with."""

    model: llama.Model
    context: llama.Context
    draft: Draft | None
    seen: Sequence[Message]
    """What the engine sees of each set of files."""


def load(message: Message, paths: Sequence[str]) -> Loaded:
    """Loads files as a message says. Raises `Failed`."""
    sets: list[Message] = message["sets"]
    rest = iter(paths)
    given = [list(itertools.islice(rest, each["files"])) for each in sets]
    numbers = {role: [at for at, each in enumerate(sets) if each["role"] == role] for role in Role}
    extra: bool = message["extra_buffers"]
    with _blamed(0):
        model = llama.Model(given[0], extra_buffers=extra)
    adapters = {}
    for at in numbers[Role.ADAPTER]:
        with _blamed(at):
            adapters[at] = llama.Adapter(model, given[at][0])
    with _blamed(0):
        slots: int = message.get("slots", 0)
        kind = functools.partial(Slots, slots=slots) if slots else llama.Context
        context = kind(model, tokens=message["context"], computing=Computing.of(message))
        context.adapt(list(adapters.values()))
    draft = None
    for at in numbers[Role.DRAFT]:
        if slots:
            raise Failed("draft", "several can ask it at once", at)
        same: bool = sets[at]["same_tokens"]
        with _blamed(at):
            draft = Draft(context, given[at], extra_buffers=extra, same_tokens=same)
    parts: dict[int, llama.Model | llama.Adapter] = {0: model, **adapters}
    if draft is not None:
        parts[numbers[Role.DRAFT][0]] = draft.model
    seen = [_seen(parts[at], each["compare"]) for at, each in enumerate(sets)]
    return Loaded(model=model, context=context, draft=draft, seen=seen)


@contextlib.contextmanager
def _blamed(at: int) -> Iterator[None]:
    """Whatever fails in the block is the fault of that set of files."""
    try:
        yield
    except llama.LoadFailed as error:
        raise Failed("load", str(error), at) from error
    except Unsuitable as error:
        raise Failed("draft", str(error), at) from error


def _seen(part: llama.Model | llama.Adapter, keys: Sequence[str]) -> Message:
    seen: Message = {"metadata": {key: part.metadata(key) for key in keys}}
    if isinstance(part, llama.Model):
        seen["sizes"] = part.sizes()
    return seen
