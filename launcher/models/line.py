"""The line to the hub: one question, its redirects, and what its failures mean.

Sessions, tokens, proxies and certificates are those of `huggingface_hub`, which is imported
here only, when it is needed, and with its side calls switched off: nothing is asked of the
hub but the model.
"""

from __future__ import annotations

import contextlib
import os
import re
import socket
import ssl
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from launcher import __version__
from launcher.errors import LauncherError
from launcher.models import hub_failures as failures
from launcher.models.hub_failures import Asked, TryLater
from launcher.models.remote import RemoteFile

if TYPE_CHECKING:
    import httpx2

MAX_REDIRECTS = 8
SMALL_BODY = 64 << 10  # bytes; read to the end, so that the connection can be used again

_ERRNO = re.compile(r"\[Errno -?\d+\] ")
_DIGEST = re.compile(r"(?:[0-9a-f]{40}|[0-9a-f]{64})")


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What is asked, and how."""

    asked: Asked
    url: str
    token: str | bool | None
    timeout: float
    """Seconds until an answer must begin, and between any two pieces of it."""
    headers: Mapping[str, str] = field(default_factory=dict)
    query: Mapping[str, Any] = field(default_factory=dict)
    file: RemoteFile | None = None
    """What the hub's own answers must not contradict."""


@contextlib.contextmanager
def answer(question: Question) -> Iterator[httpx2.Response]:
    """The answer that is the thing itself, after all redirects.

    Raises `TryLater` for what may pass, `LauncherError` for the rest.
    """
    asked = question.asked
    with _explained(asked, question.timeout):
        request = _request(question)
        origin = _origin(request.url)
        for _ in range(MAX_REDIRECTS):
            answer = _session().send(request, stream=True, follow_redirects=False)
            with contextlib.closing(answer):
                at_hub = _origin(answer.url) == origin
                if question.file is not None and at_hub:
                    _refuse_change(answer, question.file)
                following = answer.next_request
                if following is None:
                    yield _successful(answer, replace(asked, at_hub=at_hub))
                    return
                _refuse_unsafe(request.url, following.url, asked)
                _drain(answer)
            request = following
        raise failures.circles(asked)


def has_token(asked: Asked, token: str | bool | None) -> bool:
    """Whether a question will say who asks."""
    return "authorization" in _headers(token, asked)


def host(address: str) -> str:
    """The name of the computer at an address."""
    return urlsplit(address).hostname or address


def _request(question: Question) -> httpx2.Request:
    return _session().build_request(
        "GET",
        question.url,
        headers={**_headers(question.token, question.asked), **question.headers},
        params=question.query or None,
        timeout=question.timeout,
    )


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
        raise _proxy_failure(str(error)) from error
    except (httpx2.ConnectError, httpx2.ConnectTimeout) as error:
        raise _no_line(_url(error, asked), error) from error
    except httpx2.TimeoutException as error:
        reason = f"nothing came for {timeout:.0f} s"
        raise failures.dropped(host(_url(error, asked)), reason) from error
    except httpx2.TransportError as error:
        if "Invalid URL" in str(error):
            raise failures.unsafe_redirect(asked) from error
        raise failures.dropped(host(_url(error, asked)), "the line was cut") from error


def _proxy_failure(why: str) -> TryLater:
    """A proxy that is restarted comes back; one with a wrong password does not."""
    return TryLater(failures.bad_proxy(why), "the proxy does not let us out", reached=False)


def _no_line(url: str, error: Exception) -> LauncherError | TryLater:
    why = _ERRNO.sub("", str(error)) or "it does not answer"
    for cause in _causes(error):
        if isinstance(cause, ssl.SSLCertVerificationError):
            return failures.no_trust(host(url), cause.verify_message)
        if isinstance(cause, socket.gaierror):
            why = "its name is not known here"
    if isinstance(error, TimeoutError) or "timed out" in str(error):
        why = "it does not answer"
    proxy = _proxy(url)
    if proxy:
        return _proxy_failure(f"{proxy} cannot be reached: {why}")
    return failures.no_network(host(url), why)


def _proxy(url: str) -> str:
    """The host of the proxy that stands between here and an address; mostly empty."""
    from urllib.request import getproxies, proxy_bypass

    known = getproxies()
    proxy = known.get(urlsplit(url).scheme) or known.get("all") or ""
    return "" if not proxy or proxy_bypass(host(url)) else host(proxy)


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _url(error: httpx2.RequestError, asked: Asked) -> str:
    """What was asked when it failed: not always the hub."""
    try:
        return str(error.request.url)
    except RuntimeError:  # it failed before there was a request
        return asked.endpoint


def _origin(url: httpx2.URL) -> tuple[str, str, int]:
    return url.scheme, url.host, url.port or (443 if url.scheme == "https" else 80)
