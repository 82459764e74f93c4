"""OpenAI's interface, through OpenAI's own client, over loopback, with the real model."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
from openai.types.chat import ChatCompletionChunk

from tests.serving.running import CONTEXT, MODEL, REFUSED, Running, running

QUESTION: Any = [{"role": "user", "content": "Name three colours."}]
WEATHER: Any = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather in a city",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string", "maxLength": 20}},
            "required": ["city"],
        },
    },
}


@pytest.fixture(scope="module")
def client(server: Running) -> Iterator[openai.OpenAI]:
    with server.client() as found:
        yield found


def asked(**fields: Any) -> dict[str, Any]:
    return {"model": MODEL, "messages": QUESTION, "temperature": 0, "max_tokens": 12, **fields}


# --- Chats --------------------------------------------------------------------------------------


def test_a_chat_is_answered(client: openai.OpenAI) -> None:
    found = client.chat.completions.create(**asked())
    (choice,) = found.choices
    assert choice.message.role == "assistant"
    assert choice.message.content
    assert choice.finish_reason in ("stop", "length")
    assert (found.object, found.model) == ("chat.completion", MODEL)
    assert found.usage is not None
    assert found.usage.completion_tokens <= 12
    assert found.usage.total_tokens == found.usage.prompt_tokens + found.usage.completion_tokens


def test_what_was_computed_before_is_told(client: openai.OpenAI) -> None:
    client.chat.completions.create(**asked())
    usage = client.chat.completions.create(**asked()).usage
    assert usage is not None
    assert usage.prompt_tokens_details is not None
    assert 0 < (usage.prompt_tokens_details.cached_tokens or 0) < usage.prompt_tokens


def test_a_stream_says_what_the_whole_says(client: openai.OpenAI) -> None:
    whole = client.chat.completions.create(**asked()).choices[0]
    chunks: list[ChatCompletionChunk] = list(
        client.chat.completions.create(
            **asked(), stream=True, stream_options={"include_usage": True}
        )
    )
    *pieces, last = chunks
    assert pieces[0].choices[0].delta.role == "assistant"
    assert "".join(one.choices[0].delta.content or "" for one in pieces) == whole.message.content
    assert [one.choices[0].finish_reason for one in pieces if one.choices[0].finish_reason] == [
        whole.finish_reason
    ]
    assert last.choices == []
    assert last.usage is not None
    assert last.usage.completion_tokens > 0
    assert all(one.usage is None for one in pieces)
    assert len({one.id for one in chunks}) == 1


def test_a_stream_ends_as_openais_do(server: Running) -> None:
    found = server.post("/v1/chat/completions", asked(stream=True))
    assert found.headers["content-type"].startswith("text/event-stream")
    *lines, last = found.text.strip().split("\n\n")
    assert last == "data: [DONE]"
    bodies = [json.loads(line.removeprefix("data: ")) for line in lines]
    assert not [body for body in bodies if "usage" in body]
    assert bodies[-1]["launcher"]["licence"] == "apache-2.0"


def test_several_answers_come_side_by_side_and_again(client: openai.OpenAI) -> None:
    wish = asked(n=3, seed=5, temperature=1)
    texts = [
        [choice.message.content for choice in client.chat.completions.create(**wish).choices]
        for _ in range(2)
    ]
    assert texts[0] == texts[1]
    assert len(set(texts[0])) == 3


def test_several_answers_in_one_stream(client: openai.OpenAI) -> None:
    words: dict[int, str] = {0: "", 1: ""}
    ends: list[int] = []
    for chunk in client.chat.completions.create(**asked(n=2), stream=True):
        (choice,) = chunk.choices
        words[choice.index] += choice.delta.content or ""
        ends += [choice.index] if choice.finish_reason else []
    assert words[0] == words[1] != ""
    assert sorted(ends) == [0, 1]


def test_a_text_that_ends_the_answer(client: openai.OpenAI) -> None:
    whole = client.chat.completions.create(**asked()).choices[0].message.content or ""
    stop = whole[5:9]
    found = client.chat.completions.create(**asked(stop=[stop])).choices[0]
    assert found.message.content == whole[: whole.index(stop)]
    assert found.finish_reason == "stop"


def test_a_limit_is_told(client: openai.OpenAI) -> None:
    found = client.chat.completions.create(**asked(max_tokens=None), max_completion_tokens=2)
    assert found.choices[0].finish_reason == "length"
    assert found.usage is not None
    assert found.usage.completion_tokens == 2


@pytest.mark.parametrize("stream", [False, True])
def test_log_probabilities(client: openai.OpenAI, stream: bool) -> None:
    wish = asked(logprobs=True, top_logprobs=2, max_tokens=4)
    if stream:
        chunks = list(client.chat.completions.create(**wish, stream=True))
        known = [one.choices[0].logprobs for one in chunks if one.choices[0].logprobs]
        tokens = [token for one in known for token in one.content or ()]
        text = "".join(one.choices[0].delta.content or "" for one in chunks)
    else:
        choice = client.chat.completions.create(**wish).choices[0]
        assert choice.logprobs is not None
        tokens, text = list(choice.logprobs.content or ()), choice.message.content or ""
    assert "".join(token.token for token in tokens) == text
    assert len(tokens) == 4
    for token in tokens:
        best, second = token.top_logprobs
        assert token.logprob == best.logprob >= second.logprob
        assert bytes(token.bytes or ()).decode() == token.token


def test_an_answer_that_a_schema_describes(client: openai.OpenAI) -> None:
    schema = {
        "type": "object",
        "properties": {"colour": {"enum": ["red", "green"]}, "count": {"type": "boolean"}},
        "required": ["colour", "count"],
        "additionalProperties": False,
    }
    form = {"type": "json_schema", "json_schema": {"name": "c", "schema": schema}}
    found = client.chat.completions.create(**asked(response_format=form, max_tokens=60))
    body = json.loads(found.choices[0].message.content or "")
    assert body["colour"] in ("red", "green")
    assert isinstance(body["count"], bool)


def test_an_answer_that_is_any_object(client: openai.OpenAI) -> None:
    found = client.chat.completions.create(
        **asked(response_format={"type": "json_object"}, max_tokens=2)
    )
    assert (found.choices[0].message.content or "").lstrip().startswith("{")


def test_a_grammar(server: Running) -> None:
    found = server.post("/v1/chat/completions", asked(grammar='root ::= "blue" | "green"'))
    assert found.json()["choices"][0]["message"]["content"] in ("blue", "green")


@pytest.mark.parametrize("path", ["chat/completions", "completions"])
def test_grammars_are_taken_only_where_that_was_said(tmp_path: Path, path: str) -> None:
    wish = asked(prompt="One", grammar='root ::= ("a"?){1,500}')
    with running(tmp_path, grammars=False) as own:
        found = own.post(f"/v1/{path}", wish)
    assert (found.status_code, found.json()["error"]["param"]) == (400, "grammar")
    assert "--client-grammars" in found.json()["error"]["message"]


@pytest.mark.parametrize("stream", [False, True])
def test_a_tool_is_called(client: openai.OpenAI, stream: bool) -> None:
    wish = asked(tools=[WEATHER], tool_choice="required", max_tokens=80)
    if stream:
        with client.chat.completions.stream(**wish) as events:
            for _ in events:
                pass
            choice: Any = events.get_final_completion().choices[0]
    else:
        choice = client.chat.completions.create(**wish).choices[0]
    assert choice.finish_reason == "tool_calls"
    (call,) = choice.message.tool_calls
    assert call.function.name == "get_weather"
    assert isinstance(json.loads(call.function.arguments)["city"], str)


@pytest.mark.parametrize("stream", [False, True])
def test_an_answer_with_its_one_call_ends_early_and_says_what_it_came_to(
    server: Running, stream: bool
) -> None:
    call = '<tool_call>{"name": "get_weather", "arguments": {"city": "Rome"}}</tool_call>'
    wish = asked(
        tools=[WEATHER],
        parallel_tool_calls=False,
        grammar=f"root ::= {json.dumps(call)} [a-z]+",
        max_tokens=300,
        stream=stream,
        stream_options={"include_usage": True} if stream else None,
    )
    found = server.post("/v1/chat/completions", wish)
    if stream:
        lines = found.text.strip().split("\n\n")[:-1]
        *_, last, usage = [json.loads(line.removeprefix("data: ")) for line in lines]
        reason = last["choices"][0]["finish_reason"]
    else:
        usage = found.json()
        (choice,) = usage["choices"]
        assert len(choice["message"]["tool_calls"]) == 1
        reason = choice["finish_reason"]
    assert reason == "tool_calls"
    assert 20 < usage["usage"]["completion_tokens"] < 200


def test_a_conversation_with_a_tool_goes_on(client: openai.OpenAI) -> None:
    call = {
        "id": "call_1",
        "type": "function",
        "function": {"name": "get_weather", "arguments": '{"city": "Paris"}'},
    }
    turns = [
        {"role": "developer", "content": [{"type": "text", "text": "Be brief."}]},
        {"role": "user", "content": "How is the weather in Paris?"},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "call_1", "content": "Sunny, 21 degrees"},
    ]
    found = client.chat.completions.create(**asked(messages=turns, tools=[WEATHER]))
    assert found.choices[0].message.content


# --- Completions --------------------------------------------------------------------------------


def test_a_text_is_continued(client: openai.OpenAI) -> None:
    wish: dict[str, Any] = {"model": MODEL, "temperature": 0, "max_tokens": 4, "logprobs": 2}
    found = client.completions.create(prompt="The capital of France is", **wish)
    assert found.choices[0].text.startswith(" Paris")
    known = found.choices[0].logprobs
    assert known is not None
    assert known.tokens is not None
    assert known.text_offset is not None
    assert "".join(known.tokens) == found.choices[0].text
    assert known.text_offset[:2] == [0, len(known.tokens[0])]
    streamed = client.completions.create(prompt="The capital of France is", **wish, stream=True)
    assert "".join(chunk.choices[0].text for chunk in streamed) == found.choices[0].text


def test_several_prompts_with_several_answers_each(client: openai.OpenAI) -> None:
    found = client.completions.create(
        model=MODEL, prompt=["One, two,", "Red, green,"], n=2, temperature=0, max_tokens=3
    )
    assert [choice.index for choice in found.choices] == [0, 1, 2, 3]
    texts = [choice.text for choice in found.choices]
    assert texts[0] == texts[1] != texts[2] == texts[3]
    single = client.completions.create(
        model=MODEL, prompt="Red, green,", temperature=0, max_tokens=3
    )
    assert single.choices[0].text == texts[2]


def test_tokens_are_continued(client: openai.OpenAI) -> None:
    found = client.completions.create(
        model=MODEL, prompt=[504, 3575, 282, 4649, 314], temperature=0, max_tokens=2
    )
    assert found.usage is not None
    assert found.usage.prompt_tokens == 5
    assert found.choices[0].text


# --- Embeddings ---------------------------------------------------------------------------------


def test_embeddings(client: openai.OpenAI, server: Running) -> None:
    texts = ["a cat", "a kitten", "tax law"]
    found = client.embeddings.create(model=MODEL, input=texts)  # the client asks for base64
    vectors = [one.embedding for one in found.data]
    assert sum(number * number for number in vectors[0]) == pytest.approx(1, abs=1e-3)
    plain = server.post("/v1/embeddings", {"model": MODEL, "input": texts[0]}).json()
    assert plain["data"][0]["embedding"] == pytest.approx(vectors[0], abs=1e-3)
    assert plain["usage"]["prompt_tokens"] == plain["usage"]["total_tokens"] > 0


def test_embeddings_have_the_models_size(server: Running) -> None:
    found = server.post("/v1/embeddings", {"model": MODEL, "input": "x", "dimensions": 8})
    assert found.status_code == 400
    assert found.json()["error"]["param"] == "dimensions"


# --- Models -------------------------------------------------------------------------------------


def test_the_list_shows_licences_and_verdicts(client: openai.OpenAI) -> None:
    found = {model.id: model.model_dump()["launcher"] for model in client.models.list()}
    assert set(found) == {MODEL, REFUSED}
    assert (found[MODEL]["licence"], found[MODEL]["verdict"]) == ("apache-2.0", "allow")
    assert (found[REFUSED]["licence"], found[REFUSED]["verdict"]) == ("llama4", "refuse")
    assert found[REFUSED]["state"] == "refused"
    assert client.models.retrieve(MODEL).id == MODEL


def test_an_unknown_model_is_not_found(client: openai.OpenAI) -> None:
    with pytest.raises(openai.NotFoundError) as missing:
        client.chat.completions.create(**asked(model="gpt-4o"))
    assert missing.value.code == "model_not_found"
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("../../etc/passwd")


@pytest.mark.parametrize("stream", [False, True])
def test_a_refused_model_answers_with_the_decision(server: Running, stream: bool) -> None:
    found = server.post("/v1/chat/completions", asked(model=REFUSED, stream=stream))
    assert found.status_code == 451
    body = found.json()
    assert body["error"]["code"] == body["decision"]["code"] == "llama-eu-multimodal"
    assert body["decision"]["verdict"] == "refuse"
    assert body["decision"]["reasons"][0]["quote"]


def test_a_model_has_to_be_named_where_there_are_several(server: Running) -> None:
    found = server.post("/v1/chat/completions", {"messages": QUESTION})
    assert (found.status_code, found.json()["error"]["param"]) == (400, "model")


def test_answers_carry_the_licence(server: Running) -> None:
    for stream in (False, True):
        found = server.post("/v1/chat/completions", asked(stream=stream, max_tokens=1))
        assert found.headers["x-model-licence"] == "apache-2.0"
        assert "x-model-notice" not in found.headers


def test_health(server: Running) -> None:
    found = httpx.get(f"{server.url}/health")
    assert found.status_code == 200
    assert found.json()["status"] == "ok"
    assert found.json()["models"][REFUSED] == "refused"


# --- What cannot be answered --------------------------------------------------------------------


def test_a_conversation_that_is_too_long_is_refused_with_numbers(client: openai.OpenAI) -> None:
    long: Any = [{"role": "user", "content": "word " * 2 * CONTEXT}]
    for stream in (False, True):
        with pytest.raises(openai.BadRequestError) as refused:
            client.chat.completions.create(**asked(messages=long, stream=stream))
        assert refused.value.code == "context_length_exceeded"
        assert str(CONTEXT) in refused.value.message


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"grammar": "root ::= ((("}, "grammar"),
        ({"json_schema": {"$ref": "http://127.0.0.1:1/x"}}, "schema"),
        (
            {"tools": [WEATHER], "tool_choice": {"type": "function", "function": {"name": "x"}}},
            "tool",
        ),
        ({"echo": True, "n": 17}, "n: "),
        ({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, "image"),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
def test_what_cannot_be_kept_to_is_refused(
    server: Running, fields: dict[str, Any], said: str, stream: bool
) -> None:
    found = server.post("/v1/chat/completions", asked(**fields, stream=stream))
    assert found.status_code == 400
    assert said in found.json()["error"]["message"]


@pytest.mark.parametrize("path", ["chat/completions", "completions"])
def test_scores_of_tokens_change_what_is_said(server: Running, path: str) -> None:
    wish = asked(prompt="The capital of France is", max_tokens=1)
    plain = server.post(f"/v1/{path}", wish).json()["choices"][0]
    changed = server.post(f"/v1/{path}", {**wish, "logit_bias": {"20000": 100}}).json()["choices"][
        0
    ]
    same = server.post(f"/v1/{path}", {**wish, "logit_bias": [[20_000, False]]}).json()["choices"][
        0
    ]
    assert _said(plain) == _said(same) != _said(changed) != ""
    refused = server.post(f"/v1/{path}", {**wish, "logit_bias": {"999999": 1}})
    assert (refused.status_code, refused.json()["error"]["param"]) == (400, "logit_bias")


@pytest.mark.parametrize(
    "without", [{"ignore_eos": True}, {"logit_bias": {str(token): -1e6 for token in range(1000)}}]
)
@pytest.mark.parametrize("form", [{"grammar": 'root ::= "a"'}, {"json_schema": {"const": "a"}}])
def test_an_answer_ends_where_nothing_fits_its_form(
    server: Running, without: dict[str, Any], form: dict[str, Any]
) -> None:
    deaths = server.fleet.served(MODEL).deaths
    found = server.post("/v1/chat/completions", asked(**without, **form))
    assert found.json()["choices"][0]["finish_reason"] == "stop"
    never = {"logit_bias": [[token, False] for token in range(1000)]}
    found = server.post("/v1/chat/completions", asked(**never, **form))
    assert found.json()["choices"][0]["finish_reason"] == "stop"
    assert server.fleet.served(MODEL).deaths == deaths


def _said(choice: Any) -> str:
    return str(choice["message"]["content"] if "message" in choice else choice["text"])


@pytest.mark.parametrize(("path", "name"), [("completions", "prompt"), ("embeddings", "input")])
def test_an_empty_text_is_refused(server: Running, path: str, name: str) -> None:
    found = server.post(f"/v1/{path}", {"model": MODEL, name: ""})
    assert found.status_code == 400
    assert "empty" in found.json()["error"]["message"]


@pytest.mark.parametrize("path", ["/v1/completions", "/v1/embeddings"])
def test_a_token_that_is_none_is_refused(server: Running, path: str) -> None:
    name = "input" if path == "/v1/embeddings" else "prompt"
    found = server.post(path, {"model": MODEL, name: [5, 10**6]})
    assert (found.status_code, found.json()["error"]["param"]) == (400, name)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b'"text"',
        b"\xff\xfe",
        b'{"messages": "\xc3"}',
        b"[" * 100_000,
        b'{"a":' * 400 + b"1" + b"}" * 400,
        b'{"messages": [{"role": "user", "content": "\\ud800"}]}',
        b'{"messages": [{"role": "user", "content": "x"}], "temperature": NaN}',
        b'{"messages": [{"role": "user", "content": "x"}], "temperature": 1e999}',
        b'{"messages": [{"role": "user", "content": "x"}], "seed": ' + b"9" * 5000 + b"}",
    ],
)
def test_a_body_that_is_none_is_refused(server: Running, body: bytes) -> None:
    found = httpx.post(
        f"{server.url}/v1/chat/completions",
        content=body,
        headers={"Content-Type": "application/json"},
    )
    assert found.status_code == 400
    assert found.json()["error"]["type"] == "invalid_request_error"


def test_addresses_and_methods_that_there_are_not(server: Running) -> None:
    missing = httpx.get(f"{server.url}/v1/nothing")
    assert (missing.status_code, "error" in missing.json()) == (404, True)
    wrong = httpx.get(f"{server.url}/v1/chat/completions")
    assert (wrong.status_code, wrong.headers["allow"]) == (405, "POST")


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/chat/completions", {"messages": QUESTION, "max_tokens": 2}),
        ("/v1/completions", {"prompt": "Hi", "max_tokens": 2}),
        ("/v1/responses", {"input": "Hi", "max_output_tokens": 16}),
        ("/api/chat", {"messages": QUESTION, "options": {"num_predict": 2}}),
        ("/api/generate", {"prompt": "Hi", "options": {"num_predict": 2}}),
    ],
)
def test_the_description_has_what_is_streamed(
    server: Running, path: str, body: dict[str, Any]
) -> None:
    found = server.post(path, {"model": MODEL, "stream": True, **body})
    assert found.status_code == 200
    description = httpx.get(f"{server.url}/openapi.json").json()
    kinds = description["paths"][path]["post"]["responses"]["200"]["content"]
    assert found.headers["content-type"].partition(";")[0] in set(kinds) - {"application/json"}
