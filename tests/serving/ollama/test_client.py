"""Ollama's own client against the real server with the real model."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx
import ollama
import pytest

from launcher import settings
from launcher.asker import Asker, Request
from launcher.engine.fit import Wishes
from launcher.licensing.declaration import Stated, who
from launcher.paths import places
from launcher.serving import app
from launcher.serving.fleet import Fleet, Offer, Terms
from tests.serving.loopback import serving

MODEL = "smollm2:135m"
GREEDY = {"temperature": 0, "num_predict": 16}
QUESTION = [{"role": "user", "content": "Name three colours."}]
WEATHER = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "Tells the weather of a place",
        "parameters": {
            "type": "object",
            "properties": {"place": {"type": "string", "enum": ["Bonn"]}},
            "required": ["place"],
        },
    },
}


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server with the default model, also under a name without a tag."""
    folders = places({"LAUNCHER_HOME": str(tmp_path_factory.mktemp("home"))})
    asker = Asker(
        places=folders, settings=settings.load(folders), stated=Stated(who=who("individual:DE"))
    )
    offers = [Offer(name=name, request=Request(model=MODEL)) for name in (MODEL, "kiosk")]
    fleet = Fleet(offers, asker, Terms(wishes=Wishes(context=1024, threads=1, slots=2)))

    @contextlib.asynccontextmanager
    async def running() -> AsyncIterator[None]:
        await fleet.start()
        try:
            yield
        finally:
            await fleet.close()

    with serving(app.create_app(fleet), running) as found:
        yield found


@pytest.fixture
def client(address: str) -> Iterator[ollama.Client]:
    """The official client."""
    with ollama.Client(host=address) as found:
        yield found


def test_a_chat_is_answered_and_counted(client: ollama.Client) -> None:
    answer = client.chat(MODEL, QUESTION, options=GREEDY)
    assert answer.message.content
    assert (answer.model, answer.done, answer.done_reason) == (MODEL, True, "length")
    assert answer.eval_count == 16
    assert answer.prompt_eval_count is not None
    assert answer.prompt_eval_count > 5
    assert answer.total_duration is not None
    assert answer.eval_duration is not None
    assert 0 < answer.eval_duration < answer.total_duration


def test_a_stream_says_what_the_whole_answer_says(client: ollama.Client) -> None:
    whole = client.chat(MODEL, QUESTION, options=GREEDY)
    parts = list(client.chat(MODEL, QUESTION, options=GREEDY, stream=True))
    assert len(parts) > 3
    assert "".join(part.message.content or "" for part in parts) == whole.message.content
    assert [part.done for part in parts] == [False] * (len(parts) - 1) + [True]
    assert (parts[-1].done_reason, parts[-1].eval_count) == ("length", 16)


def test_a_prompt_is_answered_raw_with_a_system_message_and_as_a_stream(
    client: ollama.Client,
) -> None:
    plain = client.generate(MODEL, "Name three colours.", options=GREEDY)
    chat = client.chat(MODEL, QUESTION, options=GREEDY)
    assert plain.response == chat.message.content
    parts = list(client.generate(MODEL, "Name three colours.", options=GREEDY, stream=True))
    assert "".join(part.response or "" for part in parts) == plain.response
    raw = client.generate(MODEL, "Once upon a time", raw=True, options=GREEDY)
    assert raw.response
    assert raw.response != plain.response
    system = client.generate(MODEL, "Who are you?", system="You are a cat.", options=GREEDY)
    assert system.prompt_eval_count != plain.prompt_eval_count


def test_options_are_kept_to(client: ollama.Client) -> None:
    stopped = client.generate(MODEL, "1, 2, 3, 4,", raw=True, options={**GREEDY, "stop": [" 7"]})
    assert stopped.done_reason == "stop"
    assert " 7" not in (stopped.response or "")
    wild = {"temperature": 1.5, "num_predict": 12}
    first, again, other = (
        client.chat(MODEL, QUESTION, options={**wild, "seed": seed}).message.content
        for seed in (1, 1, 2)
    )
    assert first == again
    assert first != other


