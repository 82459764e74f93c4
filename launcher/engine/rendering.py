"""Renders chat templates in processes of their own, within 2 seconds and 256 MiB.

A template is a program from a stranger. The worker starts a process for templates before it
loads the engine, while it may still start one; that process starts another for each
conversation, which confines itself, renders, answers and is gone. Whatever a template does,
the worker goes on. Where processes cannot be forked, it is rendered in the worker.
"""

from __future__ import annotations

import contextlib
import gc
import os
import select
import signal
import socket
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NoReturn

from launcher.engine import limits, sandbox
from launcher.engine.messages import Channel, Closed, Message

SECONDS = 2.0
MEMORY = 256 << 20  # bytes, beside what an empty process has
LONGEST = 5 << 20  # characters of text; more than a million tokens, and one message holds it
_GRACE = 0.5  # seconds until a process that ignores its alarm is ended from outside
_TOO_SLOW = f"the model's chat template takes more than {SECONDS:.0f} seconds"
_TOO_BIG = "the model's chat template asks for too much memory"


class Renderer:
    """The worker's way to its process for templates."""

    def __init__(self, line: socket.socket) -> None:
        """Starts it, without the worker's line to the launcher; no thread may run yet."""
        self._channel: Channel | None = None
        if not hasattr(os, "fork"):
            return
        ours, theirs = socket.socketpair()
        if os.fork() == 0:
            ours.close()
            line.close()
            _serve(Channel(theirs))
        theirs.close()
        self._channel = Channel(ours)

    def render(
        self, template: str, messages: Sequence[Mapping[str, str]], **special: str
    ) -> Message:
        """`text`, or `cause` and `message` of what is wrong with the template."""
        request = {"template": template, "messages": list(messages), **special}
        if self._channel is None:
            return _rendered(request)
        try:
            self._channel.send(request)
            return self._channel.receive()[0]
        except Closed:
            return {"cause": "broken", "message": "the process for chat templates is gone"}


# --- The process for templates ------------------------------------------------------------------


def _serve(channel: Channel) -> NoReturn:
    """Answers until the worker goes away."""
    limits.end_with_parent()
    from launcher.engine import template

    template.render("{{ '' }}", [], bos="", eos="")  # what is made once is made before
    gc.freeze()  # what is shared with the children stays shared
    with contextlib.suppress(Closed):
        while True:
            request, _ = channel.receive()
            channel.send(_answer(request))
    os._exit(0)


def _answer(request: Message) -> Message:
    """What a process made for this conversation gives."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        _render(request, writing)
    os.close(writing)
    data = _read(reading)
    os.close(reading)
    os.kill(child, signal.SIGKILL)  # it has answered, or never will
    _, status = os.waitpid(child, 0)
    if data is not None and data[:1] == b"+":
        return {"text": data[1:].decode("utf-8", "surrogatepass")}
    if data is not None and data[:1] == b"-":
        cause, _, message = data[1:].decode("utf-8", "replace").partition("\n")
        return {"cause": cause, "message": message}
    ended = os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0
    if data is None or ended in (signal.SIGALRM, signal.SIGXCPU):
        return {"cause": "limit", "message": _TOO_SLOW}
    return {"cause": "limit", "message": _TOO_BIG}


def _read(descriptor: int) -> bytes | None:
    """All that comes until the other side is gone; None when that takes too long."""
    parts: list[bytes] = []
    deadline = time.monotonic() + SECONDS + _GRACE
    while True:
        left = deadline - time.monotonic()
        if left <= 0 or not select.select([descriptor], [], [], left)[0]:
            return None
        part = os.read(descriptor, 1 << 20)
        if not part:
            return b"".join(parts)
        parts.append(part)


# --- The process for one conversation -----------------------------------------------------------


def _render(request: Message, writing: int) -> NoReturn:
    """Confines itself, renders, and sends what came of it."""
    try:
        _confine(writing)
        reply = _rendered(request)
        if "text" in reply:
            data = b"+" + reply["text"].encode("utf-8", "surrogatepass")
        else:
            data = f"-{reply['cause']}\n{reply['message']}".encode("utf-8", "replace")
        while data:
            data = data[os.write(writing, data) :]
    finally:
        os._exit(0)


def _confine(writing: int) -> None:
    import resource

    os.closerange(3, writing)
    os.closerange(writing + 1, limits.OPEN_FILES)
    limits.end_with_parent()
    limits.lower(resource.RLIMIT_AS, _address_space() + MEMORY)
    limits.lower(resource.RLIMIT_CPU, int(SECONDS) + 1)
    sandbox.enter(())
    signal.setitimer(signal.ITIMER_REAL, SECONDS)


def _address_space() -> int:
    """Bytes of this process."""
    with contextlib.suppress(OSError):
        return int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    return 1 << 30


def _rendered(request: Message) -> Message:
    from launcher.engine import template

    try:
        text = template.render(**request)
    except template.TemplateFailed as error:
        return {"cause": error.cause, "message": str(error)}
    except (RecursionError, MemoryError):
        return {"cause": "limit", "message": _TOO_BIG}
    if len(text) > LONGEST:
        return {"cause": "limit", "message": _TOO_BIG}
    return {"text": text}
