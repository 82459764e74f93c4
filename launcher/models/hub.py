"""The Hugging Face hub: what it says of repositories, and the bytes of their files.

Answers may be anybody's: what is too long, too slow or not of the right type ends here.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import quote, urlsplit

from launcher.errors import HeaderError, LauncherError, NotFound
from launcher.models import card, gguf, gguf_rules, line, remote
from launcher.models import hub_failures as failures
from launcher.models.hub_failures import Asked, TryLater
from launcher.models.remote import RemoteFile, Repository

if TYPE_CHECKING:
    import httpx2

T = TypeVar("T")

ENDPOINT = card.HUB
BUDGET = 512 << 10  # bytes of a header that is read from a distance
FIRST_WINDOW = 64 << 10  # bytes; the general and architecture keys fit in
MAX_METADATA = 16 << 20  # bytes of what the hub says of a repository with thousands of files
MAX_CARD = 1 << 20  # bytes of what it says of a parent
CHAIN_TIME = 30.0  # seconds for all parents together
LONGEST_PAUSE = 30.0  # seconds between two tries of a question that somebody waits for

_ON = ("1", "ON", "YES", "TRUE")
_RANGE = re.compile(r"bytes (\d{1,20})-(\d{1,20})/(\d{1,20}|\*)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Body:
    """Bytes of a file on their way."""

    start: int
    """Where in the file they begin: 0 where the server does not give parts of files."""
    pieces: Iterator[bytes]
    """May end early; may raise what `Hub.body` raises."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Hub:
    """How the hub is reached."""

    endpoint: str = ENDPOINT
    offline: bool = False
    token: str | bool | None = None
    """None: the one that the user set or logged in with; False: none."""
    timeout: float = 10.0
    """Seconds until an answer must begin, and between any two pieces of it."""
    tries: int = 4
    """How often a question about a repository is asked before it is given up."""
    pause: float = 0.5
    """Seconds before it is asked again; doubled each time."""

    @classmethod
    def from_environment(
        cls, environment: Mapping[str, str] = os.environ, *, offline: bool = False
    ) -> Hub:
        """As the variables of the hub's own client say; raises `NotFound` for a bad address."""
        timeout = environment.get("HF_HUB_ETAG_TIMEOUT", "")
        off = environment.get("HF_HUB_OFFLINE") or environment.get("TRANSFORMERS_OFFLINE")
        return cls(
            endpoint=_endpoint(environment.get("HF_ENDPOINT") or ENDPOINT),
            offline=offline or _is_on(off),
            token=False if _is_on(environment.get("HF_HUB_DISABLE_IMPLICIT_TOKEN")) else None,
            timeout=float(timeout) if re.fullmatch(r"[1-9][0-9]{0,3}", timeout) else 10.0,
        )

    # --- What it says ---------------------------------------------------------------------

    def repository(self, name: str, revision: str = "") -> Repository:
        """A repository at the commit that a branch, a tag or a commit stands for now.

        One call. Raises `NotFound`.
        """
        asked = self._asked(name, revision)
        values = self._values(asked, {"blobs": "true"}, MAX_METADATA)
        found = remote.read_repository(name, values)
        if found is None:
            raise failures.unreadable(asked)
        return found

    def chain(self, repository: Repository, limit: float = CHAIN_TIME) -> card.Chain:
        """A repository's card and those it comes from, each at its own commit.

        One call a parent, for `limit` seconds in all. A parent that cannot be read is unread,
        which states nothing.
        """
        end = time.monotonic() + limit

        def parent(name: str) -> card.Card | None:
            if time.monotonic() > end:
                return None
            with contextlib.suppress(LauncherError):
                return self._card(name)
            return None

        return replace(card.follow(repository.card, parent), hub=self.endpoint)

    def _card(self, name: str) -> card.Card | None:
        fields = ["cardData", "gated", "sha"]
        values = self._values(self._asked(name), {"expand": fields}, MAX_CARD)
        commit = values.get("sha")
        if not isinstance(commit, str) or not remote.is_commit(commit):
            return None
        return remote.card_of(name, commit, values)

    def _values(self, asked: Asked, query: dict[str, Any], limit: int) -> dict[str, Any]:
        url = f"{self.endpoint}/api/models/{asked.repository}"
        if asked.revision:
            url += f"/revision/{quote(asked.revision, safe='')}"

        def ask() -> bytes:
            question = line.Question(
                asked=asked, url=url, token=self.token, timeout=self.timeout, query=query
            )
            with line.answer(question) as answer:
                return self._whole(answer, asked, limit)

        data = self._patiently(ask)
        try:
            values = json.loads(data)
        except (ValueError, RecursionError) as error:
            raise failures.unreadable(asked) from error
        if not isinstance(values, dict):
            raise failures.unreadable(asked)
        return values

    # --- Bytes ------------------------------------------------------------------------------

    def header(self, file: RemoteFile, budget: int = BUDGET) -> gguf.Header:
        """The header of a file, read from a distance and checked as far as it goes.

        Mostly not `complete`: vocabularies are larger than the budget. Raises `HeaderError`
        for what is no model, `NotFound` for what cannot be had.
        """
        try:
            header = gguf.read_header(self.reader(file, budget), file.size, FIRST_WINDOW)
            gguf_rules.check(header)
        except HeaderError as error:
            raise HeaderError(
                f"{file} cannot be loaded: {error.message}",
                hint=error.hint or "Nothing was downloaded.",
            ) from error
        return header

    def reader(self, file: RemoteFile, budget: int = BUDGET) -> Callable[[int, int], bytes]:
        """`fetch(offset, size)` for `gguf.read_header`; raises `PartialRead` beyond the budget."""
        spent = 0

        def fetch(offset: int, size: int) -> bytes:
            nonlocal spent
            if spent + size > budget:
                raise gguf.PartialRead
            spent += size
            return self._patiently(lambda: self._part(file, offset, offset + size))

        return fetch

    def _part(self, file: RemoteFile, start: int, end: int) -> bytes:
        """Exactly these bytes of a file."""
        asked = self._asked(file.repository, file.commit, file.name)
        data = bytearray()
        last = time.monotonic() + 6 * self.timeout
        with self.body(file, start, end, self.timeout) as body:
            if body.start != start:
                raise gguf.PartialRead  # to step over what came before would cost as much
            for piece in body.pieces:
                data += piece[: end - start - len(data)]
                if len(data) == end - start:
                    break
                self._refuse_crawl(last)
        if len(data) != end - start:
            raise TryLater(failures.unreadable(asked), "the answer was cut short")
        return bytes(data)

    @contextlib.contextmanager
    def body(self, file: RemoteFile, start: int, end: int, timeout: float) -> Iterator[Body]:
        """The bytes of a file from `start` up to `end`, as they come.

        `timeout` is the longest silence, in seconds. Raises `TryLater` for what may pass,
        `IntegrityError` when the hub now says something else of the file than before,
        `NotFound` for the rest; so may the pieces.
        """
        asked = self._asked(file.repository, file.commit, file.name)
        url = f"{self.endpoint}/{file.repository}/resolve/{file.commit}/{quote(file.name)}"
        headers = {"Range": f"bytes={start}-{end - 1}", "Accept-Encoding": "identity"}
        question = line.Question(
            asked=asked, url=url, token=self.token, timeout=timeout, headers=headers, file=file
        )
        with line.answer(question) as answer:
            first, last = _extent(answer, file, start, end, asked)
            yield Body(start=first, pieces=_bounded(answer.iter_raw(), last - first))

    # --- Patience -----------------------------------------------------------------------------

    def _whole(self, answer: httpx2.Response, asked: Asked, limit: int) -> bytes:
        data = bytearray()
        last = time.monotonic() + 6 * self.timeout
        for piece in answer.iter_bytes():
            data += piece
            if len(data) > limit:
                raise failures.unreadable(asked)
            self._refuse_crawl(last)
        return bytes(data)

    def _refuse_crawl(self, last: float) -> None:
        """A byte now and then keeps a line open, but nobody waits for it."""
        if time.monotonic() > last:
            raise failures.dropped(self.host, "the line is too slow")

    def _patiently(self, ask: Callable[[], T]) -> T:
        """Asks again a few times; where nothing answers at all, says so at once."""
        pause = self.pause
        for left in reversed(range(self.tries)):
            try:
                return ask()
            except TryLater as failure:
                if not left or not failure.reached or failure.after > LONGEST_PAUSE:
                    raise failure.error from failure
                time.sleep(max(pause, failure.after))
                pause = min(2 * pause, LONGEST_PAUSE)
        raise AssertionError("the last try returns or raises")

    def _asked(self, repository: str, revision: str = "", file: str = "") -> Asked:
        """Raises `NotFound` where nothing may be asked."""
        asked = Asked(endpoint=self.endpoint, repository=repository, revision=revision, file=file)
        if self.offline:
            raise failures.offline(asked.what)
        return replace(asked, has_token=line.has_token(asked, self.token))

    @property
    def host(self) -> str:
        """The name of the computer that answers first."""
        return line.host(self.endpoint)


