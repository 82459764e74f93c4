"""The Hugging Face hub: what it says of repositories, and the bytes of their files.

Sessions, tokens, proxies and certificates are those of `huggingface_hub`, which is imported
here only, when it is needed, and with its side calls switched off: nothing is asked of the
hub but the model. Answers are read by ourselves, since they may be anybody's: what is too
long, too slow or not of the right type ends here.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import socket
import ssl
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import quote, urlsplit

from launcher import __version__
from launcher.errors import HeaderError, LauncherError, NotFound
from launcher.models import card, gguf, gguf_rules, remote
from launcher.models import hub_failures as failures
from launcher.models.hub_failures import Asked, TryLater
from launcher.models.remote import RemoteFile, Repository

if TYPE_CHECKING:
    import httpx2

T = TypeVar("T")

ENDPOINT = "https://huggingface.co"
BUDGET = 512 << 10  # bytes of a header that is read from a distance
FIRST_WINDOW = 64 << 10  # bytes; the general and architecture keys fit in
MAX_METADATA = 16 << 20  # bytes of what the hub says of a repository with thousands of files
MAX_CARD = 1 << 20  # bytes of what it says of a parent
MAX_REDIRECTS = 8
SMALL_BODY = 64 << 10  # bytes; read to the end, so that the connection can be used again
CHAIN_TIME = 30.0  # seconds for all parents together
LONGEST_PAUSE = 30.0  # seconds between two tries of a question that somebody waits for

_ON = ("1", "ON", "YES", "TRUE")
_RANGE = re.compile(r"bytes (\d{1,20})-(\d{1,20})/(\d{1,20}|\*)")
_DIGEST = re.compile(r"(?:[0-9a-f]{40}|[0-9a-f]{64})")


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

        return card.follow(repository.card, parent)

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
            with self._answer(asked, url, {}, self.timeout, query) as answer:
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
        with self._answer(asked, url, headers, timeout, file=file) as answer:
            first, last = _extent(answer, file, start, end, asked)
            yield Body(start=first, pieces=_bounded(answer.iter_raw(), last - first))

    # --- The line ---------------------------------------------------------------------------

    @contextlib.contextmanager
    def _answer(
        self,
        asked: Asked,
        url: str,
        headers: Mapping[str, str],
        timeout: float,
        query: dict[str, Any] | None = None,
        file: RemoteFile | None = None,
    ) -> Iterator[httpx2.Response]:
        """The answer that is the thing itself, after all redirects."""
        with _explained(asked, timeout):
            session = _session()
            headers = {**_headers(self.token, asked), **headers}
            request = session.build_request(
                "GET", url, headers=headers, params=query, timeout=timeout
            )
            origin = _origin(request.url)
            for _ in range(MAX_REDIRECTS):
                answer = session.send(request, stream=True, follow_redirects=False)
                with contextlib.closing(answer):
                    at_hub = _origin(answer.url) == origin
                    if file is not None and at_hub:
                        _refuse_change(answer, file)
                    following = answer.next_request
                    if following is None:
                        yield _successful(answer, replace(asked, at_hub=at_hub))
                        return
                    _refuse_unsafe(request.url, following.url, asked)
                    _drain(answer)
                request = following
            raise failures.circles(asked)

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
        return replace(asked, has_token="authorization" in _headers(self.token, asked))

    @property
    def host(self) -> str:
        """The name of the computer that answers first."""
        return _host(self.endpoint)


# --- One answer ---------------------------------------------------------------------------------


def _successful(answer: httpx2.Response, asked: Asked) -> httpx2.Response:
    if answer.status_code not in (200, 206):
        raise failures.of_status(answer.status_code, answer.headers, asked)
    return answer


def _refuse_change(answer: httpx2.Response, file: RemoteFile) -> None:
    """Raises `IntegrityError` when the hub now names another digest or size than before."""
    etag = answer.headers.get("x-linked-etag", "")
    if not etag and not answer.has_redirect_location:
        etag = answer.headers.get("etag", "")
    digest = etag.removeprefix("W/").strip('"')
    # Other servers than the hub give tags of other kinds; those say nothing.
    if _DIGEST.fullmatch(digest) and len(digest) == len(file.etag) and digest != file.etag:
        raise failures.changed(str(file), f"its digest is now {digest[:16]}…")
    size = answer.headers.get("x-linked-size", "")
    if size.isdecimal() and size != str(file.size):
        raise failures.changed(str(file), f"it has {size[:20]} bytes now, not {file.size}")


def _refuse_unsafe(before: httpx2.URL, after: httpx2.URL, asked: Asked) -> None:
    """The token is left behind by the session when a redirect leads to another host."""
    downgrade = before.scheme == "https" and after.scheme != "https"
    if downgrade or after.scheme not in ("http", "https") or not after.host:
        raise failures.unsafe_redirect(asked)


def _drain(answer: httpx2.Response) -> None:
    """Reads what a redirect says beside its address, so that the line can be used again."""
    length = answer.headers.get("content-length", "")
    if length.isdecimal() and int(length) <= SMALL_BODY:
        answer.read()


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


# --- The client ---------------------------------------------------------------------------------

# The client reads its variables once, when it is imported. None takes one away meanwhile.
_QUIET = {
    "HF_HUB_DISABLE_TELEMETRY": "1",  # also its question for the names of coding agents
    "HF_HUB_DISABLE_UPDATE_CHECK": "1",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "HF_HUB_OFFLINE": None,  # it is kept here, and a test or a server may change its mind
    "TRANSFORMERS_OFFLINE": None,
    "HF_HUB_ETAG_TIMEOUT": None,  # it stumbles over what is no number
    "HF_HUB_DOWNLOAD_TIMEOUT": None,
    "HF_HUB_ENABLE_HF_TRANSFER": None,  # it warns
}


@dataclass(frozen=True, slots=True)
class _Client:
    session: Callable[[], httpx2.Client]
    headers: Callable[..., dict[str, str]]


@cache
def _client() -> _Client:
    """The parts of the hub's client that make sessions and headers: 0.1 s to import."""
    before = {name: os.environ.get(name) for name in _QUIET}
    try:
        _set_variables(_QUIET)
        # By name: what is only imported when it is used would read the variables then.
        from huggingface_hub.utils import (  # type: ignore[attr-defined]  # they are documented
            build_hf_headers,
            get_session,
        )
    finally:
        _set_variables(before)
    return _Client(get_session, build_hf_headers)


