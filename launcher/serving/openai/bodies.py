"""What every body of a request has to be, whatever interface it belongs to."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

from pydantic import BaseModel, ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

DEEPEST = 100  # levels of lists and objects; a schema of objects takes two for each of its own
MOST_STOPS = 16
LONGEST_STOP = 1024  # characters
LONGEST_NAME = 512  # characters of a model's name

Number = Annotated[float, Field(allow_inf_nan=False)]
Stop = Annotated[str, Field(max_length=LONGEST_STOP)]
Stops = Stop | Annotated[list[Stop], Field(max_length=MOST_STOPS)] | None


class Part(BaseModel):
    """A part of a body. Fields that are not known are left aside: clients send many."""

    model_config = ConfigDict(extra="ignore", strict=True, frozen=True, protected_namespaces=())


class Body(Part):
    """A whole body: no deeper than what can be written again, and no halves of characters."""

    unsupported: ClassVar[Mapping[str, tuple[tuple[object, ...], str]]] = {}
    """Fields that would change the answer if they were kept to: the values that ask for nothing,
    and the sentence for all others."""

    @model_validator(mode="before")
    @classmethod
    def _plain(cls, value: Any) -> Any:
        refuse_unwritable(value)
        for name, (harmless, why) in cls.unsupported.items() if isinstance(value, dict) else ():
            given = value.get(name)
            if given is not None and given not in harmless:
                raise refused(why, name, "unsupported")
        return value


def refused(why: str, param: str, code: str = "invalid") -> PydanticCustomError:
    """A fault of a body that names its field."""
    return PydanticCustomError(code, "{why}", {"why": why, "param": param})


def refuse_unwritable(value: object) -> None:
    """Raises ValueError for what is nested too deeply, or has a text that is no Unicode.

    >>> refuse_unwritable({"a": [1, "two"]})
    """
    level = [value]
    for _ in range(DEEPEST):
        level = [inner for outer in level for inner in _inside(outer)]
        if not level:
            return
    raise ValueError(f"The body is nested more than {DEEPEST} levels deep")


def _inside(value: object) -> list[object]:
    if isinstance(value, dict):
        return [*value.keys(), *value.values()]
    if isinstance(value, list):
        return value
    if isinstance(value, str) and not value.isascii():
        _refuse_halves(value)
    return []


def _refuse_halves(text: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise ValueError("The body has half of a character (a lone surrogate)") from error
