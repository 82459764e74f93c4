"""One answer: computed token by token, sent in pieces, ended by what was agreed."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field

from launcher.engine.drafting import Drafting
from launcher.engine.messages import Message
from launcher.engine.worker import images
from launcher.engine.worker.draft import Draft
from launcher.engine.worker.llama import Context, Model
from launcher.engine.worker.pieces import Pieces
from launcher.engine.worker.sampler import Sampler
from launcher.engine.worker.speculation import Steps


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
    shown: Collection[int] = ()
    """Special tokens that are text of the answer."""
    opening: str = ""
    """What it has begun with already, in the prompt."""
    guesses: bool = True
    """Whether several tokens may be tried at once."""
    draft: Draft | None = None
    """What guesses, too."""
    seen: images.Prompt | None = None
    """Where there are images in the prompt: the same with them."""
    drafting: Drafting = field(default_factory=Drafting)


class Answer:
    """One answer of a loaded model."""

    def __init__(self, model: Model, context: Context, sampler: Sampler, asked: Asked) -> None:
        room = context.size - len(asked.prompt) - (asked.seen.extra if asked.seen else 0)
        wanted = asked.max_tokens
        self._model, self._context, self._sampler, self._asked = model, context, sampler, asked
        self._limit = room if wanted is None else min(wanted, room)
        self._ran_out = "context" if wanted is None or wanted > room else "length"
        self._pieces = Pieces(
            model, asked.stops, asked.send, shown=asked.shown, opening=asked.opening
        )
        self._count = 0
        self._guessed: Message = {}

    def give(self) -> None:
        """Sends the answer in pieces, then why it ended."""
        asked, context = self._asked, self._context
        started = time.perf_counter()
        computed = asked.recall()
        kept = context.keep(asked.prompt)
        filled = self._fill(kept)
        computed += len(context.held) - kept
        self._sampler.saw([token for token in asked.prompt if token >= 0])
        first = time.perf_counter()
        reason = self._tokens() if filled else "stopped"
        if reason != "stop":
            self._pieces.finish()
        self._pieces.flush()
        asked.send(
            {
                "type": "done",
                "reason": reason,
                "prompt_tokens": len(asked.prompt),
                "prompt_computed": computed,
                "tokens": self._count,
                "prompt_seconds": first - started,
                "seconds": time.perf_counter() - first,
                **self._guessed,
            }
        )

    def _fill(self, kept: int) -> bool:
        """Computes what is not held of the prompt; False when it was stopped on the way."""
        asked, context = self._asked, self._context
        if asked.seen is not None:
            return asked.seen.fill(context, kept, asked.unwanted)
        return context.fill(asked.prompt[kept:], asked.unwanted)

    def _tokens(self) -> str:
        """Why the answer ended."""
        prompt = self._asked.prompt
        asked, draft = self._asked, self._asked.draft
        if draft is not None:
            draft.begin(prompt, asked.drafting, asked.unwanted)
        end = len(prompt) + self._limit - 1
        steps = Steps(self._context, prompt, end, guesses=asked.guesses, draft=draft)
        reason = self._until_it_ends(steps)
        steps.finish()
        self._guessed = {"guessed": steps.guessed, "guessed_right": steps.right}
        return reason

    def _until_it_ends(self, steps: Steps) -> str:
        model = self._model
        while self._count < self._limit:
            token = self._sampler.choose(steps.at)
            if model.ends_answer(token) or self._sampler.is_stuck:
                return "end"
            self._count += 1
            if self._pieces.say(token, self._sampler.measured):
                return "stop"
            if self._asked.unwanted():
                return "stopped"
            if self._count < self._limit:
                steps.take(token)
        return self._ran_out
