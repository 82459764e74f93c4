"""What the user types for MODEL.

A reference is read by its form alone, never by what happens to lie on the disk: a file
called `smollm2:135m` in the current folder does not take the place of the model.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from launcher.errors import NotFound

_HUB_PREFIX = re.compile(
    r"(?:https?://)?(?:www\.)?(?:huggingface\.co|hf\.co)/|hf://", re.IGNORECASE
)
# ASCII: letters that only look like others name something else.
_REPOSITORY = re.compile(r"[A-Za-z0-9][\w.\-]{0,95}/[A-Za-z0-9][\w.\-]{0,95}", re.ASCII)
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._\-]*(?::[A-Za-z0-9][A-Za-z0-9._\-]*)?")
_WORD = re.compile(r"(?:\w[\w.\-%]*)?", re.ASCII)


@dataclass(frozen=True, slots=True)
class CatalogueRef:
    """A name as people know it: `llama3.2:1b`."""

    name: str

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True, slots=True)
class HubRef:
    """A repository of the hub, with a quant or a file in it."""

    repository: str
    quant: str = ""
    file: str = ""
    revision: str = ""

    def __str__(self) -> str:
        text = f"hf.co/{self.repository}"
        text += f"@{self.revision}" if self.revision else ""
        text += f"/{self.file}" if self.file else ""
        return text + (f":{self.quant}" if self.quant else "")


@dataclass(frozen=True, slots=True)
class PathRef:
    """A file on this disk."""

    path: Path

    def __str__(self) -> str:
        return str(self.path)


Ref: TypeAlias = CatalogueRef | HubRef | PathRef


def parse(text: str) -> Ref:
    """Reads MODEL. Raises `NotFound` when it has the form of nothing we know."""
    text = text.strip()
    if "\0" in text:
        raise NotFound("a name with a NUL in it is nobody's")
    prefix = _HUB_PREFIX.match(text)
    if prefix:
        return _hub(text[prefix.end() :])
    if _is_path(text):
        return PathRef(_expanded(text))
    if "/" in text:
        return _hub(text)
    if _NAME.fullmatch(text):
        return CatalogueRef(text.lower())
    raise NotFound(
        f"'{text}' is not the name of a model, a repository or a file",
        hint="Names look like llama3.2:1b, repositories like owner/name:Q4_K_M, files like x.gguf.",
    )


def is_repository(text: str) -> bool:
    """Whether a text has the form of a repository's name, `owner/name`."""
    return _REPOSITORY.fullmatch(text) is not None


def typed(path: Path) -> str:
    """A path as it has to be typed, so that `parse` takes it for one.

    >>> typed(Path("adapters/mine.bin"))
    './adapters/mine.bin'
    """
    text = str(path)
    return text if _is_path(text) else f"./{text}"


def _is_path(text: str) -> bool:
    if text.startswith(("/", "./", "../", "~", ".\\", "..\\")) or re.match(r"[A-Za-z]:[\\/]", text):
        return True
    return text.lower().endswith(".gguf")


def _expanded(text: str) -> Path:
    try:
        return Path(text).expanduser()
    except RuntimeError as error:  # ~nobody-of-that-name
        raise NotFound(f"'{text}' names a home folder that does not exist") from error


def _hub(text: str) -> HubRef:
    """`owner/name[@revision][/file][:quant]`, also as the hub's web pages spell it."""
    path, _, quant = text.partition("?")[0].partition(":")
    owner, _, rest = path.rstrip("/").partition("/")
    name, *folders = rest.split("/")
    name, _, revision = name.partition("@")
    if len(folders) > 1 and folders[0] in ("resolve", "blob", "tree"):
        revision, folders = folders[1], folders[2:]
    repository = f"{owner}/{name}"
    if not (
        _REPOSITORY.fullmatch(repository)
        and _WORD.fullmatch(quant)
        and _WORD.fullmatch(revision)
        and (not folders or _is_file(folders))
    ):
        raise NotFound(
            f"'{text}' is not a repository of the hub",
            hint="Write owner/name, owner/name:QUANT or hf.co/owner/name/file.gguf.",
        )
    return HubRef(repository, quant=quant, file="/".join(folders), revision=revision)


def _is_file(folders: list[str]) -> bool:
    """Whether it can be a GGUF file in a repository, and leads nowhere else."""
    whole = all(folder.isprintable() and folder not in ("", ".", "..") for folder in folders)
    return whole and folders[-1].lower().endswith(".gguf") and "\\" not in "".join(folders)
