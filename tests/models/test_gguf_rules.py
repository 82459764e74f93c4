"""What may reach the engine: each rule with a file that breaks it, and is otherwise right.

Where the engine would die of it or see another model, the name of the test says how.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
from gguf.constants import GGML_QUANT_SIZES

from launcher.errors import HeaderError
from launcher.models import ggml, gguf, gguf_rules
from launcher.models.bundle import pinned, read_header
from launcher.models.gguf import Entry, Header, ValueType
from tests import headers
from tests.headers import F16, F32, Q4_K, Q8_0, SMALL, Written, entry, header, padded, tensor

TOKENS = list(headers.tokens(SMALL.vocabulary))


def read(path: Path) -> Header:
    with pinned(path) as file:
        return read_header(file)


def refuse(path: Path, words: str) -> None:
    with pytest.raises(HeaderError, match=words):
        read(path)


def model(tmp_path: Path, metadata: Mapping[str, Written | None]) -> Path:
    return headers.write_model(tmp_path / "model.gguf", metadata=metadata)


def i32(*values: int) -> Entry:
    return Entry(ValueType.INT32, values, is_array=True)


def u16(value: int) -> Entry:
    return Entry(ValueType.UINT16, value)


# --- Whole files that real people have ------------------------------------------------------


def test_an_ordinary_model_is_accepted(tmp_path: Path) -> None:
    assert read(model(tmp_path, {})).architecture == "llama"


def test_projectors_adapters_and_shards_are_accepted(tmp_path: Path) -> None:
    paths = [
        headers.write_projector(tmp_path / "mmproj.gguf"),
        headers.write_adapter(tmp_path / "adapter.gguf"),
        *headers.write_shards(tmp_path),
    ]
    kinds = [(found.architecture, found.text("general.type")) for found in map(read, paths)]
    shards = [("llama", "model"), ("", None), ("", None)]
    assert kinds == [("clip", "mmproj"), ("llama", "adapter"), *shards]


def test_a_vocabulary_alone_is_accepted(tmp_path: Path) -> None:
    """As llama.cpp ships them: no tensors, so no padding and no data."""
    entries = [entry("general.architecture", "llama"), entry(gguf.TOKENS, TOKENS)]
    path = headers.write_file(tmp_path / "vocabulary.gguf", entries, {})
    assert read(path).vocabulary == len(TOKENS)


@pytest.mark.parametrize(
    "metadata",
    [
        pytest.param({"tokenizer.ggml.padding_token_id": 2**32 - 1}, id="no padding token"),
        pytest.param({"tokenizer.ggml.eos_token_id": 288}, id="a token id beyond the vocabulary"),
        pytest.param({gguf.TOKENS: [*TOKENS[:286], "", ""]}, id="two empty tokens"),
        pytest.param({gguf.TOKENS: [*TOKENS[:287], "\0"]}, id="a token that is a NUL"),
        pytest.param({gguf.TOKENS: [*TOKENS[:287], b"\xff"]}, id="a token that is no UTF-8"),
        pytest.param({"tokenizer.ggml.scores": None}, id="no scores"),
        pytest.param({"tokenizer.ggml.token_type": None}, id="no token types"),
        pytest.param({"tokenizer.chat_template": None}, id="no template"),
        pytest.param({"tokenizer.chat_template": "x" * (1 << 20)}, id="a template of a mebibyte"),
        pytest.param({"tokenizer.chat_templates": ["a", "b"]}, id="the names of templates"),
        pytest.param({"general.description": "one line\nand another" * 999}, id="a long text"),
        pytest.param({"general.author": b"M\xfcller"}, id="an author in Latin-1"),
        pytest.param({"general.base_model.0.description": "a\nb"}, id="lines on a base model"),
        pytest.param({"general.tags": ["text", "Überfall", "日本"]}, id="tags"),
        pytest.param({"general.languages": ["en"], "general.datasets": ["a/b"]}, id="languages"),
        pytest.param({"general.base_model.count": 2}, id="a count of base models"),
        pytest.param({"general.name": "日本語 🦙 Übermodell ①"}, id="a name in any script"),
        pytest.param({"general.name": "x" * 4096}, id="a name of 4096 characters"),
        pytest.param({"general.quantization_version": u16(2)}, id="another whole number"),
        pytest.param({"llama.attention.head_count_kv": i32(2, 0)}, id="heads layer by layer"),
        pytest.param({"llama.feed_forward_length": [128, 64]}, id="sizes layer by layer"),
        pytest.param({"llama.block_count": 512}, id="512 layers"),
        pytest.param({"llama.block_count": 1}, id="one layer"),
        pytest.param({"llama.nextn_predict_layers": 2}, id="layers that predict ahead"),
        pytest.param({"llama.rope.scaling.type": "none"}, id="no scaling"),
        pytest.param({"llama.rope.scaling.type": "linear"}, id="linear scaling"),
        pytest.param({"llama.rope.scaling.type": "yarn"}, id="yarn scaling"),
        pytest.param({"llama.rope.scaling.type": "longrope"}, id="longrope scaling"),
        pytest.param({"llama.attention.layer_norm_rms_epsilon": 0.0}, id="an epsilon of 0"),
        pytest.param({"split.no": u16(0), "split.count": u16(0)}, id="merged from shards"),
        pytest.param({"training.rng_state": "1 2 3", "mlx.x-y_z": 1}, id="keys of other tools"),
        pytest.param({"adapter.lora.invocation": [1, 2]}, id="an array of whole numbers"),
        pytest.param({"an.empty.array": i32()}, id="an empty array"),
        pytest.param(
            {"llama.attention.layer_norm_epsilon": "0"}, id="left to the engine to refuse"
        ),
    ],
)
def test_what_real_files_have_is_accepted(
    metadata: Mapping[str, Written | None], tmp_path: Path
) -> None:
    read(model(tmp_path, metadata))


def test_a_number_without_dimensions_is_a_tensor(tmp_path: Path) -> None:
    """Converters write scales so; the engine reads one element."""
    path = headers.write_model(tmp_path / "model.gguf", tensors={"scale": ((), F32)})
    assert read(path).tensors[-1].shape == ()


def test_an_importance_matrix_is_refused_as_what_it_is(tmp_path: Path) -> None:
    entries = [entry("general.type", "imatrix"), entry("imatrix.chunk_count", 1)]
    path = headers.write_file(tmp_path / "imatrix.gguf", entries, {"a.in_sum2": ((32,), F32)})
    refuse(path, "'general.architecture' is missing; it says that it is of the type 'imatrix'")


# --- Statements -----------------------------------------------------------------------------

STATEMENTS = (
    "general.architecture",
    "general.type",
    "general.name",
    "general.basename",
    "general.finetune",
    "general.size_label",
    "general.license",
    "general.license.name",
    "general.license.link",
    "general.url",
    "general.repo_url",
    "general.source.url",
    "general.source.repo_url",
    "general.base_model.0.name",
    "general.base_model.0.organization",
    "general.base_model.0.version",
    "general.base_model.12.repo_url",
    "general.base_model.12.url",
)


@pytest.mark.parametrize("key", STATEMENTS)
@pytest.mark.parametrize(
    ("value", "words"),
    [
        (7, "is not a string"),
        (["llama"], "is not a string"),
        ("llama\0x", "holds a NUL"),
        ("llama\n", "not text: 'llama\\\\n'"),
        ("lla\u200bma", "not text"),  # zero width
        ("\u202eamall", "not text"),  # right to left
        (b"ll\xffma", "not text"),
        (b"ll\xed\xa0\x80ma", "not text"),  # half a surrogate pair
        ("x" * 4097, "longer than 4096 characters"),
        ("x" * ((1 << 20) + 1), "longer than 1 MiB"),
    ],
    ids=["number", "array", "nul", "line", "width", "bidi", "latin", "surrogate", "long", "huge"],
)
def test_what_a_decision_may_rest_on_is_a_clean_short_string(
    key: str, value: Written, words: str, tmp_path: Path
) -> None:
    path = headers.write_file(
        tmp_path / "model.gguf",
        [entry("general.architecture", "llama")] * (key != "general.architecture")
        + [entry(key, value)],
        {},
    )
    refuse(path, words)


@pytest.mark.parametrize(
    ("tags", "words"),
    [
        (["fine", "\u202e"], "not text"),
        (["fine", "x" * 4097], "longer than 4096"),
        (["x"] * 1025, "'general.tags' is too long"),
    ],
)
def test_tags_are_clean_and_short(tags: Sequence[str], words: str, tmp_path: Path) -> None:
    refuse(model(tmp_path, {"general.tags": tags}), words)


@pytest.mark.parametrize(
    ("architecture", "words"),
    [
        (None, "is missing"),
        ("", "not the name of an architecture"),
        ("Llama", "not the name of an architecture"),
        ("llama 4", "not the name of an architecture"),
        ("llama.4", "not the name of an architecture"),
        ("ļlama", "not the name of an architecture"),
        ("l" * 64, "not the name of an architecture"),
    ],
)
def test_the_architecture_is_a_plain_name(
    architecture: str | None, words: str, tmp_path: Path
) -> None:
    refuse(model(tmp_path, {"general.architecture": architecture}), words)


@pytest.mark.parametrize(
    "key",
    [
        "tokenizer.ggml.model",
        "tokenizer.ggml.pre",
        "tokenizer.chat_template",
        "adapter.type",
        "clip.projector_type",
        "clip.vision.projector_type",
        "clip.audio.projector_type",
    ],
)
@pytest.mark.parametrize(
    ("value", "words"),
    [
        (1, "is not a string"),
        (["llama"], "is not a string"),
        ("x" * ((1 << 20) + 1), "longer than 1 MiB"),
    ],
)
def test_what_the_engine_takes_for_a_string_is_one(
    key: str, value: Written, words: str, tmp_path: Path
) -> None:
    refuse(model(tmp_path, {key: value}), words)


@pytest.mark.parametrize(
    "key", ["tokenizer.ggml.model", "tokenizer.chat_template", "llama.rope.scaling.type", "a.b"]
)
def test_no_string_has_a_nul_where_the_engine_would_stop_reading(key: str, tmp_path: Path) -> None:
    refuse(model(tmp_path, {key: "yarn\0llama"}), f"'{key}' holds a NUL")


@pytest.mark.parametrize("alpha", [16, "16", [16.0], Entry(ValueType.FLOAT64, 16.0)])
def test_the_strength_of_an_adapter_is_what_the_engine_takes_it_for(
    alpha: Written, tmp_path: Path
) -> None:
    path = tmp_path / "adapter.gguf"
    headers.write_adapter(path, metadata={"adapter.lora.alpha": alpha})
    refuse(path, "'adapter.lora.alpha' is not a 32-bit fraction")


# --- Shards ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("metadata", "words"),
    [
        ({"split.no": u16(0)}, "only one of"),
        ({"split.count": u16(2)}, "only one of"),
        ({"split.no": u16(2), "split.count": u16(2)}, "'split.no' is 2, but 'split.count' is 2"),
        ({"split.no": u16(1), "split.count": u16(0)}, "'split.no' is 1, but 'split.count' is 0"),
        ({"split.no": 0, "split.count": u16(2)}, "'split.no' is not an unsigned 16-bit"),
        ({"split.no": u16(0), "split.count": 2}, "'split.count' is not an unsigned 16-bit"),
        ({"split.no": u16(0), "split.count": "2"}, "'split.count' is not an unsigned 16-bit"),
        (
            {"split.no": Entry(ValueType.UINT16, (0,), is_array=True), "split.count": u16(2)},
            "'split.no' is not an unsigned 16-bit",
        ),
    ],
)
def test_the_numbers_of_shards_make_sense(
    metadata: Mapping[str, Written], words: str, tmp_path: Path
) -> None:
    read(model(tmp_path, {"split.no": u16(1), "split.count": u16(2)}))
    refuse(model(tmp_path, metadata), words)


def test_only_a_later_shard_may_be_silent_about_the_architecture(tmp_path: Path) -> None:
    split = {"split.count": u16(2), "general.architecture": None}
    read(model(tmp_path, {**split, "split.no": u16(1)}))
    refuse(model(tmp_path, {**split, "split.no": u16(0)}), "'general.architecture' is missing")


# --- Hyper-parameters -----------------------------------------------------------------------

COUNTED = (
    "block_count",
    "context_length",
    "embedding_length",
    "feed_forward_length",
    "attention.head_count",
    "attention.head_count_kv",
    "expert_count",
    "expert_used_count",
    "expert_group_count",
    "expert_group_used_count",
    "nextn_predict_layers",
    "vocab_size",
)


@pytest.mark.parametrize("name", COUNTED)
@pytest.mark.parametrize(
    ("value", "words"),
    [
        (1.0, "is not a whole number"),
        (True, "is not a whole number"),
        ("1", "is not a whole number"),
        ([0.5, 0.5], "is not a whole number"),
        (Entry(ValueType.INT32, -1), "is negative"),
        (i32(1, -1), "is negative"),
    ],
    ids=["fraction", "truth", "string", "fractions", "negative", "one negative"],
)
def test_what_is_counted_is_a_whole_number(
    name: str, value: Written, words: str, tmp_path: Path
) -> None:
    refuse(model(tmp_path, {f"llama.{name}": value}), f"'llama.{name}' {words}")


@pytest.mark.parametrize(
    "name",
    [
        "embedding_length",
        "feed_forward_length",
        "attention.head_count",
        "attention.head_count_kv",
    ],
)
@pytest.mark.parametrize("value", [(1 << 24) + 1, (1 << 30) + 2, [2, (1 << 30) + 2]])
def test_a_width_that_would_come_round_to_a_small_one_is_refused(
    name: str, value: Written, tmp_path: Path
) -> None:
    """The engine multiplies heads of 16 by 2**30 + 2 of them, gets 32, and aborts later."""
    others: dict[str, Written | None] = {"llama.rope.dimension_count": None}
    read(model(tmp_path, {**others, f"llama.{name}": 1 << 24}))
    path = model(tmp_path, {**others, f"llama.{name}": value})
    refuse(path, f"'llama.{name}' is greater than 16777216")


@pytest.mark.parametrize(
    ("architecture", "metadata"),
    [
        ("llama", {"rope.dimension_count": 16}),
        ("qwen2", {"attention.head_count": [4, 4]}),
        ("hunyuan-dense", {"attention.key_length": 16, "attention.value_length": 16}),
        ("phi3", {"rope.dimension_count": 8}),
        ("stablelm", {"rope.dimension_count": 4}),
        ("nemotron_h", {"attention.head_count": [0, 4]}),
        ("deepseek2", {"attention.key_length": 192, "attention.value_length": 128}),
        ("mamba", {"attention.head_count": 0}),
        ("gemma", {"rope.dimension_count": 16}),
        ("gemma", {"rope.dimension_count": 32, "attention.key_length": 32}),
        ("gemma4", {"attention.key_length_swa": 8, "rope.dimension_count_swa": 8}),
        ("gpt2", {"rope.dimension_count": 64}),
        ("exaone4", {"attention.key_length_swa": 32, "attention.value_length_swa": 32}),
        ("a-new-one", {"attention.head_count": 0, "rope.dimension_count": 8}),
    ],
)
def test_heads_of_the_widths_that_an_architecture_has_are_accepted(
    architecture: str, metadata: Mapping[str, Written | None], tmp_path: Path
) -> None:
    values = {f"{architecture}.{name}": value for name, value in metadata.items()}
    path = tmp_path / "model.gguf"
    read(headers.write_model(path, architecture=architecture, metadata=values))


@pytest.mark.parametrize(
    ("architecture", "metadata", "words"),
    [
        ("qwen2", {"rope.dimension_count": 8}, "positions turn 8 of it"),
        ("granitemoe", {"rope.dimension_count": 0}, "positions turn 0 of it"),
        ("olmo2", {"attention.head_count": 0}, "no attention heads"),
        ("olmo2", {"attention.head_count": None}, "no attention heads"),
        ("olmo2", {"attention.head_count": [0, 0]}, "no attention heads"),
        ("olmo2", {"attention.head_count": 65}, "keys 0 wide and values 0 wide"),
        ("qwen3", {"attention.key_length": 32}, "keys 32 wide and values 16 wide"),
        ("llama4", {"attention.value_length": 8}, "keys 16 wide and values 8 wide"),
        ("phi3", {"attention.value_length": 8}, "keys 16 wide and values 8 wide"),
        ("gemma", {"rope.dimension_count": 18}, "positions turn 18 of heads 16 wide"),
        ("gemma", {"rope.dimension_count": 15}, "positions turn 15 of heads 16 wide"),
        ("deepseek2", {"rope.dimension_count": 32}, "positions turn 32 of heads 16 wide"),
        ("gemma3", {"rope.dimension_count_swa": 32}, "positions turn 32 of heads 16 wide"),
    ],
)
def test_heads_on_whose_width_the_engine_would_die_are_refused(
    architecture: str, metadata: Mapping[str, Written | None], words: str, tmp_path: Path
) -> None:
    values = {f"{architecture}.{name}": value for name, value in metadata.items()}
    path = headers.write_model(tmp_path / "model.gguf", architecture=architecture, metadata=values)
    refuse(path, words)


@pytest.mark.parametrize(
    ("metadata", "words"),
    [
        ({"llama.block_count": 0}, "0 layers; the engine takes 1 to 512"),
        ({"llama.block_count": 513}, "513 layers; the engine takes 1 to 512"),
        ({"llama.nextn_predict_layers": 3}, "3 of the model's 2 layers"),
        ({"llama.rope.scaling.type": "llama3"}, "no scaling of positions called 'llama3'"),
        ({"llama.rope.scaling.type": ""}, "no scaling of positions called ''"),
        ({"llama.attention.layer_norm_rms_epsilon": -0.5}, "is -0.5, which the engine would not"),
        ({"llama.attention.layer_norm_rms_epsilon": float("nan")}, "is nan, which the engine"),
        ({"llama.attention.layer_norm_epsilon": -0.5}, "is -0.5, which the engine would not"),
    ],
)
def test_what_the_engine_would_abort_on_is_refused(
    metadata: Mapping[str, Written], words: str, tmp_path: Path
) -> None:
    refuse(model(tmp_path, metadata), words)


def experts(
    tmp_path: Path, count: object = 8, used: object = 2, *more: object, architecture: str = "llama"
) -> Path:
    names = ("expert_count", "expert_used_count", "expert_group_count", "expert_group_used_count")
    found = zip(names, (count, used, *more), strict=False)
    keys = {f"{architecture}.{name}": value for name, value in found if value is not None}
    return headers.write_model(
        tmp_path / "model.gguf",
        architecture=architecture,
        metadata=keys,  # type: ignore[arg-type]  # whole numbers, and one array of them
    )


@pytest.mark.parametrize(
    "numbers",
    [
        (0, 0),
        (0, None),
        (1024, 8),
        (8, 8),
        (8, i32(0, 8)),
        (64, 6, 1, 1),
        (256, 8, 8, 4),
        (8, 2, 4, 1),
    ],
)
def test_experts_as_real_models_have_them_are_accepted(
    numbers: Sequence[object], tmp_path: Path
) -> None:
    read(experts(tmp_path, *numbers))


@pytest.mark.parametrize(
    ("numbers", "words"),
    [
        ((1025, 8), "1025 experts; the engine takes up to 1024"),
        ((8, 9), "9 of the model's 8 experts"),
        ((8, i32(2, 9)), "9 of the model's 8 experts"),
        ((8, 0), "0 of the model's 8 experts"),
        ((8, None), "0 of the model's 8 experts"),
        ((0, 2), "2 of the model's 0 experts"),
        ((None, 2), "2 of the model's 0 experts"),
        ((0, 0, 1), "0 experts in 1 groups"),
        ((8, 2, 8, 2), "8 experts in 8 groups"),
        ((8, 2, 3, 2), "8 experts in 3 groups, 2 used"),
        ((8, 2, 4, 4), "8 experts in 4 groups, 4 used"),
        ((8, 2, 4, 0), "8 experts in 4 groups, 0 used"),
        ((8, 2, 4), "8 experts in 4 groups, 0 used"),
        ((8, 2, 2, 2), "8 experts in 2 groups, 2 used"),
    ],
)
def test_experts_that_the_engine_would_abort_on_are_refused(
    numbers: Sequence[object], words: str, tmp_path: Path
) -> None:
    refuse(experts(tmp_path, *numbers), words)


def test_one_expert_counts_as_none_where_the_engine_takes_it_so(tmp_path: Path) -> None:
    read(experts(tmp_path, 1, 3, architecture="hunyuan-dense"))
    refuse(experts(tmp_path, 1, 3, architecture="hunyuan-moe"), "3 of the model's 1 experts")
    refuse(experts(tmp_path, 2, 3, architecture="hunyuan-dense"), "3 of the model's 2 experts")


# --- Vocabulary -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("tokens", "words"),
    [
        ([*TOKENS[:287], TOKENS[5]], "288 tokens, 1 of them twice"),
        ([*TOKENS[:286], "a\0b", "a\0c"], "288 tokens, 1 of them twice"),
        ([*TOKENS[:286], "", "[EMPTY_286]"], "288 tokens, 1 of them twice"),
        ("a b c", "is not an array of strings"),
        ("x" * ((1 << 20) + 1), "is not an array of strings"),
        ([1, 2, 3], "is not an array of strings"),
        (Entry(ValueType.INT32, tuple(range(2000)), is_array=True), "is not an array of strings"),
    ],
    ids=["twice", "cut at nul", "named like empty", "string", "huge string", "numbers", "many"],
)
def test_a_vocabulary_that_the_engine_would_abort_on_is_refused(
    tokens: Written, words: str, tmp_path: Path
) -> None:
    refuse(model(tmp_path, {gguf.TOKENS: tokens}), words)


def test_a_vocabulary_that_looks_bytes_up_has_them_all(tmp_path: Path) -> None:
    without = [token.replace("<0x41>", "letter") for token in TOKENS]
    refuse(model(tmp_path, {gguf.TOKENS: without}), "no tokens for 1 bytes")
    read(model(tmp_path, {gguf.TOKENS: [token.replace("<0x41>", "A") for token in TOKENS]}))
    read(model(tmp_path, {gguf.TOKENS: [token.replace("<0xC0>", "letter") for token in TOKENS]}))
    for other in ("gpt2", "t5", "bert"):
        read(model(tmp_path, {gguf.TOKENS: without, "tokenizer.ggml.model": other}))


@pytest.mark.parametrize("key", ["tokenizer.ggml.scores", "tokenizer.ggml.token_type"])
@pytest.mark.parametrize("length", [0, 1, 287, 289, 1025])
def test_there_is_one_score_and_one_type_for_each_token(
    key: str, length: int, tmp_path: Path
) -> None:
    read(model(tmp_path, {key: i32(*[1] * 288)}))
    refuse(model(tmp_path, {key: i32(*[1] * length)}), f"{length} elements for 288 tokens")


@pytest.mark.parametrize("value", [1.0, "x" * 288])
def test_scores_are_an_array(value: Written, tmp_path: Path) -> None:
    refuse(model(tmp_path, {"tokenizer.ggml.scores": value}), "0 elements for 288 tokens")


@pytest.mark.parametrize("value", ["1", 1.0, True, [1]])
def test_a_token_id_is_a_whole_number(value: Written, tmp_path: Path) -> None:
    key = "tokenizer.ggml.eos_token_id"
    refuse(model(tmp_path, {key: value}), f"'{key}' is not a whole number")


# --- Tensors and the size of the file -------------------------------------------------------


def tensors(tmp_path: Path, *infos: bytes, data: int = 256) -> Path:
    path = tmp_path / "model.gguf"
    path.write_bytes(padded(header([entry("general.architecture", "llama")], infos)) + bytes(data))
    return path


@pytest.mark.parametrize("kind", sorted(GGML_QUANT_SIZES))
def test_every_type_takes_the_room_that_the_official_package_says(
    kind: int, tmp_path: Path
) -> None:
    if kind == 9:  # The package has 40 bytes for Q8_1; ggml's block is two halves and 32 bytes.
        assert ggml.tensor_size(9, (256,)) == 8 * (2 + 2 + 32)
    else:
        path = headers.write_model(tmp_path / "model.gguf", tensors={"x": ((256, 3), kind)})
        assert read(path).tensors[-1].size == headers.size_of((256, 3), kind)


@pytest.mark.parametrize(("kind", "name"), sorted(ggml.REMOVED.items()))
def test_a_type_that_the_engine_dropped_is_named(kind: int, name: str, tmp_path: Path) -> None:
    with pytest.raises(HeaderError, match=f"quantised as {name}, which") as caught:
        read(tensors(tmp_path, tensor("a", (256,), kind)))
    assert "another quantisation" in caught.value.hint


@pytest.mark.parametrize(
    ("infos", "words"),
    [
        ([tensor("a", (64,), 43)], "unknown type 43"),
        ([tensor("a", (64,), 2**32 - 1)], "unknown type 4294967295"),
        ([tensor("a", (0,))], r"impossible shape \(0,\)"),
        ([tensor("a", (64, 0))], r"impossible shape \(64, 0\)"),
        ([tensor("a", (2**63,))], "impossible shape"),
        ([tensor("a", (2**64 - 1,))], "impossible shape"),
        ([tensor("a", (2**32, 2**32))], "impossible shape"),
        ([tensor("a", (2**40, 2**40, 2**40, 2**40))], "impossible shape"),
        ([tensor("a", (48,), Q8_0)], "rows of 48, which Q8_0 cannot hold"),
        ([tensor("a", (128, 2), Q4_K)], "rows of 128, which Q4_K cannot hold"),
        ([tensor("a", (), Q8_0)], "rows of 1, which Q8_0 cannot hold"),
        ([tensor("a", (64,), offset=32)], "'a' lies at 32, not at 0"),
        ([tensor("a", (8,)), tensor("b", (8,), offset=0)], "'b' lies at 0, not at 32"),
        ([tensor("a", (9,)), tensor("b", (8,), offset=36)], "'b' lies at 36, not at 64"),
        ([tensor("a", (8,)), tensor("b", (8,), offset=64)], "'b' lies at 64, not at 32"),
        ([tensor("b", (8,), offset=32), tensor("a", (8,))], "'b' lies at 32, not at 0"),
        ([tensor("a", (8,)), tensor("b", (8,), offset=2**63)], "'b' lies at 9223372036854775808"),
        ([tensor("a", (2**40,))], "bytes of its weights are missing"),
    ],
)
def test_tensors_that_cannot_be_are_refused(
    infos: Sequence[bytes], words: str, tmp_path: Path
) -> None:
    read(tensors(tmp_path, tensor("a", (8, 1)), tensor("b", (1,), offset=32), data=36))
    refuse(tensors(tmp_path, *infos), words)


def test_factors_of_positions_are_not_quantised(tmp_path: Path) -> None:
    """ggml aborts when it builds a rotation with anything else."""
    path = tmp_path / "model.gguf"
    read(headers.write_model(path, tensors={"rope_freqs.weight": ((8,), F32)}))
    headers.write_model(path, tensors={"rope_freqs.weight": ((8,), F16)})
    refuse(path, "'rope_freqs.weight' is not of the type F32")


def test_short_convolutions_are_not_quantised(tmp_path: Path) -> None:
    """ggml aborts on the first token with anything else."""
    path, name = tmp_path / "model.gguf", "blk.0.shortconv.conv.weight"
    read(headers.write_model(path, architecture="lfm2", kv_heads=(0, 2)))
    changed = {name: ((3, SMALL.embedding), F16)}
    headers.write_model(path, architecture="lfm2", kv_heads=(0, 2), tensors=changed)
    refuse(path, f"'{name}' is not of the type F32")


@pytest.mark.parametrize("more", range(40))
def test_weights_that_the_engine_could_not_map_are_refused(more: int, tmp_path: Path) -> None:
    """With a small alignment they can start anywhere; ggml aborts unless it is a multiple of 32."""
    entries = [
        entry("general.architecture", "llama"),
        entry("general.alignment", 8),
        entry("a.b", "x" * more),
    ]
    path = headers.write_file(tmp_path / "model.gguf", entries, {"a": ((8,), F32)}, alignment=8)
    if len(padded(header(entries, [tensor("a")]), 8)) % 32 == 0:
        read(path)
    else:
        refuse(path, "not a multiple of 32")


def test_a_file_ends_with_its_weights_give_or_take_the_padding(tmp_path: Path) -> None:
    path = tensors(tmp_path, tensor("a", (9,)), data=36)
    whole = path.stat().st_size
    for size in (whole, whole + 28, whole + 31):
        os.truncate(path, size)
        read(path)
    os.truncate(path, whole - 1)
    refuse(path, "cut short: 1 bytes of its weights are missing")
    os.truncate(path, whole + 32)
    refuse(path, "32 bytes follow what the header announces")


def test_a_file_without_tensors_ends_with_its_header(tmp_path: Path) -> None:
    path = headers.write_file(tmp_path / "a.gguf", [entry("general.architecture", "llama")], {})
    whole = path.stat().st_size
    os.truncate(path, whole + 31)
    read(path)
    os.truncate(path, whole + 32)
    refuse(path, "32 bytes follow what the header announces")


# --- In part --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "metadata",
    [
        {"general.name": Entry(ValueType.STRING, "A name")},
        {
            "general.architecture": Entry(ValueType.STRING, "llama"),
            "split.count": Entry(ValueType.UINT16, 2),
        },
        {
            "general.architecture": Entry(ValueType.STRING, "llama"),
            "split.no": Entry(ValueType.UINT16, 1),
        },
    ],
    ids=["no architecture yet", "no number yet", "no count yet"],
)
def test_what_is_missing_from_a_part_may_still_come(metadata: Mapping[str, Entry]) -> None:
    gguf_rules.check(partial(metadata))
    with pytest.raises(HeaderError):
        gguf_rules.check(partial(metadata, complete=True))


def test_what_is_wrong_in_a_part_is_refused_already() -> None:
    metadata = {"general.architecture": Entry(ValueType.STRING, "not one")}
    with pytest.raises(HeaderError, match="not the name of an architecture"):
        gguf_rules.check(partial(metadata))


def partial(metadata: Mapping[str, Entry], complete: bool = False) -> Header:
    return Header(
        version=3,
        metadata=metadata,
        tensors=(),
        alignment=32,
        data_offset=100,
        file_size=100,
        complete=complete,
    )
