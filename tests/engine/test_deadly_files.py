"""Files that are refused since they kill the engine: do they, and are their neighbours fine?"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from launcher.asker import Asker
from launcher.engine.client import Done, Engine, Worker
from launcher.errors import EngineDied, HeaderError
from launcher.models import gguf_rules
from tests.engine.conftest import GREEDY, QUESTION, cleared_file
from tests.headers import SMALL, Written, statements, tokens, write_model

TOKENS = "tokenizer.ggml.tokens"
TOKENIZER = "tokenizer.ggml.model"


def lacking(what: str) -> list[str]:
    return [token.replace(what, "something") for token in tokens(SMALL.vocabulary)]


DEADLY: list[tuple[str, Mapping[str, Written]]] = [
    ("gemma", {"gemma.rope.dimension_count": 18}),
    ("gemma", {"gemma.rope.dimension_count": 15}),
    ("llama", {TOKENS: lacking("<0x4E>"), TOKENIZER: "llama"}),  # the N of the question
]
FINE: list[tuple[str, Mapping[str, Written]]] = [
    ("gemma", {"gemma.rope.dimension_count": 16}),
    ("gemma", {"gemma.rope.dimension_count": 8}),
    ("llama", {TOKENS: lacking("<0xC0>"), TOKENIZER: "llama"}),
]


def written(folder: Path, architecture: str, metadata: Mapping[str, Written]) -> Path:
    said = {**statements(license="mit"), **metadata}
    sizes = replace(SMALL, architecture=architecture, tied=architecture == "gemma")
    return write_model(folder / "model.gguf", sizes, metadata=said)


@pytest.mark.parametrize(("architecture", "metadata"), DEADLY)
def test_what_is_refused_would_have_killed_the_engine(
    tmp_path: Path,
    asker: Asker,
    monkeypatch: pytest.MonkeyPatch,
    architecture: str,
    metadata: Mapping[str, Written],
) -> None:
    path = written(tmp_path, architecture, metadata)
    with pytest.raises(HeaderError):
        answer(path, asker)
    monkeypatch.setattr(gguf_rules, "check", lambda header: None)  # as if there were no rules
    with pytest.raises(EngineDied, match="SIGABRT"):
        answer(path, asker)


def answer(path: Path, asker: Asker) -> Done:
    with (
        cleared_file(path, asker, context=256) as found,
        contextlib.closing(Worker()) as worker,
        Engine(found, worker) as engine,
    ):
        *_, done = engine.generate(QUESTION, sampling=GREEDY, max_tokens=2)
    assert isinstance(done, Done)
    return done


@pytest.mark.parametrize(("architecture", "metadata"), FINE)
def test_what_is_just_within_the_rules_answers(
    tmp_path: Path, asker: Asker, architecture: str, metadata: Mapping[str, Written]
) -> None:
    done = answer(written(tmp_path, architecture, metadata), asker)
    assert done.reason in ("length", "end")