# --- One answer ---------------------------------------------------------------------------------


def _extent(
    answer: httpx2.Response, file: RemoteFile, start: int, end: int, asked: Asked
) -> tuple[int, int]:
    """Where in the file the bytes of an answer begin and end."""
    if answer.headers.get("content-encoding", "identity") != "identity":
        raise failures.unreadable(asked)
    length = answer.headers.get("content-length", "")
    if answer.status_code == 200:
        if length.isdecimal() and int(length) != file.size:
            raise failures.changed(str(file), f"it has {length[:20]} bytes now, not {file.size}")
        return 0, file.size
    match = _RANGE.fullmatch(answer.headers.get("content-range", ""))
    if match is None or int(match[1]) != start or int(match[2]) >= end:
        raise TryLater(failures.unreadable(asked), "the wrong bytes were sent", tries=failures.FEW)
    if match[3] not in ("*", str(file.size)):
        raise failures.changed(str(file), f"it has {match[3]} bytes now, not {file.size}")
    return start, end


def _bounded(pieces: Iterator[bytes], limit: int) -> Iterator[bytes]:
    """No more bytes than were asked for, whatever is sent."""
    for piece in pieces:
        yield piece[:limit]
        limit -= len(piece)
        if limit <= 0:
            return


def _endpoint(address: str) -> str:
    """An address with nothing at its end; raises `NotFound` for what is none."""
    parts = urlsplit(address)
    if parts.scheme not in ("http", "https") or not parts.hostname or not address.isprintable():
        raise NotFound(
            f"HF_ENDPOINT is '{address}', which is no address",
            hint=f"Write it like {ENDPOINT}, or unset it.",
        )
    return address.rstrip("/")


def _is_on(value: str | None) -> bool:
    return (value or "").upper() in _ON
