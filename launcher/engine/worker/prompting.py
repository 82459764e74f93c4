"""From what was asked to the tokens that the model is to go on from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from launcher.engine.messages import Message
from launcher.engine.sampling import Sampling
from launcher.engine.schemas import BadSchema
from launcher.engine.worker import grammars
from launcher.engine.worker.llama import Model, grammar_of_schema
from launcher.engine.worker.rendering import Renderer
from launcher.engine.worker.sampler import BadGrammar, Sampler, Scored

LONGEST_TOKEN = 256  # bytes; what has more of them for each token is not worth counting

# ChatML, for files that carry no template.
FALLBACK = (
    "{% for message in messages %}{{ '<|im_start|>' + message.role + '\\n' + message.content"
    " + '<|im_end|>\\n' }}{% endfor %}{{ '<|im_start|>assistant\\n' }}"
)


class Unanswerable(Exception):
    """There can be no answer to what was asked; the launcher is told why."""

    def __init__(self, kind: str, text: str, **details: object) -> None:
        super().__init__(text)
        self.reply: Message = {"type": "failed", "kind": kind, "message": text, **details}


def too_long(tokens: str, size: int) -> Unanswerable:
    """That a prompt leaves no room in a context of so many tokens."""
    text = f"the conversation has {tokens} tokens, the context holds {size}"
    return Unanswerable("context", text)


class Prompts:
    """Makes prompts for a model."""

    def __init__(self, model: Model, renderer: Renderer, many: int = 1) -> None:
        """For so many conversations at once."""
        self._model, self._renderer = model, renderer
        self._bos, self._eos = model.special_text("bos"), model.special_text("eos")
        self._template = model.chat_template() or FALLBACK
        renderer.expect(self._template, many)
        self._size = model.sizes()["vocabulary"]
        self._tried = ""  # the last grammar that was

    def made(self, wanted: Message, size: int) -> list[int]:
        """The tokens of what was asked, fewer than `size`. Raises `Unanswerable`."""
        return self.begun(wanted, size)[0]

    def begun(self, wanted: Message, size: int) -> tuple[list[int], str]:
        """The same, and what an answer to it has begun with already."""
        prompt = wanted.get("prompt")
        opening = ""
        if isinstance(prompt, list):
            tokens = self._checked(prompt)
        else:
            text = self.rendered(wanted["messages"], wanted) if prompt is None else prompt
            opening = _opening(text, wanted.get("opened", ()))
            if len(text) > LONGEST_TOKEN * size:
                raise too_long(f"at least {len(text) // LONGEST_TOKEN}", size)
            tokens = self.tokens(text)
        if not tokens:
            raise Unanswerable("prompt", "the prompt is empty")
        if len(tokens) >= size:
            raise too_long(str(len(tokens)), size)
        return tokens, opening

    def shown(self, texts: Sequence[str]) -> frozenset[int]:
        """Those of the texts that are one token each."""
        alone = (self._model.tokens(text, add_special=False, parse_special=True) for text in texts)
        return frozenset(tokens[0] for tokens in alone if len(tokens) == 1)

    def rendered(self, messages: Sequence[Mapping[str, Any]], wanted: Message | None = None) -> str:
        """A conversation as a text. Raises `Unanswerable`."""
        wanted = wanted or {}
        given = wanted.get("chat_template")
        reply = self._renderer.render(
            given or self._template,
            messages,
            tools=wanted.get("tools") or None,
            variables=wanted.get("template") or {},
            bos=self._bos,
            eos=self._eos,
        )
        if "text" not in reply:
            raise Unanswerable(
                "template", reply["message"], cause=reply["cause"], given=bool(given)
            )
        return str(reply["text"])

    def tokens(self, text: str) -> list[int]:
        """The tokens of a text, in which special ones count as such."""
        add_special = self.adds_special(text)
        return self._model.tokens(text, add_special=add_special, parse_special=True)

    def adds_special(self, text: str) -> bool:
        """Whether the model wants a token before a text that is not in it yet."""
        return self._model.adds_bos() and not (self._bos and text.startswith(self._bos))

    def form(self, wanted: Message, longest: int = grammars.LONGEST) -> str:
        """The grammar that an answer has to fit, tried; empty where the answer is free.

        `longest` is for one that was given as such. Raises `Unanswerable`.
        """
        grammar = _form(wanted)
        if grammar and grammar != self._tried:
            most = grammars.LONGEST if wanted.get("json_schema") else longest
            why = "it is too long" if len(grammar) > most else self._renderer.tried(grammar)
            if why is not None:
                raise Unanswerable("grammar", why)
            self._tried = grammar
        return grammar

    def _checked(self, tokens: list[int]) -> list[int]:
        if not all(0 <= token < self._size for token in tokens):
            raise Unanswerable("prompt", f"tokens are numbers from 0 to {self._size - 1}")
        return tokens


def _opening(text: str, opened: Sequence[str]) -> str:
    """That of the texts which a prompt ends with, blanks aside."""
    end = text[-256:].rstrip()
    return next((opening for opening in opened if opening and end.endswith(opening)), "")


def _form(wanted: Message) -> str:
    """The grammar that an answer has to fit; empty where it is free. Raises `Unanswerable`."""
    schema, grammar = wanted.get("json_schema", ""), str(wanted.get("grammar", ""))
    if "\0" in grammar:  # where C would take it to end
        raise Unanswerable("grammar", "it has a NUL in it")
    try:
        return grammar_of_schema(schema) if schema else grammar
    except BadSchema as error:
        raise Unanswerable("grammar", str(error)) from error


def sampler(context: Scored, wanted: Message, grammar: str) -> Sampler:
    """The samplers of one answer. Raises `Unanswerable`."""
    try:
        return Sampler(
            context,
            Sampling(**{**context.model.recommended, **wanted["sampling"]}),
            grammar=grammar,
            logprobs=wanted.get("logprobs"),
        )
    except BadGrammar as error:
        raise Unanswerable("grammar", str(error)) from error
