"""The worker's helper: what strangers wrote is run in a process made for each time.

Such a process confines itself, does one thing, answers and is gone. A template is compiled in
one before it is needed; what comes of that is only ever used in others, and means nothing here.
Others wait, confined, for the next conversations: to start one is most of what that takes.
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import select
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

from launcher.engine import sandbox
from launcher.engine.messages import Channel, Closed, Message
from launcher.engine.worker import limits

SECONDS = 2.0
MOST = 8  # processes that wait; each has a few MiB
PAUSE = 2.0  # seconds without a request, after which processes are made ready for the next
MEMORY = 256 << 20  # bytes, beside what an empty process has
LONGEST = 5 << 20  # characters of text; more than a million tokens, and one message holds it
_MOST = 4 * LONGEST  # bytes of an answer
_GRACE = 0.5  # seconds until a process that ignores its alarm is ended from outside
_TOO_SLOW = f"takes more than {SECONDS:.0f} seconds"
_TOO_BIG = "asks for too much memory"
_ENGINE = "launcher.engine.worker.llama"

Work = Callable[[Message], bytes]
"""`+` and what came of a request, or `-`, a cause, a line's end and a reason."""


def serve(channel: Channel) -> NoReturn:
    """Answers until the worker goes away."""
    try:
        limits.end_with_parent()
        channel.wait()  # two processors have enough to do until then
        from launcher.engine.worker import template

        # What is imported late, once confined, may be out of reach; so it is used once before.
        with contextlib.suppress(template.TemplateFailed):
            template.render("{{ raise_exception('') }}", [], bos="", eos="")
        gc.freeze()  # what is shared with the children stays shared
        helper = Helper()
        with contextlib.suppress(Closed):
            while True:
                if not channel.wait(PAUSE):
                    helper.get_ready()
                    channel.wait()
                request, _ = channel.receive()
                if "expect" in request:
                    helper.expect(request["expect"], request["many"])
                elif request:
                    channel.send(helper.answer(request))
                    helper.tidy_up()
    finally:
        os._exit(0)


class Helper:
    """What has been made ready for the next request."""

    def __init__(self) -> None:
        self._template, self._code = "", b""
        self._failure: Message | None = None
        self._spares: list[_Child] = []
        self._many = 1
        self._rules = sandbox.Rules.of()
        self._over: list[_Child] = []  # those that have answered

    def expect(self, template: str, many: int) -> None:
        """Compiles a template, and has processes wait for so many conversations."""
        self._drop()
        self._many = min(many, MOST)
        request: Message = {"template": template}
        child = _started(_compiled, self._rules)
        data = child.asked(request)
        self._template, self._code, self._failure = template, b"", None
        if data is not None and data[:1] == b"+":
            self._code = data[1:]
        else:
            self._failure = _reply(request, data, child)
        self._over.append(child)
        self._spares.append(self._new())

    def get_ready(self) -> None:
        """Has processes wait for the next requests."""
        while len(self._spares) < self._many:
            self._spares.append(self._new())
        while self._over:
            self._over.pop().end()

    def tidy_up(self) -> None:
        """Leaves what can wait: where several ask at once, their prompts are computed now."""
        if self._many == 1:
            self.get_ready()
        while len(self._over) > MOST:
            self._over.pop(0).end()

    def answer(self, request: Message) -> Message:
        """What a process made for this conversation, or this grammar, gives."""
        if request.get("template") == self._template and self._failure is not None:
            # It has had its time; from now on it gets it with each conversation.
            failure, self._failure = self._failure, None
            return failure
        if "grammar" in request and _ENGINE not in sys.modules:
            import launcher.engine.worker.llama  # noqa: F401  # before a process confines itself

            self._drop()
        child = self._taken()
        data = child.asked(request)
        self._over.append(child)
        return _reply(request, data, child)

    def _taken(self) -> _Child:
        """A process that waits, or a new one."""
        while self._spares:
            spare = self._spares.pop()
            if not spare.has_ended():
                return spare
        return self._new()

    def _new(self) -> _Child:
        code = {self._template: self._code} if self._code else {}
        return _started(lambda request: _done(rendered(request, code)), self._rules)

    def _drop(self) -> None:
        for spare in self._spares:
            spare.end()
        self._spares.clear()


def _reply(request: Message, data: bytes | None, child: _Child) -> Message:
    if data is not None and data[:1] == b"+":
        return {"text": data[1:].decode("utf-8", "surrogatepass")}
    if data is not None and data[:1] == b"-":
        cause, _, message = data[1:].decode("utf-8", "replace").partition("\n")
        return {"cause": cause, "message": message}
    is_slow = data is None or child.end() in (-signal.SIGALRM, -signal.SIGXCPU)
    return {"cause": "limit", "message": _limited(request, _TOO_SLOW if is_slow else _TOO_BIG)}


def _limited(request: Message, how: str) -> str:
    return f"it {how}" if "grammar" in request else f"the model's chat template {how}"


