"""Chooses tokens by llama.cpp's samplers, in the order in which its own tools chain them.

Without a grammar and without log probabilities all of it happens in one call of the engine.
Source: common_sampler_init and common_sampler_sample in common/sampling.cpp.
"""

from __future__ import annotations

import ctypes
import math
from array import array
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from launcher.engine.sampling import ADAPTIVE, Sampling
from launcher.engine.worker import likeliest
from launcher.engine.worker.likeliest import Likeliest
from launcher.engine.worker.llama import Model, lib

_MIROSTAT_M = 100
_LEAST = 1e-45  # the smallest probability that the engine's numbers can hold


class Scored(Protocol):
    """A context, as samplers see it."""

    model: Model
    size: int

    @property
    def handle(self) -> Any: ...

    def scores(self, at: int) -> memoryview[float]:
        """Of all tokens, after one of those of the last step."""
        ...


class BadGrammar(Exception):
    """The grammar is none; what is wrong with it, the engine has written to standard error."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """A token's log probability, before any sampler, and those of the likeliest."""

    token: int
    logprob: float
    top: Sequence[tuple[int, float]]


class Sampler:
    """One answer's samplers."""

    def __init__(
        self,
        context: Scored,
        sampling: Sampling,
        *,
        grammar: str = "",
        logprobs: int | None = None,
    ) -> None:
        """Raises `BadGrammar`."""
        self._context = context
        self._sampling = sampling
        self._logprobs = logprobs
        self.measured: Measured | None = None
        self.is_stuck = False
        """Whether the grammar allows none of the tokens that are left: the answer has to end."""
        model = context.model
        self._grammar = (
            lib.llama_sampler_init_grammar(
                model.vocabulary, grammar.encode("utf-8", "surrogatepass"), b"root"
            )
            if grammar
            else None
        )
        if grammar and not self._grammar:
            raise BadGrammar
        self._chain = _chain(_samplers(model, context, sampling))
        slow = self._grammar is not None or logprobs is not None
        self._candidates = Candidates(context) if slow else None
        alone = not slow and likeliest.is_all(self._chain)
        self._likeliest = Likeliest(context) if alone else None

    @property
    def is_plain(self) -> bool:
        """Whether the likeliest token is taken, and nothing else is asked."""
        return self._likeliest is not None

    @property
    def has_grammar(self) -> bool:
        """Whether the answer has to fit one."""
        return self._grammar is not None

    def saw(self, tokens: Sequence[int]) -> None:
        """What stands before the answer; penalties count it, too."""
        if not self._sampling.penalises:
            return
        wanted = max(self._sampling.repeat_last_n, self._sampling.dry_penalty_last_n)
        whole = self._sampling.repeat_last_n < 0
        for token in tokens if whole else tokens[-wanted:]:
            lib.llama_sampler_accept(self._chain, token)

    def choose(self, at: int = -1) -> int:
        """The next token, by the scores after one of the last step's tokens."""
        if self._candidates is None:
            if self._likeliest is not None and (found := self._likeliest.choose(at)) is not None:
                return found
            return int(lib.llama_sampler_sample(self._chain, self._context.handle, at))
        self._candidates.at = at
        token = self._chosen(self._candidates)
        if self.is_stuck:
            return token  # which the grammar would end the process for
        lib.llama_sampler_accept(self._chain, token)
        if self._grammar is not None:
            lib.llama_sampler_accept(self._grammar, token)
        if self._logprobs is not None:
            self.measured = self._candidates.measure(token, self._logprobs)
        return token

    def _chosen(self, candidates: Candidates) -> int:
        """Most tokens fit the grammar: only where one does not are all held against it."""
        token = candidates.choose(self._chain)
        if self._grammar is None or candidates.allows(self._grammar, token):
            return token
        token = candidates.choose(self._grammar, self._chain)
        self.is_stuck = not candidates.allows(self._grammar, token)
        return token

    def close(self) -> None:
        lib.llama_sampler_free(self._chain)
        if self._grammar is not None:
            lib.llama_sampler_free(self._grammar)
        if self._candidates is not None:
            self._candidates.close()


class Candidates:
    """All tokens and their scores in the engine's form, filled without a loop in Python."""

    def __init__(self, context: Scored) -> None:
        self.at = -1  # after which of the last step's tokens
        self._context = context
        self._count = lib.llama_vocab_n_tokens(context.model.vocabulary)
        size = ctypes.sizeof(lib.llama_token_data)
        self._bytes = bytearray(size * self._count)
        memoryview(self._bytes).cast("i")[0::3] = memoryview(array("i", range(self._count)))
        self._fresh = bytes(self._bytes)
        self._scores = memoryview(self._bytes).cast("f")[1::3]
        self._data = (lib.llama_token_data * self._count).from_buffer(self._bytes)
        self._one = (lib.llama_token_data * 1)()
        self._softmax = lib.llama_sampler_init_dist(0)
        self._ten = lib.llama_sampler_init_top_k(10)

    def close(self) -> None:
        lib.llama_sampler_free(self._softmax)
        lib.llama_sampler_free(self._ten)

    def choose(self, *samplers: Any) -> int:
        """The token that is left when these samplers have had their say."""
        found = self._filled()
        for sampler in samplers:
            lib.llama_sampler_apply(sampler, ctypes.byref(found))
        return int(found.data[max(found.selected, 0)].id)  # -1 where nothing is left

    def likeliest(self) -> tuple[int, float]:
        """The token with the highest score, and its probability among the ten likeliest."""
        found = self._filled()
        lib.llama_sampler_apply(self._ten, ctypes.byref(found))
        lib.llama_sampler_apply(self._softmax, ctypes.byref(found))
        return int(found.data[0].id), float(found.data[0].p)

    def allows(self, grammar: Any, token: int) -> bool:
        self._one[0].id, self._one[0].logit = token, 1.0
        one = _array(self._one, 1)
        lib.llama_sampler_apply(grammar, ctypes.byref(one))
        return not math.isinf(self._one[0].logit)

    def measure(self, token: int, count: int) -> Measured:
        """What the model itself thought of a token, and which it thought likeliest."""
        found = self._filled()
        lib.llama_sampler_apply(self._softmax, ctypes.byref(found))
        own = _log(self._data[token].p)  # still in the order of the vocabulary
        largest = lib.llama_sampler_init_top_k(max(count, 1))
        lib.llama_sampler_apply(largest, ctypes.byref(found))
        lib.llama_sampler_free(largest)
        top = [
            (int(found.data[i].id), _log(found.data[i].p)) for i in range(min(count, found.size))
        ]
        return Measured(token=token, logprob=own, top=top)

    def _filled(self) -> Any:
        ctypes.memmove(self._data, self._fresh, len(self._fresh))
        self._scores[:] = self._context.scores(self.at)
        return _array(self._data, self._count)


