"""A second, smaller model that guesses what the first will say.

It guesses its likeliest tokens, one after the other, and the first model checks them all at
once. Both share the threads: one waits while the other computes.
Source: common_speculative_are_compatible and the implementation draft-simple in llama.cpp's
common/speculative.cpp.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from launcher.engine.computing import Computing
from launcher.engine.drafting import Drafting
from launcher.engine.worker import llama
from launcher.engine.worker.llama import lib
from launcher.engine.worker.prefix import shared
from launcher.engine.worker.sampler import Candidates
from launcher.models.drafts import LARGEST_DIFFERENCE

_FIRST = 5  # tokens before it are special ones, whose texts may differ


class Unsuitable(Exception):
    """The model cannot draft for the other one; the message says why."""


class Draft:
    """A loaded model that drafts, and what it has computed of the text so far."""

    def __init__(
        self, target: llama.Context, paths: Sequence[str], *, extra_buffers: bool, same_tokens: bool
    ) -> None:
        """With `same_tokens` their texts are known to be alike.

        Raises `Unsuitable`, or `LoadFailed`.
        """
        if not target.can_be_cut:
            raise Unsuitable("what it guessed wrong could not be taken back")
        self.model = llama.Model(paths, extra_buffers=extra_buffers)
        reason = unlike(target.model, self.model, same_tokens=same_tokens)
        if reason:
            raise Unsuitable(reason)
        usual = Computing(
            threads=target.computing.threads, threads_batch=target.computing.threads_batch
        )
        self._context = llama.Context(
            self.model, tokens=target.size, computing=usual, pace=target.pace
        )
        if not self._context.can_be_cut:
            raise Unsuitable("it cannot take back what it guessed")
        self._candidates = Candidates(self._context)
        self._known = min(
            context.model.sizes()["vocabulary"] for context in (target, self._context)
        )

    def begin(self, text: Sequence[int], settings: Drafting, stop: Callable[[], bool]) -> None:
        """A text is to be continued; `stop` says whether nobody wants that any more."""
        self._text, self._settings, self._stop = list(text), settings, stop
        self._foreign = not all(0 <= token < self._known for token in text)  # below: an image
        self._same = shared(self._context.held, self._text)  # tokens that it need not compute

    def add(self, token: int) -> None:
        """The text goes on."""
        held, length = self._context.held, len(self._text)
        if self._same == length < len(held) and held[length] == token:
            self._same += 1
        self._text.append(token)
        self._foreign = self._foreign or token >= self._known

    def after(self, count: int) -> list[int]:
        """What it would say next, at most so many tokens."""
        count = min(count, self._settings.n_max)
        if self._foreign or not count or not self._caught_up():
            return []
        guessed: list[int] = []
        while True:
            token, probability = self._candidates.likeliest()
            if token >= self._known or probability < self._settings.p_min:
                break
            guessed.append(token)
            if len(guessed) == count:
                break
            self._context.step(token)
        return guessed if len(guessed) >= self._settings.n_min else []

    def _caught_up(self) -> bool:
        """Computes what it has not seen of the text; False when it was stopped on the way."""
        self._context.cut(min(self._same, len(self._text) - 1))
        whole = self._context.fill(self._text[len(self._context.held) :], self._stop)
        self._same = len(self._context.held)
        return whole


def unlike(target: llama.Model, draft: llama.Model, *, same_tokens: bool) -> str:
    """Why the tokens of one are not those of the other; empty where they are."""
    ours, theirs = target.vocabulary, draft.vocabulary
    if lib.llama_vocab_type(ours) != lib.llama_vocab_type(theirs):
        return "its vocabulary is of another kind"
    for name in ("bos", "eos"):
        if _added(ours, name) != _added(theirs, name):
            return f"it puts other tokens {'before' if name == 'bos' else 'after'} a text"
    counts = [lib.llama_vocab_n_tokens(vocabulary) for vocabulary in (theirs, ours)]
    if abs(counts[0] - counts[1]) > LARGEST_DIFFERENCE:
        return f"its vocabulary has {counts[0]} tokens, not {counts[1]}"
    if same_tokens:
        return ""
    text = lib.llama_vocab_get_text
    other = (at for at in range(_FIRST, min(counts)) if text(ours, at) != text(theirs, at))
    first = next(other, None)
    return "" if first is None else f"its token {first} is another one"


def _added(vocabulary: object, name: str) -> int | None:
    """The token that is put before or after each text."""
    if not getattr(lib, f"llama_vocab_get_add_{name}")(vocabulary):
        return None
    return int(getattr(lib, f"llama_vocab_{name}")(vocabulary))
