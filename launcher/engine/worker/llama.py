"""The engine, through its low-level interface: the only module that imports `llama_cpp`.

Runs in the worker alone. The high-level class of llama-cpp-python copies the logits of every
token through numpy and imports numpy, jinja2 and more at start; this does neither.
"""

from __future__ import annotations

import ctypes
import importlib.util
import json
import sys
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from types import ModuleType
from typing import Any

from launcher.engine import sampling, schemas
from launcher.engine.computing import Computing
from launcher.engine.worker.pace import Pace


class LoadFailed(Exception):
    """The engine refused the files; its own words say why."""


class DecodeFailed(Exception):
    """The engine could not compute a step."""


def _low_level() -> Any:
    """`llama_cpp.llama_cpp` without the package around it, which takes 140 ms more to import."""
    if "llama_cpp" not in sys.modules:
        spec = importlib.util.find_spec("llama_cpp")
        if spec is None or not spec.submodule_search_locations:
            raise ModuleNotFoundError("llama_cpp", name="llama_cpp")
        package = ModuleType("llama_cpp")
        package.__spec__ = spec  # whoever asks where the package lies gets an answer
        package.__path__ = list(spec.submodule_search_locations)
        sys.modules["llama_cpp"] = package
    import llama_cpp.llama_cpp

    return llama_cpp.llama_cpp


lib = _low_level()


def media() -> Any:
    """`llama_cpp.mtmd_cpp`, the engine's way to images; only where one is asked for."""
    import llama_cpp.mtmd_cpp

    found = llama_cpp.mtmd_cpp
    found.mtmd_helper_log_set(_keep_log, None)
    return found


def folder() -> Path:
    """Where the engine's package lies."""
    return Path(lib.__file__).parent


_KV_TYPES = {"f16": 1, "q8_0": 8}  # as ggml numbers them
_FLASH_ATTENTION = {"auto": -1, "off": 0, "on": 1}  # enum llama_flash_attn_type
_WARNING = 3  # GGML_LOG_LEVEL_WARN; errors are 4
_KEPT_LINES = 40
_LONG = 128  # tokens; computing more takes long enough to ask on the way whether to go on
_ABORTED = 2  # what llama_decode gives when it was told to stop
_NEVER = lib.ggml_abort_callback()
log_lines: list[str] = []


@lib.llama_log_callback  # type: ignore[untyped-decorator]  # ctypes
def _keep_log(level: int, text: bytes, _: object) -> None:
    if level >= _WARNING:
        log_lines.append(text.decode("utf-8", "replace").strip())
        del log_lines[:-_KEPT_LINES]


def start() -> None:
    """Prepares the engine; its warnings and errors go to `log_lines`, the rest nowhere."""
    lib.llama_log_set(_keep_log, None)
    lib.llama_backend_init()


