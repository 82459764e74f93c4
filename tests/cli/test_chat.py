"""A chat on a terminal, with the real engine and the real model.

A grammar holds the model to an answer where the test is about what becomes of it.
"""

from __future__ import annotations

import base64
import json
import re
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from launcher.models import catalogue, sources
from launcher.paths import Places
from launcher.sessions import Shelf
from tests.command import Here, launcher
from tests.headers import write_model
from tests.terminal import Start, Terminal

MODEL = "smollm2:135m"
WHO = ("--as", "individual:DE")
QUICK = (*WHO, "-t", "1", "-c", "512", "--temp", "0", "-n", "64")
PROMPT = ">>> "
READY = "Send a message"  # stands where nothing was typed yet
STYLED = re.compile(r"\x1b\[[0-9;?]*[a-zA-Z]")

Chat = Callable[..., Terminal]


@pytest.fixture
def chat(terminal: Start, tmp_path: Path) -> Chat:
    """Starts a chat whose answers are all `text`, or free ones where it is empty."""

    def start(text: str, *options: str, model: str = MODEL) -> Terminal:
        grammar = tmp_path / "answer.gbnf"
        grammar.write_text("root ::= " + json.dumps(text).replace("\\b", "\\x08"))
        held = ("--grammar", str(grammar)) if text else ()
        screen = terminal("run", model, *QUICK, *held, *options)
        screen.expect(READY)
        return screen

    return start


def plain(text: str) -> str:
    """What is to be read of what was written to a terminal."""
    return STYLED.sub("", text).replace("\r\n", "\n")


def say(screen: Terminal, line: str) -> str:
    """Types a line, and gives what is shown until the next one is asked for."""
    screen.type(f"{line}\r")
    screen.expect("\n")
    return plain(screen.expect(READY))


def leave(screen: Terminal) -> None:
    screen.type("\x04")
    assert screen.end() == 0


def kept(folders: Places) -> dict[str, Any]:
    """The session that was written last."""
    body: dict[str, Any] = json.loads(
        Shelf(folders.sessions).path(Shelf(folders.sessions).names()[0]).read_text()
    )
    return body


def questions(folders: Places) -> list[str]:
    return [exchange["question"] for exchange in kept(folders)["exchanges"]]


# --- A session ----------------------------------------------------------------------------


def test_a_conversation_and_its_commands(chat: Chat, folders: Places) -> None:
    screen = chat("Well.")
    assert "Well." in say(screen, "How are you?")
    shown = say(screen, "/show")
    assert "SmolLM2 135M Instruct" in shown
    assert "Licence:   apache-2.0" in shown
    assert "copy of the licence" in shown
    assert "of 512 tokens in use" in shown
    assert "a second" in say(screen, "/stats")
    assert 'System: Be "brief".' in say(screen, '/system Be "brief".')
    assert "System: One\ntwo" in say(screen, '/system """One\rtwo"""')
    assert "System: Be brief." in say(screen, '/set system "Be brief."')
    assert "top_k: 5" in say(screen, "/set top-k 5")
    assert "is not in the range" in say(screen, "/set top-p 7")
    assert "cannot be set" in say(screen, "/set colour blue")
    assert "no command '/fly'" in say(screen, "/fly")
    assert "Well." in say(screen, "/regen")
    assert questions(folders) == ["How are you?"]
    assert kept(folders)["system"] == "Be brief."
    assert "/regen" in say(screen, "/help")
    assert "Kept in" in say(screen, "/save trip")
    assert "trip" in say(screen, "/clear")
    say(screen, "Something else?")
    assert "Well." in say(screen, "/load trip")
    screen.type("/quit\r")
    screen.expect("Kept as trip")
    assert screen.end() == 0
    assert Shelf(folders.sessions).names()[0] != "trip"
    assert len(Shelf(folders.sessions).names()) == 2


def test_it_is_taken_up_again_also_with_another_model(
    chat: Chat, terminal: Start, folders: Places, tmp_path: Path
) -> None:
    screen = chat("Well.")
    say(screen, "First?")
    leave(screen)
    again = chat("Quite.", "--continue")
    say(again, "Second?")
    assert questions(folders) == ["First?", "Second?"]
    leave(again)
    model = catalogue.load().model(MODEL)
    assert model is not None
    weights = sources.packaged_file(model)
    assert weights is not None
    (tmp_path / "other.gguf").symlink_to(weights)
    third = terminal("run", str(tmp_path / "other.gguf"), *QUICK, "--continue")
    assert f"another model, {MODEL}" in plain(third.expect(READY))


