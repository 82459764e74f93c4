"""What is answered at the door: a status, a sentence, and a code for programs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from launcher.serving import failures
from launcher.serving.failures import Failure

if TYPE_CHECKING:
    from starlette.types import Send

Header = tuple[bytes, bytes]

_KINDS = {
    401: "authentication_error",
    403: "permission_error",
    429: "rate_limit_error",
    503: "server_error",
}
CLOSE: Header = (b"connection", b"close")


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """Why a request goes no further."""

    status: int
    message: str
    code: str
    headers: tuple[Header, ...] = ()

    def body(self, path: str) -> bytes:
        """The error as the clients of this path expect it."""
        kind = _KINDS.get(self.status, "invalid_request_error")
        failure = Failure(status=self.status, message=self.message, kind=kind, code=self.code)
        return failures.as_bytes(failures.body(failure, path))


async def answer(send: Send, refusal: Refusal, path: str) -> None:
    """Sends a refusal as the whole answer."""
    body = refusal.body(path)
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(body)).encode()),
        *refusal.headers,
    ]
    await send({"type": "http.response.start", "status": refusal.status, "headers": headers})
    await send({"type": "http.response.body", "body": body, "more_body": False})
