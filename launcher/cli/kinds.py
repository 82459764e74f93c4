"""Kinds of values that options take: finite numbers, contents of files, JSON, scores of tokens."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from typing import Any

import click

from launcher.engine.sampling import order

_LARGEST_FILE = 1 << 20  # bytes
_BIAS = re.compile(r"(\d{1,9})([+-](?:inf|\d+\.?\d*))")
_Parameter = click.Parameter | None
_Context = click.Context | None


def _finite(number: float) -> float:
    if not math.isfinite(number):
        raise ValueError(number)
    return number


class Number(click.FloatRange):
    """In a range, and a number: no range keeps out `nan`."""

    def convert(self, value: Any, param: _Parameter, ctx: _Context) -> float:
        number = super().convert(value, param, ctx)
        try:
            return _finite(number)
        except ValueError:
            self.fail(f"{value} is not a finite number", param, ctx)


class AnyNumber(click.ParamType[float]):
    """A number that is finite."""

    name = "float"

    def convert(self, value: Any, param: _Parameter, ctx: _Context) -> float:
        try:
            return _finite(float(value))
        except ValueError:
            self.fail(f"{value} is not a finite number", param, ctx)


class Contents(click.Path):
    """A file, read."""

    def __init__(self, *, is_json: bool = False) -> None:
        super().__init__(exists=True, dir_okay=False, path_type=Path)
        self.is_json = is_json

    def convert(self, value: Any, param: _Parameter, ctx: _Context) -> str:
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


class JsonObject(click.ParamType[dict[str, Any]]):
    """An object, written as JSON."""

    name = "json"

    def convert(self, value: Any, param: _Parameter, ctx: _Context) -> dict[str, Any]:
        try:
            found = json.loads(value)
        except (ValueError, RecursionError) as error:
            self.fail(f"{value} is not JSON: {error}", param, ctx)
        if not isinstance(found, dict):
            self.fail(f"{value} is not a JSON object", param, ctx)
        return found


class Bias(click.ParamType[tuple[int, float]]):
    """A token and what is added to its score, as llama.cpp writes it: 15043+1, 15043-inf."""

    name = "token(+/-)bias"

    def convert(self, value: Any, param: _Parameter, ctx: _Context) -> tuple[int, float]:
        found = _BIAS.fullmatch(value)
        if found is None:
            self.fail(f"{value} is not a token's number and a bias, such as 15043+1", param, ctx)
        return int(found[1]), float(found[2])


class Order(click.ParamType[tuple[str, ...]]):
    """Samplers, one after the other."""

    name = "samplers"

    def convert(self, value: Any, param: _Parameter, ctx: _Context) -> tuple[str, ...]:
        if isinstance(value, tuple):
            return value
        try:
            return order(value)
        except ValueError as error:
            self.fail(f"there is no sampler called {error.args[0]!a}", param, ctx)
