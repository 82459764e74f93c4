"""What a hub for tests keeps, what may go wrong with it, and what it writes down."""

from __future__ import annotations

import functools
import hashlib
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(kw_only=True)
class Stored:
    """A file of a repository."""

    path: Path
    large: bool = True
    """In the large-file store; else in git itself."""
    size: int = 0
    sha256: str = ""
    git_sha1: str = ""

    def __post_init__(self) -> None:
        status = self.path.stat()
        self.size = self.size or status.st_size
        if self.sha256 and self.git_sha1:
            return  # a file that is large and mostly a hole need not be read
        sha256, git_sha1 = _digests(self.path, status.st_size, status.st_mtime_ns)
        self.sha256 = self.sha256 or sha256
        self.git_sha1 = self.git_sha1 or git_sha1

    @property
    def etag(self) -> str:
        return self.sha256 if self.large else self.git_sha1

    def sibling(self, name: str) -> dict[str, Any]:
        """As the hub lists it."""
        values: dict[str, Any] = {"rfilename": name, "size": self.size, "blobId": self.git_sha1}
        if self.large:
            values["lfs"] = {"sha256": self.sha256, "size": self.size, "pointerSize": 134}
        return values

    def entry(self, name: str) -> dict[str, Any]:
        """As the hub lists it in a tree."""
        values = {"type": "file", "path": name, "size": self.size, "oid": self.git_sha1}
        if self.large:
            lfs = {"oid": self.sha256, "size": self.size, "pointerSize": 134}
            return {**values, "lfs": lfs}
        return values


@functools.cache
def _digests(path: Path, size: int, modified: int) -> tuple[str, str]:
    """A file's own SHA-256, and the digest that git has of it."""
    sha256, sha1 = hashlib.sha256(), hashlib.sha1(b"blob %d\0" % size)
    with path.open("rb") as stream:
        while data := stream.read(1 << 20):
            sha256.update(data)
            sha1.update(data)
    return sha256.hexdigest(), sha1.hexdigest()


@dataclass(kw_only=True)
class Kept:
    """A repository: its commits, and who may read it."""

    name: str
    commits: dict[str, dict[str, Stored]] = field(default_factory=dict)
    cards: dict[str, dict[str, Any]] = field(default_factory=dict)
    refs: dict[str, str] = field(default_factory=dict)
    gated: str | bool = False
    private: bool = False
    region_blocked: bool = False
    known_as: str = ""
    """The name it goes by now, where it was renamed."""


@dataclass(kw_only=True)
class Fault:
    """Something that goes wrong with answers of one kind."""

    at: str
    """`metadata`, `file` (the hub's own answer for one) or `store`."""
    path: str = ""
    """Only where the path holds this."""
    skip: int = 0
    """How many answers go well before."""
    times: int = 1
    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    """Sent with this status, or in place of those of a good answer."""
    body: bytes | None = None
    wait: float = 0.0
    """Seconds before anything is said."""
    after: int | None = None
    """Bytes of the body that still go well; then the line is cut, or falls silent."""
    silent: float = 0.0
    """Seconds of silence instead of a cut."""
    flip: int | None = None
    """The byte of the file, counted from 0, that is altered."""
    no_ranges: bool = False
    more: int = 0
    """Bytes that are sent beyond what was asked for."""
    location: str = ""
    """Redirects there."""


@dataclass(kw_only=True)
class Answer:
    """What was asked, and what was sent."""

    at: str
    method: str
    path: str
    range: str
    token: str
    agent: str
    status: int = 0
    sent: int = 0
    """Bytes of headers and body that went out."""
    done: bool = False

    @property
    def start(self) -> int:
        """The first byte of the file that was asked for."""
        match = re.match(r"bytes=(\d+)-", self.range)
        return int(match[1]) if match else 0
