"""Words and columns for a terminal or a pipe. Nothing here prints."""

from __future__ import annotations

import os
import sys
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

from launcher.errors import LauncherError

WIDEST = 88  # columns; longer lines are hard to read


def safe(text: str, harmless: str = "\n\t") -> str:
    """Text from a file or from the net without characters that could steer a terminal."""
    return "".join(
        character
        if character in harmless or unicodedata.category(character) not in ("Cc", "Cf", "Cs", "Co")
        else f"\\u{ord(character):04x}"
        for character in text
    )


def speech(text: str) -> str:
    """The same for a model's words: signs that join letters, or part them, are kept."""
    return safe(text, "\n\t\u200c\u200d")


def own_command() -> str:
    """How this program is called here, so that commands in messages can be pasted."""
    import shlex
    import shutil

    called = Path(sys.argv[0])
    if called.name == "__main__.py":
        return f"{shlex.quote(sys.executable)} -m launcher"
    found = shutil.which("launcher")
    if found and called.exists() and Path(found).samefile(called):
        return "launcher"
    return shlex.quote(str(called)) if called.name == "launcher" else "launcher"


def pasteable(command: str) -> str:
    """A command with the name of this program as it is called here."""
    name, _, rest = safe(command).partition(" ")
    return f"{own_command()} {rest}" if name == "launcher" else safe(command)


@dataclass(frozen=True, slots=True)
class Paper:
    """What text is laid out for: a terminal, or a pipe, which gets whole lines."""

    width: int = 0
    """Columns; 0: lines are not folded."""
    styled: bool = False
    """Whether emphasis may be shown; it never carries meaning."""

    @classmethod
    def of(cls, stream: TextIO) -> Paper:
        """The paper that a stream is."""
        if not stream.isatty():
            return cls()
        import shutil

        columns = shutil.get_terminal_size().columns
        return cls(min(columns, WIDEST), not os.environ.get("NO_COLOR"))

    def fold(self, text: str, indent: str = "") -> str:
        """Text in lines of this width, each indented; items of a list hang."""
        lines = safe(text).splitlines()
        if not self.width:
            return "\n".join(f"{indent}{line}" for line in lines)
        import textwrap

        hanging = indent + ("  " if text.startswith("- ") else "")
        return "\n".join(
            textwrap.fill(line, self.width, initial_indent=indent, subsequent_indent=hanging)
            for line in lines
        )

    def strong(self, text: str) -> str:
        """Text that stands out where that can be shown."""
        return f"\x1b[1m{text}\x1b[0m" if self.styled else text


def table(rows: Iterable[Sequence[str]], headings: Sequence[str]) -> str:
    """Columns with a heading, as wide as they need."""
    lines = [list(headings), *([safe(cell) for cell in row] for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(headings))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )


def error_text(error: LauncherError) -> str:
    """One sentence, what helps, and the commands."""
    end = "" if error.message[-1:] in ".!?…" else "."
    lines = [f"Error: {safe(error.message)}{end}"]
    if error.hint:
        lines.append(safe(error.hint))
    lines += [f"  {pasteable(command)}" for command in error.commands]
    return "\n".join(lines) + "\n"


def error_json(error: LauncherError) -> dict[str, Any]:
    """An error as one object."""
    return {
        "schema": 1,
        "error": {
            "message": error.message,
            "hint": error.hint,
            "commands": list(error.commands),
            "exit_code": int(error.exit_code),
        },
    }
