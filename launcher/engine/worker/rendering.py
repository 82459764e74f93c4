"""Renders chat templates in processes of their own, within 2 seconds and 256 MiB.

A template is a program from a stranger, and a grammar is no better: it is read here first. The
worker starts a keeper before it loads the engine, while it may still start a process. The keeper
does nothing but keep a helper alive, and give the worker a line to it. The helper starts another
process for each conversation, which confines itself, renders, answers and is gone. Whatever a
template does, the worker goes on, also when the helper dies. Where processes cannot be forked,
templates are rendered in the worker.
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
from types import MappingProxyType
from typing import Any, NoReturn

from launcher.engine import sandbox
from launcher.engine.messages import Channel, Closed, Message
from launcher.engine.worker import limits

SECONDS = 2.0
MEMORY = 256 << 20  # bytes, beside what an empty process has
LONGEST = 5 << 20  # characters of text; more than a million tokens, and one message holds it
_TRIES = 3  # helpers that are asked one after the other; what ends all of them is not chance
_NONE: Mapping[str, Any] = MappingProxyType({})
_GRACE = 0.5  # seconds until a process that ignores its alarm is ended from outside
_TOO_SLOW = f"takes more than {SECONDS:.0f} seconds"
_TOO_BIG = "asks for too much memory"


class Gone(Exception):
    """There is no process for templates, and none can be started: the worker is of no use."""


class Renderer:
    """The worker's way to its process for templates."""

    def __init__(self, line: socket.socket) -> None:
        """Starts it, without the worker's line to the launcher; no thread may run yet."""
        self._keeper: Channel | None = None
        self._helper: Channel | None = None
        if not hasattr(os, "fork"):
            return
        ours, theirs = socket.socketpair()
        if os.fork() == 0:
            ours.close()
            line.close()
            _keep(Channel(theirs))
        theirs.close()
        self._keeper = Channel(ours, takes_files=True)

    def begin(self) -> None:
        """Has the helper get ready, now that the worker has nothing else to do.

        A helper that is asked gets ready, too, but then somebody waits for it.
        """
        if self._keeper is not None:
            with contextlib.suppress(Closed):
                self._reached(self._keeper).send({})

    def render(
        self,
        template: str,
        messages: Sequence[Mapping[str, Any]],
        tools: Sequence[Mapping[str, Any]] | None = None,
        variables: Mapping[str, Any] = _NONE,
        *,
        bos: str,
        eos: str,
    ) -> Message:
        """`text`, or `cause` and `message` of what is wrong with the template.

        Raises `Gone` when there is no process for templates any more.
        """
        request = {
            "template": template,
            "messages": list(messages),
            "tools": list(tools) if tools else None,
            "variables": dict(variables),
            "bos": bos,
            "eos": eos,
        }
        return self._answer(request)

    def tried(self, grammar: str) -> str | None:
        """Why the engine may not read a grammar; None where it may.

        Empty where it could not read it: it has written why to standard error. It is not to be
        read again where there are no limits: some run out of memory, and call that a bad grammar.
        """
        reply = self._answer({"grammar": grammar})
        return None if "text" in reply else str(reply["message"])

    def _answer(self, request: Message) -> Message:
        if self._keeper is None:
            return {"text": ""} if "grammar" in request else _rendered(request)
        for _ in range(_TRIES):
            with contextlib.suppress(Closed):
                return self._asked(request, self._keeper)
            self._forget()
        raise Gone("the processes that render chat templates were ended from outside")

    def _asked(self, request: Message, keeper: Channel) -> Message:
        """What the helper answers. Raises `Closed` when it dies, or has died."""
        helper = self._reached(keeper)
        helper.send(request)
        return helper.receive()[0]

    def _reached(self, keeper: Channel) -> Channel:
        """The line to the helper. Raises `Closed`."""
        if self._helper is None:
            _, files = keeper.receive()
            self._helper = Channel(socket.socket(fileno=files[0]))
        return self._helper

    def _forget(self) -> None:
        if self._helper is not None:
            self._helper.close()
        self._helper = None


# --- The process that keeps the one for templates -----------------------------------------------


def _keep(channel: Channel) -> NoReturn:
    """Starts a helper whenever there is none, and gives the worker a line to it."""
    try:
        limits.end_with_parent()
        while True:
            ours, theirs = socket.socketpair()
            helper = os.fork()
            if helper == 0:
                ours.close()
                channel.close()
                _serve(Channel(theirs))
            theirs.close()
            # It waits here while the worker takes no lines: helpers that die at once do no harm.
            channel.send({}, [ours.fileno()])
            ours.close()
            os.waitpid(helper, 0)
    finally:
        os._exit(0)


# --- The process for templates ------------------------------------------------------------------


def _serve(channel: Channel) -> NoReturn:
    """Answers until the worker goes away."""
    try:
        limits.end_with_parent()
        channel.wait()  # two processors have enough to do until then
        from launcher.engine.worker import template

        # What is imported late, once confined, may be out of reach; so it is used once before.
        with contextlib.suppress(template.TemplateFailed):
            template.render("{{ raise_exception('') }}", [], bos="", eos="")
        gc.freeze()  # what is shared with the children stays shared
        with contextlib.suppress(Closed):
            while True:
                request, _ = channel.receive()
                if request:
                    channel.send(_answer(request))
    finally:
        os._exit(0)


def _answer(request: Message) -> Message:
    """What a process made for this conversation, or this grammar, gives."""
    if "grammar" in request:
        import launcher.engine.worker.llama  # noqa: F401  # before the process confines itself
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
        return {"cause": "limit", "message": _limited(request, _TOO_SLOW)}
    return {"cause": "limit", "message": _limited(request, _TOO_BIG)}


def _limited(request: Message, how: str) -> str:
    return f"it {how}" if "grammar" in request else f"the model's chat template {how}"


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
    if "grammar" in request:
        from launcher.engine.worker import grammars

        readable = grammars.is_readable(request["grammar"])
        return {"text": ""} if readable else {"cause": "grammar", "message": ""}
    from launcher.engine.worker import template

    try:
        text = template.render(**request)
    except template.TemplateFailed as error:
        return {"cause": error.cause, "message": str(error)}
    except (RecursionError, MemoryError):
        return {"cause": "limit", "message": _limited(request, _TOO_BIG)}
    if len(text) > LONGEST:
        return {"cause": "limit", "message": _limited(request, _TOO_BIG)}
    return {"text": text}
