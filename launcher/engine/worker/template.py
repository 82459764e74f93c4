"""Turns a conversation into the text a model was trained on, by the template in its file.

The template is a program from a stranger. It is rendered by Jinja's immutable sandbox, in a
process that can do nothing else (`helper`).
"""

from __future__ import annotations

import contextlib
import datetime
import json
import marshal
from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from jinja2 import Template, TemplateError, nodes
from jinja2.exceptions import SecurityError
from jinja2.ext import Extension, loopcontrols
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment

from launcher.engine.worker.conversation import prepared

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
_NONE: Mapping[str, Any] = MappingProxyType({})


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


class _Generation(Extension):
    """`{% generation %}`, by which transformers finds what to train on; it changes no text."""

    tags = {"generation"}  # noqa: RUF012  # as Jinja declares it

    def parse(self, parser: Parser) -> list[nodes.Node]:
        """What stands inside."""
        next(parser.stream)
        return list(parser.parse_statements(("name:endgeneration",), drop_needle=True))


def compiled(template: str) -> bytes:
    """A template as code, for `render` in another process. Raises `TemplateFailed`."""
    with _told():
        return marshal.dumps(_environment().compile(template))


def render(
    template: str,
    messages: Sequence[Mapping[str, Any]],
    *,
    bos: str,
    eos: str,
    tools: Sequence[Mapping[str, Any]] | None = None,
    variables: Mapping[str, Any] = _NONE,
    code: bytes | None = None,
) -> str:
    """The prompt for a conversation, ready for the model's answer.

    Messages and tools are in OpenAI's form. `variables` are what else the template may know,
    such as `enable_thinking`; `code` is the template, compiled. Raises `TemplateFailed`.
    """
    with _told():
        return _made(template, code).render(
            {
                "documents": None,
                "add_generation_prompt": True,
                **variables,
                "messages": prepared(messages),
                "tools": [*tools] if tools else None,
                "bos_token": bos,
                "eos_token": eos,
            }
        )


def _made(template: str, code: bytes | None) -> Template:
    environment = _environment()
    if code is None:
        return environment.from_string(template)
    known = environment.make_globals(None)
    return environment.template_class.from_code(environment, marshal.loads(code), known)  # noqa: S302  # in a process that can do no harm


@contextlib.contextmanager
def _told() -> Iterator[None]:
    """Whatever fails in the block, fails as `TemplateFailed`."""
    try:
        yield
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


def _environment() -> ImmutableSandboxedEnvironment:
    """As transformers makes it for chat templates."""
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[loopcontrols, _Generation]
    )
    environment.filters["tojson"] = _tojson
    environment.globals["raise_exception"] = _raise
    environment.globals["strftime_now"] = _now
    return environment


def _tojson(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    """Unlike Jinja's own it escapes nothing for HTML."""
    return json.dumps(
        value,
        ensure_ascii=ensure_ascii,
        indent=indent,
        separators=separators,
        sort_keys=sort_keys,
    )


def _raise(message: str) -> None:
    raise _Refused(str(message)[:_LONGEST_REASON])


def _now(form: str) -> str:
    return datetime.datetime.now().strftime(form)  # noqa: DTZ005  # templates print the local day
