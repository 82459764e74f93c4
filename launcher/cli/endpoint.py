"""Options that say where a server listens, who may use it, and how much."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from launcher.serving.door.limits import Limits
    from launcher.serving.listening.endpoint import Endpoint

F = TypeVar("F", bound=Callable[..., Any])
_FILE = click.Path(path_type=Path)
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
_PIECE = r"(\d{1,9}(?:\.\d{1,3})?)(ms|s|m|h)"


class _Duration(click.ParamType[float | None]):
    """Go's form, as Ollama has it: 5m, 1h30m, or seconds; below 0: for ever (None)."""

    name = "duration"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float | None:
        text = str(value).lower().removeprefix("-")
        if re.fullmatch(r"\d{1,9}(\.\d{1,3})?", text):
            seconds = float(text)
        elif re.fullmatch(f"({_PIECE})+", text):
            seconds = sum(float(count) * _SECONDS[unit] for count, unit in re.findall(_PIECE, text))
        else:
            self.fail(f"{value!a} is no duration; write it like 30s, 5m or 1h30m", param, ctx)
        return None if str(value).startswith("-") else seconds


class _Size(click.ParamType[int]):
    name = "size"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        match = re.fullmatch(r"(\d{1,9})([kmg]?)i?b?", str(value).lower())
        if match is None or int(match[1]) == 0:
            self.fail(f"{value!a} is no size; write bytes like 500k or 4M", param, ctx)
        return int(match[1]) << {"": 0, "k": 10, "m": 20, "g": 30}[match[2]]


class _Mode(click.ParamType[int]):
    name = "mode"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        if not re.fullmatch(r"0?[0-7]{3}", str(value)):
            self.fail(f"{value!a} is no mode of a file; write it like 660", param, ctx)
        return int(str(value), 8)


class _Checked(click.ParamType[str]):
    """Text that a function of `serving.security` takes."""

    def __init__(self, name: str, check: str) -> None:
        self.name, self._check = name, check

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        from launcher.serving.door import security

        try:
            return str(getattr(security, self._check)(value))
        except ValueError as error:
            self.fail(str(error), param, ctx)


DURATION = _Duration()
_SIZE = _Size()

_OPTIONS = (
    click.option(
        "--host",
        type=_Checked("address", "host"),
        default="127.0.0.1",
        show_default=True,
        envvar="LAUNCHER_HOST",
        help="The address to listen on; any but this computer's own needs keys.",
    ),
    click.option(
        "--port",
        type=click.IntRange(0, 65535),
        default=8080,
        show_default=True,
        envvar="LAUNCHER_PORT",
        help="0: any that is free.",
    ),
    click.option("--unix", type=_FILE, help="Listen on this unix socket instead."),
    click.option(
        "--unix-mode", type=_Mode(), default="600", show_default=True, help="Who may open it."
    ),
    click.option(
        "--api-key-file",
        type=_FILE,
        envvar="LAUNCHER_API_KEY_FILE",
        help="Keys, one of which every request has to show; a line for each, `name: key`.",
    ),
    click.option("--no-key", is_flag=True, help="Ask for no key, whoever can reach the server."),
    click.option(
        "--allow-host",
        "hosts",
        type=_Checked("name", "host"),
        multiple=True,
        help="Another name that clients call the server by.",
    ),
    click.option(
        "--allow-origin",
        "origins",
        type=_Checked("origin", "origin"),
        multiple=True,
        help="Web pages that may use the server, such as https://app.example.",
    ),
    click.option(
        "--tls-cert", "--ssl-cert-file", "tls_cert", type=_FILE, help="A certificate, for HTTPS."
    ),
    click.option(
        "--tls-key",
        "--ssl-key-file",
        "tls_key",
        type=_FILE,
        help="Its key, if that is not in the same file.",
    ),
    click.option(
        "--max-body", type=_SIZE, default="4M", show_default=True, help="How long requests may be."
    ),
    click.option(
        "-to",
        "--timeout",
        type=DURATION,
        default="10m",
        show_default=True,
        help="How long an answer may take; -1: as long as it takes.",
    ),
    click.option(
        "--max-connections",
        type=click.IntRange(min=1),
        default=512,
        show_default=True,
        help="How many may be open at a time.",
    ),
)


def reached(function: F) -> F:
    """Adds the options of which `endpoint` and `limits` are made."""
    for option in reversed(_OPTIONS):
        function = option(function)
    return function


def endpoint(values: dict[str, Any]) -> Endpoint:
    """Where the server is reached; the options are taken out of the values."""
    from launcher.serving.listening.endpoint import Endpoint

    certificate, key = values.pop("tls_cert"), values.pop("tls_key")
    if key is not None and certificate is None:
        raise click.UsageError("--tls-key needs --tls-cert.")
    return Endpoint(
        host=values.pop("host"),
        port=values.pop("port"),
        unix=values.pop("unix"),
        unix_mode=values.pop("unix_mode"),
        key_file=values.pop("api_key_file"),
        no_key=values.pop("no_key"),
        hosts=values.pop("hosts"),
        origins=values.pop("origins"),
        certificate=certificate,
        certificate_key=key,
    )


def limits(values: dict[str, Any]) -> Limits:
    """How much clients may do; the options are taken out of the values."""
    from launcher.serving.door.limits import Limits

    return Limits(
        body=values.pop("max_body"),
        answer_seconds=values.pop("timeout"),
        connections=values.pop("max_connections"),
    )
