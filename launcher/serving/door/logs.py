"""What the server says on standard error: a line for each request, and what happens to it.

No prompt, no answer and no key is ever written, and nothing that a client sends can make a
line of its own.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import sys
import time
import traceback
from collections.abc import Callable
from typing import Any, TextIO

from launcher.serving.door.account import Account

_LONGEST = 200  # characters of a path
# What uvicorn says of an answer that was cut off; its own line in the log says it too.
_CUT = "ASGI callable returned without completing"


class Logs:
    """Writes lines, as text or as JSON."""

    def __init__(self, form: str, stream: TextIO | None = None) -> None:
        self._line: Callable[[dict[str, Any]], str] = _as_json if form == "json" else _as_text
        self._stream = stream or sys.stderr

    def request(self, account: Account) -> None:
        """A request that is over."""
        self._write({"time": _now(), "event": "request", **_fields(account)})

    def say(self, message: str) -> None:
        """Something else that whoever runs the server wants to know."""
        self._write({"time": _now(), "event": "note", "message": message})

    def fault(self, record: logging.LogRecord) -> None:
        """A fault that a library reports, and where it came from.

        What an exception says of itself is left out: it can quote a request.
        """
        kind, _, trace = record.exc_info or (None, None, None)
        frames = "".join(traceback.format_tb(trace))
        name = f"{frames}{kind.__module__}.{kind.__qualname__}" if kind else ""
        text = f"{record.getMessage().strip()}\n{name}".strip()
        self._write({"time": _now(), "event": "fault", "message": text})

    def _write(self, body: dict[str, Any]) -> None:
        with contextlib.suppress(OSError):  # who read the log has gone; requests go on
            self._stream.write(self._line(body) + "\n")
            self._stream.flush()


class Handler(logging.Handler):
    """Gives what libraries log to `Logs`."""

    def __init__(self, logs: Logs) -> None:
        super().__init__(logging.ERROR)
        self._logs = logs

    def emit(self, record: logging.LogRecord) -> None:
        """Writes one record, unless it only says that an answer was ended."""
        kind = record.exc_info[0] if record.exc_info else None
        was_ended = kind is not None and issubclass(kind, asyncio.CancelledError)
        if not was_ended and not str(record.msg).startswith(_CUT):
            self._logs.fault(record)


def _fields(account: Account) -> dict[str, Any]:
    """What is known of a request; what is not is left out."""
    fields: dict[str, Any] = {
        "id": account.id,
        "key": account.key,
        "method": account.method,
        "path": account.path[:_LONGEST],
        "status": account.status,
        "model": account.model,
        "prompt_tokens": account.prompt_tokens,
        "tokens": account.tokens,
        "first_ms": None if account.first is None else round(account.first * 1000, 1),
    }
    known = {name: value for name, value in fields.items() if value not in ("", 0, None)}
    end = {"cut": True} if account.cut else {}
    return {**known, **end, "ms": round(account.seconds * 1000, 1)}


def _as_json(body: dict[str, Any]) -> str:
    return json.dumps(body)


def _as_text(body: dict[str, Any]) -> str:
    """`time METHOD path status name=value ...`, or the time and a sentence."""
    if body["event"] != "request":
        return f"{body['time']} {body['message']}"
    named = [
        f"{name}={_plain(value)}"
        for name, value in body.items()
        if name not in ("time", "event", "method", "path", "status")
    ]
    head = (body["time"], body["method"], _plain(body["path"]), str(body["status"]))
    return " ".join((*head, *named))


def _plain(value: object) -> str:
    """A value as one word."""
    text = str(value)
    return text if text.isascii() and text.isprintable() and " " not in text else json.dumps(text)


def _now() -> str:
    """The time of the day, in UTC."""
    now = time.time()
    seconds = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(now))
    return f"{seconds}.{int(now % 1 * 1000):03d}Z"
