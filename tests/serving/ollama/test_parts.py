"""The pure parts of Ollama's API: what is asked, what is refused, what is told."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from launcher import flow
from launcher.asker import Asker, Request
from launcher.engine.client import Done
from launcher.engine.sampling import RANDOM, Sampling
from launcher.models.gguf import Entry, Header, Summary, ValueType
from launcher.serving.failures import BadRequest
from launcher.serving.ollama import asking, lines, models
from launcher.serving.ollama.schemas import OllamaChatRequest, OllamaGenerateRequest, Options


def chat(**body: Any) -> OllamaChatRequest:
    asked = {"model": "m", "messages": [{"role": "user", "content": "Hi"}], **body}
    return OllamaChatRequest.model_validate_json(json.dumps(asked))


def generate(**body: Any) -> OllamaGenerateRequest:
    return OllamaGenerateRequest.model_validate_json(
        json.dumps({"model": "m", "prompt": "Hi", **body})
    )


@pytest.mark.parametrize(
    ("asked", "means"),
    [
        ("smollm2:135m", "smollm2:135m"),
        ("kiosk", "kiosk"),
        ("kiosk:latest", "kiosk"),
        ("both:latest", "both:latest"),
        ("smollm2", "smollm2"),
        ("smollm2:latest", "smollm2:latest"),
        ("kiosk:latest:latest", "kiosk:latest:latest"),
        ("../kiosk:latest", "../kiosk:latest"),
    ],
)
def test_a_tag_that_clients_add_is_understood_nothing_guessed(asked: str, means: str) -> None:
    assert asking.name_of(asked, ["smollm2:135m", "kiosk", "both", "both:latest"]) == means


def test_options_become_llama_cpps_settings() -> None:
    options = {
        "temperature": 0.5,
        "top_k": 12,
        "top_p": 0.8,
        "min_p": 0.1,
        "typical_p": 0.9,
        "seed": 7,
        "repeat_last_n": -1,
        "repeat_penalty": 1.1,
        "presence_penalty": 0.2,
        "frequency_penalty": 0.3,
        "mirostat": 2,
        "mirostat_tau": 4.0,
        "mirostat_eta": 0.2,
        "num_predict": 9,
        "stop": ["\n"],
        "num_thread": 8,
        "num_keep": None,
    }
    wanted = asking.of_chat(chat(options=options))
    sampling = Sampling(**wanted.sampling)
    assert (sampling.mirostat_ent, sampling.mirostat_lr, sampling.seed) == (4.0, 0.2, 7)
    assert (sampling.top_k, sampling.repeat_last_n, sampling.repeat_penalty) == (12, -1, 1.1)
    assert (wanted.max_tokens, wanted.stop) == (9, ["\n"])


def test_what_is_left_out_keeps_the_defaults() -> None:
    wanted = asking.of_chat(chat())
    assert Sampling(**wanted.sampling) == Sampling()
    assert (wanted.max_tokens, wanted.stop, wanted.json_schema) == (None, [], "")
    assert asking.sampling(Options(seed=-1)) == {"seed": RANDOM}


@pytest.mark.parametrize("limit", [-2, -1, 0])
def test_no_limit_is_no_limit(limit: int) -> None:
    wanted = asking.of_generate(generate(options={"num_predict": limit}))
    assert wanted.max_tokens is None


@pytest.mark.parametrize(
    "options",
    [
        {"tfs_z": 0.5},
        {"penalize_newline": False},
        {"vocab_only": True},
        {"num_ctxx": 1},
        {"temperature": -1},
        {"temperature": "hot"},
        {"mirostat": 3},
        {"stop": [""] * 99},
        {"top_k": 1.5},
        {"temperature": float("inf")},
        {"seed": 1 << 70},
        {"lora": "/etc/passwd"},
    ],
)
def test_an_option_that_cannot_be_kept_to_is_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        chat(options=options)


def test_a_longer_context_is_refused_with_numbers_and_a_shorter_one_taken() -> None:
    asking.refuse_context(None, 2048)
    asking.refuse_context(Options(num_ctx=2048), 2048)
    with pytest.raises(BadRequest, match=r"4096 tokens.*2048"):
        asking.refuse_context(Options(num_ctx=4096), 2048)


@pytest.mark.parametrize(
    ("field", "value"),
    [("template", "{{ .Prompt }}"), ("suffix", "}"), ("context", [1, 2]), ("images", ["aGk="])],
)
def test_what_generate_cannot_do_is_refused_and_named(field: str, value: Any) -> None:
    with pytest.raises(ValidationError) as refusal:
        generate(**{field: value})
    (fault,) = refusal.value.errors()
    assert fault["ctx"]["param"] == field


@pytest.mark.parametrize("field", ["template", "suffix", "context", "images"])
@pytest.mark.parametrize("nothing", [None, "empty"])
def test_what_is_empty_asks_for_nothing(field: str, nothing: str | None) -> None:
    empty = [] if field in ("context", "images") else ""
    value = empty if nothing else None
    wanted = asking.of_generate(generate(**{field: value}))
    assert wanted.messages == [{"role": "user", "content": "Hi"}]


def test_images_in_a_message_are_refused() -> None:
    message = {"role": "user", "content": "What is it?", "images": ["aGk="]}
    with pytest.raises(BadRequest, match="text"):
        asking.of_chat(chat(messages=[message]))


def test_a_raw_prompt_passes_the_template_by_and_a_system_message_goes_first() -> None:
    assert asking.of_generate(generate(raw=True)).prompt == "Hi"
    wanted = asking.of_generate(generate(system="Be brief."))
    assert [message["role"] for message in wanted.messages] == ["system", "user"]
    with pytest.raises(BadRequest, match="raw"):
        asking.of_generate(generate(raw=True, system="Be brief."))


def test_calls_of_tools_become_openais_form() -> None:
    call = {"function": {"name": "weather", "arguments": {"place": "Bonn"}}}
    messages = [
        {"role": "user", "content": "Rain?"},
        {"role": "assistant", "tool_calls": [call]},
        {"role": "tool", "content": "no", "tool_name": "weather"},
    ]
    _, asked, answered = asking.of_chat(chat(messages=messages)).messages
    (sent,) = asked["tool_calls"]
    assert (sent["type"], sent["function"]["name"]) == ("function", "weather")
    assert answered["tool_call_id"] == sent["id"]


def test_results_find_the_calls_that_they_answer() -> None:
    def call(name: str, **more: str) -> dict[str, Any]:
        return {"function": {"name": name, "arguments": {}}, **more}

    def result(**more: str) -> dict[str, Any]:
        return {"role": "tool", "content": "", **more}

    calls = [call("a"), call("b"), call("a"), call("c", id="given")]
    results = [
        result(tool_name="b"),
        result(tool_name="a"),
        result(tool_call_id="given"),
        result(),
        result(tool_name="unheard-of"),
    ]
    messages = [{"role": "assistant", "tool_calls": calls}, *results]
    first, *answers = asking.of_chat(chat(messages=messages)).messages
    ids = [call["id"] for call in first["tool_calls"]]
    found = [answer.get("tool_call_id") for answer in answers]
    assert found == [ids[1], ids[0], "given", ids[2], None]


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("5m", 300.0),
        ("1h30m", 5400.0),
        ("300ms", 0.3),
        ("-1", 86400.0),
        (-1, 86400.0),
        ("0", 0.0),
        (10, 10.0),
        ("1000h", 86400.0),
        ("", None),
        (None, None),
    ],
)
def test_how_long_a_model_is_kept(text: Any, seconds: float | None) -> None:
    assert asking.seconds_of(text) == seconds


@pytest.mark.parametrize("text", ["soon", "5 m", "1d", "١m", "m", "-", "1" * 400, "inf", "nan"])
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(BadRequest, match="keep_alive"):
        asking.seconds_of(text)


def test_json_asks_for_an_object_and_a_schema_for_itself() -> None:
    schema = {"type": "object", "properties": {"age": {"type": "integer"}}}
    assert json.loads(asking.of_chat(chat(format="json")).json_schema) == {"type": "object"}
    assert json.loads(asking.of_chat(chat(format=schema)).json_schema) == schema
    with pytest.raises(ValidationError):
        chat(format="yaml")


@pytest.mark.parametrize("is_chat", [True, False])
def test_a_line_made_of_parts_is_the_line_made_whole(is_chat: bool) -> None:
    made = lines.Lines(model='a"b\n', chat=is_chat)
    text, likely = 'ü"\n\\ \u2028', [{"token": "x", "logprob": -0.5}]
    found = json.loads(made.piece(text, likely))
    wanted = {**made.whole(text), "done": False, "logprobs": likely}
    assert {**found, "created_at": ""} == {**wanted, "created_at": ""}
    assert made.piece(text).count(b"\n") == 1


def test_an_end_has_counts_and_nanoseconds() -> None:
    done = Done(
        reason="context",
        prompt_tokens=5,
        prompt_computed=1,
        tokens=3,
        prompt_seconds=0.25,
        seconds=1.5,
    )
    end = lines.end(done, loading=0.5, total=2.0)
    assert (end["done_reason"], end["eval_count"], end["eval_duration"]) == (
        "length",
        3,
        1_500_000_000,
    )
    assert (end["load_duration"], end["total_duration"]) == (500_000_000, 2_000_000_000)


def test_a_model_is_shown_with_its_facts_and_its_licence(smollm2: Path, asker: Asker) -> None:
    with flow.judged(Request(model="smollm2:135m"), asker) as judgement:
        listed = models.entry("smollm2:135m", judgement)
        shown = models.shown(judgement, context=None)
    assert listed["size"] == smollm2.stat().st_size
    assert listed["details"]["family"] == "llama"
    assert listed["details"]["quantization_level"] == "Q4_1"
    assert listed["details"]["parameter_size"] == "134.52M"
    assert listed["launcher"]["licence"] == "apache-2.0"
    assert shown["model_info"]["llama.context_length"] == 8192
    assert shown["model_info"]["tokenizer.ggml.tokens"] is None
    assert "<|im_start|>" in shown["template"]
    assert "apache-2.0" in shown["license"]
    assert shown["capabilities"] == ["completion"]
    json.dumps(shown, allow_nan=False)


def test_numbers_that_json_lacks_and_long_lists_are_left_out() -> None:
    infinite = Entry(ValueType.FLOAT32, float("inf"))
    row = Entry(ValueType.FLOAT32, (1.0, float("nan")), is_array=True)
    long = Entry(ValueType.STRING, Summary(ValueType.STRING, 9), is_array=True)
    header = Header(
        version=3,
        metadata={"a": infinite, "b": row, "c": long},
        tensors=(),
        alignment=32,
        data_offset=0,
        file_size=0,
    )
    info = models.model_info(header)
    assert (info["a"], info["b"], info["c"]) == (None, [1.0, None], None)
