"""Adapters (LoRA) in the real engine: one that works, and those that must not get there."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest

from launcher import flow
from launcher.asker import Asker, Request
from launcher.engine.client import Engine, Worker
from launcher.engine.fit import Wishes
from launcher.errors import IntegrityError, LauncherError
from launcher.licensing import records
from launcher.models.gguf import Entry, ValueType
from tests.command import launcher
from tests.engine.conftest import GREEDY, QUESTION
from tests.engine.test_client import Permit
from tests.headers import Written, statements, write_adapter

SHAPES = {"attn_q": (576, 576), "ffn_down": (1536, 576)}  # of SmolLM2: what goes in and out
RANK = 8


def write(path: Path, *, seed: int = 1, layers: int = 30, **changes: tuple[int, int]) -> Path:
    """An adapter for SmolLM2 whose numbers are drawn by lot."""
    lot = np.random.default_rng(seed)
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_type("adapter")
    writer.add_string("adapter.type", "lora")
    writer.add_float32("adapter.lora.alpha", 16.0)
    writer.add_license("apache-2.0")
    for layer in range(layers):
        for name, (wide, high) in (SHAPES | changes).items():
            stem = f"blk.{layer}.{name}.weight"
            writer.add_tensor(f"{stem}.lora_a", _numbers(lot, RANK, wide))
            writer.add_tensor(f"{stem}.lora_b", _numbers(lot, high, RANK))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def _numbers(lot: np.random.Generator, *shape: int) -> np.ndarray[Any, np.dtype[np.float32]]:
    return (lot.standard_normal(shape) * 0.05).astype(np.float32)


def answer(asker: Asker, smollm2: Path, *adapters: Path) -> str:
    """What the model says with these, on the whole way from the path on."""
    request = Request(model=str(smollm2), adapters=adapters)
    with flow.judged(request, asker) as judgement, contextlib.closing(Worker()) as worker:
        cleared = flow.clear(judgement, Wishes(context=512, threads=1), asker)
        with flow.load(cleared, worker, asker) as engine:
            events = list(engine.generate(QUESTION, sampling=GREEDY, max_tokens=12))
    return "".join(getattr(event, "text", "") for event in events)


def test_an_adapter_changes_what_is_said_and_two_change_it_again(
    smollm2: Path, tmp_path: Path, asker: Asker
) -> None:
    first, second = write(tmp_path / "1.gguf"), write(tmp_path / "2.gguf", seed=2)
    without = answer(asker, smollm2)
    texts = [answer(asker, smollm2, *use) for use in ([first], [second], [first, second])]
    assert len({without, *texts}) == 4
    assert all(text.strip() for text in texts)
    assert answer(asker, smollm2, first) == texts[0]


def test_what_is_loaded_beside_the_model_is_recorded(
    smollm2: Path, tmp_path: Path, asker: Asker
) -> None:
    answer(asker, smollm2, write(tmp_path / "mine.gguf"))
    *_, load = records.recent(asker.log)
    assert [(file["role"], file["name"]) for file in load["files"]][1] == ("adapter", "mine.gguf")


def test_the_gate_comes_before_whether_an_adapter_fits(smollm2: Path, tmp_path: Path) -> None:
    said = statements(base_models=["meta-llama/Llama-4-Scout-17B-16E"])
    path = write_adapter(tmp_path / "adapter.gguf", "llama-4-scout", said)
    result = launcher("run", smollm2, "hi", "--lora", path, "--as", "individual:DE")
    assert result.code == 3, result.err
    assert "llama-eu-multimodal" in result.err


Metadata = dict[str, Written | None]
FREE: Metadata = {"general.license": "apache-2.0"}
MISFITS: dict[str, tuple[Callable[[Path], Path], int, str]] = {
    "a model": (
        lambda path: write_adapter(path, "smollm2-135m", {**FREE, "general.type": "model"}),
        6,
        "no adapter: it says that it is 'model' of the type 'lora'",
    ),
    "a control vector": (
        lambda path: write_adapter(path, "smollm2-135m", {**FREE, "adapter.type": "control"}),
        6,
        "it says that it is 'adapter' of the type 'control'",
    ),
    "another architecture": (
        lambda path: write_adapter(path, "smollm2-135m", {**FREE, "general.architecture": "qwen2"}),
        6,
        "for models of the architecture qwen2, not llama",
    ),
    "called up by words": (
        lambda path: write_adapter(
            path, "smollm2-135m", {**FREE, "adapter.alora.invocation_tokens": [1, 2]}
        ),
        8,
        "aLoRA",
    ),
    "other sizes": (lambda path: write(path, layers=1, attn_q=(512, 576)), 6, "is (576, 576)"),
    "another rank in its halves": (
        lambda path: halves(path, "blk.0.attn_q.weight", (576, 8), (4, 576)),
        6,
        "the halves are (576, 8) and (4, 576)",
    ),
    "a layer too many": (lambda path: write(path, layers=31), 6, "no tensor 'blk.30."),
    "half a pair": (
        lambda path: halves(path, "blk.0.attn_q.weight", (576, 8), None),
        6,
        "one half of 'blk.0.attn_q.weight' is missing",
    ),
    "nothing in it": (lambda path: halves(path, "", None, None), 6, "changes nothing"),
    "no matrix": (
        lambda path: halves(path, "blk.0.attn_norm.weight", (576, 8), (8, 1)),
        6,
        "is no matrix",
    ),
    "numbers that are not computed with": (
        lambda path: halves(path, "blk.0.attn_q.weight", (576, 8), (8, 576), kind=26),
        6,
        "a type that is not computed with",
    ),
    "the embeddings of a model that ends with them": (
        lambda path: halves(path, "token_embd.weight", (8, 49152), (8, 576)),
        8,
        "changes the embeddings",
    ),
}


def halves(
    path: Path, name: str, a: Sequence[int] | None, b: Sequence[int] | None, kind: int = 0
) -> Path:
    """An adapter of one pair of tensors, or of less."""
    given = {f"{name}.lora_a": a, f"{name}.lora_b": b}
    tensors = {name: (shape, kind) for name, shape in given.items() if shape is not None}
    return write_adapter(path, "smollm2-135m", FREE, tensors)


@pytest.mark.parametrize("case", MISFITS)
def test_what_does_not_belong_to_the_model_never_reaches_the_worker(
    case: str, smollm2: Path, tmp_path: Path, asker: Asker
) -> None:
    make, code, words = MISFITS[case]
    request = Request(model=str(smollm2), adapters=(make(tmp_path / "adapter.gguf"),))
    with flow.judged(request, asker) as judgement, pytest.raises(LauncherError) as caught:
        flow.clear(judgement, Wishes(), asker)
    assert caught.value.exit_code == code
    assert words in caught.value.message


def test_an_adapter_that_the_engine_sees_otherwise_ends_the_load(
    smollm2: Path, tmp_path: Path, asker: Asker
) -> None:
    """The header that was judged is compared with what the engine has read of the adapter."""
    request = Request(model=str(smollm2), adapters=(write(tmp_path / "adapter.gguf"),))
    with flow.judged(request, asker) as judgement:
        cleared = flow.clear(judgement, Wishes(context=512, threads=1), asker)
        main, adapter = cleared.bundle.parts
        assert adapter.header is not None
        other = {**adapter.header.metadata, "general.license": Entry(ValueType.STRING, "mit")}
        swapped = replace(adapter, header=replace(adapter.header, metadata=other))
        bundle = replace(cleared.bundle, parts=(main, swapped))
        hidden = replace(cleared, bundle=bundle, decision=Permit(bundle.fingerprint))
        with (
            contextlib.closing(Worker()) as worker,
            pytest.raises(IntegrityError, match=r"another model.*'mit'"),
        ):
            Engine(hidden, worker)
