"""Who may speak with the server: which Host, which Origin, which key.

- Host: a page on the web can point a name of its own at 127.0.0.1 (DNS rebinding) and then
  read what a server there answers; the name in Host gives it away.
- Origin: a page can send a simple POST to any address without being allowed to read the
  answer; the work would be done all the same. So a foreign Origin is refused, not only left
  without CORS headers.

Sources: RFC 9110 sections 7.2 and 15.5.20; the Fetch standard, sections 3.2 and 3.3.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from launcher.errors import ExitCode, LauncherError
from launcher.serving.door.keys import KeyFile
from launcher.serving.door.refusal import Header, Refusal

if TYPE_CHECKING:
    from starlette.types import Scope

LOCAL = frozenset({"localhost", "127.0.0.1", "::1"})
OPEN = frozenset({"/health"})  # paths that need no key
_HOST = re.compile(r"(?:\[(?P<six>[0-9a-f:.]+)\]|(?P<name>[a-z0-9._-]+))(?::\d{1,5})?")
_MAPPED = "::ffff:"  # before IPv4 addresses on a listener for both
_ORIGIN = re.compile(r"[a-z][a-z0-9+.-]*://(\*|[a-z0-9._\[\]:-]+)")
_NAMES = re.compile(rb"[A-Za-z0-9!#$%&'*+.^_`|~-]+(?:[ \t]*,[ \t]*[A-Za-z0-9!#$%&'*+.^_`|~-]+)*")
_METHODS = b"GET, POST, DELETE, OPTIONS"
_EXPOSED = b"X-Request-Id, X-Model-Licence, X-Model-Notice, Retry-After"
_REMEMBERED = b"600"  # seconds for which a browser need not ask again


class Unguarded(LauncherError):
    """A server that others can reach would need no key."""

    exit_code = ExitCode.USAGE


def refuse_unguarded(host: str, *, has_keys: bool, no_key: bool) -> None:
    """Raises `Unguarded` where others could reach the server without a key that was asked for."""
    if has_keys or no_key or is_loopback(host):
        return
    raise Unguarded(
        f"Whoever reaches {host} could use the model: only 127.0.0.1 is served without a key",
        hint="Give keys with --api-key-file, or say --no-key if everybody there may use it. "
        "This makes a key:",
        commands=["(umask 077; openssl rand -hex 24 > keys.txt)"],
    )


def is_loopback(host: str) -> bool:
    """Whether an address is reached from this computer only."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


