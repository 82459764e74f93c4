"""What is loaded beside a model takes memory, too, besides its weights. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from launcher.engine import kv
from launcher.models.bundle import Bundle, Role
from launcher.models.gguf import Header

# For each token of a vocabulary, with its place in the merges; as measured.
TOKEN = 345
COMPUTE_ROWS = 512  # tokens in one step of prompt processing
OVERHEAD_OF_IMAGES = 16 << 20  # bytes: the library for images, and one that is decoded


@dataclass(frozen=True, slots=True, kw_only=True)
class Companions:
    """Bytes that they take."""

    fixed: int = 0
    per_token: int = 0
    """For each token of the context."""


def of(bundle: Bundle) -> Companions:
    """What the parts of a bundle take that are not the model itself."""
    drafts, eyes = _headers(bundle, Role.DRAFT), _headers(bundle, Role.MMPROJ)
    drafting = sum(scratch(draft, COMPUTE_ROWS) + vocabulary(draft) for draft in drafts)
    return Companions(
        fixed=drafting + sum(map(sight, eyes)),
        per_token=sum(kv.bytes_per_token(draft) for draft in drafts),
    )


def _headers(bundle: Bundle, role: Role) -> list[Header]:
    return [part.header for part, *_ in bundle.having(role) if part.header is not None]


def sight(header: Header) -> int:
    """Bytes of what is computed of one image: activations, and the pixels of its patches."""
    side = header.parameter("vision.image_size") or 0
    patch = max(header.parameter("vision.patch_size") or 1, 1)
    embedding = header.parameter("vision.embedding_length") or 0
    feed_forward = header.parameter("vision.feed_forward_length") or 4 * embedding
    patches = (side // patch) ** 2
    return 4 * patches * (4 * embedding + 2 * feed_forward + 3 * patch**2) + OVERHEAD_OF_IMAGES


def vocabulary(header: Header) -> int:
    """Bytes of the tables that the engine makes of a vocabulary."""
    return (header.vocabulary or 0) * TOKEN


def scratch(header: Header, rows: int) -> int:
    """Bytes of one step that are really used: activations, and one row of scores."""
    embedding = header.parameter("embedding_length") or 0
    feed_forward = header.parameter("feed_forward_length") or 4 * embedding
    return 4 * rows * (4 * embedding + 2 * feed_forward) + 4 * (header.vocabulary or 0)
