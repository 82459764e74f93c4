"""Tool calls: what a request asks, and what answers in the models' own forms come to."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from launcher.serving.tools.asking import Asked, BadTools, Choice, asked
from launcher.serving.tools.formats import MARKERS
from launcher.serving.tools.reader import Answer, joined, reader

WEATHER: dict[str, Any] = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather of a place",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}, "days": {"type": "integer"}},
            "required": ["city"],
        },
    },
}
NOW: dict[str, Any] = {"type": "function", "function": {"name": "now"}}
TOOLS = asked([WEATHER, NOW])
PARIS = '{"city": "Paris"}'


def answer(pieces: Sequence[str] | str, wanted: Asked = TOOLS, *, reasoning: bool = True) -> Answer:
    """What an answer comes to, by default fed in pieces of one character."""
    one = reader(wanted, reasoning=reasoning)
    deltas = [delta for piece in pieces for delta in one.feed(piece)]
    return joined([*deltas, *one.finish()])


# What models write, each as its chat template (llama.cpp's models/templates) teaches it.
ONE_CALL = {
    "hermes, qwen": f'<tool_call>\n{{"name": "get_weather", "arguments": {PARIS}}}\n</tool_call>',
    "no end": f'<tool_call>\n{{"name": "get_weather", "arguments": {PARIS}}}',
    "qwen3 coder": "<tool_call>\n<function=get_weather>\n<parameter=city>\nParis\n</parameter>\n"
    "</function>\n</tool_call>",
    "glm": "<tool_call>get_weather\n<arg_key>city</arg_key>\n<arg_value>Paris</arg_value>\n"
    "</tool_call>",
    "llama 3": f'{{"name": "get_weather", "parameters": {PARIS}}}',
    "llama 3, built in": f'<|python_tag|>{{"name": "get_weather", "parameters": {PARIS}}}',
    "functionary": f"<function=get_weather>{PARIS}</function>",
    "nemo": f'[TOOL_CALLS][{{"name": "get_weather", "arguments": {PARIS}, "id": "abcdefghi"}}]',
    "mistral small": f"[TOOL_CALLS]get_weather[CALL_ID]abcdefghi[ARGS]{PARIS}",
    "devstral": f"[TOOL_CALLS]get_weather[ARGS]{PARIS}",
    "granite": f'<|tool_call|>[{{"name": "get_weather", "arguments": {PARIS}}}]',
    "phi 4": f'<|tool_call|>[{{"name": "get_weather", "arguments": {PARIS}}}]<|/tool_call|>',
    "firefunction": f'functools[{{"name": "get_weather", "arguments": {PARIS}}}]',
    "nemotron": f'<TOOLCALL>[{{"name": "get_weather", "arguments": {PARIS}}}]</TOOLCALL>',
    "apriel": f'<tool_calls>[{{"name": "get_weather", "arguments": {PARIS}}}]</tool_calls>',
    "lfm2": '<|tool_call_start|>[get_weather(city="Paris")]<|tool_call_end|>',
    "command r": '<|START_ACTION|>[\n{"tool_call_id": "0", "tool_name": "get_weather", '
    f'"parameters": {PARIS}}}\n]<|END_ACTION|>',
    "deepseek r1": "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>get_weather\n"
    f"```json\n{PARIS}\n```<｜tool▁call▁end｜><｜tool▁calls▁end｜>",
    "deepseek v3.1": "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>get_weather<｜tool▁sep｜>"
    f"{PARIS}<｜tool▁call▁end｜><｜tool▁calls▁end｜>",
    "kimi": "<|tool_calls_section_begin|><|tool_call_begin|>functions.get_weather:0"
    f"<|tool_call_argument_begin|>{PARIS}<|tool_call_end|><|tool_calls_section_end|>",
    "fenced": f'```json\n{{"name": "get_weather", "arguments": {PARIS}}}\n```',
    "openai": '{"type": "function", "function": {"name": "get_weather", '
    f'"arguments": {json.dumps(PARIS)}}}}}',
    "gemma 4": '<|tool_call>call:get_weather{city:<|"|>Paris<|"|>}<tool_call|>',
    "list": f'[{{"name": "get_weather", "arguments": {PARIS}}}]',
}


@pytest.mark.parametrize("text", ONE_CALL.values(), ids=ONE_CALL.keys())
def test_a_call_in_each_form(text: str) -> None:
    for pieces in (text, [text]):
        found = answer(pieces)
        assert [call.name for call in found.calls] == ["get_weather"]
        assert json.loads(found.calls[0].arguments) == {"city": "Paris"}
        assert found.content == ""
        assert found.calls[0].id.startswith("call_")


def test_words_before_and_after() -> None:
    call = ONE_CALL["hermes, qwen"]
    found = answer(f"Let me see.\n{call}\n{call}\nDone.")
    assert len(found.calls) == 2
    assert found.content == "Let me see.\nDone."


def test_one_call_where_no_more_are_wanted() -> None:
    only = asked([WEATHER], parallel_tool_calls=False)
    call = ONE_CALL["hermes, qwen"]
    one = reader(only)
    assert len(joined(one.feed(f"{call}\n{call}")).calls) == 1
    assert one.is_over


LOOKS_LIKE = (
    '<tool_call>{"name": "rm", "arguments": {}}</tool_call>',  # no such tool
    '<tool_call>{"name": "now", "arguments": {}</tool_call>',  # an object that does not end
    '<tool_call>{"name": "now", "arguments": [1]}</tool_call>',
    '<tool_call>{"name": "now", "arguments": {"x": NaN}}</tool_call>',
    "The tag <tool_call> begins a call.",
    '{"name": "now"}',
    '{"name": "Ada", "arguments": {"for": 1}}',
    '{"name": "now", "arguments": {}} is how to ask.',
    "[TOOL_CALLS] is a token",
    "<function=rm>{}</function>",
    "<|tool_call_start|>[now(1)]<|tool_call_end|>",
    "<|tool_call_start|>[now(x={1})]<|tool_call_end|>",
    "<|tool_call_start|>" + "(" * 5000 + "<|tool_call_end|>",
    "<tool_call>" + "[" * 100_000,
    "```python\nprint(1)\n```",
    " <tool_",
)


@pytest.mark.parametrize("text", LOOKS_LIKE, ids=range(len(LOOKS_LIKE)))
def test_what_only_looks_like_a_call_is_content(text: str) -> None:
    for pieces in (text, [text]):
        assert answer(pieces, reasoning=False) == Answer(content=text, reasoning="", calls=())


def test_a_call_after_what_looked_like_one() -> None:
    call = ONE_CALL["hermes, qwen"]
    found = answer(f'<tool_call> opens. <tool_call>{{"name": 1 {call}')
    assert found.content == '<tool_call> opens. <tool_call>{"name": 1'
    assert len(found.calls) == 1


def test_the_end_of_a_call_inside_of_its_arguments() -> None:
    arguments = {"city": 'say "</tool_call>" twice: </tool_call>'}
    body = json.dumps({"name": "get_weather", "arguments": arguments})
    found = answer(f"<tool_call>{body}</tool_call>")
    assert json.loads(found.calls[0].arguments) == arguments


def test_values_of_tags_keep_the_type_that_the_tool_says() -> None:
    found = answer(
        "<tool_call>\n<function=get_weather>\n<parameter=city>\n42\n</parameter>\n"
        "<parameter=days>\n3\n</parameter>\n</function>\n</tool_call>"
    )
    assert json.loads(found.calls[0].arguments) == {"city": "42", "days": 3}


FRAGMENTS = st.sampled_from(
    [
        *(marker.opening for marker in MARKERS),
        *(marker.closing for marker in MARKERS),
        *ONE_CALL.values(),
        "<think>",
        "</think>",
        "{",
        "}",
        '"',
        "[",
        " ",
        "\n",
        "<",
        "get_weather",
        "now",
        "{}",
        '{"name": "now", "arguments": {}}',
    ]
)
ANSWERS = st.lists(FRAGMENTS | st.text(max_size=4), max_size=12).map("".join)


@given(ANSWERS, st.data())
def test_the_cut_into_pieces_changes_nothing(text: str, data: st.DataObject) -> None:
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=8)))
    pieces = [text[a:b] for a, b in zip([0, *cuts], [*cuts, len(text)], strict=True)]
    for wanted in (TOOLS, Asked(), asked([NOW], parallel_tool_calls=False), FORCED):
        found, whole = (answer(one, wanted) for one in (pieces, [text]))
        assert (found.content, found.reasoning) == (whole.content, whole.reasoning)
        assert [(call.name, call.arguments) for call in found.calls] == [
            (call.name, call.arguments) for call in whole.calls
        ]


@given(ANSWERS)
def test_without_calls_the_content_is_the_text(text: str) -> None:
    found = answer([text], reasoning=False)
    if not found.calls:
        assert found.content == text
    assert answer([text], Asked(), reasoning=False).content == text


def test_reasoning_is_told_apart() -> None:
    text = "<think>\nParis, then.\n</think>\n\n"
    assert answer(f"{text}It rains.") == Answer(
        content="It rains.", reasoning="Paris, then.", calls=()
    )
    found = answer(text + ONE_CALL["llama 3"])
    assert (found.reasoning, len(found.calls), found.content) == ("Paris, then.", 1, "")
    assert answer("<think>Hm").reasoning == "Hm"
    assert answer("Write <think> here").content == "Write <think> here"


# --- What is asked ------------------------------------------------------------------------------

FORCED = asked([WEATHER, NOW], "required")


def test_a_forced_call_comes_as_it_is_written() -> None:
    one = reader(FORCED)
    text = '{"name": "get_weather", "arguments": {"city": "Paris", "x": {"y": {}}}}'
    deltas = [delta for piece in text for delta in one.feed(piece)]
    assert len(deltas) > 10
    found = joined([*deltas, *one.finish()])
    assert found.calls[0].name == "get_weather"
    assert json.loads(found.calls[0].arguments) == {"city": "Paris", "x": {"y": {}}}


def test_a_forced_call_that_is_cut_off() -> None:
    assert answer('{"name": "get_w', FORCED).content == '{"name": "get_w'
    found = answer('{"name": "get_weather", "arguments": {"city": {"a": 1}', FORCED)
    assert found.calls[0].arguments == '{"city": {"a": 1}'


def test_choices() -> None:
    tools = [WEATHER, NOW]
    named = {"type": "function", "function": {"name": "now"}}
    allowed = {"type": "allowed_tools", "allowed_tools": {"mode": "required", "tools": [named]}}
    flat = {"type": "allowed_tools", "mode": "auto", "tools": [{"type": "function", "name": "now"}]}
    assert asked(tools, "none") == Asked()
    assert asked(tools).choice is Choice.AUTO
    assert asked(tools, named).names == ("now",)
    assert asked(tools, named).is_forced
    assert asked(tools, allowed).names == ("now",)
    assert asked(tools, allowed).is_forced
    assert not asked(tools, flat).is_forced


@pytest.mark.parametrize(
    ("tools", "choice", "param"),
    [
        ([{"type": "web_search"}], None, "tools[0].type"),
        ([{"type": "function", "function": {"name": "a b"}}], None, "tools[0].function.name"),
        ([NOW, NOW], None, "tools"),
        ([NOW] * 200, None, "tools"),
        ([NOW], "any", "tool_choice"),
        ([], "required", "tool_choice"),
        ([NOW], {"type": "function", "function": {"name": "later"}}, "tool_choice"),
        ([NOW], {"type": "allowed_tools"}, "tool_choice"),
        ([NOW], {"type": "magic"}, "tool_choice.type"),
    ],
)
def test_what_cannot_be_asked(tools: list[Any], choice: Any, param: str) -> None:
    with pytest.raises(BadTools) as error:
        asked(tools, choice)
    assert error.value.param == param


# --- gpt-oss ------------------------------------------------------------------------------------

HARMONY = "<|start|>{{ m.role }}<|channel|>{{ m.channel }}<|message|>{{ m.content }}<|end|>"
THOUGHT = "<|channel|>analysis<|message|>Paris, then.<|end|>"
CALL = f"<|channel|>commentary to=functions.get_weather <|constrain|>json<|message|>{PARIS}<|call|>"
SAID = "<|start|>assistant<|channel|>final<|message|>It rains < now."


def harmony(pieces: Sequence[str] | str, *, reasoning: bool = True) -> Answer:
    one = reader(TOOLS, template=HARMONY, reasoning=reasoning)
    deltas = [delta for piece in pieces for delta in one.feed(piece)]
    return joined([*deltas, *one.finish()])


@pytest.mark.parametrize("cut", [list, lambda text: [text]], ids=["pieces", "whole"])
def test_channels_are_told_apart(cut: Any) -> None:
    found = harmony(cut(THOUGHT + SAID))
    assert found == Answer(content="It rains < now.", reasoning="Paris, then.", calls=())
    found = harmony(cut(f"{THOUGHT}<|start|>assistant{CALL}"))
    (call,) = found.calls
    assert (call.name, call.arguments) == ("get_weather", PARIS)
    assert (found.content, found.reasoning) == ("", "Paris, then.")
    to_nobody = CALL.replace("get_weather", "rm")
    assert harmony(cut(to_nobody)).content == PARIS
    assert harmony(cut("Without a head")).content == "Without a head"
    assert harmony(cut("<|channel|>final")).content == "<|channel|>final"
    assert harmony(cut(THOUGHT), reasoning=False).content == "Paris, then."


@given(
    st.lists(
        st.sampled_from([THOUGHT, CALL, SAID, "<|", "<|end|>", "<|message|>", "to=", "a "]),
        max_size=8,
    ).map("".join),
    st.data(),
)
def test_the_cut_changes_nothing_with_channels_either(text: str, data: st.DataObject) -> None:
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=8)))
    pieces = [text[a:b] for a, b in zip([0, *cuts], [*cuts, len(text)], strict=True)]
    found, whole = harmony(pieces), harmony([text])
    assert (found.content, found.reasoning) == (whole.content, whole.reasoning)
    assert [call.arguments for call in found.calls] == [call.arguments for call in whole.calls]


def test_gemma_thinks_in_a_channel() -> None:
    found = answer("<|channel>thought\nParis.\n<channel|>It rains.")
    assert found == Answer(content="It rains.", reasoning="Paris.", calls=())
