"""What a model keeps of the tokens that it has read, as estimated and as the engine has it."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from launcher.engine import kv
from launcher.engine.computing import Computing
from launcher.engine.worker import llama
from launcher.models import catalogue, sources
from launcher.models.gguf import Entry, Header, ValueType
from launcher.models.refs import PathRef
from tests.headers import SMALL, write_model

CONTEXT = 4096
SAID = re.compile(r"(KV|RS) buffer size = +([0-9.]+) MiB")


def header(path: Path) -> Header:
    with sources.resolved(PathRef(path), catalogue.load()) as bundle:
        assert bundle.main.header is not None
        return bundle.main.header


def kept_by_the_engine(path: Path) -> dict[str, float]:
    """MiB of keys and values (KV) and of states (RS), in the engine's words."""
    words: list[str] = []

    @llama.lib.llama_log_callback  # type: ignore[untyped-decorator]  # ctypes
    def keep(_: int, text: bytes, __: object) -> None:
        words.append(text.decode())

    llama.start()
    llama.lib.llama_log_set(keep, None)
    try:
        model = llama.Model([str(path)])
        llama.Context(model, tokens=CONTEXT, computing=Computing(threads=1)).close()
        model.close()
    finally:
        llama.start()
    found = dict.fromkeys(("KV", "RS"), 0.0)
    for kind, size in SAID.findall("".join(words)):
        found[kind] += float(size)
    return found


@pytest.mark.parametrize(
    "shape",
    [
        {"layers": 4},
        {"layers": 3, "heads": 8, "kv_heads": 2, "head_size": 32},
        {"experts": 4, "expert_feed_forward": SMALL.feed_forward, "layers": 4},
        {"architecture": "gemma2", "tied": True, "head_size": 32},
        {"architecture": "lfm2", "layers": 4, "kv_heads": (0, 2, 0, 2), "embedding": 1024},
    ],
    ids=["all heads", "shared", "experts", "gemma2", "hybrid"],
)
def test_the_engine_keeps_what_was_estimated(shape: dict[str, Any], tmp_path: Path) -> None:
    path = write_model(tmp_path / "model.gguf", quant=8, **shape)
    found = kept_by_the_engine(path)
    ours = header(path)
    assert CONTEXT * kv.bytes_per_token(ours) / (1 << 20) == pytest.approx(found["KV"], abs=0.01)
    assert kv.states(ours) / (1 << 20) == pytest.approx(found["RS"], abs=0.01)
    assert found["KV"] > 0


# Sizes of published models (their config.json), and the state that follows from llama.cpp's rules.
@pytest.mark.parametrize(
    ("architecture", "values", "recurrent", "numbers"),
    [
        ("mamba", {"ssm.conv_kernel": 4, "ssm.inner_size": 1536, "ssm.state_size": 16}, 24, 29184),
        (
            "falcon-h1",
            {
                "ssm.conv_kernel": 4,
                "ssm.inner_size": 1536,
                "ssm.state_size": 128,
                "ssm.group_count": 1,
                "attention.head_count": 8,
                "attention.head_count_kv": 2,
            },
            24,
            3 * (1536 + 256) + 128 * 1536,
        ),
        (
            "qwen3next",
            {
                "ssm.conv_kernel": 4,
                "ssm.inner_size": 4096,
                "ssm.state_size": 128,
                "ssm.group_count": 16,
                "attention.head_count": 16,
                "attention.head_count_kv": 2,
            },
            18,
            3 * (4096 + 4096) + 128 * 4096,
        ),
        ("rwkv7", {"wkv.head_size": 64}, 24, 768 * 66),
    ],
)
def test_recurrent_layers_keep_states_of_one_size(
    architecture: str, values: dict[str, int], recurrent: int, numbers: int, tmp_path: Path
) -> None:
    path = write_model(tmp_path / "model.gguf")
    keys = {"block_count": 24, "embedding_length": 768, **values}
    ours = as_if(header(path), architecture, keys)
    assert kv.states(ours) == 4 * recurrent * numbers
    attending = 24 if architecture == "falcon-h1" else 24 - recurrent
    per_layer = 2 * 2 * keys.get("attention.head_count_kv", 0) * 768
    assert kv.bytes_per_token(ours) == attending * per_layer // keys.get("attention.head_count", 1)


def as_if(base: Header, architecture: str, values: dict[str, int]) -> Header:
    """A header with these whole numbers alone."""
    entries = {
        f"{architecture}.{name}": Entry(ValueType.UINT32, value) for name, value in values.items()
    }
    name = Entry(ValueType.STRING, architecture)
    return replace(base, metadata={"general.architecture": name, **entries})
