"""Conversations with tools, as templates of several kinds can render them; and forced answers."""

from __future__ import annotations

import json
from typing import Any

import pytest

from launcher.engine.worker import template as templates
from launcher.serving.tools import schema
from launcher.serving.tools.asking import Asked, BadTools, asked
from launcher.serving.tools.conversation import Parts, parts

TOOL = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
    },
}
TOOLS = asked([TOOL])
PARIS = '{"city": "Paris"}'

LOOP = "{% for m in messages %}[{{ m.role }}]{{ m.content }}{% endfor %}"
KNOWS = (
    "{% for t in tools or [] %}{{ t.function.name }};{% endfor %}"
    "{% for m in messages %}[{{ m.role }}{{ m.tool_call_id }}]{{ m.content }}"
    "{% for c in m.tool_calls or [] %}{{ c.id }}={{ c.function.arguments | tojson }}{% endfor %}"
    "{% endfor %}"
)
ONE_AT_ONCE = KNOWS + "{# This model only supports single tool-calls at once! #}"
NINE = KNOWS + "{% if x|length != 9 %}{% endif %}"
NO_SYSTEM = (
    "{% if messages[0].role == 'system' %}{{ raise_exception('System role not supported') }}"
    "{% endif %}" + LOOP
)


def call(number: int) -> dict[str, Any]:
    function = {"name": "get_weather", "arguments": PARIS}
    return {"id": f"call_{number}", "type": "function", "function": function}


HISTORY: list[dict[str, Any]] = [
    {"role": "user", "content": "Rain?"},
    {"role": "assistant", "content": None, "tool_calls": [call(1), call(2)]},
    {"role": "tool", "tool_call_id": "call_1", "content": "Yes"},
    {"role": "tool", "tool_call_id": "call_2", "content": "No"},
    {"role": "user", "content": "Thanks"},
]


def rendered(found: Parts, template: str) -> str:
    return templates.render(template, found.messages, bos="", eos="", tools=found.tools)


def test_a_template_that_knows_tools_is_given_them() -> None:
    text = rendered(parts(TOOLS, HISTORY, KNOWS), KNOWS)
    assert text == (
        f"get_weather;[user]Rain?[assistant]call_1={PARIS}call_2={PARIS}"
        "[toolcall_1]Yes[toolcall_2]No[user]Thanks"
    )


def test_one_call_at_once() -> None:
    text = rendered(parts(TOOLS, HISTORY, ONE_AT_ONCE), ONE_AT_ONCE)
    assert text == (
        f"get_weather;[user]Rain?[assistant]call_1={PARIS}[toolcall_1]Yes"
        f"[assistant]call_2={PARIS}[toolcall_2]No[user]Thanks"
    )


def test_ids_of_nine_characters() -> None:
    found = parts(TOOLS, HISTORY, NINE)
    given = [one["id"] for one in found.messages[1]["tool_calls"]]
    assert [message["tool_call_id"] for message in found.messages[2:4]] == given
    assert [len(one) for one in given] == [9, 9]


def test_a_template_that_knows_none_is_told_in_words() -> None:
    found = parts(TOOLS, HISTORY, LOOP)
    assert found.tools == ()
    system, *turns = found.messages
    assert system["role"] == "system"
    assert json.dumps(TOOLS.tools[0].as_openai()["function"]) in system["content"]
    assert rendered(found, LOOP).endswith(
        f'[user]Rain?[assistant]{{"name": "get_weather", "arguments": {PARIS}}}\n'
        f'{{"name": "get_weather", "arguments": {PARIS}}}'
        "[user]Result of get_weather: Yes\nResult of get_weather: No\nThanks"
    )
    assert len(turns) == 3


def test_instructions_where_no_system_message_may_be() -> None:
    own = {"role": "system", "content": "Be brief."}
    found = parts(TOOLS, [own, *HISTORY[:1]], NO_SYSTEM)
    text = rendered(found, NO_SYSTEM)
    assert text.startswith("[user]You can call tools")
    assert text.endswith("Be brief.\n\nRain?")
    assert rendered(parts(Asked(), [own], NO_SYSTEM), NO_SYSTEM) == "[user]Be brief."


def test_without_tools_nothing_changes() -> None:
    messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}]
    found = parts(Asked(), messages, LOOP)
    assert list(found.messages) == messages
    assert (found.json_schema, found.shown, found.opened) == ("", (), ())


def test_marks_that_are_control_tokens_have_to_be_shown() -> None:
    template = KNOWS + "{{ '[TOOL_CALLS]' }}<think>"
    assert parts(TOOLS, HISTORY, template).shown == ("[TOOL_CALLS]",)
    assert parts(TOOLS, HISTORY, template).opened == ("<think>",)
    assert parts(asked([TOOL], "required"), HISTORY, template).shown == ()


# --- Schemas ------------------------------------------------------------------------------------


def test_definitions_of_two_tools_with_one_name_stay_apart() -> None:
    def tool(name: str, kind: str) -> dict[str, Any]:
        parameters = {
            "type": "object",
            "properties": {"x": {"$ref": "#/$defs/Item"}},
            "$defs": {"Item": {"type": kind}},
        }
        return {"type": "function", "function": {"name": name, "parameters": parameters}}

    made = json.loads(schema.forced(asked([tool("a", "string"), tool("b", "number")], "required")))
    assert made["$defs"] == {"ref-0": {"type": "string"}, "ref-1": {"type": "number"}}
    assert [one["properties"]["name"]["const"] for one in made["anyOf"]] == ["a", "b"]


def test_an_answer_in_a_form_or_a_call() -> None:
    form = {"type": "object", "properties": {"x": {"$ref": "#/d"}}, "d": {"type": "null"}}
    made = json.loads(schema.either(TOOLS, json.dumps(form)))
    own, one = made["anyOf"]
    assert own == {"type": "object", "properties": {"x": {"$ref": "#/$defs/ref-0"}}}
    assert one["properties"]["name"] == {"const": "get_weather"}
    assert made["$defs"] == {"ref-0": {"type": "null"}}


def test_a_tool_whose_schema_cannot_be_used() -> None:
    far = {"type": "function", "function": {"name": "a", "parameters": {"$ref": "https://x"}}}
    with pytest.raises(BadTools) as error:
        schema.forced(asked([far], "required"))
    assert error.value.param == "tools"
