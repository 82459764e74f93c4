"""How the next token is chosen: names and defaults as in llama.cpp's common/common.h."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

RANDOM = 0xFFFFFFFF  # LLAMA_DEFAULT_SEED: another seed each time

# The samplers, in their usual order, and those that are not usual. Without mirostat, a token is
# drawn at the end, or taken by adaptive_p, wherever that is named.
ORDER = (
    "penalties",
    "dry",
    "top_n_sigma",
    "top_k",
    "typ_p",
    "top_p",
    "min_p",
    "xtc",
    "temperature",
)
ADAPTIVE = "adaptive_p"
_LETTERS = dict(zip("edskypmxta", (*ORDER, ADAPTIVE), strict=True))
_OTHER_NAMES = {"nucleus": "top_p", "temp": "temperature", "typ": "typ_p"}
_NAMES = (
    {name: name for name in (*ORDER, ADAPTIVE)}
    | {name.replace("_", "-"): name for name in (*ORDER, ADAPTIVE)}
    | {name.replace("_", ""): name for name in (*ORDER, ADAPTIVE)}
    | _OTHER_NAMES
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampling:
    """The settings of llama.cpp's samplers; each is off where its default says so."""

    seed: int = RANDOM
    temperature: float = 0.8
    """0 and below: always the likeliest token."""
    dynatemp_range: float = 0.0
    dynatemp_exp: float = 1.0
    top_k: int = 40
    top_p: float = 0.95
    min_p: float = 0.05
    typical_p: float = 1.0
    top_n_sigma: float = -1.0
    xtc_probability: float = 0.0
    xtc_threshold: float = 0.1
    repeat_last_n: int = 64
    """Tokens; -1: the whole context."""
    repeat_penalty: float = 1.0
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    dry_multiplier: float = 0.0
    dry_base: float = 1.75
    dry_allowed_length: int = 2
    dry_penalty_last_n: int = 64
    dry_sequence_breakers: Sequence[str] = ("\n", ":", '"', "*")
    adaptive_target: float = -1.0
    """Below 0: off. It works only where `samplers` name it."""
    adaptive_decay: float = 0.9
    mirostat: int = 0
    mirostat_lr: float = 0.1
    mirostat_ent: float = 5.0
    min_keep: int = 0
    """Tokens that the samplers leave at least."""
    logit_bias: Mapping[int, float] = field(default_factory=dict)
    """Added to the scores of these tokens; minus infinity: never. (JSON makes texts of them.)"""
    ignore_eos: bool = False
    """Goes on where the model would end its answer."""
    samplers: Sequence[str] = ORDER

    @property
    def penalises(self) -> bool:
        """Whether what was written before counts."""
        repeats = self.repeat_penalty != 1 or self.presence_penalty or self.frequency_penalty
        return bool(repeats and self.repeat_last_n) or self.dry_multiplier != 0

    @property
    def is_greedy(self) -> bool:
        """Whether the likeliest token is all that counts; what is off with it has no say."""
        chance = self.mirostat or self.xtc_probability > 0 or self.dynatemp_range > 0
        usual = tuple(self.samplers) == ORDER
        return self.temperature <= 0 and usual and not chance


def order(text: str) -> tuple[str, ...]:
    """Samplers by their names, with semicolons between them, or by llama.cpp's letters.

    Raises `ValueError` for what names none.

    >>> order("top-k;min_p;temp"), order("kmt"), order("temp")
    (('top_k', 'min_p', 'temperature'), ('top_k', 'min_p', 'temperature'), ('temperature',))
    """
    words = [word.strip().lower() for word in text.split(";") if word.strip()]
    if len(words) == 1 and words[0] not in _NAMES and set(text) <= set(_LETTERS):
        return tuple(_LETTERS[letter] for letter in text)
    unknown = [word for word in words if word not in _NAMES]
    if unknown:
        raise ValueError(unknown[0])
    return tuple(_NAMES[word] for word in words)


# What a model's file may recommend: llama.cpp's keys (src/llama-arch.cpp), our names, and what is
# believed of it: a file may say anything.
_RECOMMENDED: tuple[tuple[str, str, Callable[[str], float], float, float], ...] = (
    ("top_k", "top_k", int, 0, 1 << 30),
    ("top_p", "top_p", float, 0, 1),
    ("min_p", "min_p", float, 0, 1),
    ("xtc_probability", "xtc_probability", float, 0, 1),
    ("xtc_threshold", "xtc_threshold", float, 0, 1),
    ("temp", "temperature", float, 0, 100),
    ("penalty_last_n", "repeat_last_n", int, -1, 1 << 20),
    ("penalty_repeat", "repeat_penalty", float, 0.01, 100),
    ("mirostat", "mirostat", int, 0, 2),
    ("mirostat_tau", "mirostat_ent", float, 0, 100),
    ("mirostat_eta", "mirostat_lr", float, 0, 100),
)


def recommended(metadata: Callable[[str], str | None]) -> dict[str, Any]:
    """The settings that a model's file recommends, as llama.cpp takes them from it.

    >>> recommended({"general.sampling.temp": "0.6", "general.sampling.top_p": "7"}.get)
    {'temperature': 0.6}
    """
    found: dict[str, Any] = {}
    for key, name, kind, least, most in _RECOMMENDED:
        with contextlib.suppress(ValueError):
            value = kind(metadata(f"general.sampling.{key}") or "")
            if least <= value <= most:
                found[name] = value
    with contextlib.suppress(ValueError):
        found["samplers"] = order(metadata("general.sampling.sequence") or "?")
    return found
