"""From a reference to the open files it stands for. Nothing big is read or fetched here."""

from __future__ import annotations

import contextlib
import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from launcher.errors import HeaderError, NotFound
from launcher.models import gguf, headers, origin
from launcher.models.bundle import Asked, Bundle, Part, PinnedFile, Role, pinned, read_header
from launcher.models.catalogue import Catalogue, Model
from launcher.models.fingerprint import fingerprint
from launcher.models.origin import Reach
from launcher.models.refs import CatalogueRef, HubRef, PathRef, Ref

_SHARD = re.compile(r"(.+)-(\d{5})-of-(\d{5})\.gguf")
MAX_SHARDS = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Beside:
    """Something to be loaded beside a model."""

    role: Role
    ref: Ref
    reach: Reach | None = None


class _Desk(contextlib.ExitStack):
    """The files that are open, and where headers are kept that need not be read again."""

    def __init__(self, kept: Path | None) -> None:
        super().__init__()
        self._kept = kept

    @property
    def looks_only(self) -> bool:
        """Whether nothing will be loaded."""
        return self._kept is not None

    def header(self, file: PinnedFile) -> gguf.Header:
        return headers.known(self._kept, file) if self._kept is not None else read_header(file)


@contextlib.contextmanager
def resolved(
    ref: Ref, catalogue: Catalogue, reach: Reach | None = None, beside: Sequence[Beside] = ()
) -> Iterator[Bundle]:
    """The bundle that a reference stands for, its files open while the block runs.

    Without a `reach` only paths and installed packages are looked at.

    A model that is not on this disk gives a bundle without files. Raises `NotFound` for a
    name or a path that leads nowhere, `IntegrityError` for a file that is no model.
    """
    with _Desk(reach.headers if reach is not None else None) as desk:
        bundle = _bundle(ref, catalogue, reach, desk)
        for each in beside:
            bundle = _with(bundle, each.role, _bundle(each.ref, catalogue, each.reach, desk))
        yield bundle


def _bundle(ref: Ref, catalogue: Catalogue, reach: Reach | None, desk: _Desk) -> Bundle:
    if isinstance(ref, PathRef):
        return _from_path(ref, ref.path, desk)
    if isinstance(ref, HubRef):
        unread = Part(role=Role.WEIGHTS, name=str(ref))
        return _from_repository(ref, ref, reach, desk) or Bundle(ref=ref, parts=(unread,))
    return _from_name(ref, catalogue, reach, desk)


def _with(bundle: Bundle, role: Role, other: Bundle) -> Bundle:
    """A bundle, and what is to be loaded beside it, in a role of its own."""
    first, *shards = other.parts
    return replace(
        bundle,
        parts=(*bundle.parts, replace(first, role=role), *shards),
        obstacle=bundle.obstacle or other.obstacle,
        beside=(*bundle.beside, Asked(role=role, ref=other.ref, model=other.model)),
    )


@contextlib.contextmanager
def fetched(bundle: Bundle, paths: Sequence[Path]) -> Iterator[Bundle]:
    """A bundle whose files were at the hub, now that they lie here; they stay open."""
    with _Desk(None) as desk:
        parts: list[Part] = []
        for waited in bundle.sets:
            if all(part.file is not None for part in waited):
                parts += waited
                continue
            here = _from_path(bundle.ref, paths[0], desk)
            parts += (
                replace(
                    part, role=was.role, origin=was.origin, expected=was.expected, chain=was.chain
                )
                for part, was in zip(here.parts, waited, strict=True)
            )
            paths = paths[len(waited) :]
        yield replace(bundle, parts=tuple(parts))


# --- By name --------------------------------------------------------------------------------


def _from_name(ref: CatalogueRef, catalogue: Catalogue, reach: Reach | None, desk: _Desk) -> Bundle:
    """A name of the catalogue, or one that the user gave to a file of their own."""
    asked = catalogue.asked(ref.name)
    if asked is None:
        own = _in_library(ref.name, reach)
        if own is None:
            raise _unknown(ref.name, catalogue)
        return _from_path(ref, own, desk)
    model, quant = asked
    path = packaged_file(model) if quant in ("", model.usual.quant) else None
    if path is not None:
        bundle = _from_path(ref, path, desk, model.name)
        main = replace(bundle.main, expected=model.usual.sha256)
        return replace(bundle, parts=(main, *bundle.parts[1:]))
    wanted = repository_of(model, quant)
    found = _from_repository(wanted, ref, reach, desk, model.name) if wanted else None
    return found or absent(ref, model)


def _in_library(name: str, reach: Reach | None) -> Path | None:
    """The file that the user gave this name."""
    from launcher.models import library  # needed by few

    return library.find(reach.library, name) if reach is not None else None


