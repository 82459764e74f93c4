"""`launcher serve MODEL [MODEL...]`: models for programs, over HTTP."""

from __future__ import annotations

import os
import site
import sys
import sysconfig
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

import launcher
from launcher import shortfalls
from launcher.asker import Request
from launcher.cli import admitting, computing, endpoint, options, render
from launcher.errors import LauncherError, Unsupported

if TYPE_CHECKING:
    from launcher.serving.listening.endpoint import Endpoint

_KEPT = (  # variables that a unit takes along
    "LAUNCHER_AS",
    "LAUNCHER_HOST",
    "LAUNCHER_PORT",
    "LAUNCHER_KEEP_ALIVE",
    "HF_ENDPOINT",
    "HF_HUB_OFFLINE",
    "HTTPS_PROXY",
)
_TYPED = "launcher.typed"  # in the context: the arguments as they were typed


class _Serve(click.Command):
    """Keeps its arguments as they were typed, for a unit."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        ctx.meta[_TYPED] = list(args)
        return super().parse_args(ctx, args)


@click.command("serve", cls=_Serve, short_help="Serve models to programs, over HTTP.")
@click.argument("models", nargs=-1, required=True, metavar="MODEL...")
@endpoint.reached
@click.option(
    "-np",
    "--parallel",
    type=click.IntRange(1, 64),
    default=4,
    show_default=True,
    help="How many answers a model gives at a time; each has a context of its own.",
)
@click.option(
    "--max-queue",
    type=click.IntRange(min=0),
    default=64,
    show_default=True,
    help="How many more may wait for a model.",
)
@click.option("--max-tokens", type=click.IntRange(min=1), help="The longest answer, in tokens.")
@click.option(
    "--keep-alive",
    type=endpoint.DURATION,
    default="5m",
    show_default=True,
    envvar="LAUNCHER_KEEP_ALIVE",
    help="How long an idle model stays in memory; 0: not at all; -1: for ever.",
)
@click.option(
    "--client-grammars",
    is_flag=True,
    help="Take grammars (GBNF) from clients. A bad one ends the worker, with all its answers.",
)
@click.option("-a", "--alias", help="What clients call the first model.")
@computing.computing
@click.option("--force", is_flag=True, help="Also what does not seem to fit in memory.")
@click.option("--require-sandbox", is_flag=True, help="Only where the engine can be confined.")
@click.option(
    "--log-format",
    type=click.Choice(["text", "json"]),
    default="text",
    show_default=True,
    help="What the log on standard error looks like.",
)
@click.option(
    "--grace",
    type=click.IntRange(0, 3600),
    default=30,
    show_default=True,
    help="Seconds that running answers get to end when the server is stopped.",
)
@click.option("--print-unit", is_flag=True, help="Print a systemd unit for this, and end.")
@options.with_parts
@options.reaching
@options.declaring
@click.pass_context
def command(ctx: click.Context, /, models: tuple[str, ...], **values: Any) -> None:
    """Serve models to programs over HTTP: OpenAI's interface, and Ollama's.

    \b
    launcher serve smollm2:135m
    launcher serve llama3.2:1b ./my.gguf --parallel 8
    launcher serve llama3.2:1b --host 0.0.0.0 --api-key-file keys.txt

    Every model is judged first; what a licence withholds answers 451. docs/serve.md has more.
    """
    from launcher.serving import fleet
    from launcher.serving.door.logs import Logs
    from launcher.serving.listening import endpoint as endpoints

    place, limits = endpoint.endpoint(values), endpoint.limits(values)
    logs, grace = Logs(values.pop("log_format")), values.pop("grace")
    passed = endpoints.passed()
    guard, tls = place.guard(passed, logs.say), place.tls()
    terms = _terms(values)
    alias, wants_unit = values.pop("alias") or "", values.pop("print_unit")
    offline = values["offline"]
    requests, asker = _requests(models, values), options.asker(values)
    offers = fleet.offers(requests, alias)
    if wants_unit:
        click.echo(_unit(ctx.meta[_TYPED], models, place, offline=offline, grace=grace), nl=False)
        return
    shortfalls.refuse_missing_engine()
    asker = admitting.admitted(offers, terms.wishes, asker)
    if place.is_plain(passed):
        click.echo("Note: What is sent can be read on its way; --tls-cert encrypts it.", err=True)
    from launcher.serving.running import House, run

    house = House(
        fleet=fleet.Fleet(offers, replace(asker, say=logs.say), terms),
        guard=guard,
        limits=limits,
        logs=logs,
        listeners=passed or place.open(),
        tls=tls,
        grace_seconds=grace,
        ready=lambda line: click.echo(render.safe(line), err=True),
    )
    try:
        run(house)
    finally:
        if not passed:
            place.close()


def _terms(values: dict[str, Any]) -> Any:
    from launcher.serving.fleet import Terms

    slots = values.pop("parallel")
    return Terms(
        wishes=replace(computing.wishes(values), slots=slots),
        keep_alive=values.pop("keep_alive"),
        queue=values.pop("max_queue"),
        most_tokens=values.pop("max_tokens"),
        grammars=values.pop("client_grammars"),
        require_sandbox=values.pop("require_sandbox"),
    )


def _requests(models: Sequence[str], values: dict[str, Any]) -> list[Request]:
    """What is to be loaded; adapters only where there is one model."""
    first = options.request(models[0], values)
    if first.mmproj or first.draft:
        raise Unsupported(
            "The server takes no images yet, and no model that drafts",
            hint="Serve the model without --mmproj and --draft; `launcher run` takes both.",
        )
    if first.adapters and len(models) > 1:
        raise click.UsageError("--lora is for one model: serve one at a time.")
    return [first, *(replace(first, model=model) for model in models[1:])]


def _unit(
    typed: Sequence[str], models: Sequence[str], place: Endpoint, *, offline: bool, grace: int
) -> str:
    """The unit for what was typed."""
    from launcher.serving.listening import unit

    variables = {name: value for name, value in os.environ.items() if name in _KEPT}
    package = Path(launcher.__file__).parents[1]
    if package not in map(Path, (*sysconfig.get_paths().values(), *site.getsitepackages())):
        variables["PYTHONPATH"] = str(package)  # a checkout that is not installed
    wished = unit.Wished(
        program=_program(),
        arguments=typed,
        models=models,
        listen=place.listen,
        folder=Path.cwd(),
        seen=[Path(sys.prefix), Path(sys.base_prefix), package, *_libraries()],
        variables=variables,
        offline=offline,
        grace_seconds=grace,
    )
    try:
        return unit.text(wished)
    except ValueError as error:
        raise LauncherError(f"No unit can be made: {error}") from error


def _libraries() -> list[Path]:
    """Where packages come from, besides the interpreter's own folders."""
    return [
        Path(path) for path in sys.path if Path(path).name in ("site-packages", "dist-packages")
    ]


def _program() -> list[str]:
    """How this program is called from anywhere."""
    called = Path(sys.argv[0]).absolute()
    if called.name == "launcher" and called.is_file():
        return [str(called)]
    return [sys.executable, "-m", "launcher"]
