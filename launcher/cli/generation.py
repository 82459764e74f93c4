"""Options that say how an answer is generated: llama.cpp's names, with its defaults."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, TypeVar

import click

from launcher.engine.drafting import Drafting
from launcher.engine.sampling import Sampling

F = TypeVar("F", bound=Callable[..., Any])
DEFAULT = Sampling()
_LARGEST_FILE = 1 << 20  # bytes


def _finite(number: float) -> float:
    if not math.isfinite(number):
        raise ValueError(number)
    return number


class _Number(click.FloatRange):
    """In a range, and a number: no range keeps out `nan`."""

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        number = super().convert(value, param, ctx)
        try:
            return _finite(number)
        except ValueError:
            self.fail(f"{value} is not a finite number", param, ctx)


class _AnyNumber(click.ParamType[float]):
    name = "float"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        try:
            return _finite(float(value))
        except ValueError:
            self.fail(f"{value} is not a finite number", param, ctx)


class _Contents(click.Path):
    """A file, read."""

    def __init__(self, *, is_json: bool = False) -> None:
        super().__init__(exists=True, dir_okay=False, path_type=Path)
        self.is_json = is_json

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        path = Path(str(super().convert(value, param, ctx)))
        try:
            if path.stat().st_size > _LARGEST_FILE:
                self.fail(f"{path} is too long to be one", param, ctx)
            text = path.read_text("utf-8")
            if self.is_json:
                json.loads(text)
        except (OSError, ValueError, RecursionError) as error:
            self.fail(f"{path} cannot be read: {error}", param, ctx)
        return text


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

    @property
    def wishes(self) -> dict[str, Any]:
        """As `Engine.generate` takes them."""
        names = ("sampling", "max_tokens", "stop", "grammar", "json_schema", "logprobs", "drafting")
        return {name: getattr(self, name) for name in names}


_ANY = _AnyNumber()
_POSITIVE = _Number(min=0)
_SHARE = _Number(0, 1)
_COUNT = click.IntRange(min=0)

# Option, the field of `Sampling`, type, help.
_SAMPLING: tuple[tuple[tuple[str, ...], str, click.ParamType[Any], str], ...] = (
    (("--temp",), "temperature", _POSITIVE, "0: always the likeliest token."),
    (("--top-k",), "top_k", _COUNT, "Of so many of the likeliest; 0: of all."),
    (("--top-p",), "top_p", _SHARE, "Of the likeliest that make up this share; 1: of all."),
    (("--min-p",), "min_p", _SHARE, "Of those at least this likely, beside the likeliest."),
    (("--typical", "--typical-p"), "typical_p", _SHARE, "Locally typical; 1: off."),
    (("--top-n-sigma",), "top_n_sigma", _ANY, "Within so many deviations; below 0: off."),
    (("--xtc-probability",), "xtc_probability", _SHARE, "Leave out the likeliest; 0: never."),
    (("--xtc-threshold",), "xtc_threshold", _SHARE, "How likely those must be."),
    (("--dynatemp-range",), "dynatemp_range", _POSITIVE, "How far the temperature varies."),
    (("--dynatemp-exp",), "dynatemp_exp", _ANY, "How it does with the entropy."),
    (("--repeat-last-n",), "repeat_last_n", click.IntRange(min=-1), "Tokens; -1: all; 0: off."),
    (("--repeat-penalty",), "repeat_penalty", _Number(min=0, min_open=True), "1: off."),
    (("--presence-penalty",), "presence_penalty", _ANY, "0: off."),
    (("--frequency-penalty",), "frequency_penalty", _ANY, "0: off."),
    (("--dry-multiplier",), "dry_multiplier", _POSITIVE, "Against repeated sequences; 0: off."),
    (("--dry-base",), "dry_base", _POSITIVE, "How it grows with their length."),
    (("--dry-allowed-length",), "dry_allowed_length", _COUNT, "How long they may be."),
    (("--dry-penalty-last-n",), "dry_penalty_last_n", _COUNT, "Tokens looked at; 0: off."),
    (("--mirostat",), "mirostat", click.IntRange(0, 2), "1 or 2: in place of the above."),
    (("--mirostat-lr",), "mirostat_lr", _POSITIVE, "Its learning rate."),
    (("--mirostat-ent",), "mirostat_ent", _POSITIVE, "Its target entropy."),
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
    numbers = [
        click.option(
            *names, field, type=kind, default=getattr(default, field), show_default=True, help=text
        )
        for default, table in ((DEFAULT, _SAMPLING), (Drafting(), _DRAFTING))
        for names, field, kind, text in table
    ]
    return [
        click.option(
            "-n", "--max-tokens", type=click.IntRange(min=1), help="Stop after so many tokens."
        ),
        *numbers,
        click.option(
            "--seed", type=click.IntRange(-1, 2**32 - 1), help="The same seed, the same text."
        ),
        click.option("--stop", "-r", multiple=True, metavar="TEXT", help="A text that ends it."),
        click.option(
            "--grammar", "--grammar-file", "grammar", type=_Contents(), help="A file of GBNF."
        ),
        click.option(
            "--json-schema",
            "--json-schema-file",
            "-jf",
            "json_schema",
            type=_Contents(is_json=True),
            help="A file; the answer is JSON that it describes.",
        ),
        click.option(
            "--logprobs",
            type=click.IntRange(0, 100),
            help="Print a JSON object for each token, with so many of the likeliest.",
        ),
    ]


def styled(command: F) -> F:
    """Adds the options of which `style` makes a `Style`."""
    for option in reversed(_options()):
        command = option(command)
    return command


def style(values: dict[str, Any]) -> Style:
    """What the options say; they are taken out of the values."""
    if values["grammar"] and values["json_schema"]:
        raise click.UsageError("--grammar and --json-schema rule each other out.")
    names = {field.name for field in fields(Sampling)} - {"seed"}
    sampling = {name: values.pop(name) for name in names}
    drafting = {field.name: values.pop(field.name) for field in fields(Drafting)}
    seed = values.pop("seed")
    if seed is not None:
        sampling["seed"] = seed % 2**32  # -1, as llama.cpp has it: another one each time
    return Style(
        sampling=sampling,
        drafting=drafting,
        max_tokens=values.pop("max_tokens"),
        system=values.pop("system"),
        stop=values.pop("stop"),
        grammar=values.pop("grammar") or "",
        json_schema=values.pop("json_schema") or "",
        logprobs=values.pop("logprobs"),
    )