def _set_variables(values: Mapping[str, str | None]) -> None:
    for name, value in values.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value


def _session() -> httpx2.Client:
    """The client's own session: proxies and certificates are as the user set them."""
    make = _client().session
    try:
        return make()
    except (ImportError, ValueError) as error:  # a kind of proxy that it does not know
        raise failures.bad_proxy(str(error)) from error
    except OSError as error:  # a file of certificates that is none
        raise failures.no_trust("the hub", str(error)) from error


def _headers(token: str | bool | None, asked: Asked) -> dict[str, str]:
    """Who asks, as far as the hub needs to know it: name and version, and the token."""
    try:
        headers = _client().headers(
            token=token, library_name="licence-launcher", library_version=__version__
        )
    except (OSError, ValueError) as error:  # a stored token that cannot be read
        raise failures.bad_token(asked) from error
    secret = headers.get("authorization", "")
    if not secret.isascii() or not secret.isprintable():
        raise failures.bad_token(asked)
    return headers


@contextlib.contextmanager
def _explained(asked: Asked, timeout: float) -> Iterator[None]:
    """What a line's failures mean to whoever waits for it."""
    import httpx2

    try:
        yield
    except httpx2.InvalidURL as error:
        raise failures.unsafe_redirect(asked) from error
    except (httpx2.UnsupportedProtocol, httpx2.LocalProtocolError) as error:
        raise failures.unsafe_redirect(asked) from error
    except httpx2.DecodingError as error:
        raise failures.unreadable(asked) from error
    except httpx2.ProxyError as error:
        raise _proxy_failure(error) from error
    except (httpx2.ConnectError, httpx2.ConnectTimeout) as error:
        raise _no_line(_where(error, asked), error) from error
    except httpx2.TimeoutException as error:
        reason = f"nothing came for {timeout:.0f} s"
        raise failures.dropped(_where(error, asked), reason) from error
    except httpx2.TransportError as error:
        if "Invalid URL" in str(error):
            raise failures.unsafe_redirect(asked) from error
        raise failures.dropped(_where(error, asked), "the line was cut") from error


def _proxy_failure(error: Exception) -> TryLater:
    """A proxy that is restarted comes back; one with a wrong password does not."""
    return TryLater(failures.bad_proxy(str(error)), "the proxy does not let us out", reached=False)


def _no_line(host: str, error: Exception) -> LauncherError | TryLater:
    for cause in _causes(error):
        if isinstance(cause, ssl.SSLCertVerificationError):
            return failures.no_trust(host, cause.verify_message)
        if isinstance(cause, socket.gaierror):
            return failures.no_network(host, "its name is not known here")
    if isinstance(error, TimeoutError) or "timed out" in str(error):
        return failures.no_network(host, "it does not answer")
    return failures.no_network(host, str(error) or "it does not answer")


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _where(error: httpx2.RequestError, asked: Asked) -> str:
    try:
        return error.request.url.host
    except RuntimeError:  # it failed before there was a request
        return _host(asked.endpoint)


def _host(address: str) -> str:
    return urlsplit(address).hostname or address


def _origin(url: httpx2.URL) -> tuple[str, str, int]:
    return url.scheme, url.host, url.port or (443 if url.scheme == "https" else 80)


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
