"""Continuous batching: answers join and leave at any step, and prompts are taken in beside them.

Each step computes the next token of every running answer, and a share of the prompts that are
not yet taken in. How large that share is goes by the clock, so that no prompt makes running
answers wait for long; which prompts get it, by their age and by how little is left of them.
"""

from __future__ import annotations

import itertools
import time
from collections import deque
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

from launcher.engine.messages import Message
from launcher.engine.worker import grammars
from launcher.engine.worker.llama import DecodeFailed
from launcher.engine.worker.pieces import Pieces
from launcher.engine.worker.sampler import Sampler
from launcher.engine.worker.slots import Row, Slot, Slots, alike

STEP = 0.2  # seconds that a step may take while answers run
STEP_LAST = 0.6  # the same where that is all there is to take in
STEP_ALONE = 1.0  # and while none runs
FEWEST = 32  # rows of prompts in a step; fewer would read the weights for little
FIRST = 128  # rows of prompts in a step before it is known how long they take
WORTH = 64  # tokens that two prompts must share for one to wait for the other


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """What is asked, ready to be computed."""

    number: int
    prompt: Sequence[int]
    sampler: Sampler
    max_tokens: int | None
    stops: Sequence[str]
    shown: Collection[int]
    opening: str
    since: float
    """When it was asked; `time.perf_counter`."""


class Running:
    """An answer under way in a slot."""

    def __init__(
        self, asked: Prepared, slot: Slot, slots: Slots, send: Callable[[Message], None]
    ) -> None:
        """Takes the slot as it is: what it holds is the beginning of the prompt."""
        self.asked, self.slot = asked, slot
        self.kept = len(slot.held)
        room = slots.size - len(asked.prompt)
        wanted = asked.max_tokens
        self.limit = room if wanted is None else min(wanted, room)
        self.ran_out = "context" if wanted is None or wanted > room else "length"
        self.pieces = Pieces(
            slots.model, asked.stops, send, shown=asked.shown, opening=asked.opening
        )
        self.next: int | None = None
        """The token to be computed next; none while the prompt is taken in."""
        self.count = 0
        self.first = 0.0  # when the prompt was taken in
        self._model = slots.model
        self._send = send
        asked.sampler.saw(asked.prompt)

    @property
    def left(self) -> int:
        """Tokens of the prompt that are not yet taken in."""
        return len(self.asked.prompt) - len(self.slot.held)

    def coming(self, share: int) -> Sequence[int]:
        """The tokens of the next step: the last that was chosen, or so many of the prompt."""
        if self.next is not None:
            return [self.next]
        start = len(self.slot.held)
        return self.asked.prompt[start : start + share]

    def choose(self, at: int) -> str:
        """Takes the next token by the scores of a row; why the answer ends here, if it does."""
        if not self.count:
            self.first = time.perf_counter()
        if self.count >= self.limit:
            return self.ran_out
        token = self.asked.sampler.choose(at)
        if self._model.ends_answer(token) or self.asked.sampler.is_stuck:
            return "end"
        self.count += 1
        self.next = token
        if self.pieces.say(token, self.asked.sampler.measured):
            return "stop"
        return self.ran_out if self.count >= self.limit else ""

    def end(self, reason: str) -> None:
        """Sends the rest, and why the answer ended."""
        if reason != "stop":
            self.pieces.finish()
        self.pieces.flush()
        now = time.perf_counter()
        first = self.first or now
        self._send(
            {
                "type": "done",
                "reason": reason,
                "prompt_tokens": len(self.asked.prompt),
                "prompt_computed": len(self.asked.prompt) - self.kept,
                "tokens": self.count,
                "prompt_seconds": first - self.asked.since,
                "seconds": now - first,
            }
        )