def test_what_is_kept_is_for_the_user_alone_and_private_keeps_nothing(
    chat: Chat, folders: Places
) -> None:
    screen = chat("Well.", "--private")
    say(screen, "A secret.")
    leave(screen)
    assert not folders.chat_history.exists()
    assert not folders.sessions.exists()
    screen = chat("Well.")
    say(screen, "No secret.")
    leave(screen)
    (session,) = folders.sessions.glob("*.json")
    for path in (session, folders.chat_history):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert b"secret" not in folders.records.read_bytes()


def test_a_conversation_that_cannot_be_kept_goes_on(chat: Chat, folders: Places) -> None:
    folders.data.write_text("a file where a folder should be")
    screen = chat("Well.")
    assert "could not be kept" in say(screen, "First?")
    assert "Well." in say(screen, "Second?")
    assert "could not be kept" in say(screen, "/save trip")


def test_a_refusal_comes_before_a_conversation_is_taken_up(here: Here, tmp_path: Path) -> None:
    path = write_model(tmp_path / "innocent.gguf", "llama-4-scout")
    result = here("run", path, "--continue", *WHO)
    assert (result.code, result.out) == (3, "")


def test_a_single_question_is_asked_within_the_last_conversation(folders: Places) -> None:
    for question in ("My dog is called Bodo.", "What is his name?"):
        result = launcher("run", MODEL, *QUICK, "-n", "24", "--continue", stdin=question)
        assert (result.code, result.err) == (0, "")
    assert "Bodo" in result.out
    assert questions(folders) == ["My dog is called Bodo.", "What is his name?"]
    assert kept(folders)["exchanges"][1]["answer"] == result.out.strip()
    alone = launcher("run", MODEL, *QUICK, "-n", "24", stdin="What is his name?")
    assert "Bodo" not in alone.out
    assert len(questions(folders)) == 2


# --- Typing -------------------------------------------------------------------------------


def test_several_lines_history_and_completion(chat: Chat, folders: Places) -> None:
    screen = chat("Well.")
    say(screen, '"""one\rtwo"""')
    screen.type("\x1b[200~pasted\nlines\x1b[201~")
    say(screen, "")
    screen.type("up\x1b\rdown")
    say(screen, "")
    assert questions(folders) == ["one\ntwo", "pasted\nlines", "up\ndown"]
    assert "a second" in say(screen, "/sta\t")
    leave(screen)
    again = chat("Well.")
    say(again, "\x1b[A\x1b[A\x1b[A")
    assert questions(folders) == ["up\ndown"]


