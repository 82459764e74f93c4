"""What one request came to: for the access log and the metrics. Never a prompt, never a key."""

from __future__ import annotations

import re
import secrets
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from launcher.serving.streams import GONE

if TYPE_CHECKING:
    from starlette.types import Scope

    from launcher.engine.client import Done

_PLACE = "launcher.account"  # in the scope of a request
_ID = re.compile(rb"[A-Za-z0-9._-]{1,64}")


@dataclass(slots=True, kw_only=True)
class Account:
    """Filled in by whoever answers the request; `of` finds it."""

    id: str
    method: str = ""
    path: str = ""
    key: str = ""
    """The name of the key that was shown."""
    is_trusted: bool = True
    """Whether a key was shown, or none is asked for: who is not learns nothing of the models."""
    model: str = ""
    """The model that answered, by the name it is served under; never what a client made up."""
    status: int = 0
    prompt_tokens: int = 0
    tokens: int = 0
    decode_seconds: float = 0.0
    first: float | None = None
    """Seconds from the request's beginning to the first token."""
    seconds: float = 0.0
    cut: bool = False
    """Whether the answer broke off: the client has left, or it took too long."""
    started: float = field(default_factory=time.monotonic)

    def token_came(self) -> None:
        """Notes when the first token came; later calls change nothing."""
        if self.first is None:
            self.first = time.monotonic() - self.started

    def add(self, done: Done) -> None:
        """Counts an answer that ended; a request can have several (`n`)."""
        self.prompt_tokens += done.prompt_tokens
        self.tokens += done.tokens
        self.decode_seconds += done.seconds

    def close(self, *, cut: bool) -> None:
        """Ends the account; `cut` says that not all of the answer was sent."""
        self.cut = cut
        self.seconds = time.monotonic() - self.started
        self.status = self.status or GONE


def opened(scope: Scope) -> Account:
    """A new account of a request, with the id that its client gave it if that is a plain one."""
    account = Account(
        id=_given_id(scope) or secrets.token_hex(8), method=scope["method"], path=scope["path"]
    )
    scope[_PLACE] = account
    return account


def of(scope: Scope) -> Account:
    """The account of a request; one of its own where nobody keeps accounts."""
    found = scope.get(_PLACE)
    return found if isinstance(found, Account) else Account(id="")


def _given_id(scope: Scope) -> str:
    values = [value for name, value in scope["headers"] if name == b"x-request-id"]
    return values[0].decode() if len(values) == 1 and _ID.fullmatch(values[0]) else ""
