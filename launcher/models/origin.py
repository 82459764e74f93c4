"""The files of a repository: in the cache on this disk, or still at the hub."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from launcher.errors import NotFound
from launcher.models import cards, quants
from launcher.models.bundle import Bundle, Part, Role, pinned, read_header
from launcher.models.cache import Cache, CachedFile
from launcher.models.gguf import Header
from launcher.models.quants import Choice
from launcher.models.refs import HubRef, Ref
from launcher.models.remote import RemoteFile, Repository

if TYPE_CHECKING:
    from launcher.models.hub import Hub

Pick = Callable[[Sequence[Choice], str, Callable[[Choice], Header]], Choice]


def usual(found: Sequence[Choice], repository: str, _: Callable[[Choice], Header]) -> Choice:
    """Picks what people expect who name neither a file nor a quant."""
    return quants.usual(found, repository)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reach:
    """How far a reference is followed."""

    cache: Cache
    cards: Path
    """Where the cards that were read are kept."""
    library: Path
    """Where files lie that were brought in by hand."""
    hub: Callable[[], Hub] | None = None
    """The way to the hub; None where nothing may be asked."""
    headers: Path | None = None
    """Where headers that were read are kept; None where the files themselves must be read."""
    anew: bool = False
    """Whether the hub is asked although something is here."""
    pick: Pick = usual
    """Chooses where neither a file nor a quant is named."""


# --- Here ---------------------------------------------------------------------------------------


def in_cache(ref: HubRef, cache: Cache) -> tuple[CachedFile, ...]:
    """All files of the model that a reference stands for; empty where they are not here."""
    commit = cache.commit(ref.repository, ref.revision)
    files = [file for file in cache.files(ref.repository) if file.commit == commit]
    choice = _chosen([(file.name, file.size) for file in files], ref)
    if choice is None:
        return ()
    by_name = {file.name: file for file in files}
    return tuple(by_name[name] for name in choice.files)


def _chosen(files: Sequence[tuple[str, int]], ref: HubRef) -> Choice | None:
    found = quants.choices(files)
    for name, size in files:
        if name == ref.file and not any(name in choice.files for choice in found):
            return Choice(quant=quants.label(name), files=(name,), size=size)
    try:
        if ref.file:
            return quants.by_file(found, ref.repository, ref.file)
        if ref.quant:
            return quants.by_quant(found, ref.repository, ref.quant)
        return quants.usual(found, ref.repository)
    except NotFound:
        return None


def known(parts: Sequence[Part], files: Sequence[CachedFile], reach: Reach) -> Iterator[Part]:
    """Parts that were read from the cache, with what is known of their files."""
    for part, file in zip(parts, files, strict=True):
        remote = RemoteFile(
            repository=file.repository,
            commit=file.commit,
            name=file.name,
            size=file.size,
            sha256=file.called,
        )
        chain = cards.recall(reach.cards, file.repository, file.commit)
        yield replace(part, expected=file.called, origin=remote, chain=chain)


# --- At the hub ---------------------------------------------------------------------------------


def at_hub(ref: HubRef, asked: Ref, reach: Reach, model: str = "") -> Bundle:
    """What a reference stands for, as far as the hub says; its header is read, and no more.

    A repository that cannot be read gives a bundle of one nameless part with the obstacle:
    what its name alone shuts out is refused before anybody is told to log in. `asked` and
    `model` are what the user typed, and the catalogue's name for it.
    """
    assert reach.hub is not None
    hub = reach.hub()
    try:
        repository = hub.repository(ref.repository, ref.revision)
    except NotFound as error:
        part = Part(role=Role.WEIGHTS, name=str(ref))
        return Bundle(ref=asked, parts=(part,), model=model, obstacle=error)
    chain = hub.chain(repository)
    cards.remember(reach.cards, repository.name, repository.commit, chain)
    files = _choose(repository, ref, hub, reach.pick)
    header: Header | None = None
    obstacle: NotFound | None = None
    try:
        header = _header(files[0], hub, reach.cache)
    except NotFound as error:
        obstacle = error
    parts = tuple(
        Part(
            role=Role.SHARD if index else Role.WEIGHTS,
            name=file.name.rpartition("/")[2],
            header=None if index else header,
            sha256=file.sha256,
            expected=file.sha256,
            origin=file,
            chain=chain,
        )
        for index, file in enumerate(files)
    )
    return Bundle(ref=asked, parts=parts, model=model, obstacle=obstacle)


def _header(file: RemoteFile, hub: Hub, cache: Cache) -> Header:
    """The header of a file, from here where its bytes are here."""
    path = cache.present(file)
    if path is None:
        return hub.header(file)
    with pinned(path) as here:
        return read_header(here)


def _choose(repository: Repository, ref: HubRef, hub: Hub, pick: Pick) -> tuple[RemoteFile, ...]:
    found = quants.choices([(file.name, file.size) for file in repository.ggufs])
    if ref.file:
        file = repository.file(ref.file)  # its own words name what is nearest
        if quants.is_beside(ref.file):
            return (file,)
        choice = quants.by_file(found, ref.repository, ref.file)
    elif ref.quant:
        choice = quants.by_quant(found, ref.repository, ref.quant)
    else:
        choice = pick(found, ref.repository, lambda one: hub.header(repository.file(one.files[0])))
    return tuple(repository.file(name) for name in choice.files)