def _array(data: Any, count: int) -> Any:
    pointer = ctypes.cast(data, ctypes.POINTER(lib.llama_token_data))
    return lib.llama_token_data_array(data=pointer, size=count, selected=-1, sorted=False)


def _log(probability: float) -> float:
    return math.log(max(probability, _LEAST))


def _chain(samplers: Iterator[Any]) -> Any:
    chain = lib.llama_sampler_chain_init(lib.llama_sampler_chain_default_params())
    for sampler in samplers:
        lib.llama_sampler_chain_add(chain, sampler)
    return chain


def _samplers(model: Model, context: Scored, sampling: Sampling) -> Iterator[Any]:
    yield from _biases(model, sampling)
    if sampling.mirostat:
        yield from _mirostat(model, sampling)
        return
    names = sampling.samplers
    for name in ("penalties", "dry") if sampling.is_greedy else names:
        if name in _MAKERS and (sampling.penalises or name not in ("penalties", "dry")):
            yield _MAKERS[name](model, context, sampling)
    if sampling.is_greedy:
        yield lib.llama_sampler_init_greedy()
    elif ADAPTIVE in names:
        target, decay = sampling.adaptive_target, sampling.adaptive_decay
        yield lib.llama_sampler_init_adaptive_p(target, decay, sampling.seed)
    else:
        yield lib.llama_sampler_init_dist(sampling.seed)


def _biases(model: Model, sampling: Sampling) -> Iterator[Any]:
    """What is added to scores: as asked, and against what the model's file forbids."""
    count = ctypes.c_int32()
    tokens = lib.llama_vocab_get_suppress_tokens(model.vocabulary, ctypes.byref(count))
    biases = [(int(token), bias) for token, bias in sampling.logit_bias.items()]
    biases += [(tokens[number], -math.inf) for number in range(count.value)]
    if sampling.ignore_eos:
        biases += [(token, -math.inf) for token in model.endings]
    if biases:
        made = (lib.llama_logit_bias * len(biases))(*biases)
        size = lib.llama_vocab_n_tokens(model.vocabulary)
        yield lib.llama_sampler_init_logit_bias(size, len(biases), made)


def _penalties(model: Model, context: Scored, sampling: Sampling) -> Any:
    return lib.llama_sampler_init_penalties(
        lib.llama_vocab_n_tokens(model.vocabulary),
        context.size if sampling.repeat_last_n < 0 else sampling.repeat_last_n,
        sampling.repeat_penalty,
        sampling.frequency_penalty,
        sampling.presence_penalty,
    )


def _dry(model: Model, context: Scored, sampling: Sampling) -> Any:
    breakers = [text.encode("utf-8", "surrogatepass") for text in sampling.dry_sequence_breakers]
    return lib.llama_sampler_init_dry(
        model.vocabulary,
        sampling.dry_multiplier,
        sampling.dry_base,
        sampling.dry_allowed_length,
        sampling.dry_penalty_last_n,
        (ctypes.c_char_p * len(breakers))(*breakers),
        len(breakers),
    )


_MAKERS: dict[str, Callable[[Model, Scored, Sampling], Any]] = {
    "penalties": _penalties,
    "dry": _dry,
    "top_n_sigma": lambda _, __, s: lib.llama_sampler_init_top_n_sigma(s.top_n_sigma),
    "top_k": lambda _, __, s: lib.llama_sampler_init_top_k(s.top_k),
    "typ_p": lambda _, __, s: lib.llama_sampler_init_typical(s.typical_p, s.min_keep),
    "top_p": lambda _, __, s: lib.llama_sampler_init_top_p(s.top_p, s.min_keep),
    "min_p": lambda _, __, s: lib.llama_sampler_init_min_p(s.min_p, s.min_keep),
    "xtc": lambda _, __, s: lib.llama_sampler_init_xtc(
        s.xtc_probability, s.xtc_threshold, s.min_keep, s.seed
    ),
    "temperature": lambda _, __, s: lib.llama_sampler_init_temp_ext(
        s.temperature, s.dynatemp_range, s.dynatemp_exp
    ),
}


def _mirostat(model: Model, sampling: Sampling) -> Iterator[Any]:
    yield lib.llama_sampler_init_temp(sampling.temperature)
    target, rate = sampling.mirostat_ent, sampling.mirostat_lr
    if sampling.mirostat == 1:
        size = lib.llama_vocab_n_tokens(model.vocabulary)
        yield lib.llama_sampler_init_mirostat(size, sampling.seed, target, rate, _MIROSTAT_M)
    else:
        yield lib.llama_sampler_init_mirostat_v2(sampling.seed, target, rate)
