"""Answers by the real model: how tokens are chosen, what ends them, what they must look like."""

from __future__ import annotations

import contextlib
import json
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from launcher import settings
from launcher.asker import Asker
from launcher.engine.client import Done, Engine, Text, Worker
from launcher.errors import LauncherError
from launcher.licensing.declaration import Stated, who
from launcher.paths import places
from tests.command import Here, launcher
from tests.engine.conftest import GREEDY, QUESTION, cleared_file

STORY = [{"role": "user", "content": "Tell me a story about a fox."}]
LONG = [{"role": "user", "content": "fox " * 180}]
ANYTHING = r"root ::= [\x00-\U0010FFFF]*"
ENDLESS = r"root ::= [\x00-\U0010FFFF] root"


@pytest.fixture(scope="module")
def engine(smollm2: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """One worker for all of them."""
    folders = places({"LAUNCHER_HOME": str(tmp_path_factory.mktemp("home"))})
    asker = Asker(
        places=folders, settings=settings.load(folders), stated=Stated(who=who("individual:DE"))
    )
    with (
        cleared_file(smollm2, asker, context=256, threads=1) as found,
        contextlib.closing(Worker()) as worker,
        Engine(found, worker) as engine,
    ):
        yield engine


def ask(
    engine: Engine,
    messages: Sequence[dict[str, str]] = STORY,
    tokens: int | None = 16,
    sampling: dict[str, Any] = GREEDY,
    **wishes: Any,
) -> tuple[str, Done, list[dict[str, Any]]]:
    """The text, how it ended, and the log probabilities that came with it."""
    events = list(engine.generate(messages, sampling=sampling, max_tokens=tokens, **wishes))
    *pieces, done = events
    assert isinstance(done, Done)
    texts = [piece for piece in pieces if isinstance(piece, Text)]
    measured = [dict(piece.logprobs) for piece in texts if piece.logprobs is not None]
    return "".join(piece.text for piece in texts), done, measured


def text(engine: Engine, **sampling: Any) -> str:
    return ask(engine, sampling=sampling)[0]


# --- Choosing -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "more",
    [
        {},
        {"temperature": 1.5, "top_k": 0, "top_p": 1.0, "min_p": 0.0},
        {"mirostat": 1},
        {"mirostat": 2},
        {"repeat_penalty": 1.3, "dry_multiplier": 0.8},
        {"xtc_probability": 0.5, "dynatemp_range": 0.5, "typical_p": 0.9},
    ],
)
def test_the_same_seed_gives_the_same_text(engine: Engine, more: dict[str, Any]) -> None:
    chosen = {"temperature": 1.0, **more}
    first = text(engine, seed=7, **chosen)
    assert text(engine, seed=7, **chosen) == first
    assert text(engine, seed=8, **chosen) != first


def test_without_a_seed_the_text_differs(engine: Engine) -> None:
    assert len({text(engine, temperature=1.5, top_p=1.0, min_p=0.0) for _ in range(3)}) > 1


@pytest.mark.parametrize(
    "only_the_likeliest",
    [{"top_k": 1}, {"top_p": 0.0}, {"min_p": 1.0}, {"top_n_sigma": 0.0001}, {"temperature": 0.001}],
)
def test_what_leaves_one_token_is_greedy(
    engine: Engine, only_the_likeliest: dict[str, Any]
) -> None:
    assert text(engine, **{"temperature": 1.5, **only_the_likeliest}) == text(engine, **GREEDY)


@pytest.mark.parametrize(
    "chosen",
    [
        {"repeat_penalty": 1.5},
        {"presence_penalty": 2.0},
        {"frequency_penalty": 2.0},
        {"xtc_probability": 1.0, "xtc_threshold": 0.0},
        {"dynatemp_range": 3.0, "seed": 3, "top_k": 0, "top_p": 1.0, "min_p": 0.0},
        {"mirostat": 2, "mirostat_ent": 9.0, "temperature": 2.0, "seed": 3},
    ],
)
def test_what_is_set_changes_the_text(engine: Engine, chosen: dict[str, Any]) -> None:
    assert text(engine, **{**GREEDY, **chosen}) != text(engine, **GREEDY)


