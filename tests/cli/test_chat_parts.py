"""What a chat is made of: Markdown as it comes, reasoning, sessions, the clipboard."""

from __future__ import annotations

import io
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from launcher.cli.chat import clipboard
from launcher.cli.chat.about import About
from launcher.cli.chat.markdown import Markdown
from launcher.cli.chat.thinking import Splitter
from launcher.errors import LauncherError, NotFound
from launcher.licensing import policy
from launcher.licensing.decision import BoundDuty
from launcher.sessions import Exchange, Session, Shelf
from tests.cli.test_chat import MODEL, plain


@pytest.mark.parametrize("environment", [{"TERM": "linux"}, {}, {"DISPLAY": ":7", "PATH": ""}])
def test_where_there_is_no_clipboard_one_sentence_says_so(environment: dict[str, str]) -> None:
    with pytest.raises(LauncherError, match="There is no clipboard here"):
        clipboard.copy("text", io.StringIO(), environment)


WORDS = st.sampled_from(
    [
        "*",
        "**",
        "`",
        "```",
        "\n",
        " ",
        "_",
        "# ",
        "- ",
        "1. ",
        "> ",
        "a",
        "bc",
        "\\",
        "漢",
        "|",
        "---",
    ]
)


def read(text: str) -> list[tuple[str, str]]:
    """Each character that is not a space, with its look."""
    look, found = "", []
    for code, character in re.findall("\x1b\\[([0-9;]*)m|(.)", text, re.DOTALL):
        if character and not character.isspace():
            found.append((character, look))
        elif not character:
            look = code
    return [(character, "" if look == "0" else look) for character, look in found]


@given(st.lists(st.lists(WORDS, min_size=1), min_size=1))
def test_markdown_looks_the_same_however_it_comes(pieces: list[list[str]]) -> None:
    chunks = ["".join(piece) for piece in pieces]
    whole, parts = Markdown(40), Markdown(40)
    at_once = whole.feed("".join(chunks)) + whole.finish()
    in_parts = "".join(map(parts.feed, chunks)) + parts.finish()
    assert read(at_once) == read(in_parts)


@given(st.text(alphabet="abc *_`#>-1.\n\\|", max_size=300))
def test_markdown_keeps_every_word(text: str) -> None:
    painter = Markdown(40)
    shown = plain(painter.feed(text) + painter.finish())
    assert re.findall("[abc]", shown) == re.findall("[abc]", text)


@given(st.lists(st.sampled_from(["<think>", "</think>", "<", "think", ">", "a", "\n", " "])))
def test_reasoning_is_told_apart_however_it_comes(chunks: list[str]) -> None:
    whole, parts = Splitter(), Splitter()
    for splitter, fed in ((whole, ["".join(chunks)]), (parts, chunks)):
        for chunk in fed:
            list(splitter.feed(chunk))
        list(splitter.finish())
    assert (whole.thought, whole.said) == (parts.thought, parts.said)


def test_the_words_that_a_licence_wants_shown_are_known() -> None:
    licence = policy.load().licences["llama3.2"]
    duties = tuple(BoundDuty(licence=licence.id, duty=duty) for duty in licence.duties)
    about = About(ref="x", title="X", licences=("llama3.2",), duties=duties)
    assert list(about.displays) == ["Built with Llama"]


def test_two_programs_do_not_overwrite_each_others_conversation(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path)
    session = Session(model=MODEL, exchanges=[Exchange(question="1?", answer="1")])
    assert shelf.save(session)
    other = shelf.load(session.name)
    other.exchanges.append(Exchange(question="2?", answer="2"))
    assert shelf.save(other)
    session.exchanges.append(Exchange(question="3?", answer="3"))
    assert not shelf.save(session)
    assert session.name != other.name
    assert len(shelf.names()) == 2


@pytest.mark.parametrize(
    "text",
    ["", "{}", "[" * 10000, '{"schema": 9}', '{"schema": 1, "model": 1}', "\xff"],
)
def test_a_broken_session_is_an_error_and_stays(tmp_path: Path, text: str) -> None:
    (tmp_path / "mine.json").write_text(text, encoding="latin-1")
    with pytest.raises(LauncherError, match="no session that can be read"):
        Shelf(tmp_path).load("mine")
    assert (tmp_path / "mine.json").read_text(encoding="latin-1") == text


@pytest.mark.parametrize("name", ["../mine", "", "a/b", ".hidden", "x" * 65])
def test_a_session_is_a_name_and_never_a_path(tmp_path: Path, name: str) -> None:
    (tmp_path / "mine.json").write_text("{}")
    (tmp_path / "shelf").mkdir()
    with pytest.raises(NotFound):
        Shelf(tmp_path / "shelf").load(name)
