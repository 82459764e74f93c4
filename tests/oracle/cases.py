"""What the gate and its oracle are both asked, in words that belong to neither.

The oracle beside this file was written from the licence texts and the facts about
territories alone. It shares no code and no tables with the gate.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Evidence(Enum):
    """What can be seen of a file."""

    NAMED = "named"
    """Its true structure, its honest name and the licence its publisher states."""
    BARE = "bare"
    """Its true structure, and nothing said: no name, no licence, a neutral file name."""
    MISLABELLED = "mislabelled"
    """Its true structure under a made-up name, with `license: mit`."""


class Outcome(Enum):
    """What must come out."""

    ALLOW = "allow"
    REFUSE = "refuse"
    ASK_PERSON = "ask, exit 4"
    ASK_FILE = "ask, exit 5"


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """One case."""

    model: str
    """A key of `MODELS`."""
    evidence: Evidence
    person: str
    """individual, company or other-body."""
    domicile: tuple[str, ...]
    place_of_use: tuple[str, ...]
    role: str = "licensee"
    """licensee or end-user."""
    product: bool = False
    """Whether an end user says which product it is and who supplied it."""
    commercial: bool | None = None
    monthly_active_users: int | None = None
    annual_revenue_usd: int | None = None
    accepted: bool = True
    """Whether every licence that wants it was accepted, by this kind of person."""
    answers: tuple[tuple[str, str], ...] = ()
    """Readings of open points: ("territory-arguable:NC", "outside")."""


# Releases that structure and names can tell, by their rows in the table of structures.
MODELS = (
    "llama-2-7b",
    "llama-3-8b",
    "llama-3.1-8b",
    "llama-3.1-405b",
    "llama-3.2-1b",
    "llama-3.2-3b",
    "llama-3.2-11b-vision",
    "llama-3.2-90b-vision",
    "llama-3.3-70b",
    "llama-guard-3-1b",
    "llama-guard-3-11b-vision",
    "llama-4-scout",
    "llama-4-maverick",
    "llama-guard-4-12b",
    "mobilellm-r1-950m",
    "gemma-2-2b",
    "gemma-3-4b",
    "phi-3.5-mini",
    "smollm2-135m",
    "qwen2.5-0.5b",
    "qwen2.5-3b",
    "qwen2.5-72b",
    "qwen3-4b",
    "hunyuan-1.8b",
    "hunyuan-4b",
    "hunyuan-7b",
    "hunyuan-a13b",
    "hy-mt1.5-1.8b",
    "hy-mt2-1.8b",
    "hy-mt2-7b",
    "hunyuanocr",
    "mistral-7b-v0.1",
    "ministral-8b-2410",
    "lfm2-1.2b",
    "granite-3.1-2b",
    "exaone-4.0-32b",
    "gpt-oss-20b",
    "falcon3-1b",
    "stablelm-2-1.6b",
    "command-r7b",
)
