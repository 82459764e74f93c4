"""What a header must be like before its file may reach the engine.

A header that can be parsed can still kill the engine (ggml aborts on a token that occurs
twice, on 513 layers, on tensors that overlap) or show it another model than it shows us.
Each rule here closes one of those ways; tests name the way.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator

from launcher.errors import HeaderError
from launcher.models import ggml
from launcher.models.gguf import TOKENS, Entry, Header, Summary, ValueType, printable

MAX_LAYERS = 512  # LLAMA_MAX_LAYERS: ggml aborts above it
MAX_EXPERTS = 1024  # LLAMA_MAX_EXPERTS
MAX_ELEMENTS = 1 << 48
MAX_STATEMENT = 4096  # bytes in a string that a decision may rest on

_ARCHITECTURE = re.compile(r"[a-z0-9][a-z0-9_\-]{0,62}")
_SINGLE = re.compile(
    r"general\.(architecture|type|name|basename|finetune|size_label|license(\..+)?"
    r"|repo_url|url|base_model\.\d+\..+)"
)
_FREE_TEXT = ("general.description",)
_TOKEN_IDS = re.compile(r"tokenizer\.ggml\.[a-z_]+_token_id")
_PER_TOKEN = ("tokenizer.ggml.scores", "tokenizer.ggml.token_type")
_COUNTED = ("block_count", "embedding_length", "attention.head_count", "context_length")
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
    _check_statements(header)
    _check_split(header)
    _check_architecture(header)
    _check_vocabulary(header)
    if header.complete:
        _check_tensors(header)


def _check_statements(header: Header) -> None:
    """Strings that a decision may rest on: right type, clean, short."""
    for key, entry in header.metadata.items():
        if key.startswith("general.") and key not in _FREE_TEXT:
            _check_general(key, entry)
    for key in ("tokenizer.ggml.model", "tokenizer.ggml.pre", "tokenizer.chat_template"):
        found = header.metadata.get(key)
        if found is not None and (found.type is not ValueType.STRING or found.is_array):
            raise HeaderError(f"'{key}' is not a string")


def _check_general(key: str, entry: Entry) -> None:
    if _SINGLE.fullmatch(key) and (entry.type is not ValueType.STRING or entry.is_array):
        raise HeaderError(f"'{key}' is not a string")
    if entry.type is not ValueType.STRING:
        return
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
    number, count = header.number("split.no"), header.number("split.count")
    if (number is None) != (count is None):
        raise HeaderError("only one of 'split.no' and 'split.count' is there")
    if number is not None and count is not None and not 0 <= number < max(count, 1):
        raise HeaderError(f"'split.no' is {number}, but 'split.count' is {count}")


def _check_architecture(header: Header) -> None:
    entry = header.metadata.get("general.architecture")
    if entry is None:
        if header.number("split.no"):
            return  # only the first shard says what the model is
        raise HeaderError("'general.architecture' is missing")
    if entry.type is not ValueType.STRING or not _ARCHITECTURE.fullmatch(header.architecture):
        raise HeaderError("'general.architecture' is not the name of an architecture")
    for name in _COUNTED:
        _check_count(header, name)
    layers = header.parameter("block_count")
    if layers is not None and not 0 < layers <= MAX_LAYERS:
        raise HeaderError(f"the model has {layers} layers; the engine takes 1 to {MAX_LAYERS}")
    experts = header.parameter("expert_count")
    if experts is not None and not 0 <= experts <= MAX_EXPERTS:
        raise HeaderError(f"the model has {experts} experts; the engine takes up to {MAX_EXPERTS}")


def _check_count(header: Header, name: str) -> None:
    key = f"{header.architecture}.{name}"
    entry = header.metadata.get(key)
    if entry is None:
        return
    if entry.type not in _WHOLE_NUMBERS:
        raise HeaderError(f"'{key}' is not a whole number")
    values = entry.value if isinstance(entry.value, tuple) else (entry.value,)
    if any(isinstance(value, int) and value < 0 for value in values):
        raise HeaderError(f"'{key}' is negative")


def _check_vocabulary(header: Header) -> None:
    entry = header.metadata.get(TOKENS)
    if entry is None:
        return
    if entry.type is not ValueType.STRING or not isinstance(entry.value, Summary):
        raise HeaderError(f"'{TOKENS}' is not an array of strings")
    count, distinct = entry.value.length, entry.value.distinct
    if distinct != count:
        raise HeaderError(f"the vocabulary has {count} tokens, {count - distinct} of them twice")
    for key in _PER_TOKEN:
        _check_per_token(header, key, count)
    for key in header.metadata:
        if _TOKEN_IDS.fullmatch(key):
            _check_token_id(header, key, count)


def _check_per_token(header: Header, key: str, count: int) -> None:
    entry = header.metadata.get(key)
    if entry is None:
        return
    length = entry.value.length if isinstance(entry.value, Summary) else 0
    if isinstance(entry.value, tuple):
        length = len(entry.value)
    if not entry.is_array or length != count:
        raise HeaderError(f"'{key}' has {length} elements for {count} tokens")


def _check_token_id(header: Header, key: str, count: int) -> None:
    value = header.number(key)
    # 2**32 - 1 is how converters write "none".
    if value is None or not (0 <= value < count or value == 0xFFFFFFFF):
        raise HeaderError(f"'{key}' is {value}, but there are {count} tokens")


def _check_tensors(header: Header) -> None:
    expected = 0
    for tensor in header.tensors:
        _check_shape(tensor.name, tensor.type, tensor.shape)
        if tensor.offset != expected:
            raise HeaderError(
                f"the tensor '{tensor.name}' lies at {tensor.offset}, not at {expected}"
            )
        expected += -(-tensor.size // header.alignment) * header.alignment
    if header.tensors:
        _check_extent(header)


def _check_shape(name: str, kind: int, shape: tuple[int, ...]) -> None:
    if kind not in ggml.TYPES:
        raise HeaderError(f"the tensor '{name}' has the unknown type {kind}")
    if any(not 0 < size <= MAX_ELEMENTS for size in shape) or ggml.elements(shape) > MAX_ELEMENTS:
        raise HeaderError(f"the tensor '{name}' has the impossible shape {shape}")
    type_name, block, _ = ggml.TYPES[kind]
    if shape[0] % block:
        raise HeaderError(
            f"the tensor '{name}' has rows of {shape[0]}, which {type_name} cannot hold"
        )


def _check_extent(header: Header) -> None:
    """The file ends where its last tensor does, give or take the padding."""
    last = header.tensors[-1]
    end = header.data_offset + last.offset + last.size
    if end > header.file_size:
        missing = end - header.file_size
        raise HeaderError(f"the file is cut short: {missing} bytes of its weights are missing")
    if header.file_size - end >= header.alignment:
        raise HeaderError(f"{header.file_size - end} bytes follow the last tensor")
