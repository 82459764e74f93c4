"""What a worker does for a server: answers many at once, in the slots of one model.

Three threads: one reads what comes, so that a cancelled answer ends within a step; one makes
prompts ready, since a template may take its 2 seconds; and one computes, and alone sends.
"""

from __future__ import annotations

import contextlib
import queue
import threading
import time
from collections.abc import Callable
from typing import Any

from launcher.engine.messages import Channel, Closed, Message, close_all
from launcher.engine.worker import grammars, likeliest, llama, prompting
from launcher.engine.worker.batching import Batcher, Prepared
from launcher.engine.worker.embedding import Embedder
from launcher.engine.worker.prompting import Prompts, Unanswerable, too_long
from launcher.engine.worker.slots import Slots

TOGETHER = 0.03  # seconds that a question waits for others that are just being made ready
Act = Callable[[], None]


class Crowd:
    """One loaded model, and all who ask it."""

    def __init__(self, channel: Channel, slots: Slots, prompts: Prompts) -> None:
        self._channel, self._slots, self._prompts = channel, slots, prompts
        self._batcher = Batcher(slots, lambda said: self._send({"type": "said", "said": said}))
        self._asked: queue.SimpleQueue[Message | None] = queue.SimpleQueue()
        self._acts: queue.SimpleQueue[Act | None] = queue.SimpleQueue()
        self._preparing = False
        self._unwanted: set[int] = set()
        self._embedder: Embedder | None = None

    def serve(self) -> None:
        """Answers until the launcher goes away."""
        threading.Thread(target=self._read, daemon=True).start()
        threading.Thread(target=self._prepare, daemon=True).start()
        self._batcher.watch()
        likeliest.get_ready()
        while self._act():
            if self._unwanted:
                self._batcher.drop(self._unwanted.__contains__)
            self._batcher.step()

    def _send(self, message: Message) -> None:
        self._channel.send(message)

    def _act(self) -> bool:
        """Does what has become ready; waits for it where nothing runs. False: it is over."""
        try:
            while True:
                act = self._next_act()
                if act is None:
                    return False
                act()
                self._batcher.flush()
        except queue.Empty:
            return True

    def _next_act(self) -> Act | None:
        """Raises `queue.Empty` where there is none and something else to do.

        Questions that come at once begin together, so that they share their first steps.
        """
        if self._batcher.is_idle:
            return self._acts.get()
        is_coming = self._preparing or not self._asked.empty()
        if is_coming and not self._batcher.has_begun:
            return self._acts.get(timeout=TOGETHER)
        return self._acts.get(block=False)

    # --- What comes in --------------------------------------------------------------------------

    def _read(self) -> None:
        with contextlib.suppress(Closed):
            while True:
                message, files = self._channel.receive()
                close_all(files)
                if message["type"] == "stop":
                    self._unwanted.add(message["number"])
                self._asked.put(message)
        self._asked.put(None)
        self._acts.put(None)

    def _prepare(self) -> None:
        """What is said here goes through the thread that computes."""
        ways = {
            "generate": self._prepared,
            "embed": self._to_embed,
            "count": self._counted,
            "stop": self._stopped,
        }
        while (message := self._asked.get()) is not None:
            self._preparing = True
            try:
                self._acts.put(ways[message["type"]](message))
            except Unanswerable as error:
                self._acts.put(self._saying(message["number"], error.reply))
            self._preparing = False

    def _saying(self, number: int, reply: Message) -> Act:
        return lambda: self._batcher.say(number, reply)

    def _prepared(self, message: Message) -> Act:
        since = time.perf_counter()
        prompt, opening = self._prompts.begun(message, self._slots.size)
        form = self._prompts.form(message, grammars.LONGEST_GIVEN)
        asked = Prepared(
            number=message["number"],
            prompt=prompt,
            sampler=prompting.sampler(self._slots, message, form),
            max_tokens=message["max_tokens"],
            stops=message["stop"],
            shown=self._prompts.shown(message["shown"]),
            opening=opening,
            since=since,
        )
        return lambda: self._batcher.add(asked)

    def _stopped(self, message: Message) -> Act:
        """It came after its question, so nothing of that is left to come."""
        return lambda: self._forget(message["number"])

    def _forget(self, number: int) -> None:
        self._batcher.drop(self._unwanted.__contains__)
        self._unwanted.discard(number)

    def _counted(self, message: Message) -> Act:
        count = len(self._prompts.made(message, self._slots.size))
        return self._saying(message["number"], {"type": "counted", "tokens": count})

    # --- Embeddings -----------------------------------------------------------------------------

    def _to_embed(self, message: Message) -> Act:
        size = min(self._slots.size, 2048)
        prompts = [self._prompts.made({"prompt": text}, size) for text in message["prompts"]]
        return lambda: self._embed(message["number"], prompts)

    def _embed(self, number: int, prompts: list[list[int]]) -> None:
        """One text at a time, with a step of all answers between two."""
        try:
            vector = self._embedded(prompts[0])
        except (llama.DecodeFailed, llama.LoadFailed) as error:
            failed = {"type": "failed", "kind": "decode", "message": str(error)}
            self._batcher.say(number, failed)
            return
        reply: dict[str, Any] = {"type": "vector", "vector": vector, "tokens": len(prompts[0])}
        self._batcher.say(number, {**reply, "last": len(prompts) == 1})
        if len(prompts) > 1 and number not in self._unwanted:
            self._acts.put(lambda: self._embed(number, prompts[1:]))

    def _embedded(self, tokens: list[int]) -> list[float]:
        if self._embedder is None:
            self._embedder = Embedder(
                self._slots.model, tokens=self._slots.size, computing=self._slots.computing
            )
        if len(tokens) > self._embedder.size:
            raise too_long(str(len(tokens)), self._embedder.size)
        return self._embedder.embed(tokens)