def test_a_penalty_counts_the_prompt_and_all_that_was_written(engine: Engine) -> None:
    heavy = {**GREEDY, "presence_penalty": 1000.0, "repeat_last_n": -1}
    question = [{"role": "user", "content": "Say yes yes yes."}]
    words = [entry["token"] for entry in ask(engine, question, 40, heavy, logprobs=0)[2]]
    assert len(words) == len(set(words)) > 10
    assert " yes" not in words
    assert len(words) > len(set(ask(engine, question, 40, GREEDY, logprobs=0)[0]))


def test_sequences_are_not_repeated_with_dry(engine: Engine) -> None:
    question = [{"role": "user", "content": "Repeat forever: one two three four five six"}]
    chosen = {**GREEDY, "dry_multiplier": 100.0, "dry_penalty_last_n": 256}
    words = [entry["token"] for entry in ask(engine, question, 60, chosen, logprobs=0)[2]]
    runs = [tuple(words[start : start + 4]) for start in range(len(words) - 3)]
    assert len(runs) == len(set(runs))


@pytest.mark.parametrize("chosen", [GREEDY, {"seed": 7}, {"seed": 7, "repeat_penalty": 1.3}])
def test_what_is_watched_is_chosen_no_differently(engine: Engine, chosen: dict[str, Any]) -> None:
    plain = ask(engine, sampling=chosen)[0]
    assert ask(engine, sampling=chosen, logprobs=3)[0] == plain
    assert ask(engine, sampling=chosen, grammar=ANYTHING)[0] == plain


def test_scores_of_single_tokens_are_raised_and_lowered(engine: Engine) -> None:
    the = 504
    raised = "The" * 16
    assert text(engine, **GREEDY, logit_bias={the: 1000.0}) == raised
    assert text(engine, **GREEDY, logit_bias={str(the): 1000.0}) == raised  # as JSON has it
    assert text(engine, temperature=2.0, logit_bias={the: 1000.0, 10**9: 5.0}) == raised
    forced: dict[str, Any] = {**GREEDY, "logit_bias": {the: 1000.0}}
    assert ask(engine, sampling=forced, logprobs=1)[0] == raised
    never: dict[str, Any] = {**GREEDY, "logit_bias": {the: -math.inf}}
    words = [entry["token"] for entry in ask(engine, LONG, 30, never, logprobs=0)[2]]
    assert text(engine, **GREEDY).startswith("The")
    assert not text(engine, **never).startswith("The ")
    assert "The" not in words


def test_an_answer_goes_on_where_the_model_would_end_it(engine: Engine) -> None:
    question = [{"role": "user", "content": "Say only: yes"}]
    _, done, _ = ask(engine, question, 60)
    assert done.reason == "end"
    _, done, _ = ask(engine, question, 60, {**GREEDY, "ignore_eos": True})
    assert (done.reason, done.tokens) == ("length", 60)


def test_samplers_work_in_the_order_that_is_given_and_no_others(engine: Engine) -> None:
    hot = {"temperature": 1.5, "seed": 3, "top_p": 0.0}
    greedy = text(engine, **GREEDY)
    assert text(engine, **hot) == greedy
    assert text(engine, **hot, samplers=["temperature", "top_p"]) == greedy
    assert text(engine, **hot, samplers=["temperature"]) != greedy
    assert text(engine, temperature=0.0, seed=3, samplers=[]) != greedy
    assert text(engine, temperature=0.0, repeat_penalty=9.0, samplers=["temperature"]) == greedy


def test_adaptive_p_works_where_it_is_named(engine: Engine) -> None:
    chosen = {"temperature": 1.0, "seed": 3, "adaptive_target": 0.1}
    named = {**chosen, "samplers": ["temperature", "adaptive_p"]}
    assert text(engine, **chosen) == text(engine, temperature=1.0, seed=3)
    assert text(engine, **named) == text(engine, **named)
    assert text(engine, **named) != text(engine, temperature=1.0, seed=3, samplers=["temperature"])


def test_repeated_sequences_end_where_it_is_said(engine: Engine) -> None:
    question = [{"role": "user", "content": "Count: one, two, three, one, two, three, one,"}]
    dry: dict[str, Any] = {**GREEDY, "dry_multiplier": 100.0, "dry_penalty_last_n": 256}
    nowhere, commas = (
        ask(engine, question, 40, {**dry, "dry_sequence_breakers": breakers})[0]
        for breakers in ([], [","])
    )
    assert nowhere.count("two") == 1
    assert commas.count("two") > 1


# --- Templates ----------------------------------------------------------------------------------


