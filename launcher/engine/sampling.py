"""How the next token is chosen: names and defaults as in llama.cpp's common/common.h."""

from __future__ import annotations

from dataclasses import dataclass

RANDOM = 0xFFFFFFFF  # LLAMA_DEFAULT_SEED: another seed each time


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
    mirostat: int = 0
    mirostat_lr: float = 0.1
    mirostat_ent: float = 5.0

    @property
    def penalises(self) -> bool:
        """Whether what was written before counts."""
        repeats = self.repeat_penalty != 1 or self.presence_penalty or self.frequency_penalty
        return bool(repeats and self.repeat_last_n) or self.dry_multiplier != 0

    @property
    def is_greedy(self) -> bool:
        """Whether the likeliest token is all that counts; what is off with it has no say."""
        chance = self.mirostat or self.xtc_probability > 0 or self.dynatemp_range > 0
        return self.temperature <= 0 and not chance
