"""Conversations in OpenAI's form, put through templates as models carry them."""

from __future__ import annotations

from typing import Any

import pytest

from launcher.engine.worker import template

CALL = {
    "role": "assistant",
    "content": None,
    "tool_calls": [
        {
            "id": "call_1",
            "type": "function",
            "function": {"name": "weather", "arguments": '{"city": "Köln", "days": 2}'},
        }
    ],
}
TOOL = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}
WANTED = '{"city": "Köln", "days": 2}'
OF_CALL = "messages[0].tool_calls[0].function.arguments"


def rendered(source: str, *messages: dict[str, Any], **more: Any) -> str:
    return template.render(source, messages, bos="<s>", eos="</s>", **more)


# The ways in which templates at the hub write the arguments of a call.
@pytest.mark.parametrize(
    "way",
    [
        "{{ ARGUMENTS | tojson }}",
        "{{ ARGUMENTS }}",
        "{{ '' + ARGUMENTS + '' }}",
        "{{ '' ~ ARGUMENTS }}",
        "{% if ARGUMENTS is string %}{{ ARGUMENTS }}{% else %}{{ ARGUMENTS | tojson }}{% endif %}",
        "{% if ARGUMENTS is mapping %}{{ ARGUMENTS | tojson }}{% endif %}",
        "{{ ARGUMENTS | string | trim }}",
    ],
)
def test_arguments_of_a_call_are_json_however_a_template_writes_them(way: str) -> None:
    assert rendered(way.replace("ARGUMENTS", OF_CALL), CALL) == WANTED


def test_arguments_of_a_call_are_an_object_where_a_template_goes_through_them() -> None:
    source = (
        f"{{% for name, value in {OF_CALL} | items %}}{{{{ name }}}}={{{{ value }}}};{{% endfor %}}"
    )
    assert rendered(source, CALL) == "city=Köln;days=2;"


def test_arguments_that_are_no_object_stay_as_they_are() -> None:
    for text in ("not JSON", "[1]", "7", "[" * 100_000):
        function = {"name": "f", "arguments": text}
        message = {"role": "assistant", "content": "", "tool_calls": [{"function": function}]}
        assert rendered("{{ " + OF_CALL + " }}", message) == text


def test_content_in_parts_is_a_text_and_no_content_is_an_empty_one() -> None:
    parts = [{"type": "text", "text": "One"}, {"type": "text", "text": "two"}]
    source = "{% for m in messages %}[{{ '' + m.content }}]{% endfor %}"
    assert rendered(source, {"role": "user", "content": parts}, CALL) == "[One\ntwo][]"


def test_content_with_other_parts_reaches_the_template_as_it_is() -> None:
    parts = [{"type": "text", "text": "Look:"}, {"type": "image"}]
    source = "{% for p in messages[0].content %}{{ p.type }} {% endfor %}"
    assert rendered(source, {"role": "user", "content": parts}) == "text image "


def test_tools_and_variables_reach_the_template() -> None:
    source = (
        "{{ tools[0].function.name if tools else 'none' }} {{ enable_thinking }}{{ bos_token }}"
    )
    assert rendered(source, tools=[TOOL], variables={"enable_thinking": False}) == (
        "weather False<s>"
    )
    assert rendered(source) == "none <s>"
    assert rendered(source, tools=[], variables={"bos_token": "x", "tools": 1}) == "none <s>"


def test_what_transformers_adds_to_the_language_is_known() -> None:
    source = "{%- generation -%} {{ messages[0].content }} {%- endgeneration -%}"
    assert rendered(source, {"role": "assistant", "content": "Hi"}) == "Hi"
    sorted_ = "{{ tools | tojson(indent=1, sort_keys=True, separators=(',', ':')) }}"
    assert rendered(sorted_, tools=[{"b": "<é>", "a": 1}]) == '[\n {\n  "a":1,\n  "b":"<é>"\n }\n]'
