"""Files that are refused since they kill the engine: do they, and are their neighbours fine?"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from launcher.asker import Asker
from launcher.engine.client import Done, Engine, Worker
from launcher.errors import EngineDied, HeaderError
from tests.engine.conftest import GREEDY, QUESTION, cleared_file
from tests.headers import SMALL, Written, statements, tokens, write_model

LOAD = {"context": 256, "threads": 1, "extra_buffers": True, "compare": []}
ASK = {"type": "generate", "number": 1, "messages": QUESTION, "sampling": GREEDY, "max_tokens": 2}
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
    tmp_path: Path, asker: Asker, architecture: str, metadata: Mapping[str, Written]
) -> None:
    path = written(tmp_path, architecture, metadata)
    with pytest.raises(HeaderError), cleared_file(path, asker):
        pass
    with pytest.raises(EngineDied, match="SIGABRT"):
        answer(path)


def answer(path: Path) -> None:
    """What the worker makes of a file that no gate has seen."""
    descriptor = os.open(path, os.O_RDONLY)
    with contextlib.closing(Worker()) as worker:
        worker.load(LOAD, [descriptor])
        os.close(descriptor)
        worker.send(ASK)
        while worker.receive()["type"] != "done":
            pass


@pytest.mark.parametrize(("architecture", "metadata"), FINE)
def test_what_is_just_within_the_rules_answers(
    tmp_path: Path, asker: Asker, architecture: str, metadata: Mapping[str, Written]
) -> None:
    with (
        cleared_file(written(tmp_path, architecture, metadata), asker, context=256) as found,
        contextlib.closing(Worker()) as worker,
        Engine(found, worker) as engine,
    ):
        *_, done = engine.generate(QUESTION, sampling=GREEDY, max_tokens=2)
    assert isinstance(done, Done)
    assert done.reason in ("length", "end")