def test_a_template_can_be_given(engine: Engine) -> None:
    template = "{{ messages[-1].content }}{{ ' ' ~ name if name }}"
    plain = ask(engine, [], prompt="Tell me a story about a fox.")
    assert ask(engine, chat_template=template)[:1] == plain[:1]
    assert ask(engine, chat_template=template)[1].prompt_tokens == plain[1].prompt_tokens
    named = ask(engine, chat_template=template, template={"name": "Reynard"})
    assert named[1].prompt_tokens > plain[1].prompt_tokens
    assert ask(engine)[1].prompt_tokens > plain[1].prompt_tokens


@pytest.mark.parametrize(
    ("template", "words"),
    [
        ("{{ messages", "The given chat template does not work"),
        ("{{ messages.__class__.__mro__ }}", "The given chat template tries what it may not"),
        ("{{ raise_exception('only cats') }}", "refuses this conversation: only cats"),
        ("{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}", "takes"),
    ],
)
def test_a_given_template_that_fails_is_no_fault_of_the_file(
    engine: Engine, template: str, words: str
) -> None:
    with pytest.raises(LauncherError, match=words) as caught:
        ask(engine, chat_template=template)
    assert caught.value.exit_code == 1
    assert ask(engine)[1].tokens == 16


def test_reasoning_that_the_template_opens_is_part_of_the_answer(engine: Engine) -> None:
    template = "{{ messages[-1].content }}{{ '\n<think>\n' if enable_thinking }}"
    opened: dict[str, Any] = {"chat_template": template, "opened": ["<think>"]}
    thought, _, _ = ask(engine, **opened, template={"enable_thinking": True})
    assert thought.startswith("<think>")
    assert "<think>" not in ask(engine, **opened, template={"enable_thinking": False})[0]


# --- Log probabilities --------------------------------------------------------------------------


def test_log_probabilities_are_those_of_the_model(engine: Engine) -> None:
    said, done, measured = ask(engine, logprobs=5)
    assert len(measured) == done.tokens
    assert b"".join(bytes(entry["bytes"]) for entry in measured).decode() == said
    for entry in measured:
        likeliest = [top["logprob"] for top in entry["top_logprobs"]]
        assert len(likeliest) == 5
        assert likeliest == sorted(likeliest, reverse=True)
        assert entry["logprob"] == likeliest[0]  # greedy
        assert 0 < sum(map(math.exp, likeliest)) <= 1.0001


def test_settings_do_not_change_them(engine: Engine) -> None:
    (first,) = ask(engine, tokens=1, logprobs=100)[2]
    (other,) = ask(engine, tokens=1, sampling={"temperature": 2.0, "seed": 5}, logprobs=100)[2]
    assert first["top_logprobs"] == other["top_logprobs"]
    known = {top["token"]: top["logprob"] for top in first["top_logprobs"]}
    assert known.get(other["token"], other["logprob"]) == other["logprob"]


# --- Ends ---------------------------------------------------------------------------------------


def test_a_text_that_ends_the_answer_is_not_shown(engine: Engine) -> None:
    whole = ask(engine)[0]
    for start in range(0, len(whole) - 5, 20):
        for size in (1, 5):
            stop = whole[start : start + size]
            said, done, _ = ask(engine, stop=["never said", stop])
            assert said == whole[: whole.find(stop)]
            assert done.reason == "stop"


def test_what_was_held_back_in_vain_is_shown(engine: Engine) -> None:
    whole = ask(engine)[0]
    said, done, _ = ask(engine, stop=[whole[-3:] + "!!!", whole[-1] + "?", ""])
    assert (said, done.reason) == (whole, "length")


def test_a_full_context_ends_an_answer_with_numbers(engine: Engine) -> None:
    _, done, _ = ask(engine, LONG, tokens=None, grammar=ENDLESS)
    assert done.reason == "context"
    assert done.prompt_tokens + done.tokens == engine.loaded.context == 256


def test_a_context_that_fills_is_an_error_on_the_command_line(tmp_path: Path) -> None:
    endless = tmp_path / "endless.gbnf"
    endless.write_text(ENDLESS)
    arguments = ("--as", "individual:DE", "-c", "256", "-t", "1", "--grammar", endless)
    result = launcher("run", "smollm2:135m", LONG[0]["content"], *arguments)
    assert result.code == 1
    assert "of 256 in all" in result.err
    assert result.out