class Batcher:
    """The answers of one model."""

    def __init__(self, slots: Slots, send: Callable[[Sequence[Message]], None]) -> None:
        """`send` gets what a step has to say of all answers."""
        self._slots, self._send_all = slots, send
        self._waiting: deque[Prepared] = deque()
        self._running: list[Running] = []
        self._said: list[Message] = []
        self._ticks = itertools.count(1)
        self._clock = grammars.Clock()
        self._speed = 0.0  # rows of prompts in a second

    def watch(self) -> None:
        """Has the thread that computes watched; called by it."""
        self._clock.watch()

    @property
    def is_idle(self) -> bool:
        return not (self._waiting or self._running)

    @property
    def has_begun(self) -> bool:
        """Whether anything runs, not only waits."""
        return bool(self._running)

    def add(self, asked: Prepared) -> None:
        self._waiting.append(asked)

    def say(self, number: int, message: Message) -> None:
        """Sends something of an answer with the next step."""
        self._said.append({**message, "number": number})

    def flush(self) -> None:
        if self._said:
            self._send_all(self._said)
            self._said = []

    def drop(self, unwanted: Callable[[int], bool]) -> None:
        """Ends the answers that nobody wants any more."""
        for running in [each for each in self._running if unwanted(each.asked.number)]:
            self._end(running, "stopped")
        for asked in [each for each in self._waiting if unwanted(each.number)]:
            self._waiting.remove(asked)
            asked.sampler.close()
            self._say_stopped(asked)

    def _say_stopped(self, asked: Prepared) -> None:
        nothing = {"prompt_computed": 0, "tokens": 0, "prompt_seconds": 0.0, "seconds": 0.0}
        done = {"type": "done", "reason": "stopped", "prompt_tokens": len(asked.prompt)}
        self.say(asked.number, {**done, **nothing})

    def step(self) -> None:
        """Computes one step of all answers that run, and says what came of it."""
        self._admit()
        self._close_gaps()
        rows, ends = self._rows()
        if rows:
            try:
                self._compute(rows)
            except DecodeFailed as error:
                self._fail(str(error))
                return
            for at, running in ends:
                self._choose(running, at)
        self.flush()

    def _choose(self, running: Running, at: int) -> None:
        """Chooses an answer's next token; ends the answer where it is over, or takes too long."""
        self._clock.begin()
        reason = running.choose(at)
        if self._clock.end() > grammars.TOKEN_SECONDS and running.asked.sampler.has_grammar:
            self._leave(running, {"kind": "grammar", "message": grammars.TOO_SLOW})
        elif reason:
            self._end(running, reason)

    def _leave(self, running: Running, failure: Message) -> None:
        running.asked.sampler.close()
        self._running.remove(running)
        self.say(running.asked.number, {"type": "failed", **failure})

    def _compute(self, rows: Sequence[Row]) -> None:
        """Keeps how fast prompts go, by the steps that are full of them."""
        started = time.perf_counter()
        self._slots.compute(rows)
        if len(rows) >= FEWEST:
            speed = len(rows) / (time.perf_counter() - started)
            self._speed = speed if not self._speed else (self._speed + speed) / 2

    def _fail(self, text: str) -> None:
        for running in self._running:
            running.asked.sampler.close()
            failed = {"type": "failed", "kind": "decode", "message": text}
            self.say(running.asked.number, failed)
        self._running.clear()
        self.flush()

    def _end(self, running: Running, reason: str) -> None:
        running.end(reason)
        running.asked.sampler.close()
        self._running.remove(running)

    # --- Which rows a step has ------------------------------------------------------------------

    def _rows(self) -> tuple[list[Row], list[tuple[int, Running]]]:
        """The rows of the next step, and which of them end in a token to choose.

        In the order of their slots: the engine computes neighbours together.
        """
        rows: list[Row] = []
        ends: list[tuple[int, Running]] = []
        shares = self._shares()
        for running in sorted(self._running, key=lambda each: each.slot.number):
            part = running.coming(shares.get(running.slot.number, 0))
            if not part:
                continue
            scored = running.next is not None or len(part) == running.left
            rows += [Row(running.slot, token, scored=False) for token in part[:-1]]
            rows.append(Row(running.slot, part[-1], scored=scored))
            if scored:
                ends.append((len(rows) - 1, running))
        return rows, ends

    def _shares(self) -> dict[int, int]:
        """How much of the prompts is taken in, by slot: half for the oldest, half where least
        is left.
        """
        filling = [running for running in self._running if running.next is None]
        if not filling:
            return {}
        budget = self._budget(len(self._running) - len(filling))
        shares = {filling[0].slot.number: min(filling[0].left, max(budget // 2, 1))}
        budget -= sum(shares.values())
        for running in sorted(filling, key=lambda each: each.left):
            given = shares.get(running.slot.number, 0)
            more = min(running.left - given, budget)
            shares[running.slot.number] = given + more
            budget -= more
        return shares

    def _budget(self, busy: int) -> int:
        """Rows of prompts in a step beside so many of running answers."""
        most = self._slots.batch - busy
        if not self._speed:
            return min(FIRST, most)
        left = sum(running.left for running in self._running if running.next is None)
        seconds = STEP if left > self._speed * STEP_LAST else STEP_LAST
        seconds = seconds if busy else STEP_ALONE
        return max(min(int(self._speed * seconds), most), min(FEWEST, most))

    # --- Who gets a slot ------------------------------------------------------------------------

    def _admit(self) -> None:
        """Gives free slots to those who wait, in their order, but not before it is worth it."""
        for asked in list(self._waiting):
            free = self._free()
            if not free:
                return
            if not self._is_better_later(asked):
                self._waiting.remove(asked)
                self._begin(asked, free)

    def _free(self) -> list[Slot]:
        busy = {running.slot.number for running in self._running}
        return [slot for slot in self._slots.all if slot.number not in busy]

    def _is_better_later(self, asked: Prepared) -> bool:
        """Whether another prompt is just being taken in that begins alike."""
        now = max(self._usable(asked, slot) for slot in self._slots.all)
        if not self._slots.can_be_cut:
            return False
        filling = [each.asked.prompt for each in self._running if each.next is None]
        return any(alike(prompt[:-1], asked.prompt[:-1]) > max(now, WORTH) for prompt in filling)

    def _usable(self, asked: Prepared, slot: Slot) -> int:
        """How many of a slot's tokens a prompt begins with; its last is always computed."""
        same = alike(slot.held, asked.prompt[:-1])
        return same if self._slots.can_be_cut or same == len(slot.held) else 0

    def _begin(self, asked: Prepared, free: Sequence[Slot]) -> None:
        """In the slot that holds most of the prompt, or a copy of one that holds more."""
        slot = max(free, key=lambda each: (self._usable(asked, each), -each.used))
        best = max(self._slots.all, key=lambda each: self._usable(asked, each))
        kept, other = self._usable(asked, slot), self._usable(asked, best)
        if other >= kept + WORTH:
            slot = min(free, key=lambda each: each.used)
            self._slots.copy(best, slot, other)
        else:
            self._slots.shorten(slot, kept)
        slot.used = next(self._ticks)
        number = asked.number
        self._running.append(
            Running(asked, slot, self._slots, lambda message: self.say(number, message))
        )

    def _close_gaps(self) -> None:
        """Moves answers together: slots that are not neighbours would cost a step each."""
        if not self._slots.can_be_cut:
            return
        numbers = sorted(running.slot.number for running in self._running)
        for gap in sorted(set(range(numbers[0], numbers[-1])) - set(numbers)) if numbers else ():
            last = max(self._running, key=lambda each: each.slot.number)
            if last.slot.number < gap:
                return
            target = self._slots.all[gap]
            self._slots.copy(last.slot, target, len(last.slot.held))
            last.slot, target.used = target, last.slot.used
