"""The launcher's side of the worker: starts it, hands it open files, reads its answers.

A worker that dies takes nothing with it. Its death becomes an `EngineDied` that names the
signal; what it wrote to its standard error is kept for the message.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any

from launcher.clearance import Cleared
from launcher.engine import comparing, failures, peaks, prompt_cache
from launcher.engine.messages import Channel, Closed, Message
from launcher.engine.process import taken
from launcher.engine.prompt_cache import PromptCache
from launcher.engine.sandbox import Level
from launcher.errors import EngineDied

TAIL = 4096  # bytes of the worker's last words that are kept
PATIENCE = 5.0  # seconds for a worker that has hung up to be gone


@dataclass(frozen=True, slots=True, kw_only=True)
class Text:
    """A piece of the answer."""

    text: str
    logprobs: Mapping[str, Any] | None = None
    """Of the token that the piece comes from, where they were asked for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """The end of an answer."""

    reason: str
    """`end`, `stop` (a text that ends it), `length`, `context` (which is full) or `stopped`."""
    prompt_tokens: int
    prompt_computed: int
    """Of those, how many were not already in the cache."""
    tokens: int
    prompt_seconds: float
    seconds: float
    guessed: int = 0
    """Tokens that were tried before they were chosen."""
    guessed_right: int = 0
    """Of those, how many were chosen."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """What the engine says of what it loaded."""

    context: int
    seconds: float
    metadata: Mapping[str, str | None]
    """As the engine read it; only what the header's values were compared with."""
    sizes: Mapping[str, int]
    """As the engine computes with them."""
    sandbox: Level
    """How far the worker was confined before it looked at the files."""
    build: str
    """Tells the engine's build, on this processor, from any other."""
    waited: float
    """Seconds that the worker was ready and had nothing to load yet."""


def is_installed() -> bool:
    """Whether the engine's package is there; says nothing about whether it works."""
    return importlib.util.find_spec("llama_cpp") is not None


class Worker:
    """A worker process. It can be started before anything is known about the model.

    A process takes one model in its life: for the next there is a new one, so that no file
    meets what another has left.
    """

    def __init__(self, *, require_sandbox: bool = False) -> None:
        self._require_sandbox = require_sandbox
        self._start()

    def _start(self) -> None:
        self._used = False
        process = taken()
        self._errors, self.process = process.errors, process.running
        self.channel = Channel(process.line)

    def load(self, message: Message, files: Sequence[int]) -> Message:
        """Loads open files in the place of what was loaded before; gives the answer."""
        if self._used:
            self.close()
            self._start()
        self._used = True
        required = {"require_sandbox": self._require_sandbox}
        self.send({"type": "load", **message, **required}, files)
        return self.receive()

    def send(self, message: Message, files: Sequence[int] = (), data: Sequence[bytes] = ()) -> None:
        """Sends a message, open files with it, and the bytes that it announces."""
        try:
            self.channel.send(message, files)
            for each in data:
                self.channel.send_bytes(each)
        except Closed:
            raise self.death() from None

    def receive(self) -> Message:
        """The next message. Raises `EngineDied` when the worker is gone."""
        try:
            return self.channel.receive()[0]
        except Closed:
            raise self.death() from None

    def receive_bytes(self, size: int) -> Iterator[bytes]:
        """The bytes that a message has announced. Raises `EngineDied`."""
        try:
            yield from self.channel.receive_bytes(size)
        except Closed:
            raise self.death() from None

    def close(self) -> None:
        """Ends the worker, and waits until it is gone."""
        self.channel.close()
        if not self._used:
            self.process.kill()  # it has nothing to finish
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(timeout=2)
        if self.process.returncode is None:
            self.process.kill()
            self.process.wait()
        self._errors.close()

    def death(self) -> EngineDied:
        try:
            status = self.process.wait(timeout=PATIENCE)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            return failures.nonsense()
        return failures.died(status, self.last_words())

    def last_words(self) -> str:
        """The end of what the worker wrote to its standard error."""
        size = os.fstat(self._errors.fileno()).st_size
        data = os.pread(self._errors.fileno(), TAIL, max(0, size - TAIL))
        return data.decode("utf-8", "replace").strip()


