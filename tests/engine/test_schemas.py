"""JSON schemas, made ready for the engine's converter."""

from __future__ import annotations

import json
from typing import Any

import pytest

from launcher.engine.schemas import DEEPEST, BadSchema, plain
from launcher.engine.worker.llama import grammar_of_schema

ONE = {"type": "string"}


def nested(levels: int) -> dict[str, Any]:
    deep: dict[str, Any] = ONE
    for _ in range(levels):
        deep = {"type": "array", "items": deep}
    return deep


def properties(count: int, **more: Any) -> dict[str, Any]:
    return {"type": "object", "properties": {f"p{at}": ONE for at in range(count)}, **more}


def test_a_schema_that_refers_to_itself() -> None:
    made = plain({"type": "object", "properties": {"next": {"$ref": "#"}}})
    assert made["$defs"]["ref-0"]["properties"]["next"] == {"$ref": "#/$defs/ref-0"}


def test_names_of_definitions_do_not_meet() -> None:
    made = plain(
        {
            "properties": {"a": {"$ref": "#/x/Item"}, "b": {"$ref": "#/y/0/Item"}},
            "x": {"Item": ONE},
            "y": [{"Item": {"type": "number"}}],
        }
    )
    assert made["$defs"] == {"ref-0": ONE, "ref-1": {"type": "number"}}


def test_what_only_annotates_is_left_out() -> None:
    given = {"type": "object", "title": "T", "properties": {"title": {"description": "any"}}}
    made = plain(given)
    assert set(made) == {"type", "properties"}
    assert set(made["properties"]["title"]) == {"type"}


def test_several_types_keep_what_is_said_of_each() -> None:
    made = plain({"type": ["string", "null"], "maxLength": 5})
    assert made["anyOf"][0] == {"type": "string", "maxLength": 5}


def test_more_than_can_be_written_out_is_no_limit() -> None:
    assert plain({"type": "string", "maxLength": 10**9}) == ONE
    assert plain({"type": "string", "pattern": "^(a{100}){100}$"}) == ONE
    assert plain({"type": "string", "pattern": "a"}) == ONE


@pytest.mark.parametrize(
    "given",
    [
        {"$ref": "https://example.org/schema.json"},
        {"$ref": "#/$defs/none"},
        {"type": "array", "items": ONE, "minItems": 10**9},
        {"type": "string", "maxLength": "many"},
        {"properties": {"x": "string"}},
        {"anyOf": [1]},
        nested(DEEPEST + 1),
        properties(1000),
        {"anyOf": [{"type": "string", "maxLength": 500}] * 100},
        {"anyOf": [properties(100)] * 300},
        {"type": "banana"},
        [],
    ],
    ids=lambda given: str(given)[:40],
)
def test_schemas_that_no_answer_is_held_to(given: Any) -> None:
    with pytest.raises(BadSchema):
        grammar_of_schema(json.dumps(given))


@pytest.mark.parametrize(
    "given",
    [
        ONE,
        {},
        {"type": "string", "minLength": 500, "maxLength": 500},
        {"type": "array", "items": ONE, "maxItems": 500},
        nested(DEEPEST - 1),
        properties(200),
        properties(2000, required=[f"p{at}" for at in range(2000)]),
        {"allOf": [{"$ref": "#/$defs/a"}], "default": "x", "$defs": {"a": ONE}},
    ],
    ids=lambda given: str(given)[:40],
)
def test_schemas_within_the_bounds_become_grammars(given: Any) -> None:
    assert "root ::= " in grammar_of_schema(json.dumps(given))
