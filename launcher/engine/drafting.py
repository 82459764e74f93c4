"""How a second model guesses ahead: defaults as in llama.cpp's common/common.h."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Drafting:
    """The settings of `--draft`."""

    n_max: int = 3
    """Tokens that are guessed at once, at most."""
    n_min: int = 0
    """Where fewer can be guessed, none are."""
    p_min: float = 0.0
    """How likely the draft must find a token to guess it."""
