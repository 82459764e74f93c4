"""Options that say how an answer is generated: llama.cpp's names, with its defaults."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, fields
from typing import Any, TypeVar

import click

from launcher.cli.chat.thinking import ALL, OPENING
from launcher.cli.kinds import AnyNumber, Bias, Contents, JsonObject, Number, Order
from launcher.engine.drafting import Drafting
from launcher.engine.sampling import Sampling

F = TypeVar("F", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True, kw_only=True)
class Style:
    """How answers are generated."""

    sampling: dict[str, Any]
    max_tokens: int | None
    system: str | None
    stop: tuple[str, ...]
    grammar: str
    json_schema: str
    logprobs: int | None
    drafting: dict[str, Any]
    chat_template: str
    """In the place of the one in the model's file."""
    template: dict[str, Any]
    """Further variables of the template."""
    raw: bool
    """The prompt is a text to go on with, and no conversation."""

    @property
    def wishes(self) -> dict[str, Any]:
        """As `Engine.generate` takes them."""
        rest = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: rest[name] for name in rest if name not in _NOT_ASKED} | _TAGS


_TAGS = {"opened": OPENING, "shown": ALL}
_NOT_ASKED = ("system", "raw")
_ANY = AnyNumber()
_POSITIVE = Number(min=0)
_SHARE = Number(0, 1)
_COUNT = click.IntRange(min=0)

# Option, the field of `Sampling`, type, help.
_SAMPLING: tuple[tuple[tuple[str, ...], str, click.ParamType[Any], str], ...] = (
    (("--temp", "--temperature"), "temperature", _POSITIVE, "0: always the likeliest token."),
    (("--top-k",), "top_k", _COUNT, "Of so many of the likeliest; 0: of all."),
    (("--top-p",), "top_p", _SHARE, "Of the likeliest that make up this share; 1: of all."),
    (("--min-p",), "min_p", _SHARE, "Of those at least this likely, beside the likeliest."),
    (("--typical", "--typical-p"), "typical_p", _SHARE, "Locally typical; 1: off."),
    (
        ("--top-n-sigma", "--top-nsigma"),
        "top_n_sigma",
        _ANY,
        "Within so many deviations; below 0: off.",
    ),
    (("--xtc-probability",), "xtc_probability", _SHARE, "Leave out the likeliest; 0: never."),
    (("--xtc-threshold",), "xtc_threshold", _SHARE, "How likely those must be."),
    (("--dynatemp-range",), "dynatemp_range", _POSITIVE, "How far the temperature varies."),
    (("--dynatemp-exp",), "dynatemp_exp", _ANY, "How it does with the entropy."),
    (("--repeat-last-n",), "repeat_last_n", click.IntRange(min=-1), "Tokens; -1: all; 0: off."),
    (("--repeat-penalty",), "repeat_penalty", Number(min=0, min_open=True), "1: off."),
    (("--presence-penalty",), "presence_penalty", _ANY, "0: off."),
    (("--frequency-penalty",), "frequency_penalty", _ANY, "0: off."),
    (("--dry-multiplier",), "dry_multiplier", _POSITIVE, "Against repeated sequences; 0: off."),
    (("--dry-base",), "dry_base", _POSITIVE, "How it grows with their length."),
    (("--dry-allowed-length",), "dry_allowed_length", _COUNT, "How long they may be."),
    (("--dry-penalty-last-n",), "dry_penalty_last_n", _COUNT, "Tokens looked at; 0: off."),
    (("--mirostat",), "mirostat", click.IntRange(0, 2), "1 or 2: in place of the above."),
    (("--mirostat-lr",), "mirostat_lr", _POSITIVE, "Its learning rate."),
    (("--mirostat-ent",), "mirostat_ent", _POSITIVE, "Its target entropy."),
    (("--adaptive-target",), "adaptive_target", Number(max=1), "Of adaptive_p; below 0: off."),
    (("--adaptive-decay",), "adaptive_decay", Number(0, 0.99), "How long it remembers."),
)


_MOST_GUESSES = 64
# The same for `Drafting`.
_DRAFTING: tuple[tuple[tuple[str, ...], str, click.ParamType[Any], str], ...] = (
    (
        ("--draft-max", "--spec-draft-n-max"),
        "n_max",
        click.IntRange(0, _MOST_GUESSES),
        "Tokens that --draft guesses at once.",
    ),
    (
        ("--draft-min", "--spec-draft-n-min"),
        "n_min",
        click.IntRange(0, _MOST_GUESSES),
        "None, where it has fewer.",
    ),
    (
        ("--draft-p-min", "--spec-draft-p-min"),
        "p_min",
        _SHARE,
        "How likely it must find each.",
    ),
)


def _options() -> list[Callable[[F], F]]:
    return [
        click.option(
            "-n",
            "--max-tokens",
            "--predict",
            "--n-predict",
            "max_tokens",
            type=click.IntRange(min=-1),
            help="Stop after so many tokens; -1: at the end of the context.",
        ),
        *_numbers(Sampling(), _SAMPLING),
        *_numbers(Drafting(), _DRAFTING),
        *_OTHERS,
        *_TEMPLATES,
    ]


