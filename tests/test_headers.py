"""The writer of the other tests' files: are they like real ones?"""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from launcher.models.bundle import pinned, read_header
from launcher.models.gguf import Header
from tests import headers


def read(path: Path) -> Header:
    with pinned(path) as file:
        return read_header(file)


@pytest.mark.parametrize(
    ("model", "tensors", "parameters"),
    [
        # As the releases state them; rope_freqs.weight adds half a head.
        ("llama-2-7b", 291, 6_738_415_616),
        ("llama-3-8b", 291, 8_030_261_248),
        ("llama-3.1-8b", 292, 8_030_261_248 + 64),
        ("llama-3.1-70b", 724, 70_553_706_496 + 64),
        ("llama-3.1-405b", 1138, 405_853_388_800 + 64),
        ("llama-3.2-1b", 147, 1_235_814_400 + 32),
        ("llama-3.2-3b", 255, 3_212_749_824 + 64),
        ("mixtral-8x7b", 323, 46_702_792_704),
        ("gemma-2-2b", 288, 2_614_341_888),
        ("phi-3.5-mini", 197, 3_821_079_552 + 96),
        ("smollm2-135m", 272, 134_515_008),
        ("qwen2.5-0.5b", 290, 494_032_768),
        ("granite-3.1-2b", 362, 2_533_531_648),
        ("lfm2-350m", 148, 354_483_968),
    ],
)
def test_a_model_has_the_tensors_of_the_real_one(
    model: str, tensors: int, parameters: int, tmp_path: Path
) -> None:
    found = read(headers.write_model(tmp_path / "model.gguf", model))
    assert len(found.tensors) == tensors
    assert found.parameters == parameters
    assert found.vocabulary == headers.sizes(model).vocabulary


def test_every_model_that_is_known_can_be_written_and_read(tmp_path: Path) -> None:
    names = headers.models()
    assert len(set(names)) == len(names) > 90
    for name in names:
        path = headers.write_model(tmp_path / "model.gguf", name, vocabulary=300)
        assert read(path).parameter("block_count") == headers.sizes(name).layers


def test_a_big_model_takes_neither_time_nor_room(tmp_path: Path) -> None:
    headers.write_model(tmp_path / "first.gguf", "llama-3.1-8b")
    start = time.process_time()
    path = headers.write_model(tmp_path / "model.gguf", "llama-3.1-405b")
    assert time.process_time() - start < 0.5
    assert path.stat().st_size > 200 << 30
    assert path.stat().st_blocks * 512 < 8 << 20


def test_changes_follow_through_to_keys_and_tensors(tmp_path: Path) -> None:
    path = headers.write_model(
        tmp_path / "model.gguf", layers=1, architecture="qwen2", rope_factors=True
    )
    found = read(path)
    assert found.metadata["qwen2.block_count"].value == 1
    names = [each.name for each in found.tensors]
    assert "rope_freqs.weight" in names
    assert "blk.0.attn_q.bias" in names
    assert not any(name.startswith("blk.1.") for name in names)


def test_entries_and_tensors_are_added_and_taken_out(tmp_path: Path) -> None:
    said = headers.statements(
        name="Some model", license="llama3.2", base_models=["meta-llama/Llama-3.2-1B"]
    )
    path = headers.write_model(
        tmp_path / "model.gguf",
        metadata={**said, "general.type": None},
        tensors={"output.weight": None, "extra.weight": ((32,), headers.F32)},
    )
    found = read(path)
    assert found.text("general.license") == "llama3.2"
    origin = "https://huggingface.co/meta-llama/Llama-3.2-1B"
    assert found.text("general.base_model.0.repo_url") == origin
    assert found.number("general.base_model.count") == 1
    assert "general.type" not in found.metadata
    names = [each.name for each in found.tensors]
    assert "extra.weight" in names
    assert "output.weight" not in names


def test_shards_hold_the_tensors_between_them(tmp_path: Path) -> None:
    whole = read(headers.write_model(tmp_path / "model.gguf"))
    found = [read(path) for path in headers.write_shards(tmp_path, count=3)]
    assert tuple(each.name for shard in found for each in shard.tensors) == tuple(
        each.name for each in whole.tensors
    )
    assert [shard.architecture for shard in found] == ["llama", "", ""]
    assert [shard.number("split.no") for shard in found] == [0, 1, 2]
