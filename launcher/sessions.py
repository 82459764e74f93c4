"""Conversations that are kept, to be taken up again: one file each, for this user alone."""

from __future__ import annotations

import datetime
import hashlib
import json
import os
import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from launcher.errors import LauncherError, NotFound
from launcher.files import locked, read_bounded, write_atomically

SCHEMA = 1
MAX_SIZE = 32 << 20  # bytes
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Exchange:
    """A question and its answer."""

    question: str
    answer: str
    thought: str = ""
    """What the model wrote as its reasoning; it is not shown to it again."""


@dataclass(slots=True, kw_only=True)
class Session:
    """A conversation, and where it is kept."""

    model: str
    """The reference of the model that answered last."""
    system: str = ""
    exchanges: list[Exchange] = field(default_factory=list)
    dropped: int = 0
    """So many of the oldest exchanges are kept, but not shown to the model any more."""
    name: str = ""
    seen: str = ""
    """The digest of the file as it was last read or written; empty while there is none."""

    @property
    def messages(self) -> list[dict[str, str]]:
        """What the model is shown."""
        told = [{"role": "system", "content": self.system}] if self.system else []
        for exchange in self.exchanges[self.dropped :]:
            told.append({"role": "user", "content": exchange.question})
            told.append({"role": "assistant", "content": exchange.answer})
        return told

    @property
    def shown(self) -> int:
        """How many exchanges the model is shown."""
        return len(self.exchanges) - self.dropped

    def drop(self, share: float) -> int:
        """Leaves out the oldest exchanges until this share of the text is left, or one exchange.

        At least one is left out. Returns how many were.
        """
        before, sizes = self.dropped, [_size(each) for each in self.exchanges]
        limit = share * sum(sizes[before:])
        self.dropped = min(before + 1, len(sizes))
        while self.shown > 1 and sum(sizes[self.dropped :]) > limit:
            self.dropped += 1
        return self.dropped - before


def _size(exchange: Exchange) -> int:
    return len(exchange.question) + len(exchange.answer)


def is_name(text: str) -> bool:
    """Whether a session can be kept under a name.

    >>> is_name("trip-to-Rome"), is_name("../../etc/passwd"), is_name("")
    (True, False, False)
    """
    return _NAME.fullmatch(text) is not None


class Shelf:
    """The folder of all sessions."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def path(self, name: str) -> Path:
        return self.folder / f"{name}.json"

    def names(self) -> list[str]:
        """Every session's name, the one written last first."""
        found = [path for path in self.folder.glob("*.json") if is_name(path.stem)]
        return [path.stem for path in sorted(found, key=_written, reverse=True)]

    def load(self, name: str) -> Session:
        """A session by its name. Raises `NotFound`, or `LauncherError` for one that is broken."""
        path = self.path(name)
        try:
            data = read_bounded(path, MAX_SIZE) if is_name(name) else None
        except FileNotFoundError:
            data = None
        except OSError as error:
            raise LauncherError(f"{path} cannot be read: {error.strerror or error}") from error
        if data is None:
            raise NotFound(f"There is no session {name!a}")
        try:
            session = _session(json.loads(data))
        except (ValueError, LookupError, TypeError, RecursionError) as error:
            raise LauncherError(
                f"{path} is no session that can be read: {error}",
                hint="The file was left as it is.",
            ) from error
        session.name, session.seen = name, _digest(data)
        return session

    def last(self) -> Session | None:
        """The session that was written last. Raises `LauncherError` when it is broken."""
        names = self.names()
        return self.load(names[0]) if names else None

    def save(self, session: Session) -> bool:
        """Keeps a session; gives it a name if it has none.

        False when another program has written to its file meanwhile: that file stays as it
        is, and this session is kept under a new name. Raises `LauncherError`.
        """
        session.name = session.name or _new_name()
        path = self.path(session.name)
        try:
            with locked(path):
                found = _digest(read_bounded(path, MAX_SIZE)) if path.exists() else ""
                if found == session.seen:
                    self._write(session)
                    return True
            session.name, session.seen = _new_name(), ""
            self._write(session)
        except OSError as error:
            raise LauncherError(
                f"The conversation could not be kept in {self.path(session.name)}: "
                f"{error.strerror or error}"
            ) from error
        return False

    def _write(self, session: Session) -> None:
        body = {
            "schema": SCHEMA,
            "model": session.model,
            "system": session.system,
            "dropped": session.dropped,
            "exchanges": [asdict(exchange) for exchange in session.exchanges],
        }
        data = json.dumps(body, indent=1).encode() + b"\n"  # escaped: text may hold anything
        write_atomically(self.path(session.name), data)
        session.seen = _digest(data)

    def exists(self, name: str) -> bool:
        return self.path(name).exists()

    def remove(self, name: str) -> None:
        """Removes a session, if there is one of this name."""
        self.path(name).unlink(missing_ok=True)

    def lately(self, count: int) -> Iterator[Session]:
        """The sessions that were written last; what cannot be read is left out."""
        for name in self.names()[:count]:
            try:
                yield self.load(name)
            except LauncherError:
                continue


def _session(body: Any) -> Session:
    """A session of what a file says. Raises ValueError, LookupError or TypeError."""
    if body["schema"] != SCHEMA:
        raise ValueError(f"schema {body['schema']!a} is not known here")
    exchanges = [Exchange(**entry) for entry in body["exchanges"]]
    dropped = body["dropped"]
    texts = [text for each in exchanges for text in (each.question, each.answer, each.thought)]
    if not all(isinstance(text, str) for text in (body["model"], body["system"], *texts)):
        raise TypeError("a text is none")
    if not isinstance(dropped, int) or not 0 <= dropped <= len(exchanges):
        raise ValueError("dropped is out of range")
    return Session(model=body["model"], system=body["system"], dropped=dropped, exchanges=exchanges)


def _written(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _new_name() -> str:
    now = datetime.datetime.now(datetime.UTC)
    return f"{now:%Y-%m-%d-%H%M%S}-{os.urandom(2).hex()}"
