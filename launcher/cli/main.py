"""`launcher`: the menu of commands, and the one place where errors become words and codes.

A command is imported when it is called, so that `launcher --help` is quick.
"""

from __future__ import annotations

import importlib
import io
import os
import sys
from collections.abc import Sequence

import click

from launcher import __version__
from launcher.cli import render
from launcher.errors import LauncherError

# name: (module, one line of help). A test holds them against the commands themselves.
COMMANDS = {
    "run": ("run", "Chat with a model, or get one answer."),
    "serve": ("serve", "Serve models to programs, over HTTP."),
    "check": ("check", "Say whether a model may be run, and why. Loads nothing."),
    "pull": ("pull", "Fetch a model, after the gate has allowed it."),
    "show": ("show", "Show what a model is: identity, licence, duties, size."),
    "list": ("list", "List the models on this disk."),
    "rm": ("rm", "Remove models from this disk."),
    "prune": ("prune", "Remove what nobody uses, by name."),
    "verify": ("verify", "Read models whole, and compare them with what was published."),
    "import": ("bring", "Take a file in under a name of its own."),
    "declare": ("declare", "Say who uses the models, and where."),
    "licences": ("licences", "List, show and accept licences."),
    "identify": ("identify", "Record what exactly a file is, and why you know."),
    "records": ("records", "Show and check what was declared, decided and loaded."),
    "explain": ("explain", "Explain a reason by its code."),
    "bench": ("bench", "Measure how fast a model reads and writes here."),
    "doctor": ("doctor", "Check whether this machine is able, and mend the engine."),
}
ALIASES = {"ls": "list", "chat": "run", "licenses": "licences"}


class Menu(click.Group):
    """The commands, imported on demand."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        name = ALIASES.get(cmd_name, cmd_name)
        if name not in COMMANDS:
            return None
        module = importlib.import_module(f"launcher.cli.{COMMANDS[name][0]}")
        command: click.Command = module.command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])


@click.command(cls=Menu, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, "-V", "--version", prog_name="launcher")
def menu() -> None:
    """Run quantised GGUF models on your own computer, and keep to their licences.

    \b
    launcher run smollm2:135m "Why is the sky blue?"
    launcher check llama4:scout
    """


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command line and ends the process with its exit code."""
    arguments = sys.argv[1:] if arguments is None else arguments
    _speak()
    try:
        menu.main(list(arguments), prog_name="launcher", standalone_mode=False)
        sys.stdout.flush()
    except LauncherError as error:
        _report(error, as_json="--json" in arguments)
        sys.exit(error.exit_code)
    except click.exceptions.Exit as error:
        sys.exit(error.exit_code)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        click.echo("", err=True)
        sys.exit(130)  # as a shell counts what SIGINT ended
    except BrokenPipeError:
        # Whoever read the output has gone; nothing can be said to them any more.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)


def _speak() -> None:
    """What is piped is the same in every locale; a terminal gets what it can show."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            encoding = None if stream.isatty() else "utf-8"
            stream.reconfigure(encoding=encoding, errors="backslashreplace")


def _report(error: LauncherError, *, as_json: bool) -> None:
    judgement = getattr(error, "judgement", None)  # of flow.NotCleared, which is slow to import
    if judgement is not None:
        from launcher.cli import verdict

        body = judgement.as_json()
        text = "" if as_json else verdict.as_text(judgement, render.Paper.of(sys.stderr))
    else:
        body, text = render.error_json(error), render.error_text(error)
    if as_json:
        import json

        click.echo(json.dumps(body, indent=2, ensure_ascii=False))
    else:
        click.echo(text, err=True, nl=False)
