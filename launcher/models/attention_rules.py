"""What the engine asserts of attention heads: their widths, and how much positions turn of them.

It dies of what does not hold, so such a file may not reach it. A rule says where the assertion
stands, in llama.cpp as vendored by llama-cpp-python 0.3.36.
"""

from __future__ import annotations

from collections.abc import Iterator

from launcher.errors import HeaderError
from launcher.models.gguf import Entry, Header


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


# Architectures whose graph asserts that the keys and the values of a head are of one width, and
# that positions turn all of it. Of the second set, they may turn a part.
# Source: the graphs in src/models/.
_ONE_WIDTH = _names(
    "apertus arcee arctic baichuan chameleon codeshell cogvlm cohere2moe dbrx deci deepseek dots1 "
    "dream ernie4_5 ernie4_5-moe exaone exaone-moe exaone4 falcon granite granite_swa granitemoe "
    "graniteswitch grok grovemoe hunyuan-dense hunyuan-moe hunyuan_vl hy_v3 internlm2 jais2 llada "
    "llada-moe llama llama-embed llama4 maincoder mellum minicpm mistral3 olmo olmo2 olmoe orion "
    "paddleocr pangu-embedded plamo pockettts qwen2 qwen2moe qwen2vl qwen3 qwen3moe qwen3vl "
    "qwen3vlmoe rnd1 seed_oss smallthinker smollm3 starcoder2 talkie xverse"
)
_KEYS_AS_VALUES = _names(
    "afmoe bailingmoe2 bert bitnet bloom chatglm cohere2 command-r dflash eagle3 eurobert glm4 "
    "glm4moe gpt2 gptneox granitehybrid jais jina-bert-v2 jina-bert-v3 laguna maple minimax-01 "
    "minimax-m2 minimax-m3 modern-bert mpt muse-glimmer nanbeige nemotron nemotron_h "
    "nemotron_h_moe neo-bert nomic-bert nomic-bert-moe openelm phi2 phi3 phimoe qwen qwen35 "
    "qwen35moe refact spark2_5 stablelm starcoder t5 t5encoder"
)
# Architectures that use no positions of this kind, whatever their headers say of them.
# Source: llama_model_rope_type in src/llama-model.cpp.
_UNTURNED = _names(
    "arwkv7 bloom clip glm5-next gpt2 gptj jais jamba jina-bert-v2 kimi-k3 kimi-linear mamba "
    "mamba2 mpt nemotron_h nemotron_h_moe refact rwkv6 rwkv6qwen2 rwkv7 t5 t5encoder "
    "wavtokenizer-dec"
)
_OWN_WIDTHS = ("attention.key_length_swa", "attention.value_length_swa", "rope.dimension_count_swa")


def check(header: Header) -> None:
    """Raises `HeaderError`; for a header that is complete."""
    _check_widths(header)
    _check_positions(header)


def _check_widths(header: Header) -> None:
    """What the engine asserts of the widths of a head, or divides by."""
    architecture, embedding = header.architecture, header.parameter("embedding_length")
    turned = architecture in _ONE_WIDTH
    if embedding is None or not (turned or architecture in _KEYS_AS_VALUES):
        return
    heads = _heads(header)
    if turned and not any(heads):
        raise HeaderError("the model has no attention heads")
    if not heads or not heads[0] or any(header.parameter(name) for name in _OWN_WIDTHS):
        return
    share = embedding // heads[0]
    key = _width(header, "attention.key_length", share)
    value = _width(header, "attention.value_length", share)
    position = _width(header, "rope.dimension_count", key) if turned else key
    if not key == value == position:
        raise HeaderError(
            f"the heads have keys {key} wide and values {value} wide, and positions turn "
            f"{position} of it; the engine needs one width for {architecture}"
        )


def _check_positions(header: Header) -> None:
    """What the engine asserts of how much of a head positions turn (ggml_compute_forward_rope)."""
    embedding, heads = header.parameter("embedding_length"), _heads(header)
    if header.architecture in _UNTURNED or embedding is None or not heads or not heads[0]:
        return
    key = _width(header, "attention.key_length", embedding // heads[0])
    for windowed, width in (("", key), ("_swa", _width(header, "attention.key_length_swa", key))):
        turned = _width(header, f"rope.dimension_count{windowed}", 0)
        if turned > width or turned % 2:
            raise HeaderError(
                f"positions turn {turned} of heads {width} wide, which the engine would not survive"
            )


def _heads(header: Header) -> list[int]:
    """The attention heads, layer by layer where they are given so."""
    entry = header.metadata.get(f"{header.architecture}.attention.head_count")
    return list(numbers(entry)) if entry is not None else []


def _width(header: Header, name: str, default: int) -> int:
    width = header.parameter(name)
    return default if width is None else width


def numbers(entry: Entry) -> Iterator[int]:
    """The whole numbers of a value, one or many."""
    values = entry.value if isinstance(entry.value, tuple) else (entry.value,)
    return (value for value in values if isinstance(value, int))
