"""What is loaded beside a model takes memory, too, besides its weights. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from launcher.engine import kv
from launcher.models.bundle import Bundle, Role
from launcher.models.gguf import Header

# For each token of a vocabulary, with its place in the merges; as measured.
TOKEN = 345
COMPUTE_ROWS = 512  # tokens in one step of prompt processing


@dataclass(frozen=True, slots=True, kw_only=True)
class Companions:
    """Bytes that they take."""

    fixed: int = 0
    per_token: int = 0
    """For each token of the context."""


def of(bundle: Bundle) -> Companions:
    """What the parts of a bundle take that are not the model itself."""
    drafts = [draft.header for draft, *_ in bundle.having(Role.DRAFT) if draft.header is not None]
    return Companions(
        fixed=sum(scratch(draft, COMPUTE_ROWS) + vocabulary(draft) for draft in drafts),
        per_token=sum(kv.bytes_per_token(draft) for draft in drafts),
    )


def vocabulary(header: Header) -> int:
    """Bytes of the tables that the engine makes of a vocabulary."""
    return (header.vocabulary or 0) * TOKEN


def scratch(header: Header, rows: int) -> int:
    """Bytes of one step that are really used: activations, and one row of scores."""
    embedding = header.parameter("embedding_length") or 0
    feed_forward = header.parameter("feed_forward_length") or 4 * embedding
    return 4 * rows * (4 * embedding + 2 * feed_forward) + 4 * (header.vocabulary or 0)