def test_an_editor_for_long_prompts_and_another_try(
    chat: Chat, folders: Places, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    editor = tmp_path / "editor"
    editor.write_text('#!/bin/sh\nprintf "%s, edited" "$(cat "$1")" > "$1.new"; mv "$1.new" "$1"\n')
    editor.chmod(0o755)
    monkeypatch.setenv("VISUAL", str(editor))
    screen = chat("Well.")
    screen.type("/edit long\r")
    screen.expect("long, edited")
    say(screen, "")
    screen.type("short\x18\x05")
    screen.expect("short, edited")
    screen.expect(READY)
    assert questions(folders) == ["long, edited", "short, edited"]
    screen.type("/retry\r")
    screen.expect("short, edited")
    say(screen, " twice")
    assert questions(folders) == ["long, edited", "short, edited twice"]


def test_ctrl_c_stops_an_answer_and_ctrl_d_leaves(chat: Chat, folders: Places) -> None:
    screen = chat("", "-n", "2000")
    screen.type("Count from one to two hundred in words.\r")
    screen.expect("words.")
    screen.expect("\n")
    while len(plain(screen.seen)) < 20:
        screen.read(30)
    screen.type("\x03")
    assert "stopped" in plain(screen.expect(PROMPT))
    assert kept(folders)["exchanges"][0]["answer"]
    screen.type("never sent\x03")
    screen.expect(PROMPT)
    screen.type("\x03")
    screen.expect("Leave with Ctrl-D")
    screen.expect(PROMPT)
    leave(screen)


# --- What is shown ------------------------------------------------------------------------


def test_markdown_is_laid_out_on_a_terminal_and_plain_without_colour(
    chat: Chat, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = "# Title\n\nA **bold** word.\n\n- one\n"
    screen = chat(text)
    screen.type("Go\r")
    shown = screen.expect("tokens of context")
    assert "\x1b[1;4mTitle" in shown
    assert "**" not in shown
    assert re.search("[•-] one", plain(shown))
    screen.expect(READY)
    leave(screen)
    monkeypatch.setenv("NO_COLOR", "1")
    screen = chat(text)
    screen.type("Go\r")
    screen.expect("\n")
    shown = screen.expect("tokens of context").replace("\r\n", "\n")
    assert text in shown
    assert "\x1b[1" not in shown


def test_a_model_cannot_steer_the_terminal(chat: Chat) -> None:
    screen = chat("\x1b]0;owned\x07\x1b[2J\x9b31m**b\x1b[7mld** ```\x08", "--system", "\x1b[8m")
    screen.type("Go\r")
    screen.expect("\n")
    shown = screen.expect("tokens of context")
    assert "\\u001b]0;owned\\u0007\\u001b[2J" in plain(shown)
    assert not re.search("[\x07\x08\x9b]|\x1b\\]|\x1b\\[(2J|7m)", shown)
    screen.expect(READY)
    assert "\\u001b[8m" in say(screen, "/show")


def test_reasoning_is_shown_apart_or_hidden(chat: Chat, folders: Places) -> None:
    screen = chat("<think>\nHm, hm.\n</think>\n\nYes.")
    shown = say(screen, "Go")
    assert "Thinking...\nHm, hm.\n...done thinking.\n\nYes." in shown
    assert "think: off" in say(screen, "/set think off")
    shown = say(screen, "Go")
    assert "Hm, hm." not in shown
    assert "Yes." in shown
    assert [exchange["answer"] for exchange in kept(folders)["exchanges"]] == ["Yes.", "Yes."]


def test_reasoning_is_hidden_from_a_single_answer_too(tmp_path: Path) -> None:
    grammar = tmp_path / "answer.gbnf"
    grammar.write_text('root ::= "<think>Hm.</think>\\n\\nYes."\n')
    arguments = ("run", MODEL, "Go", *QUICK, "--grammar", grammar)
    assert launcher(*arguments).out == "<think>Hm.</think>\n\nYes.\n"
    assert launcher(*arguments, "--hide-thinking").out == "Yes.\n"


def test_copy_by_the_terminal_itself(chat: Chat, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("TMUX", "DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm")
    screen = chat("Look:\n```python\nprint(1)\n```\n")
    assert "Nothing was asked yet" in say(screen, "/copy")
    say(screen, "Go")
    screen.type("/copy code\r")
    written = screen.expect("(OSC 52)")
    found = re.search("\x1b\\]52;c;([A-Za-z0-9+/=]+)\x07", written)
    assert found is not None
    assert base64.b64decode(found[1]) == b"print(1)\n"


# --- A full context -----------------------------------------------------------------------


def test_a_full_context_is_a_choice(chat: Chat, folders: Places) -> None:
    screen = chat("Well.", "-c", "256")
    say(screen, "First?")
    screen.type("word " * 300 + "\r")
    told = " ".join(plain(screen.expect("Your choice (d, n, b, q): ")).split())
    assert re.search(r"The conversation has \d+ tokens, the context holds 256", told)
    assert "Nothing was cut off" in told
    screen.type("b\r")
    screen.expect(PROMPT)
    say(screen, "\x15Second?")
    screen.type("word " * 203 + "\r")
    screen.expect("Your choice")
    screen.type("d\r")
    assert "Well." in plain(screen.expect(PROMPT))
    assert (len(questions(folders)), kept(folders)["dropped"]) == (3, 1)
    screen.type("word " * 300 + "\r")
    screen.expect("Your choice")
    screen.type("q\r")
    assert screen.end() == 0
    assert len(questions(folders)) == 3


def test_an_answer_that_fills_the_context_can_be_kept(chat: Chat, folders: Places) -> None:
    screen = chat("one two three four " * 80, "-c", "256", "-n", "2000")
    screen.type("word " * 200 + "\r")
    told = " ".join(plain(screen.expect("Your choice (k, q): ")).split())
    assert "of 256 in all" in told
    screen.type("k\r")
    screen.expect(READY)
    assert len(questions(folders)) == 1
