"""What a worker loads: the model, and what is given beside it."""

from __future__ import annotations

import contextlib
import functools
import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from launcher.engine.computing import Computing
from launcher.engine.messages import Message
from launcher.engine.worker import llama
from launcher.engine.worker.draft import Draft, Unsuitable
from launcher.engine.worker.images import Eye
from launcher.engine.worker.slots import Slots
from launcher.models.bundle import Role

Part: TypeAlias = llama.Model | llama.Adapter | Draft | Eye


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
    eye: Eye | None
    seen: Sequence[Message]
    """What the engine sees of each set of files."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Set:
    """A file, or all shards of one, and what is asked of it."""

    at: int
    role: Role
    paths: Sequence[str]
    asked: Message


def load(message: Message, paths: Sequence[str], has_come: Callable[[llama.Model], None]) -> Loaded:
    """Loads files as a message says. Raises `Failed`.

    The model `has_come` as soon as it is there, and before what computes with it.
    """
    sets = list(_sets(message["sets"], paths))
    main, beside = sets[0], sets[1:]
    extra: bool = message["extra_buffers"]
    with _blamed(main):
        layers: int = message.get("gpu_layers", 0)
        model = llama.Model(main.paths, extra_buffers=extra, gpu_layers=layers)
    has_come(model)
    found: dict[int, Part] = {main.at: model}
    adapters = [each for each in beside if each.role is Role.ADAPTER]
    for each in adapters:
        with _blamed(each):
            found[each.at] = llama.Adapter(model, each.paths[0])
    with _blamed(main):
        context = _context(model, message)
        context.adapt([part for part in found.values() if isinstance(part, llama.Adapter)])
    for each in beside:
        if each.role in (Role.MMPROJ, Role.DRAFT):
            with _blamed(each):
                found[each.at] = _companion(context, each, extra_buffers=extra)
    return Loaded(
        model=model,
        context=context,
        draft=next((part for part in found.values() if isinstance(part, Draft)), None),
        eye=next((part for part in found.values() if isinstance(part, Eye)), None),
        seen=[_seen(found[each.at], each.asked["compare"]) for each in sets],
    )


def _sets(asked: Sequence[Message], paths: Sequence[str]) -> Iterator[_Set]:
    rest = iter(paths)
    for at, each in enumerate(asked):
        own = list(itertools.islice(rest, each["files"]))
        yield _Set(at=at, role=Role(each["role"]), paths=own, asked=each)


def _context(model: llama.Model, message: Message) -> llama.Context:
    slots: int = message.get("slots", 0)
    kind = functools.partial(Slots, slots=slots) if slots else llama.Context
    return kind(model, tokens=message["context"], computing=Computing.of(message))


def _companion(context: llama.Context, given: _Set, *, extra_buffers: bool) -> Draft | Eye:
    """What works beside the model. Raises `LoadFailed` or `Unsuitable`."""
    if isinstance(context, Slots):
        raise Unsuitable("a model that many ask at once goes without")
    if given.role is Role.DRAFT:
        same: bool = given.asked["same_tokens"]
        return Draft(context, given.paths, extra_buffers=extra_buffers, same_tokens=same)
    eye = Eye(context.model, given.paths[0], context.computing.threads)
    context.places = eye.turns_positions
    return eye


@contextlib.contextmanager
def _blamed(given: _Set) -> Iterator[None]:
    """Whatever fails in the block is the fault of that set of files."""
    try:
        yield
    except llama.LoadFailed as error:
        raise Failed("load", str(error), given.at) from error
    except Unsuitable as error:
        raise Failed("unsuitable", str(error), given.at) from error


def _seen(part: Part, keys: Sequence[str]) -> Message:
    if isinstance(part, Eye):
        return {"metadata": {}, "senses": part.seen()}
    source = part.model if isinstance(part, Draft) else part
    seen: Message = {"metadata": {key: source.metadata(key) for key in keys}}
    if isinstance(source, llama.Model):
        seen["sizes"] = source.sizes()
    return seen
