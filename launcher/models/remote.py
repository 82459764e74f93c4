"""What the hub says of a repository, checked.

The answer comes from a distance and may be anybody's: types, sizes, digests and names are
checked here, and what does not pass is left out. Nothing is asked of the hub in this module.
"""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeGuard

from launcher.errors import NotFound
from launcher.models.card import Card, read_card
from launcher.models.gguf_rules import is_clean
from launcher.models.refs import is_repository

MAX_FILES = 20_000  # of one repository
MAX_SIZE = 1 << 44  # bytes of one file; the largest on the hub are a few hundred gigabytes
MAX_NAME = 1000  # characters, folders included
MAX_PART = 255  # bytes between two slashes: what a file system takes

_COMMIT = re.compile(r"[0-9a-f]{40}")
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoteFile:
    """A file of a repository at a pinned commit."""

    repository: str
    commit: str
    name: str
    """With its folders, separated by slashes."""
    size: int
    """Bytes."""
    sha256: str = ""
    """Of the contents; empty where the file lies in git itself, not in its large-file store."""
    git_sha1: str = ""
    """Git's own digest; only where there is no `sha256`."""

    @property
    def etag(self) -> str:
        """The digest that names the file in the cache; empty where the hub states none."""
        return self.sha256 or self.git_sha1

    def __str__(self) -> str:
        return f"hf.co/{self.repository}/{self.name}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Repository:
    """A repository at a pinned commit."""

    name: str
    """As it was asked for; `card.repository` is the name it goes by now."""
    commit: str
    card: Card
    gate: str = ""
    """`auto` or `manual` where its owner lets in only whoever agreed to terms on the hub."""
    downloads: int = 0
    """In the last month, as the hub counts them."""
    files: tuple[RemoteFile, ...] = ()

    @property
    def gated(self) -> bool:
        return bool(self.gate)

    @property
    def ggufs(self) -> tuple[RemoteFile, ...]:
        """The files that could be models."""
        return tuple(file for file in self.files if file.name.lower().endswith(".gguf"))

    def file(self, name: str) -> RemoteFile:
        """The file of a name; raises `NotFound` with the names nearest to it."""
        for file in self.files:
            if file.name == name:
                return file
        nearest = _nearest(name, [file.name for file in self.ggufs])
        raise NotFound(
            f"There is no file {name} in {self.name}",
            hint="The nearest names in it:" if nearest else "There is no GGUF file in it at all.",
            commands=[
                f"launcher run {shlex.quote(f'hf.co/{self.name}/{near}')}" for near in nearest
            ],
        )


def is_commit(text: str) -> bool:
    """Whether a text is the full name of a commit."""
    return _COMMIT.fullmatch(text) is not None


def is_revision(text: str) -> bool:
    """Whether a text can name a branch, a tag or a commit, and leads nowhere else."""
    return is_safe_name(text) and not text.endswith(".lock")


def is_safe_name(name: str) -> bool:
    """Whether a file of this name stays below the folder it is put into, on every system."""
    if not name or len(name) > MAX_NAME or "\\" in name or ":" in name or not is_clean(name):
        return False
    parts = name.split("/")
    return all(part not in ("", ".", "..") for part in parts) and all(
        len(os.fsencode(part)) <= MAX_PART for part in parts
    )


def read_repository(name: str, values: Mapping[str, Any]) -> Repository | None:
    """A repository from the hub's answer; None where the answer names no commit."""
    commit = values.get("sha")
    if not isinstance(commit, str) or not is_commit(commit):
        return None
    downloads = values.get("downloads")
    return Repository(
        name=name,
        commit=commit,
        card=card_of(name, commit, values),
        gate=_gate(values.get("gated")),
        downloads=downloads if _is_count(downloads) else 0,
        files=tuple(_files(name, commit, values.get("siblings"))),
    )


def card_of(name: str, commit: str, values: Mapping[str, Any]) -> Card:
    """The card in the hub's answer. Of a renamed repository it bears the new name."""
    known_as, card = values.get("id"), values.get("cardData")
    if isinstance(known_as, str) and is_repository(known_as):
        name = known_as
    fields = card if isinstance(card, dict) else {}
    return read_card(name, commit, fields, _gate(values.get("gated")))


def _gate(value: object) -> str:
    if value is True:
        return "auto"
    return value if value in ("auto", "manual") and isinstance(value, str) else ""


def _files(repository: str, commit: str, siblings: object) -> Iterator[RemoteFile]:
    seen: set[str] = set()
    for sibling in siblings[:MAX_FILES] if isinstance(siblings, list) else ():
        file = _file(repository, commit, sibling) if isinstance(sibling, dict) else None
        if file is not None and file.name not in seen:
            seen.add(file.name)
            yield file


def _file(repository: str, commit: str, values: Mapping[str, Any]) -> RemoteFile | None:
    name, size, stored = values.get("rfilename"), values.get("size"), values.get("lfs")
    if not isinstance(name, str) or not is_safe_name(name):
        return None
    digest = values.get("blobId")
    if isinstance(stored, dict):
        size, digest = stored.get("size"), stored.get("sha256")
    if not _is_count(size) or size > MAX_SIZE:
        return None
    in_git = not isinstance(stored, dict)
    return RemoteFile(
        repository=repository,
        commit=commit,
        name=name,
        size=size,
        sha256="" if in_git else _digest(digest, _SHA256),
        git_sha1=_digest(digest, _COMMIT) if in_git else "",
    )


def _is_count(value: object) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _digest(value: object, form: re.Pattern[str]) -> str:
    return value if isinstance(value, str) and form.fullmatch(value) else ""


def _nearest(name: str, names: list[str]) -> list[str]:
    from difflib import get_close_matches

    return get_close_matches(name, names, n=3, cutoff=0.3) or sorted(names)[:3]
