"""A systemd unit for a command line: the same server, started with the computer, and confined.

Every setting stands in systemd.exec(5), systemd.service(5) or systemd.resource-control(5).
The worker confines itself by Landlock and seccomp, so those calls stay allowed.
"""

from __future__ import annotations

import glob
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

# Files that systemd hands to the service, since it runs as a user of its own.
CREDENTIALS = {
    "--api-key-file": "api-keys",
    "--tls-cert": "tls-cert",
    "--ssl-cert-file": "tls-cert",
    "--tls-key": "tls-key",
    "--ssl-key-file": "tls-key",
}
_HIDDEN = ("/home", "/root", "/run/user", "/tmp", "/var/tmp")  # noqa: S108 - what units cannot see
_PLAIN = re.compile(r"[A-Za-z0-9_@%+=:,./\[\]-]+")
_SHARD = re.compile(r"(.+)-\d{5}-of-(\d{5})\.gguf")
_WATCHDOG = 60  # seconds

_HARDENING = """\
NoNewPrivileges=yes
CapabilityBoundingSet={capabilities}
AmbientCapabilities={capabilities}
ProtectSystem=strict
ProtectHome=tmpfs
PrivateTmp=yes
PrivateDevices=yes
ProtectClock=yes
ProtectControlGroups=yes
ProtectHostname=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
ProtectProc=invisible
LockPersonality=yes
MemoryDenyWriteExecute=yes
RemoveIPC=yes
RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
SystemCallArchitectures=native
SystemCallFilter=@system-service
SystemCallFilter=landlock_create_ruleset landlock_add_rule landlock_restrict_self seccomp
SystemCallErrorNumber=EPERM
UMask=0077"""

