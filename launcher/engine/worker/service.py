"""What a worker does: loads one model in its life, and answers what it is asked.

It gets open files over its channel, never a path to open, and confines itself before it looks
at them.
"""

from __future__ import annotations

import contextlib
import queue
import sys
import threading
import time
from collections.abc import Callable, Sequence

from launcher.engine import graphics, sandbox
from launcher.engine.drafting import Drafting
from launcher.engine.messages import Channel, Closed, Message, close_all
from launcher.engine.worker import images, likeliest, llama, loading, prefix, prompting
from launcher.engine.worker.answer import Answer, Asked
from launcher.engine.worker.crowd import Crowd
from launcher.engine.worker.prompting import Prompts, Unanswerable
from launcher.engine.worker.rendering import Renderer
from launcher.engine.worker.slots import Slots

_IDLE = 0.3  # seconds after an answer; whoever wants one answer has gone by then


class Inbox:
    """Messages from the launcher, read by a thread so that `stop` is seen mid-answer."""

    def __init__(self, channel: Channel) -> None:
        self.waiting: queue.SimpleQueue[Message | None] = queue.SimpleQueue()
        self.stopped = 0  # the number of the latest answer that is not wanted any more
        self._channel = channel
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        try:
            while True:
                message, files = self._channel.receive()
                if message["type"] == "stop":
                    self.stopped = message["number"]
                elif message["type"] == "generate":
                    message["images"] = list(map(self._bytes, message.get("images", ())))
                    message["files"], files = files, []  # closed by whoever answers
                    self.waiting.put(message)
                close_all(files)
        except Closed:
            self.stopped = sys.maxsize
            self.waiting.put(None)

    def _bytes(self, size: int) -> bytes:
        return b"".join(self._channel.receive_bytes(size))