def test_log_probabilities(client: ollama.Client) -> None:
    answer = client.chat(MODEL, QUESTION, options=GREEDY, logprobs=True, top_logprobs=2)
    assert answer.logprobs is not None
    assert len(answer.logprobs) == 16
    assert "".join(token.token for token in answer.logprobs) == answer.message.content
    assert all(len(token.top_logprobs or ()) == 2 for token in answer.logprobs)
    *parts, last = client.generate(
        MODEL, "Hi", options=GREEDY, logprobs=True, top_logprobs=1, stream=True
    )
    told = [token for part in parts for token in part.logprobs or ()]
    assert "".join(token.token for token in told) == "".join(part.response or "" for part in parts)
    assert last.eval_count is not None
    assert len(told) in (last.eval_count, last.eval_count - 1)  # the end is a token without text


def test_structured_output_fits_its_schema(client: ollama.Client) -> None:
    schema = {
        "type": "object",
        "properties": {"name": {"type": "string", "maxLength": 12}, "age": {"type": "integer"}},
        "required": ["name", "age"],
    }
    said = "Tom is 12 years old. Answer in JSON."
    options = {"temperature": 0, "num_predict": 100}
    answer = client.generate(MODEL, said, format=schema, options=options)
    found = json.loads(answer.response or "")
    assert set(found) == {"name", "age"}
    assert isinstance(found["age"], int)
    free = client.generate(MODEL, said, format="json", options={"num_predict": 60, **GREEDY})
    assert (free.response or "").lstrip().startswith("{")


def test_tools_reach_the_model_and_calls_come_back_as_objects(client: ollama.Client) -> None:
    messages: list[dict[str, Any]] = [{"role": "user", "content": "What is the weather in Bonn?"}]
    plain = client.chat(MODEL, messages, options=GREEDY)
    offered = client.chat(MODEL, messages, tools=[WEATHER], options=GREEDY)
    assert offered.prompt_eval_count is not None
    assert plain.prompt_eval_count is not None
    assert offered.prompt_eval_count > plain.prompt_eval_count
    # The model is too small to call of its own accord, so its answer's form is given.
    form = _object(name={"const": "weather"}, arguments=_object(place={"enum": ["Bonn"]}))
    options = {"temperature": 0, "num_predict": 60}
    asked: dict[str, Any] = {"tools": [WEATHER], "format": form, "options": options}
    whole = client.chat(MODEL, messages, **asked)
    *_, last = client.chat(MODEL, messages, **asked, stream=True)
    for answer in (whole, last):
        (call,) = answer.message.tool_calls or ()
        assert (call.function.name, call.function.arguments) == ("weather", {"place": "Bonn"})
    called = {"role": "assistant", "content": "", "tool_calls": [call.model_dump()]}
    result = {"role": "tool", "content": "Rain.", "tool_name": "weather"}
    answer = client.chat(MODEL, [*messages, called, result], tools=[WEATHER], options=GREEDY)
    assert answer.message.content


