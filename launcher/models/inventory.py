"""Every model on this disk, under the name it can be asked for by."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from itertools import groupby
from pathlib import Path

from launcher.models import layout, library, quants
from launcher.models.cache import Cache, CachedFile
from launcher.models.catalogue import Catalogue
from launcher.models.library import Kept
from launcher.models.refs import HubRef
from launcher.models.sources import packaged_file


class Place(StrEnum):
    """Where a model lies, which says how it came and how it goes."""

    PACKAGE = "package"
    CACHE = "cache"
    LIBRARY = "library"


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """A model on this disk."""

    name: str
    """What to give as MODEL."""
    place: Place
    paths: tuple[Path, ...]
    size: int
    """Bytes of all files."""
    last_used: float
    """Seconds since 1970."""
    cached: tuple[CachedFile, ...] = ()
    package: str = ""
    """The package that carries it."""

    @property
    def repository(self) -> str:
        """Of the hub; empty where it does not come from there."""
        return self.cached[0].repository if self.cached else ""


def items(
    catalogue: Catalogue, cache: Cache, folder: Path, uses: Mapping[str, float]
) -> tuple[Item, ...]:
    """All models: of packages, of the cache, and of the library in `folder`."""
    return (
        *_packaged(catalogue, uses),
        *_cached(catalogue, cache, uses),
        *(_own(kept, uses) for kept in library.kept(folder)),
    )


def _packaged(catalogue: Catalogue, uses: Mapping[str, float]) -> Iterator[Item]:
    for model in catalogue.models.values():
        path = packaged_file(model)
        if path is not None:
            yield Item(
                name=model.name,
                place=Place.PACKAGE,
                paths=(path,),
                size=path.stat().st_size,
                last_used=_last_used([path], uses),
                package=model.package,
            )


def _own(kept: Kept, uses: Mapping[str, float]) -> Item:
    return Item(
        name=kept.name,
        place=Place.LIBRARY,
        paths=kept.paths,
        size=sum(layout.size(path) for path in kept.paths),
        last_used=_last_used(kept.paths, uses),
    )


def _last_used(paths: Iterable[Path], uses: Mapping[str, float]) -> float:
    found = [uses.get(str(path), 0.0) for path in paths]
    for path in paths:
        with contextlib.suppress(OSError):
            found.append(path.stat().st_mtime)
    return max(found, default=0.0)


# --- In the cache -------------------------------------------------------------------------------


def _cached(catalogue: Catalogue, cache: Cache, uses: Mapping[str, float]) -> Iterator[Item]:
    """Models, and files of other kinds by themselves: what takes room is shown."""
    known = _names(catalogue)
    files = sorted(cache.files(uses=uses), key=lambda file: (file.repository, file.commit))
    for (repository, commit), group in groupby(files, lambda file: (file.repository, file.commit)):
        by_name = {file.name: file for file in group}
        choices = quants.choices([(file.name, file.size) for file in by_name.values()])
        sets = [choice.files for choice in choices]
        whole = {name for names in sets for name in names}
        sets += [(name,) for name in by_name if name not in whole]
        is_current = cache.commit(repository) == commit
        labels = [quants.label(names[0]) for names in sets]
        for names, quant in zip(sets, labels, strict=True):
            is_clear = quant and labels.count(quant) == 1 and names[0] in whole
            ref = HubRef(
                repository,
                quant=quant if is_clear else "",
                file="" if is_clear else names[0],
                revision="" if is_current else commit,
            )
            name = known.get((repository, names[0])) if is_current else None
            yield _item(name or str(ref), [by_name[name] for name in names])


def _item(name: str, files: list[CachedFile]) -> Item:
    return Item(
        name=name,
        place=Place.CACHE,
        paths=tuple(file.path for file in files),
        size=sum(file.size for file in files),
        last_used=max(file.last_used for file in files),
        cached=tuple(files),
    )


def _names(catalogue: Catalogue) -> dict[tuple[str, str], str]:
    """The catalogue's names by repository and file."""
    found = {}
    for model in catalogue.models.values():
        for file in model.files:
            suffix = "" if file is model.usual else f"-{file.quant.lower()}"
            if file.repository:
                found[file.repository, file.file] = f"{model.name}{suffix}"
    return found
