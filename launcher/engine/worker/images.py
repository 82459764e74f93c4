"""The image half of a model: turns images into what stands among the tokens of a prompt.

Images are decoded, turned into numbers and computed by llama.cpp's own library for it (mtmd), in
the confined worker. In the list of tokens each of their places is a number below zero, the same
for the same image, so that what is computed of a conversation is known again.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from launcher.engine import pictures
from launcher.engine.messages import Message
from launcher.engine.worker import llama
from launcher.engine.worker.prompting import LONGEST_TOKEN, Prompts, Unanswerable, too_long
from launcher.errors import LauncherError

_TEXT = 0  # MTMD_INPUT_CHUNK_TYPE_TEXT
_PLACES = 1 << 20  # that one image may take


def _bad(text: str) -> Unanswerable:
    return Unanswerable("image", text)


class Eye:
    """The loaded image half of a model."""

    def __init__(self, model: llama.Model, path: str, threads: int) -> None:
        """Raises `LoadFailed`."""
        self._lib = llama.media()
        self._model = model
        self.marker = f"<image-{os.urandom(8).hex()}>"  # nobody can write it by chance
        parameters = self._lib.mtmd_context_params_default()
        parameters.print_timings = False
        parameters.n_threads = threads
        parameters.use_gpu = False
        parameters.warmup = False  # the first image does it
        llama.log_lines.clear()
        self._context = self._lib.mtmd_init_from_file(path.encode(), model.handle, parameters)
        if not self._context:
            raise llama.LoadFailed(_told())

    def seen(self) -> dict[str, bool]:
        """What it takes in, as the engine sees it."""
        return {
            "vision": bool(self._lib.mtmd_support_vision(self._context)),
            "audio": bool(self._lib.mtmd_support_audio(self._context)),
        }

    @property
    def turns_positions(self) -> bool:
        """Whether an image has more tokens than positions in the text (M-RoPE)."""
        return bool(self._lib.mtmd_decode_use_mrope(self._context))

    def prompt(self, prompts: Prompts, wanted: Message, size: int) -> Prompt:
        """What was asked, with images in it, in less than `size` tokens. Raises `Unanswerable`."""
        text = prompts.rendered(self._marked(wanted["messages"]), wanted)
        if len(text) > LONGEST_TOKEN * size:
            raise too_long(f"at least {len(text) // LONGEST_TOKEN}", size)
        found = self._made(text, wanted["images"], add_special=prompts.adds_special(text))
        count = len(found.tokens) + found.extra
        if count >= size:
            found.close()
            raise too_long(str(count), size)
        return found

    def _marked(self, messages: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """Messages with a marker for each of their images, which stand before the text."""
        return [
            {
                **{name: value for name, value in message.items() if name != "images"},
                "content": self.marker * message.get("images", 0) + message["content"],
            }
            for message in messages
        ]

    def _made(self, text: str, images: Sequence[bytes], *, add_special: bool) -> Prompt:
        """A rendered text with images where the markers stand."""
        texts = text.split(self.marker)
        if len(texts) != len(images) + 1:
            raise _bad("the model's chat template does not show each image once")
        chunks = self._lib.mtmd_input_chunks_init()
        bitmaps: list[Any] = []
        try:
            bitmaps += (self._bitmap(number, data) for number, data in enumerate(images, 1))
            self._parted(chunks, texts, bitmaps, add_special=add_special)
        except BaseException:
            self._lib.mtmd_input_chunks_free(chunks)
            raise
        finally:
            for bitmap in bitmaps:
                self._lib.mtmd_bitmap_free(bitmap)
        return Prompt(self._lib, self._context, chunks)

    def _bitmap(self, number: int, data: bytes) -> Any:
        try:
            pictures.check(data, f"image {number}")
        except LauncherError as error:
            raise _bad(error.message) from error
        array = (ctypes.c_uint8 * len(data)).from_buffer_copy(data)
        bitmap = self._lib.mtmd_helper_bitmap_init_from_buf(self._context, array, len(data), False)
        if not bitmap:
            raise _bad(f"image {number} cannot be decoded: the file is broken")
        return bitmap

    def _parted(
        self, chunks: Any, texts: Sequence[str], bitmaps: Sequence[Any], *, add_special: bool
    ) -> None:
        lib = self._lib
        inputs = [_input(lib, text) for text in texts]
        parts = [lib.mtmd_input_part(text=ctypes.pointer(inputs[0]), bitmap=None)]
        for bitmap, text in zip(bitmaps, inputs[1:], strict=True):
            parts.append(lib.mtmd_input_part(text=None, bitmap=bitmap))
            parts.append(lib.mtmd_input_part(text=ctypes.pointer(text), bitmap=None))
        kind = ctypes.POINTER(lib.mtmd_input_part)
        array = (kind * len(parts))(*map(ctypes.pointer, parts))
        if lib.mtmd_tokenize_from_parts(self._context, chunks, array, len(parts), add_special):
            raise _bad(f"the images cannot be prepared: {' '.join(llama.log_lines[-2:])}")


def _told() -> str:
    """Why an image half was not loaded, in the engine's words, each reason on one line."""
    lines = (" ".join(line.split()) for line in llama.log_lines)
    told = "\n".join(line.rpartition("mtmd_init_from_file: error: ")[2] for line in lines)
    return told or "the engine gave no reason"