class Model:
    """Loaded weights and their vocabulary."""

    def __init__(
        self, paths: Sequence[str], *, extra_buffers: bool = True, gpu_layers: int = 0
    ) -> None:
        log_lines.clear()
        parameters = lib.llama_model_default_params()
        parameters.use_extra_bufts = extra_buffers
        parameters.n_gpu_layers = gpu_layers
        parameters.load_mtp = False
        encoded = [path.encode() for path in paths]
        if len(encoded) == 1:
            self._model = lib.llama_model_load_from_file(encoded[0], parameters)
        else:
            array = (ctypes.c_char_p * len(encoded))(*encoded)
            self._model = lib.llama_model_load_from_splits(array, len(encoded), parameters)
        if not self._model:
            raise LoadFailed("\n".join(log_lines) or "the engine gave no reason")
        self._vocabulary = lib.llama_model_get_vocab(self._model)
        self._piece = ctypes.create_string_buffer(256)

    def close(self) -> None:
        """Frees the weights; their contexts must be closed before."""
        lib.llama_model_free(self._model)

    @property
    def handle(self) -> Any:
        return self._model

    @property
    def vocabulary(self) -> Any:
        return self._vocabulary

    def metadata(self, key: str) -> str | None:
        """A metadata value as the engine read it, or None when it has none."""
        return _meta(lib.llama_model_meta_val_str, self._model, key)

    def sizes(self) -> dict[str, int]:
        """The sizes as the engine uses them."""
        return {
            "block_count": lib.llama_model_n_layer(self._model),
            "embedding_length": lib.llama_model_n_embd(self._model),
            "vocabulary": lib.llama_vocab_n_tokens(self._vocabulary),
            "context_length": lib.llama_model_n_ctx_train(self._model),
            "attention.head_count": lib.llama_model_n_head(self._model),
            "attention.head_count_kv": lib.llama_model_n_head_kv(self._model),
        }

    def chat_template(self) -> str | None:
        template = lib.llama_model_chat_template(self._model, None)
        return template.decode("utf-8", "replace") if template else None

    def tokens(self, text: str, *, add_special: bool, parse_special: bool) -> list[int]:
        """The tokens of a text."""
        data = text.encode("utf-8", "surrogatepass")
        capacity = len(data) + 8
        array = (lib.llama_token * capacity)()
        count = lib.llama_tokenize(
            self._vocabulary, data, len(data), array, capacity, add_special, parse_special
        )
        if count < 0:
            raise DecodeFailed("the text could not be tokenised")
        return list(array[:count])

    def piece(self, token: int, *, special: bool = False) -> bytes:
        """The bytes that a token stands for; not always whole characters."""
        size = lib.llama_token_to_piece(
            self._vocabulary, token, self._piece, len(self._piece), 0, special
        )
        if size < 0:
            self._piece = ctypes.create_string_buffer(-size)
            return self.piece(token, special=special)
        return self._piece.raw[:size]

    def special_text(self, name: str) -> str:
        """The text of a special token, such as `bos`; empty where there is none."""
        token = getattr(lib, f"llama_vocab_{name}")(self._vocabulary)
        return "" if token < 0 else self.piece(token, special=True).decode("utf-8", "replace")

    def adds_bos(self) -> bool:
        return bool(lib.llama_vocab_get_add_bos(self._vocabulary))

    @cached_property
    def endings(self) -> list[int]:
        """All tokens that end an answer."""
        count = lib.llama_vocab_n_tokens(self._vocabulary)
        return [token for token in range(count) if self.ends_answer(token)]

    @cached_property
    def recommended(self) -> dict[str, Any]:
        """What its file recommends for sampling."""
        return sampling.recommended(self.metadata)

    def ends_answer(self, token: int) -> bool:
        return bool(lib.llama_vocab_is_eog(self._vocabulary, token))


def _meta(read: Callable[..., int], handle: Any, key: str) -> str | None:
    needed = read(handle, key.encode(), None, 0)
    if needed < 0:
        return None
    value = ctypes.create_string_buffer(needed + 1)
    read(handle, key.encode(), value, needed + 1)
    return value.raw[:needed].decode("utf-8", "surrogateescape")


class Adapter:
    """A change to a model's weights, which is added to what they give."""

    def __init__(self, model: Model, path: str) -> None:
        """Must come before any context of the model. Raises `LoadFailed`."""
        self.handle = lib.llama_adapter_lora_init(model.handle, path.encode())
        if not self.handle:
            raise LoadFailed("\n".join(log_lines) or "the engine gave no reason")

    def metadata(self, key: str) -> str | None:
        """A metadata value as the engine read it, or None when it has none."""
        return _meta(lib.llama_adapter_meta_val_str, self.handle, key)