class Engine:
    """A loaded model. Only a cleared bundle gets this far."""

    prompt_cache: PromptCache | None = None
    """Where what was computed of long system prompts is kept."""

    def __init__(self, cleared: Cleared, worker: Worker, *, shared: bool = False) -> None:
        """Loads the bundle into the worker; `shared`, for many to ask at once (`SharedEngine`).

        Raises `IntegrityError` when the engine sees another model than the header shows, or
        cannot load the files, `EngineDied`, `Unsupported` or `DoesNotFit`.
        """
        self.worker = worker
        self._number = 0
        self._is_asking = self._is_unwanted = False
        self._longest = 0  # prompt that was computed at once, in tokens
        self.at_end: Callable[[int, int], None] | None = None
        """Told how much memory the worker took at most (bytes), and its longest prompt."""
        bundle, plan = cleared.bundle, cleared.plan
        files = [part.file for part in bundle.parts if part.file is not None]
        if bundle.main.header is None or len(files) != len(bundle.parts):
            raise AssertionError("a bundle that is not here was cleared for loading")
        message = {**comparing.load_message(cleared), "slots": plan.slots if shared else 0}
        reply = worker.load(message, [file.descriptor for file in files])
        if reply["type"] == "failed":
            raise failures.load_error(bundle, reply)
        for file in files:
            file.refuse_change()
        comparing.refuse_difference(bundle, reply)
        main = reply["sets"][0]
        self.loaded = Loaded(
            context=reply["context"],
            seconds=reply["seconds"],
            metadata=main["metadata"],
            sizes=main["sizes"],
            sandbox=Level(reply["sandbox"]),
            build=reply["build"],
            waited=reply["waited"],
        )
        self._facts = ([file.stamp for file in files], plan.kv_type, plan.flash_attention)

    def generate(
        self,
        messages: Sequence[Mapping[str, Any]],
        *,
        sampling: Mapping[str, Any],
        max_tokens: int | None,
        images: Sequence[bytes] = (),
        **wishes: Any,
    ) -> Iterator[Text | Done]:
        """Asks for the answer to a conversation; it comes piece by piece, and a `Done` ends it.

        `sampling` has fields of `Sampling`, `drafting` of `Drafting`; `logprobs` asks for so many
        of the likeliest tokens; without `guesses`, each token takes a step of its own. The other
        wishes are as in `Wanted`, and `chat_template` in the place of the one in the file.
        `images` are the bytes of image files; a message says under `images` how many of them
        are its own.
        """
        self._number += 1
        self._is_unwanted = False
        wanted = {
            "type": "generate",
            "number": self._number,
            "messages": [dict(message) for message in messages],
            "sampling": dict(sampling),
            "max_tokens": max_tokens,
            "images": [len(image) for image in images],
            **wishes,
        }
        name = self._kept_under(messages, wishes)
        self._ask(wanted, name, images)
        return self._events(name)

    def _ask(self, wanted: Message, name: str, images: Sequence[bytes]) -> None:
        """Sends what is wanted, with what is kept under a name."""
        self._is_asking = True
        if self.prompt_cache is None or not name:
            self.worker.send(wanted, (), images)
        else:
            with self.prompt_cache.found(name) as state:
                kept = [] if state is None else [state]
                self.worker.send({**wanted, "recall": True}, kept, images)
        self._is_asking = False
        if self._is_unwanted:
            self.stop()

    def _kept_under(self, messages: Sequence[Mapping[str, Any]], wishes: Mapping[str, Any]) -> str:
        """The name of the beginning's state; empty where it is not worth keeping."""
        if self.prompt_cache is None or self._number > 1 or len(messages) < 2:
            return ""
        first = messages[0]
        if first["role"] != "system" or len(first["content"]) < prompt_cache.LONG:
            return ""
        rendered = (wishes.get("chat_template", ""), wishes.get("template", {}), first["content"])
        facts = (self._facts, self.loaded.build, self.loaded.context, *rendered)
        return self.prompt_cache.name(*facts)

    def _events(self, name: str) -> Iterator[Text | Done]:
        while True:
            reply = self.worker.receive()
            try:
                if self.prompt_cache is not None and reply["type"] == "state" and name:
                    size = reply["size"]
                    self.prompt_cache.keep(name, size, self.worker.receive_bytes(size))
                    continue
                event = _event(reply, self.worker)
            except (KeyError, TypeError):
                raise failures.nonsense() from None
            yield event
            if isinstance(event, Done):
                self._longest = max(self._longest, event.prompt_computed)
                return

    def stop(self) -> None:
        """Ends the answer that was asked for last; what was generated so far still arrives."""
        self._is_unwanted = self._is_asking  # a signal may come while images are being sent
        if not self._is_asking:
            self.worker.send({"type": "stop", "number": self._number})

    def __enter__(self) -> Engine:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self.at_end is not None:
            self.at_end(peaks.of_process(self.worker.process.pid), self._longest)
        self.worker.close()


def _event(reply: Message, worker: Worker) -> Text | Done:
    """What an answer's message means; raises the error that it tells of."""
    kind = reply.pop("type")
    if kind == "text":
        return Text(text=reply["text"], logprobs=reply.get("logprobs"))
    if kind == "done":
        return Done(**reply)
    raise failures.generation_error(reply, worker.last_words())
