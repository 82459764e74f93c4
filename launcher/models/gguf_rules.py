"""What a header must be like before its file may reach the engine.

A header that can be parsed can still kill the engine (ggml aborts on a token that occurs
twice, on 513 layers, on tensors that overlap) or show it another model than it shows us.
Each rule here closes one of those ways; tests name the way. What the engine puts up with,
such as a token id beyond the vocabulary, stays allowed: real files have it.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator

from launcher.errors import HeaderError
from launcher.models import attention_rules, ggml
from launcher.models.attention_rules import numbers
from launcher.models.gguf import (
    MAX_KEPT_STRING,
    TOKENS,
    Entry,
    Header,
    Summary,
    ValueType,
    printable,
)

MAX_LAYERS = 512  # LLAMA_MAX_LAYERS: ggml aborts above it
MAX_EXPERTS = 1024  # LLAMA_MAX_EXPERTS
MAX_WIDTH = 1 << 24  # the engine multiplies widths in 32 bits, and they must not come round
MAX_ELEMENTS = 1 << 48
MAX_STATEMENT = 4096  # characters in a string that a decision may rest on
ENGINE_ALIGNMENT = 32  # TENSOR_ALIGNMENT: ggml aborts on weights mapped at anything else

_ARCHITECTURE = re.compile(r"[a-z0-9][a-z0-9_\-]{0,62}")
# What a decision may rest on. Authors, descriptions and data sets are people's prose.
_STATEMENT = re.compile(
    r"general\.(architecture|type|name|basename|finetune|size_label|license(\.name|\.link)?"
    r"|(source\.)?(repo_)?url|base_model\.\d+\.(name|organization|version|(repo_)?url))"
)
_TAGS = "general.tags"
_TOKENIZER, _SENTENCEPIECE = "tokenizer.ggml.model", "llama"
_TEXTS = (
    _TOKENIZER,
    "tokenizer.ggml.pre",
    "tokenizer.chat_template",
    "adapter.type",
    "clip.projector_type",
    "clip.vision.projector_type",
    "clip.audio.projector_type",
)
_ALPHA = "adapter.lora.alpha"
_TOKEN_IDS = re.compile(r"tokenizer\.ggml\.[a-z_]+_token_id")
_PER_TOKEN = ("tokenizer.ggml.scores", "tokenizer.ggml.token_type")
_COUNTED = (
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
_NOT_NEGATIVE = ("attention.layer_norm_rms_epsilon", "attention.layer_norm_epsilon")
_WIDTHS = (
    "embedding_length",
    "feed_forward_length",
    "attention.head_count",
    "attention.head_count_kv",
)
_ROPE_SCALING = ("none", "linear", "yarn", "longrope")
_CONVOLVED = ("shortconv.conv.weight", "ssm_conv1d.weight")  # no other type is implemented
_DROPS_ONE_EXPERT = ("hunyuan-dense", "hunyuan_vl")  # the engine takes one expert for none there
_WHOLE_NUMBERS = frozenset(
    {
        ValueType.UINT8,
        ValueType.INT8,
        ValueType.UINT16,
        ValueType.INT16,
        ValueType.UINT32,
        ValueType.INT32,
        ValueType.UINT64,
        ValueType.INT64,
    }
)


def check(header: Header) -> None:
    """Raises `HeaderError` when the file must not reach the engine.

    A header that was read in part is checked as far as it goes; the rest follows when the
    file is here.
    """
    _check_strings(header)
    _check_split(header)
    _check_architecture(header)
    _check_vocabulary(header)
    if header.complete:
        attention_rules.check(header)
        _check_tensors(header)
        _check_extent(header)


def _check_strings(header: Header) -> None:
    for key, entry in header.metadata.items():
        # The engine reads up to the NUL, we would read beyond it.
        if isinstance(entry.value, str) and "\0" in entry.value:
            raise HeaderError(f"'{key}' holds a NUL")
        if _STATEMENT.fullmatch(key):
            _check_text(key, entry)
        if _STATEMENT.fullmatch(key) or key == _TAGS:
            _check_statement(key, entry)
    for key in _TEXTS:
        if key in header.metadata:
            _check_text(key, header.metadata[key])
    alpha = header.metadata.get(_ALPHA)
    if alpha is not None and (alpha.type is not ValueType.FLOAT32 or alpha.is_array):
        raise HeaderError(f"'{_ALPHA}' is not a 32-bit fraction")


def _check_text(key: str, entry: Entry) -> None:
    if entry.type is not ValueType.STRING or entry.is_array:
        raise HeaderError(f"'{key}' is not a string")
    if isinstance(entry.value, Summary):
        raise HeaderError(f"'{key}' is longer than {MAX_KEPT_STRING >> 20} MiB")


def _check_statement(key: str, entry: Entry) -> None:
    """A string that a decision may rest on is clean and short."""
    if isinstance(entry.value, Summary):
        raise HeaderError(f"'{key}' is too long")
    for text in _strings(entry):
        if len(text) > MAX_STATEMENT:
            raise HeaderError(f"'{key}' is longer than {MAX_STATEMENT} characters")
        if not is_clean(text):
            shown = printable(text.encode("utf-8", "surrogateescape"))
            raise HeaderError(f"'{key}' holds characters that are not text: {shown}")


def is_clean(text: str) -> bool:
    """No NUL, control, direction-changing or undecodable characters."""
    return all(unicodedata.category(character) not in _UNCLEAN for character in text)


_UNCLEAN = frozenset({"Cc", "Cf", "Cs", "Co", "Zl", "Zp"})


def _strings(entry: Entry) -> Iterator[str]:
    values = entry.value if isinstance(entry.value, tuple) else (entry.value,)
    return (value for value in values if isinstance(value, str))


def _check_split(header: Header) -> None:
    for key in ("split.no", "split.count"):
        entry = header.metadata.get(key)
        # The engine takes the type for granted in all parts but the first.
        if entry is not None and (entry.type is not ValueType.UINT16 or entry.is_array):
            raise HeaderError(f"'{key}' is not an unsigned 16-bit number")
    number, count = header.number("split.no"), header.number("split.count")
    if header.complete and (number is None) != (count is None):
        raise HeaderError("only one of 'split.no' and 'split.count' is there")
    if number is not None and count is not None and number >= max(count, 1):
        raise HeaderError(f"'split.no' is {number}, but 'split.count' is {count}")


def _check_architecture(header: Header) -> None:
    if "general.architecture" not in header.metadata:
        if header.number("split.no") or not header.complete:
            return  # only the first shard says what the model is
        kind = header.text("general.type")
        what = f"; it says that it is of the type '{kind}'" if kind else ""
        raise HeaderError(f"'general.architecture' is missing{what}")
    if not _ARCHITECTURE.fullmatch(header.architecture):
        raise HeaderError("'general.architecture' is not the name of an architecture")
    for name in _COUNTED:
        _check_count(header, name)
    for name in _NOT_NEGATIVE:
        _check_not_negative(header, name)
    _check_layers(header)
    _check_experts(header)
    scaling = header.text(f"{header.architecture}.rope.scaling.type")
    if scaling is not None and scaling not in _ROPE_SCALING:
        shown = printable(scaling.encode("utf-8", "surrogateescape"))
        raise HeaderError(f"the engine has no scaling of positions called {shown}")


def _check_count(header: Header, name: str) -> None:
    key = f"{header.architecture}.{name}"
    entry = header.metadata.get(key)
    if entry is None:
        return
    if entry.type not in _WHOLE_NUMBERS:
        raise HeaderError(f"'{key}' is not a whole number")
    if any(value < 0 for value in numbers(entry)):
        raise HeaderError(f"'{key}' is negative")
    if name in _WIDTHS and any(value > MAX_WIDTH for value in numbers(entry)):
        raise HeaderError(f"'{key}' is greater than {MAX_WIDTH}")


def _check_not_negative(header: Header, name: str) -> None:
    key = f"{header.architecture}.{name}"
    entry = header.metadata.get(key)
    # Turned round: it also catches what is no number.
    if entry is not None and isinstance(entry.value, float) and not entry.value >= 0:
        raise HeaderError(f"'{key}' is {entry.value}, which the engine would not survive")


def _check_layers(header: Header) -> None:
    layers = header.parameter("block_count")
    if layers is not None and not 0 < layers <= MAX_LAYERS:
        raise HeaderError(f"the model has {layers} layers; the engine takes 1 to {MAX_LAYERS}")
    ahead = header.parameter("nextn_predict_layers") or 0
    if layers is not None and ahead > layers:
        raise HeaderError(f"{ahead} of the model's {layers} layers are said to predict ahead")


def _check_experts(header: Header) -> None:
    """What the engine asserts of experts, and dies of."""
    count = header.parameter("expert_count") or 0
    if count > MAX_EXPERTS:
        raise HeaderError(f"the model has {count} experts; the engine takes up to {MAX_EXPERTS}")
    if count <= 1 and header.architecture in _DROPS_ONE_EXPERT:
        return
    used = header.metadata.get(f"{header.architecture}.expert_used_count")
    most = max(numbers(used), default=0) if used is not None else 0
    if most > count or (count and not most):
        raise HeaderError(f"{most} of the model's {count} experts are said to be used")
    _check_expert_groups(header, count)


def _check_expert_groups(header: Header, experts: int) -> None:
    groups = header.parameter("expert_group_count") or 0
    used = header.parameter("expert_group_used_count") or 0
    if groups and groups >= experts:
        raise HeaderError(f"the model has {experts} experts in {groups} groups")
    if groups > 1 and (experts % groups or not 0 < used < groups):
        raise HeaderError(f"the model has {experts} experts in {groups} groups, {used} used")


def _check_vocabulary(header: Header) -> None:
    entry = header.metadata.get(TOKENS)
    if entry is None:
        return
    is_list = entry.is_array and entry.type is ValueType.STRING
    if not is_list or not isinstance(entry.value, Summary):
        raise HeaderError(f"'{TOKENS}' is not an array of strings")
    count, distinct = entry.value.length, entry.value.distinct
    if distinct != count:
        raise HeaderError(
            f"the vocabulary has {count} tokens, {count - distinct} of them twice, "
            "which the engine would not survive"
        )
    lacking = entry.value.lacking
    if lacking and header.text(_TOKENIZER) == _SENTENCEPIECE:
        # What is no token is looked up byte by byte: llama_vocab::byte_to_token.
        raise HeaderError(
            f"the vocabulary has no tokens for {lacking} bytes, which the engine would not survive"
        )
    for key in _PER_TOKEN:
        _check_per_token(header, key, count)
    for key, value in header.metadata.items():
        # One beyond the vocabulary is common, and the engine takes its own instead.
        if _TOKEN_IDS.fullmatch(key) and (value.type not in _WHOLE_NUMBERS or value.is_array):
            raise HeaderError(f"'{key}' is not a whole number")


def _check_per_token(header: Header, key: str, count: int) -> None:
    entry = header.metadata.get(key)
    if entry is None:
        return
    length = entry.value.length if isinstance(entry.value, Summary) else 0
    if isinstance(entry.value, tuple):
        length = len(entry.value)
    if length != count:
        raise HeaderError(f"'{key}' has {length} elements for {count} tokens")


def _check_tensors(header: Header) -> None:
    expected = 0
    for tensor in header.tensors:
        _check_type(tensor.name, tensor.type)
        _check_shape(tensor.name, tensor.type, tensor.shape)
        if tensor.offset != expected:
            raise HeaderError(
                f"the tensor '{tensor.name}' lies at {tensor.offset}, not at {expected}"
            )
        expected += -(-tensor.size // header.alignment) * header.alignment
    if header.tensors and header.data_offset % ENGINE_ALIGNMENT:
        raise HeaderError(
            f"the weights start at {header.data_offset}, "
            f"which is not a multiple of {ENGINE_ALIGNMENT} as the engine needs it"
        )


def _check_type(name: str, kind: int) -> None:
    if kind != ggml.F32 and (name.startswith("rope_") or name.endswith(_CONVOLVED)):
        raise HeaderError(f"the tensor '{name}' is not of the type F32, as the engine needs it")
    if kind in ggml.REMOVED:
        raise HeaderError(
            f"it is quantised as {ggml.REMOVED[kind]}, which the engine no longer reads",
            hint="Get the model in another quantisation, such as Q4_0 or Q4_K_M.",
        )
    if kind not in ggml.TYPES:
        raise HeaderError(f"the tensor '{name}' has the unknown type {kind}")


def _check_shape(name: str, kind: int, shape: tuple[int, ...]) -> None:
    if any(not 0 < size <= MAX_ELEMENTS for size in shape) or ggml.elements(shape) > MAX_ELEMENTS:
        raise HeaderError(f"the tensor '{name}' has the impossible shape {shape}")
    type_name, block, _ = ggml.TYPES[kind]
    row = shape[0] if shape else 1
    if row % block:
        raise HeaderError(f"the tensor '{name}' has rows of {row}, which {type_name} cannot hold")


def _check_extent(header: Header) -> None:
    """The file ends where its last tensor does, give or take the padding."""
    end = header.data_offset
    if header.tensors:
        end += header.tensors[-1].offset + header.tensors[-1].size
    if end > header.file_size:
        missing = end - header.file_size
        raise HeaderError(f"the file is cut short: {missing} bytes of its weights are missing")
    if header.file_size - end >= header.alignment:
        raise HeaderError(f"{header.file_size - end} bytes follow what the header announces")