def _object(**properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": list(properties)}


def test_what_there_is_is_listed_and_shown(client: ollama.Client) -> None:
    listed = {model.model: model for model in client.list().models}
    assert set(listed) == {MODEL, "kiosk"}
    details = listed[MODEL].details
    assert details is not None
    assert (details.family, details.quantization_level) == ("llama", "Q4_1")
    client.chat(MODEL, QUESTION, options={"num_predict": 1})
    shown = client.show(MODEL)
    assert shown.modelinfo is not None
    assert shown.modelinfo["general.architecture"] == "llama"
    assert shown.parameters is not None
    assert shown.parameters.split() == ["num_ctx", "1024"]
    assert shown.license is not None
    assert "Apache" in shown.license
    assert shown.capabilities == ["completion"]
    (running,) = (model for model in client.ps().models if model.model == MODEL)
    assert running.context_length == 1024
    assert running.expires_at is not None


def test_embeddings_in_both_forms(client: ollama.Client) -> None:
    two = client.embed(MODEL, ["A cat sleeps.", "Stock prices fell."])
    one = client.embed(MODEL, "A cat sleeps.")
    assert two.embeddings[0] == pytest.approx(one.embeddings[0], abs=1e-3)
    assert sum(number**2 for number in one.embeddings[0]) == pytest.approx(1, abs=1e-3)
    assert two.prompt_eval_count is not None
    assert one.prompt_eval_count is not None
    assert two.prompt_eval_count > one.prompt_eval_count
    assert client.embeddings(MODEL, "A cat sleeps.").embedding == pytest.approx(
        one.embeddings[0], abs=1e-3
    )
    assert len(client.embed(MODEL, "A cat sleeps.", dimensions=32).embeddings[0]) == 32
    assert client.embed(MODEL, []).embeddings == []


def test_a_model_is_loaded_and_unloaded_on_request(client: ollama.Client) -> None:
    assert client.generate("kiosk:latest").done_reason == "load"
    assert "kiosk" in [model.model for model in client.ps().models]
    assert client.chat("kiosk", [], keep_alive=0).done_reason == "unload"
    for _ in range(200):
        if "kiosk" not in [model.model for model in client.ps().models]:
            break
    assert "kiosk" not in [model.model for model in client.ps().models]
    assert client.chat("kiosk", [], keep_alive=0).done_reason == "unload"


def _refusal(work: Any) -> tuple[int, str]:
    with pytest.raises(ollama.ResponseError) as caught:
        work()
    return caught.value.status_code, caught.value.error


def test_failures_have_a_status_and_one_sentence(client: ollama.Client) -> None:
    def generated(**more: Any) -> tuple[int, str]:
        return _refusal(lambda: client.generate(MODEL, "Hi", **more))

    status, words = _refusal(lambda: client.chat("llama3.2:1b", QUESTION))
    assert (status, "llama3.2:1b" in words) == (404, True)
    status, words = _refusal(lambda: list(client.chat("smollm2", QUESTION, stream=True)))
    assert status == 404
    status, words = generated(options={"num_ctx": 9999})
    assert (status, "9999" in words, "1024" in words) == (400, True, True)
    status, words = _refusal(lambda: client.chat(MODEL, [{"role": "user", "content": "a " * 2000}]))
    assert (status, "1024" in words) == (400, True)
    for more in (
        {"suffix": "end"},
        {"template": "{{ .Prompt }}"},
        {"context": [1, 2]},
        {"images": [b"an image"]},
        {"options": {"no_such_option": 1}},
        {"keep_alive": "for ever"},
        {"think": True},
    ):
        status, words = generated(**more)
        assert status == 400, more
        assert words.endswith("."), words


@pytest.mark.parametrize("path", ["../../etc/passwd", "a/../b", "%2e%2e", "kiosk\x00", "~/kiosk"])
def test_a_name_is_never_a_path(client: ollama.Client, path: str) -> None:
    assert _refusal(lambda: client.chat(path, QUESTION))[0] == 404
    assert _refusal(lambda: client.show(path))[0] == 404


def test_models_are_neither_fetched_nor_made_nor_deleted(client: ollama.Client) -> None:
    for work in (
        lambda: client.pull("llama3.2:1b"),
        lambda: client.push("kiosk"),
        lambda: client.create("mine", from_=MODEL),
        lambda: client.copy(MODEL, "mine"),
        lambda: client.delete(MODEL),
    ):
        status, words = _refusal(work)
        assert (status, "launcher pull" in words) == (405, True)


def test_the_asynchronous_client(address: str) -> None:
    async def talk() -> str:
        async with ollama.AsyncClient(host=address) as client:
            parts = await client.chat(MODEL, QUESTION, options=GREEDY, stream=True)
            return "".join([part.message.content or "" async for part in parts])

    assert asyncio.run(talk())


def test_what_programs_look_for(address: str) -> None:
    assert httpx.get(address).status_code == 200
    assert httpx.head(address).status_code == 200
    version = httpx.get(f"{address}/api/version").json()["version"]
    assert tuple(map(int, version.split("."))) >= (0, 6, 4)


def test_requests_as_ollamas_documentation_shows_them(address: str) -> None:
    body = json.dumps({"model": MODEL, "prompt": "Hi", "options": {"num_predict": 2}})
    form = {"Content-Type": "application/x-www-form-urlencoded"}  # what curl -d says
    answer = httpx.post(f"{address}/api/generate", content=body, headers=form)
    assert answer.headers["content-type"] == "application/x-ndjson"
    assert answer.headers["x-model-licence"] == "apache-2.0"
    lines = [json.loads(line) for line in answer.text.splitlines()]
    assert lines[-1]["done"] is True
    assert lines[-1]["launcher"]["licence"] == "apache-2.0"