# --- Grammars -----------------------------------------------------------------------------------


def test_an_answer_follows_its_grammar(engine: Engine) -> None:
    for seed in range(3):
        said, done, _ = ask(
            engine, sampling={"seed": seed}, grammar='root ::= ("yes" | "no") ", " [0-9]{3}'
        )
        assert said[:3] in ("yes", "no,")
        assert said[-3:].isdigit()
        assert done.reason == "end"


SCHEMAS: list[tuple[dict[str, Any], type]] = [
    ({"type": "array", "items": {"enum": ["red", "green", "blue"]}, "maxItems": 3}, list),
    ({"type": "boolean"}, bool),
    (
        {
            "type": "object",
            "properties": {"name": {"type": "string", "maxLength": 20}, "age": {"type": "integer"}},
            "required": ["name", "age"],
            "additionalProperties": False,
        },
        dict,
    ),
]


@pytest.mark.parametrize(("schema", "kind"), SCHEMAS)
def test_an_answer_follows_its_schema(engine: Engine, schema: dict[str, Any], kind: type) -> None:
    for seed in range(3):
        said, done, _ = ask(engine, QUESTION, 120, {"seed": seed}, json_schema=json.dumps(schema))
        value = json.loads(said)
        assert type(value) is kind
        assert done.reason == "end"
        if isinstance(value, dict):
            assert set(value) == {"name", "age"}
            assert type(value["age"]) is int


@pytest.mark.parametrize(
    ("wish", "words"),
    [
        ({"grammar": "root ::= ("}, "expecting"),
        ({"grammar": "root ::= other"}, "other"),
        ({"grammar": "other ::= [a-z]"}, ""),
        ({"grammar": 'root ::= root "a" | "b"'}, ""),
        ({"grammar": "no grammar at all"}, ""),
        ({"grammar": "root ::= [a-z]{5,3}"}, "it (takes more than|asks for too much)"),
        ({"json_schema": '{"type": "nonsense"}'}, "nonsense"),
        ({"json_schema": "[]"}, ""),
        ({"json_schema": '{"$ref": "#/nowhere/at/all"}'}, "nowhere"),
        ({"json_schema": '{"$ref": "https://example.com/schema.json"}'}, "its own parts"),
    ],
)
def test_a_bad_grammar_is_an_error_and_the_worker_goes_on(
    engine: Engine, wish: dict[str, Any], words: str
) -> None:
    with pytest.raises(LauncherError, match=f"grammar or JSON schema.*{words}") as caught:
        ask(engine, **wish)
    assert caught.value.exit_code == 1
    assert ask(engine, tokens=2)[0].strip()


# --- The command line ---------------------------------------------------------------------------

RUN = ("run", "smollm2:135m", "Name a colour.", "--as", "individual:DE", "-c", "512", "-t", "1")


def test_a_schema_and_log_probabilities_on_the_command_line(tmp_path: Path) -> None:
    schema = tmp_path / "schema.json"
    schema.write_text('{"enum": ["red", "green"]}')
    result = launcher(*RUN, "--json-schema", schema, "--logprobs", "2", "--temp", "0")
    assert result.code == 0
    tokens = [json.loads(line) for line in result.out.splitlines()]
    assert "".join(entry["token"] for entry in tokens) in ('"red"', '"green"')
    assert all(len(entry["top_logprobs"]) == 2 for entry in tokens)


@pytest.mark.parametrize(
    "arguments",
    [
        ("--temp", "nan"),
        ("--temp", "-1"),
        ("--repeat-penalty", "0"),
        ("--frequency-penalty", "inf"),
        ("--top-n-sigma", "x"),
        ("--mirostat", "3"),
        ("--seed", "-2"),
        ("--grammar", "missing.gbnf"),
        ("--json-schema", "BROKEN"),
        ("--json-schema", "GOOD", "--grammar", "GOOD"),
    ],
)
def test_wrong_use_is_said_before_anything_is_loaded(
    here: Here, tmp_path: Path, arguments: tuple[str, ...]
) -> None:
    files = {"BROKEN": tmp_path / "broken.json", "GOOD": tmp_path / "good.json"}
    files["BROKEN"].write_text("{")
    files["GOOD"].write_text("{}")
    result = here(*RUN, *(files.get(word, word) for word in arguments))
    assert result.code == 2
    assert result.out == ""
