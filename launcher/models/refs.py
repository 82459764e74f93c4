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
_REPOSITORY = re.compile(r"[A-Za-z0-9][\w.\-]{0,95}/[A-Za-z0-9][\w.\-]{0,95}")
_NAME = re.compile(r"[a-z0-9][a-z0-9._\-]*(?::[a-z0-9][a-z0-9._\-]*)?", re.IGNORECASE)


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
    if _HUB_PREFIX.match(text):
        return _hub(_HUB_PREFIX.sub("", text, count=1))
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
    path, _, quant = text.partition(":")
    parts = path.split("/")
    name, _, revision = parts[1].partition("@") if len(parts) > 1 else ("", "", "")
    repository = f"{parts[0]}/{name}"
    rest = parts[2:]
    if len(rest) > 1 and rest[0] in ("resolve", "blob", "tree"):
        revision, rest = rest[1], rest[2:]
    if not _REPOSITORY.fullmatch(repository):
        raise NotFound(
            f"'{text}' is not a repository of the hub",
            hint="Write owner/name, owner/name:QUANT or hf.co/owner/name/file.gguf.",
        )
    return HubRef(repository, quant=quant, file="/".join(rest).split("?")[0], revision=revision)