class Service:
    """One loaded model and what is asked of it."""

    def __init__(self, channel: Channel, renderer: Renderer) -> None:
        self.channel = channel
        self.renderer = renderer
        self.is_plain = False  # what the last answer's sampler was

    def serve(self) -> None:
        """Loads what it is told to and answers until the launcher goes away."""
        message, files, level = self._begin()
        if message["require_sandbox"] and level is not sandbox.Level.FULL:
            self._fail("sandbox", level)
            return
        if message["type"] == "calibrate":
            self._measure(message, files)
            return
        try:
            self._load(message, files, level)
        except loading.Failed as error:
            self._fail(error.kind, str(error), at=error.at)
            return
        close_all(files)
        if isinstance(self.context, Slots):
            Crowd(self.channel, self.context, self.prompts).serve()
            return
        self.inbox = Inbox(self.channel)  # its thread is as confined as the one that starts it
        while (wanted := self._next()) is not None:
            try:
                self._generate(wanted)
            except Unanswerable as error:
                self.channel.send(error.reply)
            except llama.DecodeFailed as error:
                self.context.forget()
                self._fail("decode", str(error))
            finally:
                close_all(wanted["files"])

    def _next(self) -> Message | None:
        """What is asked next; where nothing is for a while, the time is used to get quicker."""
        if self.is_plain:
            with contextlib.suppress(queue.Empty):
                return self.inbox.waiting.get(timeout=_IDLE)
            likeliest.get_ready()
        return self.inbox.waiting.get()

    def _begin(self) -> tuple[Message, list[int], sandbox.Level]:
        """What is to be loaded; from then on this process is confined.

        The engine is started before, while it waits. But drivers start threads with it, which
        would not be confined.
        """
        has_drivers = bool(graphics.backends())
        if not has_drivers:
            llama.start()
        idle = time.perf_counter()
        message, files = self.channel.receive()
        self.waited = time.perf_counter() - idle
        with_devices = has_drivers and graphics.is_wanted(message)
        level = confined(files, graphics=with_devices)
        if has_drivers:
            if not with_devices:
                graphics.hide()
            llama.start()
        return message, files, level

    def _fail(self, kind: str, text: str, **details: object) -> None:
        self.channel.send({"type": "failed", "kind": kind, "message": text, **details})

    def _measure(self, message: Message, files: Sequence[int]) -> None:
        from launcher.engine.worker import measuring  # hardly ever needed

        try:
            self.channel.send(measuring.measured(message, [_path_of(file) for file in files]))
        except (llama.LoadFailed, llama.DecodeFailed) as error:
            self._fail("measure", str(error))

    def _load(self, message: Message, files: Sequence[int], level: sandbox.Level) -> None:
        started = time.perf_counter()
        paths = message.get("paths") or [_path_of(descriptor) for descriptor in files]
        many = max(message.get("slots", 0), 1)
        loaded = loading.load(message, paths, lambda model: self._expect(model, many))
        self.model, self.context = loaded.model, loaded.context
        self.draft, self.eye = loaded.draft, loaded.eye
        self.channel.send(
            {
                "type": "ready",
                "sets": loaded.seen,
                "context": self.context.size,
                "sandbox": level,
                "build": llama.build(),
                "seconds": time.perf_counter() - started,
                "waited": self.waited,
            }
        )

    def _expect(self, model: llama.Model, many: int) -> None:
        """Has everything made ready that comes before the first token."""
        self.prompts = Prompts(model, self.renderer, many)

    def _generate(self, message: Message) -> None:
        if message["images"] and self.eye is not None:
            seen = self.eye.prompt(self.prompts, message, self.context.size)
            with contextlib.closing(seen):
                self._answer(message, seen.tokens, seen)
        else:
            prompt, opening = self.prompts.begun(message, self.context.size)
            self._answer(message, prompt, opening=opening)

    def _answer(
        self,
        message: Message,
        prompt: Sequence[int],
        seen: images.Prompt | None = None,
        opening: str = "",
    ) -> None:
        """Answers a prompt; the places below zero in it are of what was `seen`."""
        sampler = prompting.sampler(self.context, message, self.prompts.form(message))
        number: int = message["number"]

        def unwanted() -> bool:
            return self.inbox.stopped >= number

        asked = Asked(
            prompt=prompt,
            seen=seen,
            max_tokens=message["max_tokens"],
            stops=message.get("stop", ()),
            send=self.channel.send,
            unwanted=unwanted,
            recall=lambda: self._recall(message, prompt, unwanted),
            shown=self.prompts.shown(message.get("shown", ())),
            opening=opening,
            guesses=message.get("guesses", True),
            draft=self.draft,
            drafting=Drafting(**message.get("drafting", {})),
        )
        self.is_plain = sampler.is_plain
        try:
            Answer(self.model, self.context, sampler, asked).give()
        finally:
            sampler.close()

    def _recall(self, message: Message, prompt: Sequence[int], unwanted: Callable[[], bool]) -> int:
        """Takes up what was kept of the system prompt, or has it kept, where that is wanted.

        Gives how many tokens it computed.
        """
        if self.context.held or not message.get("recall"):
            return 0
        for descriptor in message["files"]:
            prefix.put_back(self.context, descriptor)
        if self.context.held:
            return 0
        other = [*message["messages"][:1], {"role": "user", "content": "."}]
        alike = self.prompts.tokens(self.prompts.rendered(other, message))
        common = prefix.shared(prompt[:-1], alike)
        if common < prefix.LEAST or not self.context.fill(prompt[:common], unwanted):
            return 0
        size, parts = prefix.taken(self.context)
        self.channel.send({"type": "state", "size": size})
        for part in parts:
            self.channel.send_bytes(part)
        return common


def confined(files: Sequence[int], *, graphics: bool = False) -> sandbox.Level:
    """Gives up what a computation does not need, for good; says how far that went."""
    return sandbox.enter(files, [llama.folder()], graphics=graphics)


def _path_of(descriptor: int) -> str:
    """A name under which the engine can open an open file: the file itself, not its path."""
    return f"/dev/fd/{descriptor}" if sys.platform == "darwin" else f"/proc/self/fd/{descriptor}"
