"""Makes of a JSON schema from a request one that the engine can force an answer into.

The engine's converter knows a part of JSON schema: references only into the schema itself, told
apart by their last name; no keys that only annotate; and repetitions written out one by one,
so that a big number takes all memory. What it cannot know is left out, which lets more pass;
it never lets less pass.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from launcher.serving.tools.asking import Asked, BadTools

MOST_REPEATED = 500  # times that anything is written out
DEEPEST = 64  # levels of nesting
_ANYTHING = ["string", "number", "boolean", "null", "array", "object"]
_KEPT = frozenset({"type", "enum", "const", "required", "format"})
_LISTS = ("anyOf", "oneOf", "allOf", "prefixItems")


def forced(asked: Asked) -> str:
    """A schema that only one call of one of these tools fits. Raises `BadTools`."""
    plain = _Plain()
    calls = [
        {
            "type": "object",
            "properties": {
                "name": {"const": tool.name},
                "arguments": plain.of(tool.parameters, f"tools.{tool.name}.parameters"),
            },
            "required": ["name", "arguments"],
        }
        for tool in asked.tools
    ]
    call: dict[str, Any] = calls[0] if len(calls) == 1 else {"anyOf": calls}
    return json.dumps(call | plain.definitions())


def plain(schema: Mapping[str, Any], param: str) -> str:
    """The same schema as far as the engine can keep to it. Raises `BadTools`, with `param`."""
    made = _Plain()
    return json.dumps(made.of(schema, param) | made.definitions())


class _Plain:
    """Rewrites schemas whose definitions end up in one place, under names of their own."""

    def __init__(self) -> None:
        self._named: dict[tuple[int, str], str] = {}
        self._defined: dict[str, Any] = {}

    def definitions(self) -> dict[str, Any]:
        return {"$defs": self._defined} if self._defined else {}

    def of(self, schema: Mapping[str, Any], param: str) -> dict[str, Any]:
        self._root, self._param = schema, param
        return self._rewritten(schema, 0)

    def _rewritten(self, schema: Any, depth: int) -> dict[str, Any]:
        if depth > DEEPEST:
            raise BadTools("The schema is nested too deeply.", param=self._param)
        if schema is True:
            schema = {}
        if not isinstance(schema, Mapping):
            raise BadTools("A schema is an object.", param=self._param)
        if "$ref" in schema:
            return {"$ref": f"#/$defs/{self._reference(schema['$ref'], depth)}"}
        made = {key: value for key, value in schema.items() if key in _KEPT}
        made |= self._parts(schema, depth + 1)
        made |= _bounds(schema, self._param)
        return made if set(made) - {"required", "format"} else {"type": _ANYTHING}

    def _parts(self, schema: Mapping[str, Any], depth: int) -> dict[str, Any]:
        """The schemas inside of a schema."""
        made: dict[str, Any] = {}
        properties = schema.get("properties")
        if isinstance(properties, Mapping):
            made["properties"] = {
                str(name): self._rewritten(value, depth) for name, value in properties.items()
            }
        for key in _LISTS:
            if isinstance(schema.get(key), list) and schema[key]:
                made[key] = [self._rewritten(value, depth) for value in schema[key]]
        if isinstance(schema.get("items"), (Mapping, bool)):
            made["items"] = self._rewritten(schema["items"], depth)
        extra = schema.get("additionalProperties")
        if isinstance(extra, bool):
            made["additionalProperties"] = extra
        elif extra is not None:
            made["additionalProperties"] = self._rewritten(extra, depth)
        return made

    def _reference(self, pointer: object, depth: int) -> str:
        """The name of what a reference points to, which is rewritten the first time."""
        key = (id(self._root), str(pointer))
        if key not in self._named:
            name = self._named[key] = f"ref-{len(self._named)}"
            self._defined[name] = self._rewritten(self._pointed(str(pointer)), depth + 1)
        return self._named[key]

    def _pointed(self, pointer: str) -> Any:
        found: Any = self._root
        if pointer != "#" and not pointer.startswith("#/"):
            text = "A schema may refer to its own parts only, by '#/...'."
            raise BadTools(text, param=self._param)
        for name in pointer.split("/")[1:]:
            name = name.replace("~1", "/").replace("~0", "~")
            if isinstance(found, list) and name.isdecimal() and int(name) < len(found):
                found = found[int(name)]
            elif isinstance(found, Mapping) and name in found:
                found = found[name]
            else:
                text = f"The schema refers to {pointer[:80]!r}, which it does not have."
                raise BadTools(text, param=self._param)
        return found


def _bounds(schema: Mapping[str, Any], param: str) -> dict[str, Any]:
    """The limits that can be written out; a pattern counts only where it is for the whole."""
    made: dict[str, Any] = {}
    for key in ("minItems", "maxItems", "minLength", "maxLength"):
        number = schema.get(key)
        if number is None:
            continue
        if not isinstance(number, int) or number < 0:
            raise BadTools(f"{key} is a whole number.", param=param)
        if number <= MOST_REPEATED:
            made[key] = number
        elif key.startswith("min"):
            raise BadTools(f"{key} is at most {MOST_REPEATED} here.", param=param)
    pattern = schema.get("pattern")
    if isinstance(pattern, str) and pattern.startswith("^") and pattern.endswith("$"):
        made["pattern"] = pattern
    return made
