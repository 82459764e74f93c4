"""`/v1/responses`, through OpenAI's own client, over loopback, with the real model."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

import httpx
import openai
import pydantic
import pytest
from openai.types.responses import Response, ResponseStreamEvent

from launcher.engine.client import Done
from launcher.serving.failures import BadRequest
from launcher.serving.responses import items
from launcher.serving.responses.output import Event, Output, ended, usage
from launcher.serving.responses.schemas import ResponseRequest
from launcher.serving.tools.asking import asked as tools_asked
from launcher.serving.tools.reader import reader
from tests.serving.running import MODEL, Running

PLAIN: dict[str, Any] = {"model": MODEL, "temperature": 0, "max_output_tokens": 12}
ASK = {**PLAIN, "input": "Name three colours."}
WHOLE = pydantic.TypeAdapter(Response)
EVENT: pydantic.TypeAdapter[ResponseStreamEvent] = pydantic.TypeAdapter(ResponseStreamEvent)


class Place(pydantic.BaseModel):
    """Where somebody wants to go."""

    city: Literal["Paris", "Rome"]
    country: str = pydantic.Field(max_length=12)


class Trip(pydantic.BaseModel):
    """A journey; its schema refers to a part of itself."""

    start: Place
    end: Place
    days: Literal[1, 2, 3]


TRIP = openai.pydantic_function_tool(Trip, name="book")["function"]
BOOK: Any = {"type": "function", "name": "book", "parameters": TRIP.get("parameters")}
GO: Any = {"type": "function", "name": "go", "parameters": Place.model_json_schema()}
NOW: Any = {"type": "function", "name": "now", "parameters": None}


@pytest.fixture(scope="module")
def client(server: Running) -> Iterator[openai.OpenAI]:
    with server.client() as found:
        yield found


def test_a_question_is_answered(client: openai.OpenAI) -> None:
    found = client.responses.create(**ASK, instructions="Be brief.", metadata={"for": "a test"})
    WHOLE.validate_python(found.to_dict())
    assert found.output_text
    assert found.metadata == {"for": "a test"}
    assert found.instructions == "Be brief."
    assert found.usage is not None
    assert 0 < found.usage.output_tokens <= 12
    assert found.usage.total_tokens == found.usage.input_tokens + found.usage.output_tokens
    assert found.to_dict()["launcher"]


def test_an_answer_that_is_cut_off_says_so(client: openai.OpenAI) -> None:
    found = client.responses.create(**{**ASK, "max_output_tokens": 2})
    assert found.status == "incomplete"
    assert found.incomplete_details is not None
    assert found.incomplete_details.reason == "max_output_tokens"
    assert found.output[0].to_dict()["status"] == "incomplete"


def test_a_stream_tells_what_the_whole_says(client: openai.OpenAI) -> None:
    whole = client.responses.create(**ASK)
    events = list(client.responses.create(**ASK, stream=True))
    for number, event in enumerate(events):
        EVENT.validate_python(event.to_dict())
        assert event.sequence_number == number
    kinds = [event.type for event in events if event.type != "response.output_text.delta"]
    assert kinds == [
        "response.created",
        "response.in_progress",
        "response.output_item.added",
        "response.content_part.added",
        "response.output_text.done",
        "response.content_part.done",
        "response.output_item.done",
        f"response.{whole.status}",
    ]
    deltas = [one.delta for one in events if one.type == "response.output_text.delta"]
    assert "".join(deltas) == whole.output_text
    assert events[-1].to_dict()["response"]["output"][0]["content"][0]["text"] == whole.output_text


def test_the_client_puts_a_stream_together(client: openai.OpenAI) -> None:
    with client.responses.stream(
        **{**PLAIN, "max_output_tokens": 200},
        input="Where to?",
        tools=[GO],
        tool_choice="required",
    ) as stream:
        kinds = {event.type for event in stream}
        found = stream.get_final_response()
    assert "response.function_call_arguments.delta" in kinds
    (call,) = found.output
    assert call.type == "function_call"
    Place.model_validate_json(call.arguments)


def test_a_forced_call_fits_the_schema(client: openai.OpenAI) -> None:
    named: Any = {"type": "function", "name": "book"}
    found = client.responses.create(
        **{**PLAIN, "max_output_tokens": 200},
        input="I go from Paris to Rome.",
        tools=[NOW, BOOK],
        tool_choice=named,
    )
    (call,) = found.output
    assert call.type == "function_call"
    assert (call.name, call.status) == ("book", "completed")
    Trip.model_validate_json(call.arguments)
    WHOLE.validate_python(found.to_dict())


def test_an_answer_in_a_form(client: openai.OpenAI) -> None:
    found = client.responses.parse(
        **{**PLAIN, "max_output_tokens": 200}, input="Paris to Rome.", text_format=Trip
    )
    assert isinstance(found.output_parsed, Trip)


def test_an_answer_in_a_form_where_there_are_tools(client: openai.OpenAI) -> None:
    found = client.responses.parse(
        **{**PLAIN, "max_output_tokens": 100}, input="To Rome.", text_format=Place, tools=[GO]
    )
    (item,) = found.output
    if item.type == "function_call":
        Place.model_validate_json(item.arguments)
    else:
        assert isinstance(found.output_parsed, Place)


def test_a_call_and_its_result_are_part_of_the_conversation(client: openai.OpenAI) -> None:
    call: Any = {"type": "function_call", "call_id": "c", "name": "now", "arguments": "{}"}
    result: Any = {"type": "function_call_output", "call_id": "c", "output": "It is noon."}
    found = client.responses.create(
        **PLAIN, input=[{"role": "user", "content": "What time is it?"}, call, result], tools=[NOW]
    )
    assert found.output


def test_log_probabilities(client: openai.OpenAI) -> None:
    found = client.responses.create(**ASK, include=["message.output_text.logprobs"], top_logprobs=2)
    content = found.output[0].to_dict()["content"][0]
    assert "".join(token["token"] for token in content["logprobs"]) == found.output_text
    assert all(len(token["top_logprobs"]) == 2 for token in content["logprobs"])


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"previous_response_id": "resp_1"}, "previous_response_id"),
        ({"background": True}, "background"),
        ({"input": []}, "input"),
        ({"input": [{"type": "item_reference", "id": "x"}]}, "input.0"),
        ({"input": [{"role": "robot", "content": "Hi"}]}, "input.0.role"),
        ({"input": [{"role": "user", "content": [{"type": "input_image"}]}]}, "input.0.content.0"),
        ({"tools": [{"type": "web_search"}]}, "tools[0].type"),
        ({"tool_choice": "required"}, "tool_choice"),
        ({"text": {"format": {"type": "json_schema", "name": "x"}}}, "text.format.schema"),
        ({"max_output_tokens": 0}, "max_output_tokens"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_cannot_be_asked(client: openai.OpenAI, fields: dict[str, Any], param: str) -> None:
    with pytest.raises(openai.BadRequestError) as error:
        client.responses.create(**{**ASK, **fields})
    assert error.value.param == param


def test_a_conversation_that_is_too_long(client: openai.OpenAI) -> None:
    for stream in (False, True):
        with pytest.raises(openai.BadRequestError) as error:
            client.responses.create(**{**ASK, "input": "word " * 2000}, stream=stream)
        assert error.value.code == "context_length_exceeded"


def test_a_client_that_leaves_frees_its_slot(server: Running) -> None:
    body = {**ASK, "stream": True, "max_output_tokens": 400}
    with httpx.stream("POST", f"{server.url}/v1/responses", json=body, timeout=60) as answer:
        next(answer.iter_lines())
    httpx.post(f"{server.url}/v1/responses", json=ASK, timeout=60).raise_for_status()
    assert server.questions == 0


# --- Without a model ----------------------------------------------------------------------------


def turns(*given: dict[str, Any], **more: Any) -> list[dict[str, Any]]:
    return items.messages(ResponseRequest(input=list(given), **more))


def test_items_become_turns() -> None:
    call = {"type": "function_call", "call_id": "1", "name": "now", "arguments": "{}"}
    found = turns(
        {"role": "developer", "content": [{"type": "input_text", "text": "Be brief."}]},
        {"type": "message", "role": "user", "content": "Hi"},
        {"type": "reasoning", "summary": [], "id": "rs_1"},
        {"role": "assistant", "content": [{"type": "output_text", "text": "Let me see."}]},
        call,
        {**call, "call_id": "2"},
        {"type": "function_call_output", "call_id": "1", "output": "noon"},
        instructions="You are a clock.",
    )
    function = {"name": "now", "arguments": "{}"}
    assert found == [
        {"role": "system", "content": "You are a clock.\n\nBe brief."},
        {"role": "user", "content": "Hi"},
        {
            "role": "assistant",
            "content": "Let me see.",
            "tool_calls": [
                {"id": "1", "type": "function", "function": function},
                {"id": "2", "type": "function", "function": function},
            ],
        },
        {"role": "tool", "tool_call_id": "1", "content": "noon"},
    ]
    with pytest.raises(BadRequest):
        turns({"type": "function_call", "call_id": 1, "name": "now", "arguments": "{}"})


def test_reasoning_words_and_calls_are_items_of_their_own() -> None:
    one = reader(tools_asked([NOW]))
    text = '<think>Hm.</think>Let me see.<tool_call>{"name": "now"}</tool_call>'
    output, events = Output(), list[Event]()
    for delta in [*one.feed(text), *one.finish()]:
        events += output.take(delta)
    events += output.close("completed")
    for number, event in enumerate(events):
        EVENT.validate_python({**event, "sequence_number": number})
    assert [item["type"] for item in output.items] == ["reasoning", "message", "function_call"]
    assert output.items[2]["arguments"] == "{}"
    done = Done(
        reason="length",
        prompt_tokens=9,
        prompt_computed=4,
        tokens=18,
        prompt_seconds=0.1,
        seconds=0.1,
    )
    assert ended(done)["status"] == "incomplete"
    known = usage(done, output)
    assert known["input_tokens_details"]["cached_tokens"] == 5
    assert 0 < known["output_tokens_details"]["reasoning_tokens"] < 18
