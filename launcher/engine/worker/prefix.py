"""The beginning that conversations share: the tokens of a system prompt, and their state."""

from __future__ import annotations

import contextlib
import mmap
import os
import struct
from array import array
from collections.abc import Iterator, Sequence

from launcher.engine.worker.llama import Context

LEAST = 128  # tokens; fewer are computed in no time
_HEAD = struct.Struct("<QQ")  # how many tokens, how many bytes of state


def shared(first: Sequence[int], second: Sequence[int]) -> int:
    """How many tokens two prompts begin with alike.

    >>> shared([1, 2, 3], [1, 2, 4, 5])
    2
    """
    pairs = enumerate(zip(first, second, strict=False))
    return next((at for at, (a, b) in pairs if a != b), min(len(first), len(second)))


def taken(context: Context) -> tuple[int, Iterator[memoryview | bytes]]:
    """What the context holds: the size in bytes, and the parts to send."""
    state = context.state()
    tokens = array("i", context.held).tobytes()
    head = _HEAD.pack(len(context.held), len(state))
    return len(head) + len(tokens) + len(state), iter((head, tokens, memoryview(state)))


def put_back(context: Context, descriptor: int) -> None:
    """Restores what an open file holds, from its position on, where it is whole."""
    start = os.lseek(descriptor, 0, os.SEEK_CUR)
    with (
        contextlib.suppress(OSError, ValueError),
        mmap.mmap(descriptor, 0, access=mmap.ACCESS_READ) as data,
        memoryview(data) as view,
    ):
        if len(view) < start + _HEAD.size:
            return
        count, size = _HEAD.unpack_from(view, start)
        begin = start + _HEAD.size + 4 * count
        if count <= context.size and len(view) == begin + size:
            tokens = array("i", view[begin - 4 * count : begin].tobytes())
            context.restore(tokens.tolist(), bytearray(view[begin:]))
