"""The command line as a whole: help, aliases, errors, what it imports."""

from __future__ import annotations

import subprocess
import sys

import click
import pytest

from launcher.cli.main import ALIASES, COMMANDS, menu
from tests.command import Here, launcher


def test_the_menu_and_the_commands_say_the_same() -> None:
    context = click.Context(menu)
    for name, (_, text) in COMMANDS.items():
        command = menu.get_command(context, name)
        assert command is not None
        assert command.name == name
        assert command.short_help == text


@pytest.mark.parametrize("alias", ALIASES)
def test_aliases_lead_to_their_command(here: Here, alias: str) -> None:
    assert here(alias, "--help").code == 0


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help_with_an_example(here: Here, name: str) -> None:
    result = here(name, "--help")
    assert result.code == 0
    assert "Usage: launcher" in result.out


def test_an_unknown_command_is_a_usage_error(here: Here) -> None:
    result = here("fly")
    assert result.code == 2
    assert "No such command" in result.err


HEAVY = (
    "llama_cpp",
    "huggingface_hub",
    "rich",
    "numpy",
    "prompt_toolkit",
    "jinja2",
    "requests",
    "httpx2",
)


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        ["check", "llama3.2:1b", "--as", "individual:DE"],
        ["list", "--as", "individual:DE"],
        ["licences", "list"],
        ["explain", "allowed"],
        ["records", "list"],
    ],
)
def test_quick_commands_import_nothing_heavy(arguments: list[str]) -> None:
    code = (
        "import sys\n"
        "from launcher.cli.main import main\n"
        "try:\n    main(sys.argv[1:])\n"
        "except SystemExit: pass\n"
        f"print([name for name in {HEAVY} if name in sys.modules], file=sys.stderr)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, timeout=60
    )
    assert done.stderr.splitlines()[-1] == "[]"


def test_errors_are_one_object_with_json(here: Here) -> None:
    result = here("check", "/no/such/file.gguf", "--json")
    assert result.code == 10
    assert result.body["error"]["exit_code"] == 10
    assert "/no/such/file.gguf" in result.body["error"]["message"]


def test_output_to_a_closed_pipe_is_no_traceback() -> None:
    done = subprocess.run(
        ["sh", "-c", f"{sys.executable} -m launcher licences list | head -1"],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert "Traceback" not in done.stderr


def test_no_color_and_no_terminal_give_plain_text() -> None:
    assert "\x1b" not in launcher("licences", "list", variables={"NO_COLOR": "1"}).out