def _input(lib: Any, text: str) -> Any:
    data = text.encode("utf-8", "surrogatepass")
    return lib.mtmd_input_text(text=data, text_len=len(data), add_special=False, parse_special=True)


@dataclass(frozen=True, slots=True)
class _Piece:
    """A stretch of a prompt: text, or an image or a part of one."""

    start: int
    tokens: Sequence[int]
    chunk: Any
    """None for text."""


class Prompt:
    """A prompt with images in it, until it is closed."""

    def __init__(self, lib: Any, context: Any, chunks: Any) -> None:
        self._lib, self._context, self._chunks = lib, context, chunks
        self._pieces: list[_Piece] = []
        self.tokens: list[int] = []
        self.extra = 0
        """How many more tokens it takes in the cache than places in the text."""
        for number in range(lib.mtmd_input_chunks_size(chunks)):
            chunk = lib.mtmd_input_chunks_get(chunks, number)
            tokens = list(self._tokens(chunk, number))
            is_text = lib.mtmd_input_chunk_get_type(chunk) == _TEXT
            self._pieces.append(_Piece(len(self.tokens), tokens, None if is_text else chunk))
            self.tokens += tokens
            self.extra += lib.mtmd_input_chunk_get_n_tokens(chunk) - len(tokens)

    def _tokens(self, chunk: Any, number: int) -> Iterator[int]:
        count = ctypes.c_size_t()
        if self._lib.mtmd_input_chunk_get_type(chunk) == _TEXT:
            found = self._lib.mtmd_input_chunk_get_tokens_text(chunk, ctypes.byref(count))
            yield from found[: count.value]
            return
        image = self._lib.mtmd_input_chunk_get_id(chunk) or b""  # the digest of its bytes
        name = hashlib.sha256(b"%d %s" % (number, image)).digest()[:8]
        first = -1 - int.from_bytes(name) * _PLACES
        places = self._lib.mtmd_input_chunk_get_n_pos(chunk)
        yield from range(first, first - places, -1)

    def fill(self, context: llama.Context, kept: int, stop: Callable[[], bool]) -> bool:
        """Computes what comes after `kept` tokens; False when it was stopped on the way."""
        for piece in self._pieces:
            done = max(kept - piece.start, 0)
            if done >= len(piece.tokens):
                continue
            if stop():
                return False
            if piece.chunk is None:
                if not context.fill(piece.tokens[done:], stop):
                    return False
            else:
                self._look(context, piece)
        return True

    def _look(self, context: llama.Context, piece: _Piece) -> None:
        context.cut(piece.start)  # of an image all is computed, or nothing
        past = llama.lib.llama_pos()
        status = self._lib.mtmd_helper_eval_chunk_single(
            self._context,
            context.handle,
            piece.chunk,
            piece.start,
            0,
            context.batch,
            piece is self._pieces[-1],  # whether its scores are wanted
            ctypes.byref(past),
        )
        if status:
            raise llama.DecodeFailed(f"an image gave {status}: {' '.join(llama.log_lines[-2:])}")
        context.held.extend(piece.tokens)

    def close(self) -> None:
        self._lib.mtmd_input_chunks_free(self._chunks)