@dataclass(frozen=True, slots=True, kw_only=True)
class Guard:
    """What is asked of every request."""

    hosts: frozenset[str] = LOCAL
    """Names that the server may be called by, small letters, without brackets and ports."""
    origins: tuple[str, ...] = ()
    """Origins whose pages may use it; `*` for all, `scheme://*` for all of a scheme."""
    keys: KeyFile | None = None

    def refusal(self, scope: Scope) -> Refusal | None:
        """Why a request is refused for where it comes from, or None."""
        return self._host_refusal(scope) or self._origin_refusal(scope)

    def owner(self, scope: Scope) -> str | Refusal:
        """The name of the key that a request shows; empty where none is needed or shown."""
        if self.keys is None:
            return ""
        shown = _shown(scope)
        name = self.keys.owner(shown) if shown is not None else None
        if name is None:
            return "" if scope["path"] in OPEN else _no_key(shown)
        return name

    def _host_refusal(self, scope: Scope) -> Refusal | None:
        server = scope.get("server")
        if server is None or server[1] is None:
            return None  # a unix socket, which no name of the web leads to
        values = _values(scope, b"host")
        name = _host_name(values[0]) if len(values) == 1 else None
        if name is None:
            return Refusal(
                status=400, message="The request needs one valid Host header.", code="invalid_host"
            )
        reached = str(server[0]).removeprefix(_MAPPED)
        if name in self.hosts or name == reached:
            return None
        return Refusal(
            status=421,
            message=f"This server is not called {name}. Whoever runs it can allow the name "
            "with --allow-host.",
            code="unknown_host",
        )

    def _origin_refusal(self, scope: Scope) -> Refusal | None:
        origins = _values(scope, b"origin")
        if not origins or (len(origins) == 1 and self._knows(origins[0], scope)):
            return None
        return Refusal(
            status=403,
            message="Web pages of this origin may not use this server. Whoever runs it can allow "
            "it with --allow-origin.",
            code="origin_not_allowed",
        )

    def _knows(self, origin: bytes, scope: Scope) -> bool:
        hosts = _values(scope, b"host")
        scheme, _, authority = origin.lower().partition(b"://")
        is_own = len(hosts) == 1 and authority == hosts[0].lower()
        return self.names(origin) or (is_own and scheme in (b"http", b"https"))

    def names(self, origin: bytes) -> bool:
        """Whether an origin is one of those that were named."""
        text = origin.decode("latin-1").lower()
        scheme, _, _ = text.partition("://")
        return any(known in ("*", text, f"{scheme}://*") for known in self.origins)

    def cors(self, scope: Scope) -> tuple[Header, ...]:
        """The headers that let a named origin's page read the answer."""
        origins = _values(scope, b"origin")
        if len(origins) != 1 or not self.names(origins[0]):
            return ((b"vary", b"Origin"),) if self.origins else ()
        return (
            (b"access-control-allow-origin", origins[0]),
            (b"access-control-expose-headers", _EXPOSED),
            (b"vary", b"Origin"),
        )

    def preflight(self, scope: Scope) -> tuple[Header, ...] | None:
        """What a browser is told that asks beforehand; None for every other request."""
        if scope["method"] != "OPTIONS" or not _values(scope, b"access-control-request-method"):
            return None
        return tuple(_permissions(scope))


def _permissions(scope: Scope) -> Iterator[Header]:
    yield (b"access-control-allow-methods", _METHODS)
    yield (b"access-control-max-age", _REMEMBERED)
    wanted = b", ".join(_values(scope, b"access-control-request-headers"))
    if _NAMES.fullmatch(wanted):
        yield (b"access-control-allow-headers", wanted)
    if _values(scope, b"access-control-request-private-network") == [b"true"]:
        yield (b"access-control-allow-private-network", b"true")


def _values(scope: Scope, name: bytes) -> list[bytes]:
    return [value for key, value in scope["headers"] if key == name]


def _host_name(value: bytes) -> str | None:
    match = _HOST.fullmatch(value.decode("latin-1").lower())
    return None if match is None else match["six"] or match["name"].rstrip(".")


def _shown(scope: Scope) -> str | None:
    """The key in `Authorization: Bearer`, or in `X-Api-Key`."""
    for value in _values(scope, b"authorization"):
        scheme, _, key = value.partition(b" ")
        if scheme.lower() == b"bearer" and key.strip():
            return key.strip().decode("latin-1")
    for value in _values(scope, b"x-api-key"):
        return value.strip().decode("latin-1")
    return None


def _no_key(shown: str | None) -> Refusal:
    message = (
        "This key is not known here."
        if shown is not None
        else "A key is needed: send it as `Authorization: Bearer KEY`."
    )
    return Refusal(
        status=401,
        message=message,
        code="invalid_api_key",
        headers=((b"www-authenticate", b"Bearer"),),
    )


def allowed_hosts(bound: Iterable[str], named: Iterable[str]) -> frozenset[str]:
    """The names a server may be called by; raises ValueError for one that is no host name."""
    return LOCAL | frozenset(map(host, (*bound, *named)))


def host(text: str) -> str:
    """A name or address as it is compared; raises ValueError for what is none."""
    name = _host_name(text.encode("latin-1", "replace")) or _host_name(f"[{text}]".encode())
    if name is None:
        raise ValueError(f"{text!a} is not the name of a host")
    return name


def origin(text: str) -> str:
    """An origin as it is written down; raises ValueError for what is none."""
    plain = text.lower().rstrip("/")
    if plain != "*" and _ORIGIN.fullmatch(plain) is None:
        raise ValueError(f"{text!a} is not an origin; write it like https://app.example")
    return plain
