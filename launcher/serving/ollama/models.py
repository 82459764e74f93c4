"""What Ollama's API tells of a model: its header's facts, its licence, the gate's verdict. Pure."""

from __future__ import annotations

import datetime
import re
from typing import Any

from launcher.flow import Judgement
from launcher.licensing import policy
from launcher.licensing.policy import Licence
from launcher.models import quants
from launcher.models.gguf import Header, Summary
from launcher.serving import notices
from launcher.serving.tools.reasoning import TAGS

TEMPLATE = "tokenizer.chat_template"
MAX_LISTED = 64  # elements; longer arrays are left out, as Ollama leaves them out
# Ollama gives these in places of their own.
_ELSEWHERE = frozenset({TEMPLATE, "general.name"})
# What templates of models that reason have: the marks around it, or a variable that asks for it.
_REASONING = (*(mark for mark, _ in TAGS), "enable_thinking", "reasoning_effort")
_SIZES = ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "K"))


def entry(name: str, judgement: Judgement) -> dict[str, Any]:
    """A model in a list."""
    bundle = judgement.bundle
    return {
        "name": name,
        "model": name,
        "modified_at": modified(judgement),
        "size": bundle.size,
        "digest": bundle.main.sha256 or bundle.main.expected,
        "details": details(judgement),
        "launcher": terms(judgement),
    }


def running(name: str, judgement: Judgement, *, context: int) -> dict[str, Any]:
    """A model that is loaded, with a context of so many tokens."""
    found = entry(name, judgement)
    del found["modified_at"]
    never = stamp(datetime.datetime.max.replace(tzinfo=datetime.UTC))
    return {**found, "expires_at": never, "size_vram": 0, "context_length": context}


def shown(judgement: Judgement, *, context: int | None) -> dict[str, Any]:
    """All about one model; `context` is what it is loaded with, in tokens."""
    header = judgement.bundle.main.header
    parameters = "" if context is None else f"num_ctx                        {context}"
    knows_tools = re.search(r"\btools\b", _template(judgement)) is not None
    abilities = {"completion": True, "tools": knows_tools, "thinking": thinks(judgement)}
    return {
        "license": licence_text(judgement),
        "modelfile": "",
        "parameters": parameters,
        "template": _template(judgement),
        "details": details(judgement),
        "model_info": {} if header is None else model_info(header),
        "capabilities": [name for name, has in abilities.items() if has],
        "modified_at": modified(judgement),
        "launcher": terms(judgement),
    }


def terms(judgement: Judgement) -> dict[str, Any]:
    """What binds whoever uses the model; Ollama's API has no place for it."""
    decision = judgement.decision
    return {"verdict": str(decision.verdict), "code": decision.code, **notices.of(decision)}


def details(judgement: Judgement) -> dict[str, Any]:
    """Size, quant and architecture, as the header shows them."""
    headers = [part.header for part in judgement.bundle.parts if part.header is not None]
    main = judgement.bundle.main.header
    family = main.architecture if main is not None else ""
    count = sum(header.parameters for header in headers)
    return {
        "parent_model": "",
        "format": "gguf",
        "family": family,
        "families": [family] if family else [],
        "parameter_size": parameter_size(count) if count else "",
        "quantization_level": quants.held(headers) if headers else "",
    }


def parameter_size(count: int) -> str:
    """A number of parameters as Ollama writes it.

    >>> parameter_size(134_515_008), parameter_size(8_030_261_248)
    ('134.52M', '8.0B')
    """
    for size, letter in _SIZES:
        if count >= size:
            return f"{count / size:.2f}{letter}" if letter == "M" else f"{count / size:.1f}{letter}"
    return str(count)


def model_info(header: Header) -> dict[str, Any]:
    """The header's metadata; null where a value is too long to list."""
    found: dict[str, Any] = {"general.parameter_count": header.parameters}
    for key, kept in header.metadata.items():
        if key in _ELSEWHERE:
            continue
        value = kept.value
        too_long = isinstance(value, Summary) or (
            isinstance(value, tuple) and len(value) > MAX_LISTED
        )
        found[key] = None if too_long else _finite(value)
    return found


def _finite(value: object) -> object:
    """JSON has no infinity."""
    if isinstance(value, float) and value - value != 0:
        return None
    if isinstance(value, tuple):
        return [_finite(element) for element in value]
    return value


def licence_text(judgement: Judgement) -> str:
    """The licence, where its texts are, and what it asks for; the launcher ships no texts."""
    known = policy.load().licences
    found = [known[id] for id in judgement.decision.licences if id in known]
    if not found:
        return "The licence is not known"
    return "\n\n".join(_licence_text(licence) for licence in found)


def _licence_text(licence: Licence) -> str:
    lines = [f"{licence.title} ({licence.id})"]
    lines += [f"{document.title}: {document.url}" for document in licence.documents]
    lines += [f"- {duty.text}" for duty in licence.duties]
    return "\n".join(lines)


def modified(judgement: Judgement) -> str:
    """When the main file was written last."""
    file = judgement.bundle.main.file
    seconds = file.stamp.modified_ns / 1e9 if file is not None else 0.0
    return stamp(datetime.datetime.fromtimestamp(seconds, datetime.UTC))


def stamp(moment: datetime.datetime) -> str:
    """A moment as Ollama writes it: RFC 3339.

    >>> stamp(datetime.datetime(2026, 1, 2, tzinfo=datetime.UTC))
    '2026-01-02T00:00:00.000000Z'
    """
    return moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def thinks(judgement: Judgement) -> bool:
    """Whether the model reasons before it answers, as far as its template tells."""
    template = _template(judgement)
    return any(word in template for word in _REASONING)


def _template(judgement: Judgement) -> str:
    header = judgement.bundle.main.header
    return "" if header is None else header.text(TEMPLATE) or ""
