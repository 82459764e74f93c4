"""What a body of OpenAI's interface comes to, without a model."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from pydantic import ValidationError

from launcher.engine.sampling import RANDOM, Sampling
from launcher.engine.wanted import Wanted
from launcher.serving.failures import BadRequest
from launcher.serving.openai import asked
from launcher.serving.openai.schemas import ChatRequest, CompletionRequest, Samplers

HELLO = [{"role": "user", "content": "Hello"}]


def chat(**fields: Any) -> Wanted:
    return asked.of_chat(ChatRequest.model_validate({"messages": HELLO, **fields}))


def completion(**fields: Any) -> list[Wanted]:
    return asked.of_completion(CompletionRequest.model_validate({"prompt": "One", **fields}))


def test_every_sampler_of_the_interface_is_one_of_the_engine() -> None:
    names = set(Samplers.model_fields)
    given: dict[str, Any] = dict.fromkeys(names, 0.5)
    whole = ("seed", "top_k", "mirostat", "min_keep", "repeat_last_n")
    given |= dict.fromkeys((*whole, "dry_allowed_length", "dry_penalty_last_n"), 1)
    given |= {"ignore_eos": True, "dry_sequence_breakers": ["."], "samplers": ["top_k", "temp"]}
    given |= {"logit_bias": {"5": 1}}
    found = asked.sampling(Samplers.model_validate(given))
    assert len(found) == len(names)
    Sampling(**found)


def test_a_chat_asks_for_what_it_says() -> None:
    found = chat(
        temperature=0, top_p=0.5, max_tokens=5, stop=["a", ""], seed=-1, mirostat_tau=2, top_k=-1
    )
    assert found.sampling == {
        "temperature": 0,
        "top_p": 0.5,
        "seed": RANDOM,
        "mirostat_ent": 2,
        "top_k": 0,
    }
    assert found.max_tokens == 5
    assert found.stop == ["a"]
    assert found.logprobs is None


def test_the_newer_name_of_the_limit_goes_before_the_older() -> None:
    assert chat(max_tokens=5, max_completion_tokens=7).max_tokens == 7
    assert chat(max_tokens=-1).max_tokens is None


@pytest.mark.parametrize(
    ("fields", "schema"),
    [
        ({"response_format": {"type": "text"}}, None),
        ({"response_format": {"type": "json_object"}}, {"type": "object"}),
        (
            {"response_format": {"type": "json_object", "schema": {"type": "array"}}},
            {"type": "array"},
        ),
        (
            {
                "response_format": {
                    "type": "json_schema",
                    "json_schema": {"name": "x", "strict": True, "schema": {"type": "null"}},
                }
            },
            {"type": "null"},
        ),
        ({"json_schema": {"type": "string"}}, {"type": "string"}),
    ],
)
def test_the_form_of_an_answer(fields: dict[str, Any], schema: object) -> None:
    found = chat(**fields).json_schema
    assert (json.loads(found) if found else None) == schema


def test_parts_of_a_message_are_one_text() -> None:
    parts = [{"type": "text", "text": "One "}, {"type": "text", "text": "two"}]
    assert chat(messages=[{"role": "user", "content": parts}]).messages == [
        {"role": "user", "content": "One two"}
    ]


def test_the_variables_of_the_template() -> None:
    found = chat(chat_template_kwargs={"enable_thinking": False}, reasoning_effort="low")
    assert found.template == {"reasoning_effort": "low", "enable_thinking": False}


@pytest.mark.parametrize("name", ["messages", "tools", "bos_token", "not a name", ""])
def test_a_variable_that_is_not_a_clients_is_refused(name: str) -> None:
    with pytest.raises(BadRequest, match="cannot be set"):
        chat(chat_template_kwargs={name: "x"})


@pytest.mark.parametrize(
    ("message", "param"),
    [
        (
            {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]},
            "messages.0.content.0",
        ),
        (
            {"role": "user", "content": [{"type": "input_audio", "input_audio": {}}]},
            "messages.0.content.0.type",
        ),
        ({"role": "user", "content": [{"type": "text"}]}, "messages.0.content.0.text"),
        ({"role": "user", "content": None}, "messages.0.content"),
        ({"role": "user", "content": "x", "tool_calls": [{}]}, "messages.0.tool_calls"),
        ({"role": "assistant", "tool_calls": [{}]}, "messages.0.tool_calls.0"),
    ],
)
def test_a_message_that_cannot_be_rendered_is_refused(message: Any, param: str) -> None:
    with pytest.raises(BadRequest) as refused:
        chat(messages=[message])
    assert refused.value.param == param


def test_scores_of_tokens() -> None:
    assert chat(logit_bias={"5": -100}).sampling == {"logit_bias": {5: -100}}
    found = chat(logit_bias=[[5, False], [6, 0.5]]).sampling["logit_bias"]
    assert found == {5: -math.inf, 6: 0.5}
    assert chat(logit_bias={}).sampling == {}


@pytest.mark.parametrize("biases", [{"-5": 1}, {"\u0665": 1}, {"": 1}, {"9" * 10: 1}])
def test_scores_of_what_is_no_token(biases: dict[str, float]) -> None:
    with pytest.raises(BadRequest, match="not the number of a token"):
        chat(logit_bias=biases)
    with pytest.raises(BadRequest, match="no token 9"):
        asked.refuse_foreign_biases(Wanted(sampling={"logit_bias": {9: 1.0}}), 9)


def test_the_order_of_samplers() -> None:
    assert chat(samplers="kt").sampling == {"samplers": ("top_k", "temperature")}
    assert chat(samplers=["min-p"]).sampling == {"samplers": ("min_p",)}
    with pytest.raises(BadRequest, match="no sampler 'x'"):
        chat(samplers=["top_k", "x"])


@pytest.mark.parametrize(
    "fields",
    [
        {"messages": []},
        {"messages": "Hello"},
        {"messages": [{"role": "function", "content": "x"}]},
        {"n": 0},
        {"n": 10**9},
        {"n": "2"},
        {"n": True},
        {"temperature": -0.1},
        {"temperature": float("nan")},
        {"top_p": 1.1},
        {"seed": 2**64},
        {"max_tokens": -2},
        {"stop": ["x"] * 17},
        {"stop": "x" * 1025},
        {"model": "x" * 513},
        {"top_logprobs": 2},
        {"logprobs": True, "top_logprobs": 21},
        {"grammar": 'root ::= "a"', "response_format": {"type": "json_object"}},
        {"chat_template_kwargs": {str(at): 1 for at in range(65)}},
        {"modalities": ["text", "audio"]},
        {"functions": [{"name": "f"}]},
        {"chat_template": "{{ 1 }}"},
        {"lora": [{"id": 0, "scale": 1}]},
        {"logit_bias": {"5": "x"}},
        {"samplers": ["top_k"] * 17},
        {"dry_sequence_breakers": ["x" * 65]},
        {"temperature": float("inf")},
    ],
)
def test_what_is_out_of_bounds_or_not_kept_to_is_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        chat(**fields)


def test_what_asks_for_nothing_and_what_is_unknown_is_let_pass() -> None:
    found = chat(modalities=["text"], functions=[], audio=None, user="me", store=True)
    assert found.sampling == {}


def test_depth_has_a_bound() -> None:
    deep: Any = "x"
    for _ in range(90):
        deep = [deep]
    chat(metadata=deep)
    for _ in range(20):
        deep = {"a": deep}
    with pytest.raises(ValidationError, match="nested"):
        chat(metadata=deep)


@pytest.mark.parametrize("body", [{"a": "\ud800"}, {"\udfff": 1}, {"a": [{"b": "x\udc00"}]}])
def test_halves_of_characters_are_refused(body: Any) -> None:
    with pytest.raises(ValidationError, match="half of a character"):
        chat(metadata=body)


def test_prompts_of_completions() -> None:
    assert [one.prompt for one in completion(prompt="One")] == ["One"]
    assert [one.prompt for one in completion(prompt=[1, 2])] == [[1, 2]]
    assert [one.prompt for one in completion(prompt=["One", "Two"])] == ["One", "Two"]
    assert [one.prompt for one in completion(prompt=[[1], [2, 3]])] == [[1], [2, 3]]


@pytest.mark.parametrize(
    "fields",
    [
        {"prompt": []},
        {"prompt": [[]]},
        {"prompt": [1, "two"]},
        {"prompt": [-1]},
        {"prompt": {"text": "x"}},
        {"echo": True},
        {"suffix": "end"},
        {"best_of": 3},
        {"logprobs": 21},
    ],
)
def test_completions_that_cannot_be_given(fields: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        completion(**fields)


def test_the_answers_of_one_request_have_a_bound() -> None:
    assert len(completion(prompt=["x"] * 8, n=2)) == 8
    with pytest.raises(BadRequest, match="at most 16"):
        completion(prompt=["x"] * 9, n=2)


def test_each_of_several_answers_has_a_seed_of_its_own() -> None:
    found = asked.several(Wanted(sampling={"seed": 2**32 - 3}), 4)
    assert [one.sampling["seed"] for one in found] == [2**32 - 3, 2**32 - 2, 0, 1]
    assert RANDOM not in [one.sampling["seed"] for one in found]


def test_without_a_seed_they_have_none() -> None:
    assert [one.sampling for one in asked.several(Wanted(), 2)] == [{}, {}]


def test_a_token_that_the_model_lacks_is_refused() -> None:
    asked.refuse_foreign(["text", [9]], 10, "prompt")
    with pytest.raises(BadRequest, match="no token 10"):
        asked.refuse_foreign([[9, 10]], 10, "prompt")
