"""Options that several commands share."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from launcher import settings
from launcher.asker import Asker, Request
from launcher.licensing.declaration import VARIABLE, Role, Stated, check_answer, who
from launcher.licensing.regions import Country, country
from launcher.paths import places

F = TypeVar("F", bound=Callable[..., Any])

as_json = click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")


class _Who(click.ParamType[Any]):
    name = "who"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        try:
            return who(value) if isinstance(value, str) else value
        except ValueError as error:
            self.fail(str(error), param, ctx)


class _Country(click.ParamType[Country]):
    name = "country"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> Country:
        try:
            return country(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


class _YesNo(click.ParamType[bool]):
    name = "yes|no"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> bool:
        if isinstance(value, bool):
            return value
        if value.lower() not in ("yes", "no"):
            self.fail(f"{value!a} is neither yes nor no", param, ctx)
        return bool(value.lower() == "yes")


class _Answer(click.ParamType[tuple[str, str]]):
    name = "point=word"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, str]:
        key, _, word = value.partition("=")
        try:
            check_answer(key, word)
        except ValueError as error:
            self.fail(str(error), param, ctx)
        return key, word


class _Rate(click.ParamType[float]):
    name = "rate"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        match = re.fullmatch(r"(\d{1,9}(?:\.\d{1,3})?)([kmg]?)b?(?:/s)?", str(value).lower())
        if match is None or not float(match[1]):
            self.fail(f"{value!a} is no rate; write bytes a second like 500k or 2M", param, ctx)
        return float(match[1]) * {"": 1, "k": 1e3, "m": 1e6, "g": 1e9}[match[2]]


class _Days(click.ParamType[float]):
    name = "days"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        match = re.fullmatch(r"(\d{1,5})([dwmy]?)", str(value).lower())
        if match is None:
            self.fail(f"{value!a} is no time; write it like 90d, 12w or 1y", param, ctx)
        return float(match[1]) * {"": 1, "d": 1, "w": 7, "m": 30, "y": 365}[match[2]]


_PATH = click.Path(path_type=Path)
RATE = _Rate()
DAYS = _Days()
WHO = _Who()
YES_NO = _YesNo()


_ROLES = [str(role) for role in Role]
_ASKER_OPTIONS = (
    click.option(
        "--as",
        "declared",
        type=WHO,
        metavar="WHO:COUNTRY",
        help="Who asks, for this run: individual:DE, company:US,DE or other-body:FR.",
    ),
    click.option(
        "--use-in",
        type=_Country(),
        multiple=True,
        help="Where the model and what it writes are used, if not in the domicile.",
    ),
    click.option(
        "--role", type=click.Choice([str(role) for role in Role]), help="How you come by the model."
    ),
    click.option("--product", help="The product that an end user uses."),
    click.option("--supplied-by", help="Who supplied that product."),
    click.option("--commercial", type=YES_NO, help="Whether the use is commercial."),
    click.option("--monthly-active-users", type=click.IntRange(min=0), metavar="NUMBER"),
    click.option("--annual-revenue-usd", type=click.IntRange(min=0), metavar="NUMBER"),
    click.option(
        "--answer",
        "answers",
        type=_Answer(),
        multiple=True,
        help="Your reading of a point that the law leaves open: territory-arguable:NC=outside.",
    ),
)


def declaring(function: F) -> F:
    """Adds the options with which a declaration is stated on the command line."""
    for option in reversed(_ASKER_OPTIONS):
        function = option(function)
    return function


def stated(values: dict[str, Any]) -> Stated:
    """What the options of `declaring` state; takes them out of `values`."""
    use_in = values.pop("use_in")
    role = values.pop("role")
    return Stated(
        who=values.pop("declared"),
        place_of_use=tuple(dict.fromkeys(use_in)) or None,
        role=Role(role) if role else None,
        product=values.pop("product"),
        supplied_by=values.pop("supplied_by"),
        commercial=values.pop("commercial"),
        monthly_active_users=values.pop("monthly_active_users"),
        annual_revenue_usd=values.pop("annual_revenue_usd"),
        answers=dict(values.pop("answers")),
    )


def asker(values: dict[str, Any]) -> Asker:
    """Who asks, from the options and the environment; takes the options out of `values`."""
    folders = places()
    return Asker(
        places=folders,
        settings=settings.load(folders),
        stated=stated(values),
        variable=os.environ.get(VARIABLE),
        offline=values.pop("offline", False),
        say=lambda sentence: click.echo(sentence, err=True),
    )


_REACH_OPTIONS = (
    click.option(
        "--quant", help="The quant wanted, such as Q8_0; auto: the largest that fits here."
    ),
    click.option("--offline", is_flag=True, help="Ask nothing of the hub."),
)


def reaching(function: F) -> F:
    """Adds the options that say how a model is looked for at the hub."""
    for option in reversed(_REACH_OPTIONS):
        function = option(function)
    return function


_PARTS_OPTIONS = (
    click.option(
        "--mmproj",
        metavar="FILE",
        help="The file of the model's image half, by its path or as hf.co/owner/name/file.",
    ),
    click.option("--lora", "adapters", type=_PATH, multiple=True, help="An adapter's file."),
    click.option(
        "--draft",
        "--model-draft",
        "-md",
        "draft",
        metavar="MODEL",
        help="A small model that guesses ahead; the text stays the same.",
    ),
)


def with_parts(function: F) -> F:
    """Adds the options that name files to be loaded beside the model."""
    for option in reversed(_PARTS_OPTIONS):
        function = option(function)
    return function


def request(model: str, values: dict[str, Any]) -> Request:
    """What is to be loaded together; takes the options of `with_parts` out of `values`."""
    return Request(
        model=model,
        quant=values.pop("quant", None) or "",
        mmproj=values.pop("mmproj", None),
        adapters=tuple(values.pop("adapters", ())),
        draft=values.pop("draft", None) or "",
    )
