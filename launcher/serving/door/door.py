"""The door of the server: every request is checked here, and nothing behind it is trusted to.

It stands before the application as one layer, so that a token on its way out passes one
function, and nothing is done for it there.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING

from launcher.serving.door import account as accounts
from launcher.serving.door import limits as limiting
from launcher.serving.door import refusal
from launcher.serving.door.account import Account
from launcher.serving.door.journal import Journal
from launcher.serving.door.limits import Limits, RefusedBody
from launcher.serving.door.refusal import Header, Refusal
from launcher.serving.door.security import Guard

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send


# No browser is to guess that an answer is a page or a program.
_ALWAYS: tuple[Header, ...] = ((b"x-content-type-options", b"nosniff"),)


class _Sending:
    """What goes out: the beginning gets our headers, the rest passes."""

    __slots__ = ("_account", "_headers", "_send", "finished", "started")

    def __init__(self, send: Send, account: Account, headers: tuple[Header, ...]) -> None:
        self._send, self._account = send, account
        self._headers = ((b"x-request-id", account.id.encode()), *_ALWAYS, *headers)
        self.started = self.finished = False

    async def __call__(self, message: Message) -> None:
        if self.started:
            self.finished = not message.get("more_body", False)
        else:
            self.started = True
            self._account.status = message["status"]
            message = {**message, "headers": [*message.get("headers", ()), *self._headers]}
        await self._send(message)


@dataclass(frozen=True, slots=True, kw_only=True)
class Door:
    """An ASGI application around another one."""

    app: ASGIApp
    guard: Guard
    limits: Limits
    journal: Journal

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers one request, or lets the application do so."""
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        assert scope["type"] == "http", "websockets are turned off"
        account = accounts.opened(scope)
        self.journal.opened()
        sending = _Sending(send, account, self.guard.cors(scope))
        try:
            await self._pass(scope, receive, sending, account)
        finally:
            account.close(cut=not sending.finished)
            self.journal.closed(account, scope)

    async def _pass(
        self, scope: Scope, receive: Receive, sending: _Sending, account: Account
    ) -> None:
        refused = self.guard.refusal(scope)
        if refused is None and (permissions := self.guard.preflight(scope)) is not None:
            headers = [(b"content-length", b"0"), *permissions]
            await sending({"type": "http.response.start", "status": 200, "headers": headers})
            await sending({"type": "http.response.body", "body": b"", "more_body": False})
            return
        owner = refused or self.guard.owner(scope)
        if isinstance(owner, Refusal):
            await refusal.answer(sending, owner, scope["path"])
            return
        account.key, account.is_trusted = owner, bool(owner) or self.guard.keys is None
        try:
            whole = await limiting.taken(scope, receive, self.limits)
        except RefusedBody as error:
            await refusal.answer(sending, error.refusal, scope["path"])
            return
        await self._answer(scope, whole, sending)

    async def _answer(self, scope: Scope, receive: Receive, sending: _Sending) -> None:
        try:
            async with asyncio.timeout(self.limits.answer_seconds) as clock:
                await self.app(scope, receive, sending)
        except TimeoutError:
            if not clock.expired():
                raise
            if not sending.started:
                late = limiting.too_late(self.limits)
                await refusal.answer(sending, late, scope["path"])
