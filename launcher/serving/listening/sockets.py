"""Where the server listens: an address, a unix socket, or what systemd opened for it."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import stat
from collections.abc import MutableMapping
from pathlib import Path

from launcher.errors import LauncherError

_FIRST = 3  # the first descriptor that is passed: sd_listen_fds(3)
BACKLOG = 512
# A name can have an address of a family that this computer does not use.
_NOT_HERE = (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT)


def inherited(environment: MutableMapping[str, str]) -> list[socket.socket]:
    """The sockets that the service manager passed, as sd_listen_fds(3) has it.

    The variables are taken out, so that no worker thinks that they are for it.
    """
    pid, count = environment.pop("LISTEN_PID", ""), environment.pop("LISTEN_FDS", "")
    environment.pop("LISTEN_FDNAMES", None)
    if pid != str(os.getpid()) or not count.isdigit():
        return []
    passed = []
    for descriptor in range(_FIRST, _FIRST + int(count)):
        os.set_inheritable(descriptor, False)
        line = socket.socket(fileno=descriptor)
        if line.type != socket.SOCK_STREAM or not _listens(line):
            raise LauncherError(f"What was passed as descriptor {descriptor} is no listener")
        line.setblocking(False)
        passed.append(line)
    return passed


def _listens(line: socket.socket) -> bool:
    return bool(line.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN))


def tcp(host: str, port: int) -> list[socket.socket]:
    """Listeners on every address that a host has here; raises `LauncherError`."""
    bare = host.strip("[]")
    try:
        found = socket.getaddrinfo(bare, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, UnicodeError) as error:
        raise LauncherError(f"'{host}' is not an address of this computer") from error
    opened: list[socket.socket] = []
    absent: OSError | None = None
    for family, *_, address in dict.fromkeys(found):
        chosen = opened[0].getsockname()[1] if opened else port
        try:
            opened.append(_bound(family, (address[0], chosen, *address[2:])))
        except OSError as error:
            absent = error
            if error.errno not in _NOT_HERE:
                break
    if absent is not None and (not opened or absent.errno not in _NOT_HERE):
        for line in opened:
            line.close()
        raise _cannot_listen(f"{host}:{port}", absent) from absent
    return opened


def _bound(family: int, address: tuple[str | int | bytes, ...]) -> socket.socket:
    line = socket.socket(family, socket.SOCK_STREAM)
    try:
        line.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            line.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        line.bind(address)
        line.listen(BACKLOG)
        line.setblocking(False)
    except BaseException:
        line.close()
        raise
    return line


def _cannot_listen(place: str, error: OSError) -> LauncherError:
    if error.errno == errno.EADDRINUSE:
        return LauncherError(
            f"Something else listens on {place} already",
            hint="Choose another port with --port, or end what listens there.",
        )
    return LauncherError(f"The server cannot listen on {place}: {error.strerror}")


def unix(path: Path, mode: int = 0o600) -> socket.socket:
    """A listener in the file system, for who may open `path` by its mode.

    A socket that nobody listens on any more is removed; anything else there is left alone.
    Raises `LauncherError`.
    """
    line = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    before = os.umask(0o177)  # nobody else gets in between bind and chmod
    try:
        _remove_stale(path)
        line.bind(str(path))
        path.chmod(mode)
        line.listen(BACKLOG)
        line.setblocking(False)
    except OSError as error:
        line.close()
        raise _cannot_listen(str(path), error) from error
    finally:
        os.umask(before)
    return line


def _remove_stale(path: Path) -> None:
    with contextlib.suppress(FileNotFoundError):
        if stat.S_ISSOCK(path.lstat().st_mode) and not _answers(path):
            path.unlink()


def _answers(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as line:
        line.settimeout(1.0)
        try:
            line.connect(str(path))
        except ConnectionRefusedError:
            return False
        return True


def place(line: socket.socket, *, tls: bool = False) -> str:
    """Where a listener is reached, as it is written in an address bar."""
    name = line.getsockname()
    if line.family == socket.AF_UNIX:
        return f"unix:{name.decode() if isinstance(name, bytes) else name}".replace("\0", "@")
    host = f"[{name[0]}]" if line.family == socket.AF_INET6 else name[0]
    return f"{'https' if tls else 'http'}://{host}:{name[1]}"
