"""Reads TOML into checked values, collecting every fault with its place.

A `Table` never stops at the first fault: a getter that finds something wrong notes it and
gives an empty value, and `Faults.refuse()` raises once with all of them. Keys that nobody
asked for are faults too, so a misspelt rule cannot be lost.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import date, datetime
from enum import StrEnum
from typing import Any, TypeVar

try:
    import tomli as tomllib  # the same parser, compiled: three times as fast
except ImportError:
    import tomllib  # type: ignore[no-redef]  # before anything is installed

from launcher.errors import LauncherError

T = TypeVar("T")
E = TypeVar("E", bound=StrEnum)


class Faults:
    """What is wrong with one file."""

    def __init__(self, file: str) -> None:
        self.file = file
        self.found: list[str] = []

    def add(self, where: str, what: str) -> None:
        self.found.append(f"{self.file}: {where}: {what}" if where else f"{self.file}: {what}")

    def refuse(
        self, error: type[LauncherError], *, hint: str = "", commands: Sequence[str] = ()
    ) -> None:
        """Raises `error` when anything was found."""
        if self.found:
            raise error("\n".join(self.found), hint=hint, commands=commands)


def parse(data: bytes, faults: Faults) -> Table:
    """The top table of a TOML file; empty, and one fault, when it is not TOML."""
    try:
        return Table(tomllib.loads(data.decode("utf-8")), "", faults)
    except UnicodeDecodeError:
        faults.add("", "not UTF-8 text")
    except tomllib.TOMLDecodeError as error:
        faults.add("", f"not valid TOML: {error}")
    # What would be missed in the empty table is not what is wrong with the file.
    return Table({}, "", Faults(faults.file))


class Table:
    """One TOML table, and where in the file it stands."""

    def __init__(self, values: Mapping[str, Any], where: str, faults: Faults) -> None:
        self.values = values
        self.where = where
        self.faults = faults
        self.asked: set[str] = set()

    def __contains__(self, key: str) -> bool:
        return key in self.values

    def place(self, key: str) -> str:
        return f"'{key}' in {self.where}" if self.where else f"'{key}'"

    def fault(self, key: str, what: str) -> None:
        self.faults.add(self.place(key), what)

    def text(self, key: str, default: str | None = None) -> str:
        return self._value(key, str, "text", "", default)

    def flag(self, key: str, default: bool | None = None) -> bool:
        return self._value(key, bool, "true or false", False, default)

    def number(self, key: str, default: int | None = None) -> int:
        return self._value(key, int, "a whole number", 0, default)

    def day(self, key: str, default: date | None = None) -> date:
        return self._value(key, date, "a date such as 2026-11-21", date.min, default)

    def texts(self, key: str, default: Sequence[str] | None = None) -> tuple[str, ...]:
        """An array of texts."""
        preset = None if default is None else list(default)
        values = self._value(key, list, "an array of texts", [], preset)
        if not all(isinstance(value, str) for value in values):
            self.fault(key, "expected an array of texts")
            return ()
        return tuple(values)

    def choice(self, key: str, choices: Sequence[str], default: str | None = None) -> str:
        """A text that is one of `choices`."""
        value = self.text(key, default)
        if value not in choices and key in self.values:
            self.fault(key, f"'{value}' is none of {', '.join(choices)}")
        return value

    def member(self, key: str, kind: type[E], default: E | None = None) -> E:
        """A text that is a member of an enumeration; its first member where it is not."""
        value = self.text(key, None if default is None else str(default))
        for member in kind:
            if member == value:
                return member
        if key in self.values:
            self.fault(key, f"'{value}' is none of {', '.join(map(str, kind))}")
        return next(iter(kind))

    def table(self, key: str) -> Table:
        """A table within this one; empty when it is not there."""
        values = self._value(key, dict, "a table", {}, {})
        return Table(values, f"{self.where}.{key}" if self.where else key, self.faults)

    def tables(self, key: str) -> Iterator[Table]:
        """The tables of an array, such as every `[[rule]]`."""
        values = self._value(key, list, f"an array of [[{key}]] tables", [], [])
        for index, value in enumerate(values):
            where = f"{self.where}.{key}[{index}]" if self.where else f"{key}[{index}]"
            if isinstance(value, dict):
                yield Table(value, where, self.faults)
            else:
                self.faults.add(where, "expected a table")

    def rest(self) -> Iterator[str]:
        """The keys that nobody asked for yet; asking for this counts as asking for them."""
        for key in self.values:
            if key not in self.asked:
                self.asked.add(key)
                yield key

    def finish(self) -> None:
        """Notes every key that nobody asked for."""
        for key in self.values:
            if key not in self.asked:
                self.fault(key, f"unknown key (expected: {', '.join(sorted(self.asked))})")

    def convert(self, key: str, value: str, make: Callable[[str], T], instead: T) -> T:
        """`make(value)`; a `ValueError` from it becomes a fault at this key."""
        try:
            return make(value)
        except ValueError as error:
            self.fault(key, str(error))
            return instead

    def _value(self, key: str, kind: type[T], what: str, empty: T, default: T | None) -> T:
        self.asked.add(key)
        if key not in self.values:
            if default is None:
                self.fault(key, f"missing (expected {what})")
                return empty
            return default
        value = self.values[key]
        if not isinstance(value, kind) or _is_lookalike(value, kind):
            self.fault(key, f"expected {what}, found {_describe(value)}")
            return empty
        return value


def _is_lookalike(value: object, kind: type) -> bool:
    """A truth value is no number, and a moment is no day, whatever Python says."""
    if kind is int:
        return isinstance(value, bool)
    return kind is date and isinstance(value, datetime)


def _describe(value: object) -> str:
    names = {str: "text", bool: "true or false", int: "a number", list: "an array", dict: "a table"}
    return names.get(type(value), type(value).__name__)
