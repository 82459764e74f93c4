"""Turns a conversation into the text a model was trained on, by the template in its file.

The template is a program from a stranger. It is rendered by Jinja's immutable sandbox, in a
process that can do nothing else (`rendering`).
"""

from __future__ import annotations

import datetime
import json
from collections.abc import Mapping, Sequence
from typing import Any

from jinja2 import TemplateError
from jinja2.exceptions import SecurityError
from jinja2.sandbox import ImmutableSandboxedEnvironment

_BROKEN = (
    TemplateError,
    TypeError,
    ValueError,
    LookupError,
    ArithmeticError,
    AttributeError,
    RuntimeError,
)
_LONGEST_REASON = 300  # characters


class TemplateFailed(Exception):
    """The template could not be rendered.

    `cause` is `refused` (the template itself objects to the conversation), `forbidden` (it
    tried what no template may) or `broken`.
    """

    def __init__(self, cause: str, message: str) -> None:
        super().__init__(message[:_LONGEST_REASON])
        self.cause = cause


class _Refused(TemplateError):
    """The template called `raise_exception`."""


def render(template: str, messages: Sequence[Mapping[str, str]], *, bos: str, eos: str) -> str:
    """The prompt for a conversation, ready for the model's answer. Raises `TemplateFailed`."""
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"]
    )
    environment.filters["tojson"] = _tojson
    environment.globals["raise_exception"] = _raise
    environment.globals["strftime_now"] = _now
    try:
        return environment.from_string(template).render(
            messages=[dict(message) for message in messages],
            tools=None,
            documents=None,
            add_generation_prompt=True,
            bos_token=bos,
            eos_token=eos,
        )
    except _Refused as error:
        text = f"the model's chat template refuses this conversation: {error}"
        raise TemplateFailed("refused", text) from error
    except SecurityError as error:
        text = f"the model's chat template tries what it may not: {error}"
        raise TemplateFailed("forbidden", text) from error
    except RecursionError:
        raise
    except _BROKEN as error:
        text = f"the model's chat template does not work: {error}"
        raise TemplateFailed("broken", text) from error


def _tojson(value: Any, indent: int | None = None, **_: object) -> str:
    return json.dumps(value, ensure_ascii=False, indent=indent)


def _raise(message: str) -> None:
    raise _Refused(str(message)[:_LONGEST_REASON])


def _now(form: str) -> str:
    return datetime.datetime.now().strftime(form)  # noqa: DTZ005  # templates print the local day