def repository_of(model: Model, quant: str = "") -> HubRef | None:
    """Where a model of the catalogue is published; None where that is not known."""
    for file in model.files:
        if file.repository and quant in ("", file.quant):
            return HubRef(file.repository, file=file.file)
    usual = model.usual
    return HubRef(usual.repository, quant=quant) if usual.repository else None


def absent(ref: Ref, model: Model) -> Bundle:
    """A model of the catalogue that is not on this disk."""
    part = Part(role=Role.WEIGHTS, name=model.title, sha256=model.usual.sha256)
    return Bundle(ref=ref, parts=(part,), model=model.name)


def _unknown(name: str, catalogue: Catalogue) -> NotFound:
    nearest = catalogue.nearest(name)
    return NotFound(
        f"There is no model called '{name}' in the catalogue",
        hint=f"Did you mean {nearest}?" if nearest else "A file on this disk is given by its path.",
        commands=[f"launcher run {nearest}"] if nearest else ["launcher list --all"],
    )


def packaged_file(model: Model) -> Path | None:
    """The file that an installed package carries, found without importing the package.

    Reads the package's own metadata: the list of its files (RECORD, PEP 376). Not through
    importlib.metadata, which takes 30 ms to import.
    """
    name, _, version = model.package.partition("==")
    if not name:
        return None
    record = f"{name.replace('-', '_')}-{version}.dist-info/RECORD"
    for folder in map(Path, sys.path):
        try:
            lines = (folder / record).read_text(encoding="utf-8").splitlines()
        except OSError:
            continue
        for line in lines:
            path = folder / line.partition(",")[0]
            if path.name == model.usual.file and path.is_file():
                return path
    return None


def folders_near(bundle: Bundle) -> list[Path]:
    """The folders in which texts about a bundle's files may lie: theirs, and their package's."""
    folders = [part.file.path.parent for part in bundle.parts if part.file is not None]
    for folder in tuple(folders):
        folders += folder.parent.glob(f"{folder.name}-*.dist-info")
    return folders


# --- From a repository ----------------------------------------------------------------------


def _from_repository(
    ref: HubRef, asked: Ref, reach: Reach | None, desk: _Desk, model: str = ""
) -> Bundle | None:
    """From the cache, else as the hub describes it; None where nothing may be asked."""
    if reach is None:
        return None
    files = () if reach.anew else origin.in_cache(ref, reach.cache)
    if files:
        bundle = _from_path(asked, files[0].path, desk, model)
        return replace(bundle, parts=tuple(origin.known(bundle.parts, files, reach)))
    if reach.hub is None:
        return None
    return origin.at_hub(ref, asked, reach, model)


# --- From a path ----------------------------------------------------------------------------


def _from_path(ref: Ref, path: Path, desk: _Desk, model: str = "") -> Bundle:
    parts = _with_shards(_part(path, Role.WEIGHTS, desk), path, desk)
    main = replace(parts[0], fingerprint=fingerprint(parts))
    return Bundle(ref=ref, parts=(main, *parts[1:]), model=model)


def _with_shards(part: Part, path: Path, desk: _Desk) -> tuple[Part, ...]:
    """The part alone, or every shard of the set that it is one of."""
    count = part.header.number("split.count") if part.header is not None else None
    if count is None or count < 2:
        return (part,)
    parts = tuple(
        _part(shard, Role.SHARD if index else part.role, desk)
        for index, shard in enumerate(_shards(path, count))
    )
    _refuse_mixed(parts)
    return parts


def _part(path: Path, role: Role, desk: _Desk) -> Part:
    file = desk.enter_context(pinned(path, unnoticed=desk.looks_only))
    return Part(role=role, name=path.name, header=desk.header(file), file=file)


def _shards(path: Path, count: int) -> list[Path]:
    """The paths of all shards, by the names that llama.cpp gives them."""
    match = _SHARD.fullmatch(path.name)
    if match is None or int(match[3]) != count or count > MAX_SHARDS:
        raise HeaderError(
            f"{path} is a part of {count}, but its name does not end in -00001-of-{count:05}.gguf",
            hint="Give the parts back the names they had, all in one folder.",
        )
    return [
        path.with_name(f"{match[1]}-{index:05}-of-{count:05}.gguf") for index in range(1, count + 1)
    ]


def _refuse_mixed(parts: tuple[Part, ...]) -> None:
    """All shards must be of one set, in order, and hold every tensor once."""
    read = [part.header for part in parts if part.header is not None]
    for index, (part, header) in enumerate(zip(parts, read, strict=True)):
        if header.number("split.no") != index or header.number("split.count") != len(parts):
            raise HeaderError(f"{part.name} is not part {index + 1} of {len(parts)}")
    names = [tensor.name for header in read for tensor in header.tensors]
    announced = read[0].number("split.tensors.count")
    if len(set(names)) != len(names) or announced not in (None, len(names)):
        raise HeaderError(f"the parts of {parts[0].name} do not belong together")
