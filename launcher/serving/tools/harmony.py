"""Reads answers in the form of gpt-oss: messages, each in a channel and some to a tool.

Source: the chat template of gpt-oss, and cookbook.openai.com/articles/openai-harmony.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

from launcher.serving.tools.asking import Asked
from launcher.serving.tools.deltas import CallArguments, CallBegun, Content, Delta, Reasoning

CONTROL = ("<|start|>", "<|channel|>", "<|constrain|>", "<|message|>", "<|end|>", "<|call|>")
LONGEST_HEAD = 256  # characters before a message

_MESSAGE = "<|message|>"
_HEAD_BEGINS = ("<|start|>", "<|channel|>", "<|constrain|>", "to=")
_ENDS = ("<|end|>", "<|call|>", "<|start|>", "<|channel|>", "<|return|>")
_ANY_END = re.compile("|".join(re.escape(end) for end in _ENDS))
_CHANNEL = re.compile(r"<\|channel\|>\s*(\w+)")
_TO = re.compile(r"\bto=functions\.([\w.:/-]+)")


def is_form_of(template: str) -> bool:
    """Whether a template makes models answer so."""
    return all(text in template for text in ("<|channel|>", _MESSAGE, "<|start|>"))


class HarmonyReader:
    """Tells the channels of one answer apart; what has no head is content."""

    is_over = False

    def __init__(self, asked: Asked, *, reasoning: bool, ids: Callable[[], str]) -> None:
        self.calls = 0
        self._names = asked.names
        self._parallel = asked.parallel
        self._reasoning = reasoning
        self._ids = ids
        self._pending = ""
        self._in_head = True
        self._made: Callable[[str], Delta] = Content

    def feed(self, text: str) -> Iterator[Delta]:
        self._pending += text
        return self._deltas(last=False)

    def finish(self) -> Iterator[Delta]:
        return self._deltas(last=True)

    def _deltas(self, *, last: bool) -> Iterator[Delta]:
        before: object = None
        while self._pending and before != (self._in_head, len(self._pending)):
            before = (self._in_head, len(self._pending))
            yield from self._head(last) if self._in_head else self._body(last)

    def _head(self, last: bool) -> Iterator[Delta]:
        text = self._pending.lstrip()
        head, found, rest = text.partition(_MESSAGE)
        begins = any(text.startswith(one) or one.startswith(text) for one in _HEAD_BEGINS)
        if found and begins and len(head) <= LONGEST_HEAD:
            self._pending, self._in_head = rest, False
            yield from self._begun(head)
        elif last or not begins or len(text) > LONGEST_HEAD + len(_MESSAGE):
            self._in_head, self._made = False, Content
            if begins:  # nothing that is a message; it is said as it stands
                self._pending = ""
                yield Content(text)

    def _begun(self, head: str) -> Iterator[Delta]:
        channel, to = _CHANNEL.search(head), _TO.search(head)
        is_thought = channel is not None and channel[1] == "analysis"
        self._made = Reasoning if is_thought and self._reasoning else Content
        if to is not None and to[1] in self._names and (self._parallel or not self.calls):
            index, self.calls = self.calls, self.calls + 1
            self._made = lambda text: CallArguments(index, text)
            yield CallBegun(index, self._ids(), to[1])

    def _body(self, last: bool) -> Iterator[Delta]:
        found = _ANY_END.search(self._pending)
        if found is not None:
            told, rest = self._pending[: found.start()], self._pending[found.start() :]
            self._pending, self._in_head = rest.removeprefix("<|end|>"), True
            self._pending = self._pending.removeprefix("<|call|>").removeprefix("<|return|>")
        else:
            cut = len(self._pending) if last else self._safe()
            told, self._pending = self._pending[:cut], self._pending[cut:]
        if told:
            yield self._made(told)

    def _safe(self) -> int:
        """How much of what is pending no mark may begin in."""
        start = max(0, len(self._pending) - len("<|channel|>") + 1)
        for at in range(start, len(self._pending)):
            if any(end.startswith(self._pending[at:]) for end in _ENDS):
                return at
        return len(self._pending)
