"""What is sent of an answer: whole characters, nothing of a text that ends it, at a pace."""

from __future__ import annotations

import codecs
import time
from collections.abc import Callable, Collection, Sequence

from launcher.engine.messages import Message
from launcher.engine.worker.llama import Model
from launcher.engine.worker.sampler import Measured

PACE = 0.025  # seconds between two pieces; sooner than that, tokens go together


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


class Pieces:
    """One answer on its way out."""

    def __init__(
        self,
        model: Model,
        stops: Sequence[str],
        send: Callable[[Message], None],
        *,
        shown: Collection[int] = (),
        opening: str = "",
    ) -> None:
        """Of special tokens only those in `shown` are text; it begins with `opening`."""
        self._model, self._send, self._shown = model, send, shown
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._stops = Stops(stops)
        self._unsent = opening
        self._sent = 0.0  # when

    def say(self, token: int, measured: Measured | None) -> bool:
        """Sends what may be shown of a token; True at a text that ends the answer."""
        piece = self._model.piece(token, special=token in self._shown)
        text, ends = self._stops.feed(self._decoder.decode(piece))
        self._say(text, measured)
        return ends

    def finish(self) -> None:
        """Sends what was held back in vain."""
        text, ends = self._stops.feed(self._decoder.decode(b"", final=True))
        self._say(text if ends else text + self._stops.rest(), None)

    def flush(self) -> None:
        """A screen shows no more than this, and whoever draws it needs a processor, too."""
        if self._unsent:
            self._send({"type": "text", "text": self._unsent})
            self._unsent, self._sent = "", time.perf_counter()

    def _say(self, text: str, measured: Measured | None) -> None:
        if measured is not None:
            known = self._measured(measured)
            self._send({"type": "text", "text": text, "logprobs": known})
            return
        self._unsent += text
        if time.perf_counter() - self._sent >= PACE:
            self.flush()

    def _measured(self, measured: Measured) -> Message:
        """In the form that OpenAI's interface gave to log probabilities."""
        top = [self._entry(token, logprob) for token, logprob in measured.top]
        return {**self._entry(measured.token, measured.logprob), "top_logprobs": top}

    def _entry(self, token: int, logprob: float) -> Message:
        piece = self._model.piece(token, special=True)
        text = piece.decode("utf-8", "replace")
        return {"token": text, "bytes": list(piece), "logprob": logprob}
