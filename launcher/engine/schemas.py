"""Makes of a JSON schema one that the engine's converter turns into a grammar of bounded size.

The converter knows a part of JSON schema: references only into the schema itself, told apart by
their last name; no keys that only annotate; and repetitions written out one by one, so that one
big number takes all memory. What it cannot know is left out. That lets more pass, never less.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from typing import Any

MOST_REPEATED = 500  # times that a thing is written out; a limit above that is none
MOST_PARTS = 20_000  # schemas and repetitions in one schema
MOST_OPTIONAL = 200  # properties of one object that may be missing: each is tried after each
DEEPEST = 64  # levels of schemas
MOST_PATTERN = 1000  # repetitions that a pattern multiplies to
MOST_WAYS = 50  # alternatives in a pattern: repeated, each is tried after each

_ANYTHING = ("string", "number", "boolean", "null", "array", "object")
_KEPT = ("type", "enum", "const", "required", "format")
_LISTS = ("anyOf", "oneOf", "allOf", "prefixItems")
_NUMBERS = re.compile(r"\d+")


class BadSchema(Exception):
    """A JSON schema that no answer can be held to."""


def plain(schema: Any) -> dict[str, Any]:
    """The same schema as far as the engine can keep to it. Raises `BadSchema`.

    >>> plain({"title": "A name", "type": "string", "maxLength": 8})
    {'type': 'string', 'maxLength': 8}
    """
    made = Plain()
    return made.of(schema) | made.definitions()


class Plain:
    """Rewrites schemas whose definitions end up in one place, under names of their own."""

    def __init__(self) -> None:
        self._named: dict[tuple[int, str], str] = {}
        self._defined: dict[str, Any] = {}
        self._roots: list[Any] = []  # kept, so that each has an id of its own
        self._parts = 0

    def definitions(self) -> dict[str, Any]:
        """What all references point to, as a member of the schema that holds the others."""
        return {"$defs": self._defined} if self._defined else {}

    def of(self, schema: Any) -> dict[str, Any]:
        """A schema without definitions of its own."""
        self._roots.append(schema)
        return self._rewritten(schema, 0)

    def _rewritten(self, schema: Any, depth: int) -> dict[str, Any]:
        self._count(1)
        if depth > DEEPEST:
            raise BadSchema("it is nested too deeply")
        if schema is True:
            return {"type": list(_ANYTHING)}
        if not isinstance(schema, Mapping):
            raise BadSchema("a part of it is no object")
        if "$ref" in schema:
            return {"$ref": f"#/$defs/{self._reference(str(schema['$ref']), depth)}"}
        if isinstance(schema.get("allOf"), list) and len(schema["allOf"]) == 1:
            return self._rewritten(schema["allOf"][0], depth + 1)
        if isinstance(schema.get("type"), list) and not {"enum", "const"} & schema.keys():
            kinds = [{**schema, "type": kind} for kind in schema["type"] or _ANYTHING]
            return {"anyOf": [self._rewritten(kind, depth + 1) for kind in kinds]}
        made = {key: schema[key] for key in _KEPT if key in schema}
        made |= dict(self._inner(schema, depth + 1))
        made |= dict(self._bounds(schema))
        if not set(made) - {"required", "format"}:
            return {"type": list(_ANYTHING)}
        return made

    def _inner(self, schema: Mapping[str, Any], depth: int) -> Iterator[tuple[str, Any]]:
        """The schemas inside of a schema."""
        properties = schema.get("properties")
        if isinstance(properties, Mapping):
            required = schema.get("required")
            count = len(required) if isinstance(required, list) else 0
            if len(properties) - count > MOST_OPTIONAL:
                raise BadSchema(f"an object has more than {MOST_OPTIONAL} optional properties")
            made = {str(name): self._rewritten(one, depth) for name, one in properties.items()}
            yield "properties", made
        for key in _LISTS:
            if isinstance(schema.get(key), list) and schema[key]:
                yield key, [self._rewritten(one, depth) for one in schema[key]]
        if isinstance(schema.get("items"), (Mapping, bool)):
            yield "items", self._rewritten(schema["items"], depth)
        extra = schema.get("additionalProperties")
        if isinstance(extra, bool):
            yield "additionalProperties", extra
        elif extra is not None:
            yield "additionalProperties", self._rewritten(extra, depth)

    def _bounds(self, schema: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
        """The limits that can be written out; a pattern counts where it is for the whole."""
        for key in ("minItems", "maxItems", "minLength", "maxLength"):
            number = schema.get(key)
            if number is None:
                continue
            if not isinstance(number, int) or number < 0:
                raise BadSchema(f"{key} is no whole number")
            if number <= MOST_REPEATED:
                self._count(number)
                yield key, number
            elif key.startswith("min"):
                raise BadSchema(f"{key} is more than {MOST_REPEATED}")
        pattern = schema.get("pattern")
        if isinstance(pattern, str) and pattern.startswith("^") and pattern.endswith("$"):
            if math.prod(max(1, int(one[:9])) for one in _NUMBERS.findall(pattern)) > MOST_PATTERN:
                return
            if pattern.count("|") > MOST_WAYS:
                raise BadSchema(f"a pattern has more than {MOST_WAYS} alternatives")
            yield "pattern", pattern

    def _count(self, parts: int) -> None:
        self._parts += parts
        if self._parts > MOST_PARTS:
            raise BadSchema("it is too big")

    def _reference(self, pointer: str, depth: int) -> str:
        """The name of what a reference points to, which is rewritten the first time."""
        root = self._roots[-1]
        key = (id(root), pointer)
        if key not in self._named:
            name = self._named[key] = f"ref-{len(self._named)}"
            self._defined[name] = self._rewritten(_pointed(root, pointer), depth + 1)
        return self._named[key]


def _pointed(root: Any, pointer: str) -> Any:
    if pointer != "#" and not pointer.startswith("#/"):
        raise BadSchema("it may refer to its own parts only, by '#/...'")
    found = root
    for name in pointer.split("/")[1:]:
        name = name.replace("~1", "/").replace("~0", "~")
        if isinstance(found, list) and name.isdecimal() and int(name[:9]) < len(found):
            found = found[int(name[:9])]
        elif isinstance(found, Mapping) and name in found:
            found = found[name]
        else:
            raise BadSchema(f"it refers to {pointer[:80]!r}, which it does not have")
    return found