def _numbers(
    defaults: Sampling | Drafting,
    table: Iterable[tuple[tuple[str, ...], str, click.ParamType[Any], str]],
) -> list[Callable[[F], F]]:
    """What is not given is left to the model's file, which may recommend something."""
    return [
        click.option(
            *names, field, type=kind, show_default=str(getattr(defaults, field)), help=text
        )
        for names, field, kind, text in table
    ]


_OTHERS: tuple[Callable[[F], F], ...] = (
    click.option(
        "--dry-sequence-breaker",
        "dry_sequence_breakers",
        multiple=True,
        metavar="TEXT",
        help='Where repeated sequences end, in place of a new line, :, " and *; none: nowhere.',
    ),
    click.option(
        "--samplers",
        "--sampler-seq",
        "--sampling-seq",
        "samplers",
        type=Order(),
        help="Which, and in which order: penalties;dry;top_n_sigma;top_k;typ_p;top_p;min_p;xtc;"
        "temperature, adaptive_p, or the letters edskypmxta.",
    ),
    click.option(
        "-l",
        "--logit-bias",
        "logit_bias",
        multiple=True,
        type=Bias(),
        help="Raise or lower a token's score, such as 15043+1; 15043-inf: never.",
    ),
    click.option("--ignore-eos", is_flag=True, help="Go on where the model would end."),
    click.option(
        "--seed", type=click.IntRange(-1, 2**32 - 1), help="The same seed, the same text."
    ),
    click.option(
        "--stop",
        "--reverse-prompt",
        "-r",
        "stop",
        multiple=True,
        metavar="TEXT",
        help="A text that ends it.",
    ),
    click.option("--grammar", "--grammar-file", "grammar", type=Contents(), help="A file of GBNF."),
    click.option(
        "--json-schema",
        "--json-schema-file",
        "-jf",
        "json_schema",
        type=Contents(is_json=True),
        help="A file; the answer is JSON that it describes.",
    ),
    click.option(
        "--logprobs",
        type=click.IntRange(0, 100),
        help="Print a JSON object for each token, with so many of the likeliest.",
    ),
)

_TEMPLATES: tuple[Callable[[F], F], ...] = (
    click.option(
        "--chat-template", metavar="TEXT", help="Jinja, in the place of the model's chat template."
    ),
    click.option("--chat-template-file", type=Contents(), help="The same, from a file."),
    click.option(
        "--chat-template-kwargs",
        "template",
        type=JsonObject(),
        help='Variables of the chat template, such as {"enable_thinking": false}.',
    ),
    click.option(
        "--reasoning",
        "-rea",
        type=click.Choice(["on", "off", "auto"]),
        help="Whether the model is told to reason first; auto: as its template has it.",
    ),
    click.option(
        "--no-conversation",
        "-no-cnv",
        "raw",
        is_flag=True,
        help="Go on with PROMPT as a text, without a chat template.",
    ),
)


def styled(command: F) -> F:
    """Adds the options of which `style` makes a `Style`."""
    for option in reversed(_options()):
        command = option(command)
    return command


def style(values: dict[str, Any]) -> Style:
    """What the options say; they are taken out of the values."""
    if values["grammar"] and values["json_schema"]:
        raise click.UsageError("--grammar and --json-schema rule each other out.")
    tokens = values.pop("max_tokens")
    return Style(
        sampling=_given(values, _OF_SAMPLING),
        drafting=_given(values, _OF_DRAFTING),
        max_tokens=None if tokens == -1 else tokens,
        system=values.pop("system"),
        stop=values.pop("stop"),
        grammar=values.pop("grammar") or "",
        json_schema=values.pop("json_schema") or "",
        logprobs=values.pop("logprobs"),
        chat_template=_chat_template(values),
        template=_variables(values),
        raw=values.pop("raw"),
    )


_OF_SAMPLING = tuple(field.name for field in fields(Sampling) if field.name != "min_keep")
_OF_DRAFTING = tuple(field.name for field in fields(Drafting))


def _given(values: dict[str, Any], names: Iterable[str]) -> dict[str, Any]:
    """Those that were given, as their fields take them."""
    found = {name: values.pop(name) for name in names}
    return {
        name: as_field(name, value)
        for name, value in found.items()
        if value is not None and value != () and value is not False
    }


def as_field(name: str, value: Any) -> Any:
    """What an option gives, as the field of `Sampling` or `Drafting` takes it."""
    if name == "seed":
        return value % 2**32  # -1, as llama.cpp has it: another one each time
    if name == "dry_sequence_breakers":
        return tuple(text for text in value if text != "none")
    if name == "logit_bias":
        sums: defaultdict[int, float] = defaultdict(float)
        for token, bias in value:
            sums[token] += bias
        return dict(sums)
    return value


def _chat_template(values: dict[str, Any]) -> str:
    text, read = values.pop("chat_template"), values.pop("chat_template_file")
    if text and read:
        raise click.UsageError("--chat-template and --chat-template-file rule each other out.")
    if text and "{" not in text:
        raise click.UsageError("--chat-template takes a template's text, and no name of one.")
    return text or read or ""


def _variables(values: dict[str, Any]) -> dict[str, Any]:
    """The template's. Qwen's and SmolLM3's ask for `enable_thinking`, Granite's for `thinking`."""
    reasoning, given = values.pop("reasoning"), values.pop("template") or {}
    if reasoning in (None, "auto"):
        return given
    return {"enable_thinking": reasoning == "on", "thinking": reasoning == "on", **given}