_TEXT = """\
# launcher.service: made by `launcher serve --print-unit`
#   sudo cp launcher.service /etc/systemd/system/
#   sudo systemctl daemon-reload && sudo systemctl enable --now launcher
# The service has a user and folders of its own. It needs to know who uses the models: declare
# it with --as in ExecStart, with LAUNCHER_AS, or for the whole device in
# /etc/launcher/declaration.toml; licences are accepted in /etc/launcher/acceptances.toml.

[Unit]
Description=launcher: {models}
Wants=network-online.target
After=network-online.target

[Service]
Type=notify
NotifyAccess=main
ExecStart={command}
{environment}
DynamicUser=yes
StateDirectory=launcher
CacheDirectory=launcher
{files}
Restart=on-failure
RestartSec=5
# Wrong use, a refusal, or something that only a person can supply: a restart changes nothing.
RestartPreventExitStatus=2 3 4 5 6 8
TimeoutStartSec=30min
TimeoutStopSec={stop}
WatchdogSec={watchdog}
# Only the server is told to stop: its workers finish the answers that are running.
KillMode=mixed
# A model that takes too much memory ends its own worker, not the service.
OOMPolicy=continue

{hardening}
{network}
[Install]
WantedBy=multi-user.target

# launcher.socket, if systemd is to listen in the server's place (with Requires=launcher.socket
# in [Unit] above): requests that come while the server starts then wait.
#
# [Socket]
# ListenStream={listen}
{mode}# [Install]
# WantedBy=sockets.target
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wished:
    """What a unit is made for."""

    program: Sequence[str]
    """How the launcher is called: absolute paths."""
    arguments: Sequence[str]
    """After `serve`, as they were typed."""
    models: Sequence[str]
    listen: str
    """An address with its port, or the path of a unix socket."""
    folder: Path
    """What relative paths start from."""
    seen: Sequence[Path]
    """What has to be readable besides the files that the arguments name."""
    variables: Mapping[str, str]
    """Of the environment, such as LAUNCHER_AS."""
    offline: bool = False
    grace_seconds: int = 30


def text(wished: Wished) -> str:
    """The unit; raises ValueError for what cannot be written into one."""
    arguments, credentials, files = _split(wished)
    command = [*wished.program, "serve", *arguments]
    is_unix = wished.listen.startswith("/")
    privileged = not is_unix and int(wished.listen.rpartition(":")[2]) in range(1, 1024)
    return _TEXT.format(
        models=", ".join(map(_specified, wished.models)),
        command=" ".join(map(quoted, command)),
        environment="\n".join(_environment(wished.variables)),
        files="\n".join(_files(credentials, [*wished.seen, *files], wished)),
        stop=wished.grace_seconds + 15,
        watchdog=_WATCHDOG,
        hardening=_HARDENING.format(capabilities="CAP_NET_BIND_SERVICE" if privileged else ""),
        network=_network(wished, is_unix=is_unix),
        listen=wished.listen,
        mode="# SocketMode=0600\n" if is_unix else "",
    )


def _split(wished: Wished) -> tuple[list[str], dict[str, Path], list[Path]]:
    """The arguments for a service, what systemd hands it, and the files that they name."""
    found: list[str] = []
    credentials: dict[str, Path] = {}
    files: list[Path] = []
    waiting = iter(wished.arguments)
    for argument in waiting:
        option, is_one, value = argument.partition("=")
        if option in CREDENTIALS:
            credential = CREDENTIALS[option]
            credentials[credential] = wished.folder / (value if is_one else next(waiting))
            found += [option, f"\0{credential}"]
        elif is_file(argument, wished.folder):
            path = wished.folder / argument
            files += _shards(path)
            found.append(str(path))
        elif is_one and option.startswith("--") and is_file(value, wished.folder):
            files.append(wished.folder / value)
            found.append(f"{option}={files[-1]}")
        elif argument != "--print-unit":
            found.append(argument)
    return found, credentials, files


def is_file(argument: str, folder: Path) -> bool:
    """Whether an argument names a file that is there."""
    names_one = "/" in argument or argument.endswith(".gguf")
    return names_one and (folder / argument).is_file()


def _shards(path: Path) -> list[Path]:
    """A file, and the others that it was cut into."""
    match = _SHARD.fullmatch(path.name)
    if match is None:
        return [path]
    return sorted(path.parent.glob(f"{glob.escape(match[1])}-*-of-{match[2]}.gguf"))


def _environment(variables: Mapping[str, str]) -> Iterator[str]:
    yield "Environment=LAUNCHER_HOME=%S/launcher HF_HOME=%C/launcher/huggingface"
    for name, value in variables.items():
        yield f"Environment={quoted(f'{name}={value}')}"


def _files(credentials: Mapping[str, Path], seen: Sequence[Path], wished: Wished) -> Iterator[str]:
    for name, path in credentials.items():
        yield f"LoadCredential={name}:{_specified(str(path))}"
    for path in _outermost(seen):
        if any(path.is_relative_to(folder) for folder in _HIDDEN):
            yield f"BindReadOnlyPaths={quoted(str(path))}"
    if wished.listen.startswith("/"):
        yield f"RuntimeDirectory={_runtime_folder(Path(wished.listen))}"


def _outermost(paths: Sequence[Path]) -> list[Path]:
    """What is there, without what lies in another of them."""
    found = [path for path in dict.fromkeys(paths) if path.exists()]
    return [
        path
        for path in found
        if not any(path.is_relative_to(other) for other in found if other != path)
    ]


def _runtime_folder(path: Path) -> Path:
    """The folder of a unix socket below /run, which systemd makes for the service."""
    folder = path.parent
    if not folder.is_relative_to("/run") or folder == Path("/run"):
        raise ValueError(
            "a service makes its socket in a folder of its own, such as /run/launcher/http.sock"
        )
    return folder.relative_to("/run")


def _network(wished: Wished, *, is_unix: bool) -> str:
    """Nothing but this computer, where nothing else is needed."""
    is_local = is_unix or wished.listen.startswith(("127.", "[::1]", "localhost"))
    if not (is_local and wished.offline):
        return ""
    return "IPAddressDeny=any\nIPAddressAllow=localhost\n"


def quoted(argument: str) -> str:
    """An argument of ExecStart=, so that systemd takes it as it is (systemd.syntax(7)).

    >>> quoted("a b$c%d")
    '"a b$$c%%d"'
    """
    if argument.startswith("\0"):
        return f"%d/{argument[1:]}"
    if any(character < " " or character == "\x7f" for character in argument):
        raise ValueError(f"{argument!a} has characters that a unit cannot hold")
    plain = _specified(argument).replace("$", "$$")
    if _PLAIN.fullmatch(plain):
        return plain
    return '"' + plain.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _specified(argument: str) -> str:
    return argument.replace("%", "%%")
