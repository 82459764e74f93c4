"""One answer: computed token by token, sent in pieces, ended by what was agreed."""

from __future__ import annotations

import codecs
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from launcher.engine.llama import Context, Model
from launcher.engine.messages import Message
from launcher.engine.sampler import Measured, Sampler
from launcher.engine.speculation import Steps

PACE = 0.025  # seconds between two pieces; sooner than that, tokens go together


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What an answer is made of, and who hears it."""

    prompt: Sequence[int]
    max_tokens: int | None
    stops: Sequence[str]
    send: Callable[[Message], None]
    unwanted: Callable[[], bool]
    """Whether nobody wants the rest any more."""
    recall: Callable[[], int] = lambda: 0
    """Takes up what is kept of the prompt; how many tokens it computed to keep them."""
    guesses: bool = True
    """Whether several tokens may be tried at once."""


class Stops:
    """Holds back what may be the beginning of a text that ends the answer.

    >>> stops = Stops(["END"])
    >>> stops.feed("one E"), stops.feed("N"), stops.feed("T two"), stops.feed("ENDthree")
    (('one ', False), ('', False), ('ENT two', False), ('', True))
    """

    def __init__(self, texts: Sequence[str]) -> None:
        self._texts = [text for text in texts if text]
        self._held = ""

    def feed(self, text: str) -> tuple[str, bool]:
        """What may be shown, and whether the answer ends here."""
        held = self._held + text
        found = [place for stop in self._texts if (place := held.find(stop)) >= 0]
        if found:
            self._held = ""
            return held[: min(found)], True
        kept = max((_overlap(held, stop) for stop in self._texts), default=0)
        shown = len(held) - kept
        self._held = held[shown:]
        return held[:shown], False

    def rest(self) -> str:
        """What was held back in vain."""
        return self._held


def _overlap(text: str, stop: str) -> int:
    """How much of the end of a text is the beginning of another."""
    longest = min(len(text), len(stop) - 1)
    return next((size for size in range(longest, 0, -1) if text.endswith(stop[:size])), 0)


class Answer:
    """One answer of a loaded model."""

    def __init__(self, model: Model, context: Context, sampler: Sampler, asked: Asked) -> None:
        room = context.size - len(asked.prompt)
        wanted = asked.max_tokens
        self._model, self._context, self._sampler, self._asked = model, context, sampler, asked
        self._limit = room if wanted is None else min(wanted, room)
        self._ran_out = "context" if wanted is None or wanted > room else "length"
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._stops = Stops(asked.stops)
        self._count = 0
        self._unsent = ""
        self._sent = 0.0  # when

    def give(self) -> None:
        """Sends the answer in pieces, then why it ended."""
        asked, context = self._asked, self._context
        started = time.perf_counter()
        computed = asked.recall()
        kept = context.keep(asked.prompt)
        filled = context.fill(asked.prompt[kept:], asked.unwanted)
        self._sampler.saw(asked.prompt)
        first = time.perf_counter()
        reason = self._tokens() if filled else "stopped"
        if reason != "stop":
            self._finish()
        self._flush()
        asked.send(
            {
                "type": "done",
                "reason": reason,
                "prompt_tokens": len(asked.prompt),
                "prompt_computed": computed + len(asked.prompt) - kept,
                "tokens": self._count,
                "prompt_seconds": first - started,
                "seconds": time.perf_counter() - first,
            }
        )

    def _tokens(self) -> str:
        """Why the answer ended."""
        prompt = self._asked.prompt
        steps = Steps(
            self._context, prompt, len(prompt) + self._limit - 1, guesses=self._asked.guesses
        )
        reason = self._until_it_ends(steps)
        steps.finish()
        return reason

    def _until_it_ends(self, steps: Steps) -> str:
        model = self._model
        while self._count < self._limit:
            token = self._sampler.choose(steps.at)
            if model.ends_answer(token):
                return "end"
            self._count += 1
            if self._say(model.piece(token)):
                return "stop"
            if self._asked.unwanted():
                return "stopped"
            if self._count < self._limit:
                steps.take(token)
        return self._ran_out

    def _say(self, piece: bytes) -> bool:
        """Sends what may be shown; True at a text that ends the answer."""
        text, ends = self._stops.feed(self._decoder.decode(piece))
        self._send(text, self._sampler.measured)
        return ends

    def _finish(self) -> None:
        text, ends = self._stops.feed(self._decoder.decode(b"", final=True))
        self._send(text if ends else text + self._stops.rest(), None)

    def _send(self, text: str, measured: Measured | None) -> None:
        if measured is not None:
            known = self._measured(measured)
            self._asked.send({"type": "text", "text": text, "logprobs": known})
            return
        self._unsent += text
        if time.perf_counter() - self._sent >= PACE:
            self._flush()

    def _flush(self) -> None:
        """A screen shows no more than this, and whoever draws it needs a processor, too."""
        if self._unsent:
            self._asked.send({"type": "text", "text": self._unsent})
            self._unsent, self._sent = "", time.perf_counter()

    def _measured(self, measured: Measured) -> Message:
        """In the form that OpenAI's interface gave to log probabilities."""
        top = [self._entry(token, logprob) for token, logprob in measured.top]
        return {**self._entry(measured.token, measured.logprob), "top_logprobs": top}

    def _entry(self, token: int, logprob: float) -> Message:
        piece = self._model.piece(token, special=True)
        text = piece.decode("utf-8", "replace")
        return {"token": text, "bytes": list(piece), "logprob": logprob}
