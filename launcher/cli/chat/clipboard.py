"""Puts text where it can be pasted from: by a tool of the desktop, or by the terminal itself."""

from __future__ import annotations

import base64
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from typing import TextIO

from launcher.errors import LauncherError

LARGEST = 74_000  # bytes in base64; what terminals take by OSC 52 (xterm's limit)
_WITHOUT = ("", "dumb", "linux")  # values of TERM of terminals that have no clipboard
_PATIENCE = 5.0  # seconds for a tool

# The tool, and the variable that says that there is what it talks to.
_TOOLS = (
    ("TMUX", ("tmux", "load-buffer", "-w", "-")),
    ("WAYLAND_DISPLAY", ("wl-copy",)),
    ("DISPLAY", ("xclip", "-selection", "clipboard")),
    ("DISPLAY", ("xsel", "--clipboard", "--input")),
)
_OF_SYSTEM = {"darwin": ("pbcopy",), "win32": ("clip",)}


def copy(text: str, terminal: TextIO, environment: Mapping[str, str] = os.environ) -> str:
    """Copies a text; a sentence says how. Raises `LauncherError` where there is no way."""
    for tool in _tools(environment):
        if _by_tool(tool, text):
            return f"Copied {len(text)} characters with {tool[0]}."
    if terminal.isatty() and environment.get("TERM", "") not in _WITHOUT:
        terminal.write(_osc52(text))
        terminal.flush()
        return (
            f"Handed {len(text)} characters to the terminal for its clipboard (OSC 52); a few "
            "terminals do not take them."
        )
    raise LauncherError(
        "There is no clipboard here: neither a tool (wl-copy, xclip, xsel, pbcopy) nor a "
        "terminal that has one"
    )


def _tools(environment: Mapping[str, str]) -> list[Sequence[str]]:
    found = [tool for variable, tool in _TOOLS if environment.get(variable)]
    found += [_OF_SYSTEM[sys.platform]] if sys.platform in _OF_SYSTEM else []
    return [tool for tool in found if shutil.which(tool[0])]


def _by_tool(tool: Sequence[str], text: str) -> bool:
    try:
        done = subprocess.run(
            tool,
            input=text.encode("utf-8", "replace"),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            timeout=_PATIENCE,
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0


def _osc52(text: str) -> str:
    encoded = base64.b64encode(text.encode("utf-8", "replace")).decode()
    if len(encoded) > LARGEST:
        raise LauncherError("That is more than a terminal takes for its clipboard")
    return f"\x1b]52;c;{encoded}\x07"
