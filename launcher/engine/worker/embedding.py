"""What a text means to a model, as a vector: computed in a context of its own."""

from __future__ import annotations

import math
from collections.abc import Sequence

from launcher.engine.computing import Computing
from launcher.engine.worker.llama import DecodeFailed, LoadFailed, Model, lib, log_lines
from launcher.engine.worker.pace import Pace

LONGEST = 2048  # tokens; such a context takes them all in one step


class Embedder:
    """Made when the first text comes: most models are never asked for this."""

    def __init__(self, model: Model, *, tokens: int, computing: Computing) -> None:
        """For texts of at most so many tokens. Raises `LoadFailed`."""
        parameters = lib.llama_context_default_params()
        parameters.n_ctx = parameters.n_batch = parameters.n_ubatch = min(tokens, LONGEST)
        threads = computing.batch_of(computing.threads)
        parameters.n_threads = parameters.n_threads_batch = threads
        parameters.embeddings = True
        parameters.no_perf = True
        self._model = model
        self._context = lib.llama_init_from_model(model.handle, parameters)
        if self._context and lib.llama_pooling_type(self._context) == lib.LLAMA_POOLING_TYPE_NONE:
            lib.llama_free(self._context)  # a model for text: the mean of its tokens
            parameters.pooling_type = lib.LLAMA_POOLING_TYPE_MEAN
            self._context = lib.llama_init_from_model(model.handle, parameters)
        if not self._context:
            raise LoadFailed("\n".join(log_lines) or "the engine could not make a context")
        self.size = min(tokens, LONGEST)
        self._pace = Pace(
            threads, lambda number: lib.llama_set_n_threads(self._context, number, number)
        )

    def embed(self, tokens: Sequence[int]) -> list[float]:
        """A vector of length 1, of tokens that fit. Raises `DecodeFailed`."""
        memory = lib.llama_get_memory(self._context)
        if memory:
            lib.llama_memory_clear(memory, True)
        array = (lib.llama_token * len(tokens))(*tokens)
        self._pace.begin()
        status = lib.llama_decode(self._context, lib.llama_batch_get_one(array, len(tokens)))
        self._pace.end()
        if status:
            raise DecodeFailed(f"llama_decode gave {status}: {' '.join(log_lines[-2:])}")
        values = lib.llama_get_embeddings_seq(self._context, 0)
        if not values:
            raise DecodeFailed("the engine gave no embedding")
        return _of_length_one(values[: lib.llama_model_n_embd_out(self._model.handle)])


def _of_length_one(values: Sequence[float]) -> list[float]:
    """As the field does it: then a product of two vectors tells how alike they are."""
    length = math.sqrt(math.fsum(value * value for value in values)) or 1.0
    return [value / length for value in values]
