"""Countries as people write them, and the regions that licences speak of."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from functools import cache
from typing import NewType

from launcher.data import shipped
from launcher.errors import LauncherError
from launcher.tables import Faults, Table, parse

Country = NewType("Country", str)
"""An ISO 3166-1 alpha-2 code that was checked by `country`."""

# Codes that people use for a country whose ISO code is another.
ALIASES = {"UK": "GB", "EL": "GR"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Region:
    """A region as of a day: who is clearly in it, and where the law leaves it open."""

    id: str
    title: str
    as_of: date
    sources: tuple[str, ...]
    clear: frozenset[str]
    arguable: Mapping[str, str]
    """Code -> why it is arguable."""


@cache
def countries() -> Mapping[str, tuple[str, ...]]:
    """Every code and its names, the English one first."""
    table: dict[str, tuple[str, ...]] = {}
    for line in shipped("countries.tsv").decode("utf-8").splitlines():
        if line and not line.startswith("#"):
            code, name, others = line.split("\t")
            table[code] = (name, *filter(None, others.split("; ")))
    return table


def country(text: str) -> Country:
    """The code that a text stands for.

    Only two ASCII letters are taken, in either case. `UK` and `EL` are understood as `GB` and
    `GR`. Raises `ValueError` with one sentence for anything else: an unknown code must never
    pass for a country outside every region.
    """
    if not re.fullmatch(r"[A-Za-z]{2}", text, re.ASCII):
        raise ValueError(f"{text!a} is not a country code: two letters such as DE or US")
    code = text.upper()
    code = ALIASES.get(code, code)
    if code == "EU":
        raise ValueError("'EU' is not a country: name the country, such as DE or FR")
    if code not in countries():
        raise ValueError(f"'{code}' is not the code of a country (ISO 3166-1)")
    return Country(code)


def find_country(text: str) -> tuple[Country, ...]:
    """The countries that a typed code or name could mean, the best first; for a terminal only."""
    try:
        return (country(text.strip()),)
    except ValueError:
        wanted = _folded(text)
    if len(wanted) < 3:
        return ()
    whole = [code for code, names in countries().items() if wanted in map(_folded, names)]
    part = [
        code
        for code, names in countries().items()
        if code not in whole and any(_folded(name).startswith(wanted) for name in names)
    ]
    return tuple(Country(code) for code in (whole or part))


def name_of(code: str) -> str:
    """The English name of a country."""
    return countries()[code][0]


def _folded(text: str) -> str:
    """A name without accents, case or punctuation."""
    decomposed = unicodedata.normalize("NFKD", text.casefold())
    letters = (c for c in decomposed if not unicodedata.combining(c))
    return re.sub(r"[\W_]+", " ", "".join(letters)).strip()


@cache
def load() -> Mapping[str, Region]:
    """The shipped regions by id."""
    return read(shipped("regions.toml"), "configs/regions.toml")


def read(data: bytes, file: str) -> Mapping[str, Region]:
    """Regions from TOML. Raises `LauncherError` with every fault in it."""
    faults = Faults(file)
    top = parse(data, faults)
    regions = {key: _region(key, top.table(key)) for key in top.values}
    faults.refuse(LauncherError)
    return regions


def _region(key: str, table: Table) -> Region:
    arguable = table.table("arguable")
    region = Region(
        id=key,
        title=table.text("title"),
        as_of=table.day("as_of"),
        sources=table.texts("sources"),
        clear=frozenset(table.texts("clear")),
        arguable={code: arguable.text(code) for code in arguable.rest()},
    )
    for code in sorted(region.clear | set(region.arguable)):
        if code not in countries():
            table.fault("clear", f"'{code}' is not the code of a country")
    for code in sorted(region.clear & set(region.arguable)):
        table.fault("arguable", f"'{code}' is also clear")
    table.finish()
    return region
