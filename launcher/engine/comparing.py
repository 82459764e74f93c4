"""What is sent to a worker for a load, and whether it sees what was judged."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from launcher.clearance import Cleared
from launcher.engine.messages import Message
from launcher.errors import IntegrityError
from launcher.models import projectors
from launcher.models.bundle import Bundle, Part, Role
from launcher.models.gguf import TOKENS, Header


def load_message(cleared: Cleared) -> Message:
    """How a bundle is to be loaded; its files go with it, in the order of the parts."""
    bundle = cleared.bundle
    sets = [_asked(parts, bundle) for parts in bundle.sets]
    return {**cleared.plan.message(), "sets": sets}


def _asked(parts: Sequence[Part], bundle: Bundle) -> Message:
    """What the worker is told of a file, or of all shards of one."""
    header = parts[0].header
    assert header is not None
    # Of an image half the engine tells nothing but what it takes in.
    compared = () if parts[0].role is Role.MMPROJ else _comparable(header)
    asked = {
        "role": str(parts[0].role),
        "files": len(parts),
        "compare": [key for key, _ in compared],
    }
    if parts[0].role is not Role.DRAFT:
        return asked
    main = bundle.main.header
    assert main is not None
    return {**asked, "same_tokens": header.metadata.get(TOKENS) == main.metadata.get(TOKENS)}


def refuse_difference(bundle: Bundle, reply: Message) -> None:
    """Raises `IntegrityError` when the engine sees other files than those that were judged."""
    for parts, seen in zip(bundle.sets, reply["sets"], strict=True):
        header = parts[0].header
        assert header is not None
        differences = [
            f"{key} is {ours!a} in the header, {seen['metadata'].get(key)!a} in the engine"
            for key, ours in _comparable(header)
            if seen["metadata"].get(key) != ours
        ]
        if parts[0].role is Role.MMPROJ:
            differences = list(_other_senses(header, seen["senses"]))
        count = seen.get("sizes", {}).get("vocabulary")
        if count is not None and header.vocabulary not in (None, count):
            differences.append(f"{header.vocabulary} tokens in the header, {count} in the engine")
        _refuse_any(parts[0], differences)


def _other_senses(header: Header, seen: Mapping[str, bool]) -> Iterator[str]:
    """In what an image half is another to the engine than to the gate."""
    for sense in ("vision", "audio"):
        ours = projectors.takes_in(header, sense)
        if seen[sense] and not ours:
            yield f"it takes in {sense} in the engine, and not in the header"


def _comparable(header: Header) -> Iterator[tuple[str, str]]:
    """All that the engine keeps as text too: every value but arrays and fractions.

    The sizes and the statements that a decision rests on are among them.
    """
    for key, entry in header.metadata.items():
        if isinstance(entry.value, bool):
            yield key, "true" if entry.value else "false"
        elif isinstance(entry.value, (str, int)):
            yield key, str(entry.value)


def _refuse_any(part: Part, differences: Sequence[str]) -> None:
    if differences:
        raise IntegrityError(
            f"{part.name} shows the engine another model than it shows the gate: "
            + "; ".join(differences),
            hint="Nothing was generated. Do not use this file.",
        )
