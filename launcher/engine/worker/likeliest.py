"""Takes the likeliest token without llama.cpp's array of all tokens, where nothing else decides.

The engine's samplers start from an array with 12 bytes for each token, which for 49,152 of them
takes 0.15 ms to fill and go through; numpy finds the largest score in half of that, and takes
the first of several, as the engine does. It takes 60 ms to import and 16 MB, so it comes only
after an answer that could have used it.
"""

from __future__ import annotations

import contextlib
import ctypes
import math
import sys
from typing import TYPE_CHECKING, Any

from launcher.engine.worker.llama import lib

if TYPE_CHECKING:
    from launcher.engine.worker.sampler import Scored


def get_ready() -> None:
    """Imports numpy while nobody waits; where it is missing, all goes on as before."""
    with contextlib.suppress(ImportError):
        import numpy  # noqa: F401


def is_all(chain: Any) -> bool:
    """Whether a chain does nothing but take the likeliest; the engine marks idle samplers."""
    every = (lib.llama_sampler_chain_get(chain, n) for n in range(lib.llama_sampler_chain_n(chain)))
    working = [name for name in map(lib.llama_sampler_name, every) if not name.startswith(b"?")]
    return working == [b"greedy"]


class Likeliest:
    """Takes the token with the largest score."""

    def __init__(self, context: Scored) -> None:
        self._numpy: Any = sys.modules.get("numpy")
        self._handle = context.handle
        self._count = lib.llama_vocab_n_tokens(context.model.vocabulary)
        self._at, self._scores = 0, None  # the address of the scores, and what reads them

    def choose(self, at: int) -> int | None:
        """The token; None where numpy is missing, or the largest score is no number."""
        if self._numpy is None:
            return None
        address = ctypes.addressof(lib.llama_get_logits_ith(self._handle, at).contents)
        if address != self._at:
            place = (ctypes.c_float * self._count).from_address(address)
            self._at, self._scores = address, self._numpy.frombuffer(place, dtype="f4")
        assert self._scores is not None
        token = int(self._scores.argmax())
        return token if math.isfinite(self._scores[token]) else None
