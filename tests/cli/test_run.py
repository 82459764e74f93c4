"""`launcher run` with the real engine and the real model."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path

import pytest

from launcher.paths import Places
from tests.command import Here, launcher
from tests.headers import statements, write_model
from tests.terminal import Start

MODEL = "smollm2:135m"
WHO = ("--as", "individual:DE")
SHORT = ("-n", "8", "--temp", "0", "-c", "512")


def test_one_answer_is_text_from_the_model() -> None:
    result = launcher("run", MODEL, "Why is the sky blue?", *WHO, "-n", "24", "--temp", "0")
    assert result.code == 0
    assert "sky" in result.out
    assert result.out.endswith("\n")
    assert result.err == ""


def test_the_prompt_is_read_from_a_pipe_and_comes_before_the_argument() -> None:
    piped = launcher("run", MODEL, *WHO, *SHORT, stdin="Why is the sky blue?")
    assert piped.code == 0
    assert "sky" in piped.out
    both = launcher("run", MODEL, "Answer in one word.", *WHO, *SHORT, stdin="Say yes.")
    assert both.out.strip()


def test_the_same_seed_gives_the_same_text() -> None:
    arguments = ("run", MODEL, "Tell me a story.", *WHO, "-n", "16", "-c", "512", "--temp", "1")
    first, second = (launcher(*arguments, "--seed", "7").out for _ in range(2))
    other = launcher(*arguments, "--seed", "8").out
    assert first == second != other


def test_max_tokens_and_system_are_heeded() -> None:
    result = launcher("run", MODEL, "Hello", *WHO, "--temp", "0", "-n", "1", "-c", "512")
    assert 0 < len(result.out.split()) <= 2
    told = launcher(
        "run", MODEL, "Who are you?", *WHO, "--temp", "0", "-n", "20", "-s", "You are a pirate."
    )
    plain = launcher("run", MODEL, "Who are you?", *WHO, "--temp", "0", "-n", "20")
    assert told.out != plain.out


def test_a_text_is_gone_on_with_without_a_template() -> None:
    greedy = (*WHO, "--temp", "0", "-n", "2")
    result = launcher("run", MODEL, "-no-cnv", "The capital of France is", *greedy)
    assert (result.out, result.err) == (" Paris.\n", "")
    assert launcher("run", MODEL, "-no-cnv", *greedy, stdin="The capital of France is\n").out == (
        result.out
    )
    for wrong in (("--system", "x"), ("--continue",), ("--chat-template", "{{ 1 }}")):
        assert launcher("run", MODEL, "-no-cnv", "Hi", *greedy, *wrong).code == 2


def test_a_template_of_ones_own_takes_the_place_of_the_model_s(tmp_path: Path) -> None:
    file = tmp_path / "template.jinja"
    file.write_text("The capital of {{ country }} is", "utf-8")
    greedy = (*WHO, "--temp", "0", "-n", "2", "--chat-template-kwargs", '{"country": "France"}')
    result = launcher("run", MODEL, "x", *greedy, "--chat-template-file", str(file))
    assert (result.out, result.err) == (" Paris.\n", "")
    text = file.read_text("utf-8")
    assert launcher("run", MODEL, "x", *greedy, "--chat-template", text).out == result.out
    failed = launcher("run", MODEL, "x", *greedy, "--chat-template", "{{ country")
    assert failed.code == 1
    assert "The given chat template does not work" in failed.err


@pytest.mark.parametrize(
    "wrong",
    [
        ("--chat-template", "chatml"),
        ("--chat-template-kwargs", "[1]"),
        ("--chat-template-kwargs", "{"),
        ("--logit-bias", "15043"),
        ("--logit-bias", "x+1"),
        ("--logit-bias", "1+nan"),
        ("--samplers", "top_k;infill"),
        ("--adaptive-decay", "1"),
        ("--reasoning", "maybe"),
    ],
)
def test_what_cannot_be_set_is_a_usage_error(wrong: tuple[str, str]) -> None:
    assert launcher("run", MODEL, "Hi", *WHO, *wrong).code == 2


def test_without_a_declaration_and_a_terminal_it_ends_with_4_within_a_second() -> None:
    started = time.monotonic()
    result = launcher("run", MODEL, "hi")
    assert result.code == 4
    assert "declare --as individual:COUNTRY" in result.err
    assert result.out == ""
    assert time.monotonic() - started < 5  # far more than it takes, on a machine at work


def test_a_refused_model_is_refused_before_anything_is_loaded(
    here: Here, tmp_path: Path, folders: Places
) -> None:
    path = write_model(tmp_path / "innocent.gguf", "llama-4-scout")
    result = here("run", path, "hi", *WHO)
    assert (result.code, result.out) == (3, "")
    assert "llama-eu-multimodal" in result.err
    assert [record["kind"] for record in records(folders)] == ["decision"]


def test_what_is_allowed_but_not_here_ends_with_10(here: Here, accepted: Places) -> None:
    unknown = here("run", "gemma2:2b", "hi", *WHO)
    assert unknown.code == 10
    assert "the catalogue knows no file of it" in unknown.err
    assert "launcher run PATH/TO/FILE.gguf" in unknown.err
    unreachable = here("run", "llama3.2:1b", "hi", *WHO)
    assert unreachable.code == 10
    assert "cannot be reached" in unreachable.err
    assert "launcher list" in unreachable.err


def test_what_is_allowed_but_not_supported_ends_with_8(here: Here, accepted: Places) -> None:
    result = here("run", "llama3.2-vision:11b", "hi", "--as", "individual:US")
    assert result.code == 8
    assert "Ollama" in result.err
    assert "allows" in result.err


def test_what_does_not_fit_ends_with_9_and_says_what_would(here: Here, accepted: Places) -> None:
    result = here("run", MODEL, "hi", *WHO, "-c", 2**31)
    assert result.code == 9
    assert "--ctx-size" in result.err


def test_no_prompt_and_no_terminal_is_a_usage_error() -> None:
    result = launcher("run", MODEL, *WHO, stdin="")
    assert result.code == 2


def records(folders: Places) -> list[dict[str, object]]:
    return [json.loads(line) for line in folders.records.read_text().splitlines()]


def test_decision_and_load_are_recorded_and_linked(folders: Places) -> None:
    assert launcher("run", MODEL, "hi", *WHO, *SHORT).code == 0
    decision, load = records(folders)
    assert (decision["kind"], load["kind"]) == ("decision", "load")
    assert decision["verdict"] == "allow"
    assert load["decision"] == load["previous"]
    assert launcher("records", "verify").code == 0


# --- On a terminal ----------------------------------------------------------------------------


def test_two_questions_then_the_answer(folders: Places, terminal: Start) -> None:
    screen = terminal("run", MODEL, "Why is the sky blue?", "-n", "8", "--temp", "0")
    notice = screen.expect("Your answer (1, 2, 3)")
    assert "never sent anywhere" in notice
    assert str(folders.declaration) in notice
    screen.type("1\n")
    screen.expect("such as Germany or DE")
    screen.type("Deutschland\n")
    screen.expect("Germany (DE), is that right?")
    screen.type("y\n")
    screen.expect("The sky")
    assert screen.end() == 0
    assert folders.declaration.exists()


def test_a_wrong_country_is_asked_again(folders: Places, terminal: Start) -> None:
    screen = terminal("declare")
    screen.expect("Your answer")
    screen.type("2\n")
    screen.expect("principal place of business")
    for typed, said in (("EU", "not a country"), ("Atlantis", "not a country code"), ("korea", "")):
        screen.expect("such as Germany or DE")
        screen.type(f"{typed}\n")
        if said:
            screen.expect(said)
    screen.expect("right?")
    screen.type("n\n")
    screen.expect("such as Germany or DE")
    screen.type("uk\n")
    screen.expect("United Kingdom (GB)")
    assert screen.end() == 0


def test_acceptance_is_asked_on_one_screen_and_a_no_is_kept(
    folders: Places, terminal: Start
) -> None:
    arguments = ("run", "llama3.2:1b", "hi", "--as", "individual:DE")
    screen = terminal(*arguments)
    shown = screen.expect("Do you accept")
    assert shown.count("\n") < 45
    assert "“Built with Llama”" in " ".join(shown.split())
    assert "https://www.llama.com/llama3_2/use-policy" in shown
    screen.type("n\n")
    screen.expect("acceptance-refused")
    assert screen.end() == 4
    again = launcher("check", "llama3.2:1b", "--as", "individual:DE", "--json")
    assert again.body["code"] == "acceptance-refused"


def test_accepting_leads_on(folders: Places, terminal: Start) -> None:
    screen = terminal("run", "llama3.2:1b", "hi", "--as", "individual:DE")
    screen.expect("Do you accept")
    screen.type("y\n")
    screen.expect("cannot be reached")
    assert screen.end() == 10


def test_a_plain_chat_and_ctrl_c_ends_the_answer_not_the_program(terminal: Start) -> None:
    screen = terminal("run", MODEL, *WHO, "--temp", "0", "-c", "1024")
    screen.expect(">>> ")
    screen.type("Count from one to two hundred in words.\n")
    screen.expect("words.")
    time.sleep(1.0)
    screen.type("\x03")
    screen.expect(">>> ")
    screen.type("Say hello.\n")
    screen.expect("Say hello.")
    screen.expect(">>> ")
    screen.type("/bye\n")
    assert screen.end() == 0


def test_ctrl_c_ends_a_single_answer_with_130(terminal: Start) -> None:
    screen = terminal("run", MODEL, "Write a very long story.", *WHO, "-n", "2000", "--temp", "0")
    while len(screen.seen) < 20:
        screen.read(30)
    screen.type("\x03")
    assert screen.end() == 130


def test_control_characters_of_a_model_file_do_not_reach_the_terminal(
    here: Here, tmp_path: Path
) -> None:
    path = write_model(
        tmp_path / "m\x1b[31m.gguf", metadata=statements(license="mit", name="plain")
    )
    result = here("check", path, *WHO)
    assert "\x1b" not in result.out
    assert "\\u001b" in result.out


def test_a_launcher_that_is_ended_takes_its_worker_along(terminal: Start) -> None:
    screen = terminal("run", MODEL, "Write a very long story.", *WHO, "-n", "2000")
    while len(screen.seen) < 20:
        screen.read(30)
    children = Path(f"/proc/{screen.process.pid}/task/{screen.process.pid}/children").read_text()
    os.kill(screen.process.pid, signal.SIGKILL)
    screen.end()
    deadline = time.monotonic() + 5
    while any(Path(f"/proc/{pid}").exists() for pid in children.split()):
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_refusal_on_a_terminal_underlines_what_was_declared(
    here: Here, folders: Places, terminal: Start
) -> None:
    here("declare", "--as", "individual:DE")
    screen = terminal("check", "llama4:scout")
    seen = screen.expect("More:").replace("\r\n", "\n")
    assert f"--> {folders.declaration}:" in seen
    assert '3 | domicile = ["DE"]\n    |            ^^^^^^\n' in seen