# --- A process for one request ------------------------------------------------------------------


class _Child:
    """One that has been started, and both lines to it."""

    def __init__(self, process: int, writing: int, reading: int) -> None:
        self._process, self._reading = process, reading
        self._writing = open(writing, "wb")  # noqa: SIM115  # closed when it is asked
        self._ended: int | None = None

    def asked(self, request: Message) -> bytes | None:
        """What it answers; None when that takes too long."""
        with contextlib.suppress(BrokenPipeError), self._writing:
            self._writing.write(json.dumps(request).encode())
        return _read(self._reading)

    def end(self) -> int:
        """It has answered, or never will. How it ended: below 0, the signal that ended it."""
        if self._ended is None:
            os.kill(self._process, signal.SIGKILL)
            self._over(os.waitpid(self._process, 0)[1])
        assert self._ended is not None
        return self._ended

    def has_ended(self) -> bool:
        """Whether somebody has ended it, before it was asked; then it cannot be any more."""
        process, status = os.waitpid(self._process, os.WNOHANG)
        if process:
            self._over(status)
        return self._ended is not None

    def _over(self, status: int) -> None:
        self._ended = os.waitstatus_to_exitcode(status)
        self._writing.close()
        os.close(self._reading)


def _started(work: Work, rules: sandbox.Rules) -> _Child:
    """A process that confines itself, and waits for what it is to work on."""
    reading, their_writing = os.pipe()
    their_reading, writing = os.pipe()
    process = os.fork()
    if process == 0:
        _work(work, rules, their_reading, their_writing)
    os.close(their_reading)
    os.close(their_writing)
    return _Child(process, writing, reading)


def _read(descriptor: int) -> bytes | None:
    """All that comes until the other side is gone; None when that takes too long."""
    parts: list[bytes] = []
    deadline = time.monotonic() + SECONDS + _GRACE
    size = 0
    while size <= _MOST:
        left = deadline - time.monotonic()
        if left <= 0 or not select.select([descriptor], [], [], left)[0]:
            return None
        part = os.read(descriptor, 1 << 20)
        if not part:
            return b"".join(parts)
        parts.append(part)
        size += len(part)
    return b""


def _work(work: Work, rules: sandbox.Rules, reading: int, writing: int) -> NoReturn:
    try:
        _confine(rules, reading, writing)
        _warm_up()
        with open(reading, "rb") as line:
            text = line.read()
        if request := json.loads(text or "{}"):
            signal.setitimer(signal.ITIMER_REAL, SECONDS)
            data = work(request)
            while data:
                data = data[os.write(writing, data) :]
            os.close(writing)  # this process takes a while to end
    finally:
        os._exit(0)


def _confine(rules: sandbox.Rules, *descriptors: int) -> None:
    import resource

    first = 3
    kept = [*descriptors, *([] if rules.ruleset is None else [rules.ruleset])]
    for descriptor in sorted(kept):
        os.closerange(first, descriptor)
        first = descriptor + 1
    os.closerange(first, limits.OPEN_FILES)
    limits.end_with_parent()
    limits.lower(resource.RLIMIT_AS, _address_space() + MEMORY)
    limits.lower(resource.RLIMIT_CPU, int(SECONDS) + 1)
    rules.enter()
    rules.close()


def _warm_up() -> None:
    """Touches what the work will: each page is a copy of its own from then on, which takes time."""
    from launcher.engine.worker import template

    template.render("x", [{"role": "user", "content": ""}], bos="", eos="")


def _address_space() -> int:
    """Bytes of this process."""
    with contextlib.suppress(OSError):
        return int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    return 1 << 30


def _compiled(request: Message) -> bytes:
    from launcher.engine.worker import template

    try:
        return b"+" + template.compiled(request["template"])
    except template.TemplateFailed as error:
        return _done({"cause": error.cause, "message": str(error)})
    except (RecursionError, MemoryError):
        return _done({"cause": "limit", "message": _limited(request, _TOO_BIG)})


def _done(reply: Message) -> bytes:
    if "text" in reply:
        return b"+" + str(reply["text"]).encode("utf-8", "surrogatepass")
    return f"-{reply['cause']}\n{reply['message']}".encode("utf-8", "replace")


def rendered(request: Message, code: dict[str, bytes] | None = None) -> Message:
    """What comes of a request in this process; `code` is of templates that are compiled."""
    if "grammar" in request:
        from launcher.engine.worker import grammars

        readable = grammars.is_readable(request["grammar"])
        return {"text": ""} if readable else {"cause": "grammar", "message": ""}
    from launcher.engine.worker import template

    try:
        text = template.render(**request, code=(code or {}).get(request["template"]))
    except template.TemplateFailed as error:
        return {"cause": error.cause, "message": str(error)}
    except (RecursionError, MemoryError):
        return {"cause": "limit", "message": _limited(request, _TOO_BIG)}
    if len(text) > LONGEST:
        return {"cause": "limit", "message": _limited(request, _TOO_BIG)}
    return {"text": text}
