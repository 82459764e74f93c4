"""Reads an answer in which the model says and calls what it likes.

Each character is looked at a bounded number of times, whatever the model writes.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from enum import Enum, auto

from launcher.serving.tools import formats
from launcher.serving.tools.asking import Asked
from launcher.serving.tools.deltas import CallArguments, CallBegun, Content, Delta, Reasoning
from launcher.serving.tools.formats import MARKERS, Call, NoCall
from launcher.serving.tools.reasoning import TAGS

WINDOW = 64  # characters in which a call without a mark shows itself

_BARE = re.compile(
    r"(?:```[a-z_]*\s*|functools)?\s*\[?\s*\{\s*"
    r'"(?:name|function|type|id|tool_name|tool_call_id|arguments|parameters)"'
)
_BARE_BEGINS = ("{", "[", "```", "functools")
_OPENINGS = {marker.opening: marker for marker in MARKERS}
_ANY_OPENING = re.compile("|".join(re.escape(opening) for opening in _OPENINGS))
_JSON = re.compile(r"\s*\[?\s*\{")
_BLANKS = re.compile(r"\s*")
_QUOTE = re.compile(r'\\.|(")', re.DOTALL)


class _Mode(Enum):
    START = auto()  # nothing was said yet
    THINKING = auto()
    BARE = auto()  # the whole answer may be a call
    WORDS = auto()
    CALL = auto()  # behind a marker
    OVER = auto()  # a further call is not wanted


class FreeReader:
    """Tells what one answer says from its reasoning and from the tools it calls."""

    def __init__(self, asked: Asked, *, reasoning: bool, ids: Callable[[], str]) -> None:
        self.calls = 0
        self._tools = {tool.name: tool for tool in asked.tools}
        self._parallel = asked.parallel
        self._ids = ids
        self._tags = TAGS if reasoning else ()
        self._closing = ""  # of the reasoning
        self._is_fresh = False  # whether blanks do not count until something is said
        self._mode = _Mode.START
        self._pending = ""
        self._from = 0  # up to there nothing of what is pending begins a call
        self._marker = MARKERS[0]
        self._searched = 0  # up to there nothing of what is pending ends the call
        self._counted = 0  # up to there its quotes are counted
        self._in_string = False

    @property
    def is_over(self) -> bool:
        return self._mode is _Mode.OVER

    def feed(self, text: str) -> Iterator[Delta]:
        self._pending += text
        return self._deltas(last=False)

    def finish(self) -> Iterator[Delta]:
        return self._deltas(last=True)

    def _deltas(self, *, last: bool) -> Iterator[Delta]:
        steps = {
            _Mode.START: self._start,
            _Mode.THINKING: self._think,
            _Mode.BARE: self._bare,
            _Mode.WORDS: self._say,
            _Mode.CALL: self._call,
            _Mode.OVER: self._ignore,
        }
        before: object = None
        while self._pending and before != (self._mode, len(self._pending), self._from):
            before = (self._mode, len(self._pending), self._from)
            yield from steps[self._mode](last)

    def _ignore(self, last: bool) -> Iterator[Delta]:
        self._pending = ""
        yield from ()

    # --- The beginning --------------------------------------------------------------------------

    def _start(self, last: bool) -> Iterator[Delta]:
        head = self._pending.lstrip()
        if self._is_fresh:
            self._pending = head
        for opening, closing in self._tags:
            if head.startswith(opening):
                self._pending = head.removeprefix(opening)
                self._tags, self._closing, self._is_fresh = (), closing, True
                self._mode = _Mode.THINKING
                return
        if last or not self._may_begin(head):
            bare = self._tools and _BARE.match(head[:WINDOW])
            self._mode = _Mode.BARE if bare else _Mode.WORDS
        yield from ()

    def _may_begin(self, head: str) -> bool:
        """Whether more of the answer may show that it begins with a mark."""
        if any(opening.startswith(head) for opening, _ in self._tags):
            return True
        if not self._tools or len(head) >= WINDOW:
            return False
        return any(head.startswith(one) or one.startswith(head) for one in _BARE_BEGINS)

    def _think(self, last: bool) -> Iterator[Delta]:
        if self._is_fresh:
            self._pending = self._pending.lstrip()
        at = self._pending.find(self._closing)
        if at >= 0:
            thought = self._pending[:at].rstrip()
            self._pending = self._pending[at + len(self._closing) :]
            self._is_fresh, self._mode = True, _Mode.START
        else:
            thought = self._taken(len(self._pending) if last else self._safe((self._closing,)))
            self._is_fresh = self._is_fresh and not thought
        if thought:
            yield Reasoning(thought)

    def _bare(self, last: bool) -> Iterator[Delta]:
        if not last:
            return
        try:
            calls = formats.read_bare(self._pending, self._tools)
        except NoCall:
            self._mode = _Mode.WORDS
            return
        self._pending = ""
        yield from self._made(calls)

    # --- Words, and calls among them ------------------------------------------------------------

    def _say(self, last: bool) -> Iterator[Delta]:
        found = _ANY_OPENING.search(self._pending, self._from) if self._tools else None
        if found is not None:
            cut = len(self._pending[: found.start()].rstrip())
        elif last:
            cut = len(self._pending)
        else:
            cut = self._safe(tuple(_OPENINGS) if self._tools else ())
        words = self._taken(cut)
        if words.strip() or (words and not (last and self.calls)):
            yield Content(words)
        if found is not None:
            self._marker, self._mode = _OPENINGS[found[0]], _Mode.CALL
            self._from = self._searched = self._counted = found.end() - cut
            self._in_string = False

    def _taken(self, cut: int) -> str:
        taken, self._pending = self._pending[:cut], self._pending[cut:]
        self._from = max(0, self._from - cut)
        return taken

    def _safe(self, marks: Sequence[str]) -> int:
        """How much of what is pending can be told: no mark and no blank may begin at its end."""
        text = self._pending
        longest = max((len(mark) for mark in marks), default=0)
        for at in range(max(self._from, len(text) - longest + 1), len(text)):
            if any(mark.startswith(text[at:]) for mark in marks):
                text = text[:at]
                break
        return len(text.rstrip()) if marks else len(text)

    def _call(self, last: bool) -> Iterator[Delta]:
        """Here `_from` is where the marker ends."""
        if not self._is_plausible():
            self._mode = _Mode.WORDS
            return
        end = self._end()
        if end is None and not last:
            return
        body = self._pending[self._from : end]
        after = len(self._pending) if end is None else end + len(self._marker.closing)
        try:
            calls, rest = formats.read(self._marker, body, self._tools)
        except NoCall:
            again = self._pending.rfind(self._marker.opening, self._from, after)
            self._from, self._mode = (after if again < 0 else again), _Mode.WORDS
            return
        self._pending = rest + self._pending[after:]
        self._from, self._mode = 0, _Mode.WORDS
        yield from self._made(calls)

    def _is_plausible(self) -> bool:
        """Whether what stands behind the marker may yet become a call."""
        blanks = _BLANKS.match(self._pending, self._from)
        at = blanks.end() if blanks else self._from
        if at == len(self._pending) or self._pending[at] in "{[<":
            return True
        return any(
            name.startswith(self._pending[at : at + len(name)]) for name in (*self._tools, "call:")
        )

    def _end(self) -> int | None:
        """Where the call's end is marked; not inside of a string of JSON."""
        closing = self._marker.closing
        while closing:
            at = self._pending.find(closing, self._searched)
            if at < 0:
                self._searched = max(self._searched, len(self._pending) - len(closing) + 1)
                return None
            quotes = _QUOTE.findall(self._pending, self._counted, at)
            self._in_string ^= quotes.count('"') % 2 == 1
            if not self._in_string or not _JSON.match(self._pending, self._from):
                return at
            self._searched = self._counted = at + len(closing)
        return None

    def _made(self, calls: Sequence[Call]) -> Iterator[Delta]:
        for call in calls if self._parallel else calls[:1]:
            index, self.calls = self.calls, self.calls + 1
            yield CallBegun(index, self._ids(), call.name)
            yield CallArguments(index, call.arguments)
        if not self._parallel:
            self._mode, self._pending = _Mode.OVER, ""
