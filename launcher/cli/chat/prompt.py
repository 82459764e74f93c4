"""Where a person types: history, completion, several lines, an editor."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Sequence

from prompt_toolkit import PromptSession
from prompt_toolkit.completion import CompleteEvent, Completer, Completion
from prompt_toolkit.document import Document
from prompt_toolkit.filters import Condition
from prompt_toolkit.history import History
from prompt_toolkit.key_binding import KeyBindings, KeyPressEvent
from prompt_toolkit.output import Output, create_output
from prompt_toolkit.output.vt100 import Vt100_Output
from prompt_toolkit.shortcuts import CompleteStyle
from prompt_toolkit.styles import Style

QUOTES = '"""'
_STYLE = Style.from_dict({"placeholder": "fg:ansibrightblack"})


class Prompt:
    """The place where a person types."""

    def __init__(
        self,
        history: History,
        completions: Callable[[str], Sequence[str]],
    ) -> None:
        self._session: PromptSession[str] = PromptSession(
            ">>> ",
            history=history,
            completer=_Words(completions),
            complete_while_typing=False,
            complete_style=CompleteStyle.READLINE_LIKE,
            multiline=Condition(lambda: is_open(self._session.default_buffer.text)),
            prompt_continuation="... ",
            placeholder=[("class:placeholder", "Send a message (/? for help)")],
            enable_open_in_editor=True,
            key_bindings=_keys(),
            style=_STYLE,
            output=_output(),
        )

    def ask(self, draft: str = "") -> str:
        """What a person typed. Raises EOFError at Ctrl-D, KeyboardInterrupt at Ctrl-C."""
        return self._session.prompt(default=draft).strip()

    @property
    def typed(self) -> str:
        """What stood there when Ctrl-C was pressed."""
        return self._session.default_buffer.text


def is_open(text: str) -> bool:
    '''Whether a text of several lines was begun and not ended.

    >>> is_open('"""one'), is_open('"""one"""'), is_open("one"), is_open('/system """one')
    (True, False, False, True)
    '''
    _, begun, rest = text.partition(QUOTES)
    opens = text.startswith((QUOTES, f"/system {QUOTES}"))
    return bool(begun) and opens and not rest.rstrip().endswith(QUOTES)


def unquoted(text: str) -> str:
    """A message without the quotes around it, if it has some."""
    if text.startswith(QUOTES) and not is_open(text):
        return text[len(QUOTES) : -len(QUOTES)].strip("\n")
    return text


def _keys() -> KeyBindings:
    bindings = KeyBindings()

    @bindings.add("escape", "enter")
    def _(event: KeyPressEvent) -> None:
        event.current_buffer.insert_text("\n")

    return bindings


def _output() -> Output:
    """The terminal, also where standard output is piped away.

    It is never asked where its cursor is: the answer to that could end up in the next program.
    """
    output = create_output(sys.stdout if sys.stdout.isatty() else sys.stderr)
    if isinstance(output, Vt100_Output):
        output.enable_cpr = False
    return output


class _Words(Completer):
    """Completes commands and what can stand behind them."""

    def __init__(self, completions: Callable[[str], Sequence[str]]) -> None:
        self._completions = completions

    def get_completions(
        self, document: Document, complete_event: CompleteEvent
    ) -> Iterable[Completion]:
        """What the word before the cursor can become."""
        before = document.text_before_cursor
        if not before.startswith("/"):
            return
        word = before.split(" ")[-1]
        for found in self._completions(before):
            yield Completion(found, start_position=-len(word))
