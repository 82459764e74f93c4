"""Turns a conversation into the text a model was trained on, by the template in its file.

The template is a program from a stranger. It is rendered in the worker only, by Jinja's
immutable sandbox.
"""

from __future__ import annotations

import datetime
import json
from collections.abc import Mapping, Sequence
from typing import Any

from jinja2 import TemplateError
from jinja2.sandbox import ImmutableSandboxedEnvironment

# ChatML, for files that carry no template.
FALLBACK = (
    "{% for message in messages %}{{ '<|im_start|>' + message.role + '\n' + message.content"
    " + '<|im_end|>\n' }}{% endfor %}{{ '<|im_start|>assistant\n' }}"
)


class TemplateFailed(Exception):
    """The template could not be rendered."""


def render(template: str, messages: Sequence[Mapping[str, str]], *, bos: str, eos: str) -> str:
    """The prompt for a conversation, ready for the model's answer. Raises `TemplateFailed`."""
    environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True)
    environment.filters["tojson"] = _tojson
    environment.globals["raise_exception"] = _raise
    environment.globals["strftime_now"] = _now
    try:
        return environment.from_string(template).render(
            messages=[dict(message) for message in messages],
            add_generation_prompt=True,
            bos_token=bos,
            eos_token=eos,
        )
    except (TemplateError, TypeError, ValueError, LookupError, ArithmeticError) as error:
        raise TemplateFailed(f"the model's chat template does not work: {error}") from error
    except (RecursionError, MemoryError) as error:
        raise TemplateFailed("the model's chat template asks for too much") from error


def _tojson(value: Any, indent: int | None = None, **_: object) -> str:
    return json.dumps(value, ensure_ascii=False, indent=indent)


def _raise(message: str) -> None:
    raise TemplateError(message)


def _now(form: str) -> str:
    return datetime.datetime.now().strftime(form)  # noqa: DTZ005  # templates print the local day
