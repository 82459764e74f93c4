#!/usr/bin/env python3
"""Drives a chat through tmux, as a person at a terminal does. Needs tmux and the default model.

python scripts/chat_in_tmux.py
"""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SERVER = f"launcher-{os.getpid()}"
CHAT = "-m launcher run smollm2:135m --as individual:DE --temp 0 -n 60 -c 512"
PATIENCE = 60.0  # seconds until a text must be there


def tmux(*arguments: str) -> str:
    command = ["tmux", "-L", SERVER, "-f", os.devnull, *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def wait(text: str) -> None:
    """Waits until the last lines of the screen have a text."""
    deadline = time.monotonic() + PATIENCE
    while text not in (shown := tmux("capture-pane", "-p").rstrip())[-400:]:
        if time.monotonic() > deadline:
            sys.exit(f"{text!r} did not appear:\n{shown}")
        time.sleep(0.1)


def keys(*pressed: str) -> None:
    tmux("send-keys", *pressed)


def start(*options: str) -> None:
    called = f"cd {shlex.quote(str(ROOT))}; {shlex.quote(sys.executable)} {CHAT}"
    keys(f"clear; {called} {' '.join(options)}; echo ended with $?", "Enter")
    wait("Send a message")


def drive() -> None:
    """One session: questions, Ctrl-C, commands, the clipboard, and the way back in."""
    start()
    keys("Name three fruits.", "Enter")
    wait("tokens of context")
    keys("/copy", "Enter")
    wait("Copied")
    if not tmux("show-buffer").strip():
        sys.exit("Nothing was copied.")
    keys("/set max-tokens 400", "Enter")
    wait("max_tokens: 400")
    keys("Count to two hundred in words.", "Enter")
    time.sleep(1.5)
    keys("C-c")
    wait("(stopped")
    keys("/sta", "Tab")
    wait("/stats")
    keys("Enter")
    wait("tokens in all")
    keys("C-d")
    wait("ended with 0")
    start("--continue")
    wait("Count to two hundred")
    keys("Up")
    wait(">>> /stats")
    keys("C-c")
    keys("/bye", "Enter")
    wait("ended with 0")


def main() -> None:
    """Starts a terminal with a home of its own, and ends it."""
    with tempfile.TemporaryDirectory() as home:
        os.environ["LAUNCHER_HOME"] = home
        tmux("new-session", "-d", "-x", "90", "-y", "30", "sh")
        try:
            drive()
        finally:
            tmux("kill-server")
    print("The chat did what it was told.")


if __name__ == "__main__":
    main()
