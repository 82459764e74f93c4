"""Models that draft: whether one can guess for the model that it is given with.

A guess is a token's number, so both must number their tokens alike. What the headers tell is
compared here, before anything is fetched or loaded; the texts of the tokens by the worker.
"""

from __future__ import annotations

from collections.abc import Collection

from launcher.errors import Unsupported
from launcher.models.bundle import Bundle, Part, Role
from launcher.models.gguf import Header

# By so many tokens two vocabularies may differ at their ends.
# Source: SPEC_VOCAB_MAX_SIZE_DIFFERENCE in llama.cpp's common/speculative.cpp.
LARGEST_DIFFERENCE = 128
ANOTHER = "Use a smaller model of the same family, or leave --draft out."


def refuse_misfits(bundle: Bundle, architectures: Collection[str]) -> None:
    """Raises `Unsupported` for a draft that the engine cannot run, or not for this model."""
    for draft, *_ in bundle.having(Role.DRAFT):
        if draft.header is None:
            continue
        if draft.header.architecture not in architectures:
            raise Unsupported(
                f"The engine does not know the architecture {draft.header.architecture} of "
                f"{draft.name}, which is to draft"
            )
        if bundle.main.header is not None:
            _refuse_misfit(draft, draft.header, bundle.main.header)


def _refuse_misfit(part: Part, draft: Header, model: Header) -> None:
    kinds = [header.text("tokenizer.ggml.model") for header in (draft, model)]
    if None not in kinds and kinds[0] != kinds[1]:
        raise misfit(part, f"its vocabulary is of the kind {kinds[0]}, not {kinds[1]}")
    counts = (draft.vocabulary, model.vocabulary)
    if counts[0] is None or counts[1] is None:
        return
    if abs(counts[0] - counts[1]) > LARGEST_DIFFERENCE:
        raise misfit(part, f"its vocabulary has {counts[0]} tokens, not {counts[1]}")


def misfit(part: Part, reason: str) -> Unsupported:
    """That a model cannot draft for another."""
    return Unsupported(f"{part.name} cannot draft for this model: {reason}", hint=ANOTHER)