class Context:
    """A KV cache over a model, and the tokens that are in it."""

    def __init__(
        self,
        model: Model,
        *,
        tokens: int,
        computing: Computing,
        batch: int = 2048,
        slots: int = 1,
        pace: Pace | None = None,
    ) -> None:
        """Each of the slots has a cache of its own, for so many tokens.

        With the `pace` of another context it shares the threads of that one. Raises `LoadFailed`.
        """
        parameters = lib.llama_context_default_params()
        parameters.n_ctx = tokens * slots
        parameters.n_seq_max = slots
        parameters.n_batch = min(batch, tokens * slots)
        parameters.n_threads = computing.threads
        parameters.n_threads_batch = computing.batch_of(computing.threads)
        parameters.type_k = _KV_TYPES[computing.type_k]
        parameters.type_v = _KV_TYPES[computing.type_v]
        parameters.flash_attn_type = _FLASH_ATTENTION[computing.flash_attention]
        parameters.no_perf = True
        self.model = model
        self._context = lib.llama_init_from_model(model.handle, parameters)
        if not self._context:
            raise LoadFailed("\n".join(log_lines) or "the engine could not make a context")
        self.computing = computing
        self.pace = pace or Pace(computing.threads, self._use)
        if pace is not None:
            pace.share(self._use)
        self._memory = lib.llama_get_memory(self._context)
        self._one = (lib.llama_token * 1)()
        self.size: int = lib.llama_n_ctx_seq(self._context)
        self.batch: int = lib.llama_n_batch(self._context)
        self.held: list[int] = []
        self.places = False
        """Whether places are said with every token: the engine cannot tell after an image."""

    def _use(self, threads: int) -> None:
        """Computes with so many threads from now on."""
        lib.llama_set_n_threads(self._context, threads, self.computing.batch_of(threads))

    def close(self) -> None:
        lib.llama_free(self._context)

    def adapt(self, adapters: Sequence[Adapter]) -> None:
        """Computes with these from now on. Raises `LoadFailed`."""
        if not adapters:
            return
        handles = [adapter.handle for adapter in adapters]
        array = (lib.llama_adapter_lora_p_ctypes * len(handles))(*handles)
        scales = (ctypes.c_float * len(handles))(*([1.0] * len(handles)))
        if lib.llama_set_adapters_lora(self._context, array, len(handles), scales):
            raise LoadFailed("\n".join(log_lines) or "the engine could not use the adapters")

    @property
    def handle(self) -> Any:
        return self._context

    @property
    def can_be_cut(self) -> bool:
        """Whether single tokens can be taken out again: not where all are in one state."""
        model = self.model.handle
        return not (lib.llama_model_is_recurrent(model) or lib.llama_model_is_hybrid(model))

    def scores(self, at: int = -1) -> memoryview[float]:
        """Of all tokens, after one of the tokens of the last step; valid until the next."""
        first = lib.llama_get_logits_ith(self._context, at)
        count = lib.llama_vocab_n_tokens(self.model.vocabulary)
        return (
            memoryview((ctypes.c_float * count).from_address(ctypes.addressof(first.contents)))
            .cast("B")
            .cast("f")
        )

    def keep(self, wanted: Sequence[int]) -> int:
        """Drops from the cache what does not begin `wanted`; returns how many tokens stay.

        At least the last token is computed again, since its scores are needed.
        """
        same = 0
        for held, token in zip(self.held, wanted[:-1], strict=False):
            if held != token:
                break
            same += 1
        if same < len(self.held):
            self._drop(same)
        return len(self.held)

    def _drop(self, length: int) -> None:
        """Empties the cache from a place on, or all of it: recurrent states cannot be cut."""
        if lib.llama_memory_seq_rm(self._memory, 0, length, -1):
            del self.held[length:]
        else:
            self.forget()

    def forget(self) -> None:
        """Empties the cache: after a failed step nobody knows what is in it."""
        lib.llama_memory_clear(self._memory, True)
        self.held.clear()

    def state(self) -> bytearray:
        """All that was computed of the tokens that are held."""
        size = lib.llama_state_seq_get_size(self._context, 0)
        data = bytearray(size)
        array = (ctypes.c_uint8 * size).from_buffer(data)
        written = lib.llama_state_seq_get_data(self._context, array, size, 0)
        return data[:written]

    def restore(self, held: Sequence[int], state: bytearray) -> None:
        """Takes up a state that `state` gave for these tokens, by this engine for this model."""
        self.forget()
        array = (ctypes.c_uint8 * len(state)).from_buffer(state)
        if lib.llama_state_seq_set_data(self._context, array, len(state), 0) == len(state):
            self.held.extend(held)
        else:
            self.forget()

    def fill(self, tokens: Sequence[int], stop: Callable[[], bool]) -> bool:
        """Computes a prompt; False when it was stopped on the way.

        In a long one `stop` is asked before every operation of the engine, some hundred a
        batch; a token alone has as many, and they take no time that is worth asking in.
        """
        self.pace.settle()
        asked = lib.ggml_abort_callback(lambda _: stop()) if len(tokens) >= _LONG else _NEVER
        lib.llama_set_abort_callback(self._context, asked, None)
        try:
            return all(
                self._filled(tokens[start : start + self.batch], stop)
                for start in range(0, len(tokens), self.batch)
            )
        finally:
            lib.llama_set_abort_callback(self._context, _NEVER, None)

    def _filled(self, part: Sequence[int], stop: Callable[[], bool]) -> bool:
        if stop():
            return False
        if self.places:
            status = self._placed(part, first_scored=len(part) - 1)
        else:
            array = (lib.llama_token * len(part))(*part)
            status = self._decode(lib.llama_batch_get_one(array, len(part)))
        if status == _ABORTED:
            self._drop(len(self.held))
            return False
        self.held.extend(part)
        return True

    def step(self, token: int) -> None:
        """Computes one more token."""
        if self.places:
            self._placed([token])
        else:
            self._one[0] = token
            self._decode(lib.llama_batch_get_one(self._one, 1))
        self.held.append(token)

    def steps(self, tokens: Sequence[int]) -> None:
        """Computes some more tokens, and the scores after each of them."""
        if len(tokens) == 1:
            self.step(tokens[0])
            return
        self._placed(tokens)
        self.held.extend(tokens)

    def _placed(self, tokens: Sequence[int], first_scored: int = 0) -> int:
        """Computes tokens at the places after those that are held; gives what `_decode` does."""
        batch = lib.llama_batch_init(len(tokens), 0, 1)
        try:
            batch.n_tokens = len(tokens)
            for number, token in enumerate(tokens):
                batch.token[number] = token
                batch.pos[number] = len(self.held) + number
                batch.n_seq_id[number] = 1
                batch.seq_id[number][0] = 0
                batch.logits[number] = number >= first_scored
            return self._decode(batch)
        finally:
            lib.llama_batch_free(batch)

    def cut(self, length: int) -> None:
        """Drops the tokens from a place on."""
        if length < len(self.held):
            if not lib.llama_memory_seq_rm(self._memory, 0, length, -1):
                raise DecodeFailed("tokens could not be taken out of the cache")
            del self.held[length:]

    def _decode(self, batch: Any) -> int:
        """`_ABORTED` where it was told to stop, else 0."""
        self.pace.begin()
        status: int = lib.llama_decode(self._context, batch)
        alone = batch.n_tokens == 1
        self.pace.end(0 if alone else self.computing.batch_of(self.pace.threads))
        if status not in (0, _ABORTED):
            raise DecodeFailed(f"llama_decode gave {status}: {' '.join(log_lines[-2:])}")
        return status


def build() -> str:
    """Tells this build of the engine, on this processor, from any other."""
    files = sorted(path.stat() for path in (folder() / "lib").iterdir())
    return f"{[(file.st_size, file.st_mtime_ns) for file in files]} {system_info()}"


def grammar_of_schema(schema: str) -> str:
    """A grammar for JSON that a schema describes. Raises `schemas.BadSchema`."""
    from llama_cpp import llama_grammar

    try:
        plain = json.dumps(schemas.plain(json.loads(schema)))
        return str(llama_grammar.json_schema_to_gbnf(plain))
    except RecursionError as error:
        raise schemas.BadSchema("it is nested too deeply") from error
    except (
        ValueError,
        LookupError,
        TypeError,
        AttributeError,
        RuntimeError,
        AssertionError,
    ) as error:
        raise schemas.BadSchema(str(error) or type(error).__name__) from error


def system_info() -> str:
    """What the engine's build can use of this processor, in its own words."""
    return str(lib.llama_print_system_info().decode("utf-8", "replace"))
