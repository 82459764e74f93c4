"""`launcher doctor`: is this machine able, and what mends it."""

from __future__ import annotations

import json
import platform
from collections.abc import Iterator
from contextlib import suppress
from importlib import metadata
from typing import Any

import click

from launcher import __version__
from launcher.asker import Asker
from launcher.cli import options, render, who
from launcher.engine import machine, sandbox
from launcher.engine.fit import megabytes
from launcher.engine.sandbox import Level
from launcher.errors import PersonNeeded
from launcher.licensing import declaration, notes, policy, records
from launcher.licensing.notes import Note


@click.command("doctor", short_help="Check whether this machine is able, and mend the engine.")
@click.option("--rebuild", is_flag=True, help="Build the engine anew for this processor.")
@options.declaring
@options.as_json
def command(rebuild: bool, as_json: bool, **values: Any) -> None:
    """Check whether this machine is able, and mend the engine.

    \b
    launcher doctor
    launcher doctor --rebuild
    """
    if rebuild:
        from launcher.installation import build

        build.rebuild()
    body = _body(options.asker(values))
    if as_json:
        click.echo(json.dumps(body, indent=2, ensure_ascii=False))
        return
    click.echo(
        "\n".join(f"{name + ':':<14}{render.safe(str(value))}" for name, value in _shown(body))
    )


_SANDBOX = {
    Level.FULL: "full: the engine reads its model and computes, nothing else",
    Level.PARTIAL: "partial: this kernel lacks Landlock or seccomp",
    Level.NONE: "none: it takes Linux 5.13 or newer, with Landlock and seccomp",
}


def _body(asker: Asker) -> dict[str, Any]:
    from launcher.installation import build

    here = machine.measure()
    return {
        "schema": 1,
        "launcher": __version__,
        "python": platform.python_version(),
        "system": platform.platform(),
        "processor": machine.processor_name(),
        "processors": here.processors,
        "memory": here.memory_total,
        "memory_available": here.memory_available,
        "engine": _engine_version(),
        "engine_proven": build.is_ready(),
        "sandbox": sandbox.reachable(),
        "declaration": _declaration(asker),
        "policy": {"version": policy.load().version, "sha256": policy.load().sha256},
        "notes": [{"code": note.code, "text": note.text} for note in _notes(asker)],
        "folders": {
            "config": str(asker.places.config),
            "state": str(asker.places.state),
            "site": str(asker.places.site),
        },
    }


def _engine_version() -> str:
    try:
        return f"llama-cpp-python {metadata.version('llama-cpp-python')}"
    except metadata.PackageNotFoundError:
        return ""


def _declaration(asker: Asker) -> str:
    try:
        declared = declaration.load(asker.places, asker.stated, asker.variable)
    except PersonNeeded as error:
        return error.message
    return who.declaration_line(declared) if declared is not None else ""


def _notes(asker: Asker) -> Iterator[Note]:
    """What stands out about the policy, the declaration, the records and the clock."""
    rules = policy.load()
    yield from notes.from_the_clock(rules.version, records.today())
    declared = None
    with suppress(PersonNeeded):  # it is said where the declaration is shown
        declared = declaration.load(asker.places, asker.stated, asker.variable)
    recent = records.recent(asker.log)
    yield from notes.from_the_records(
        rules.version, rules.sha256, declared, recent, records.computer()
    )


def _shown(body: dict[str, Any]) -> list[tuple[str, str]]:
    proof = "proven on this processor" if body["engine_proven"] else "not proven yet"
    engine = f"{body['engine']}, {proof}" if body["engine"] else "not installed"
    free, total = megabytes(body["memory_available"]), megabytes(body["memory"])
    return [
        ("Launcher", f"{body['launcher']}, Python {body['python']}, {body['system']}"),
        ("Processor", f"{body['processor']}, {body['processors']} usable"),
        ("Memory", f"{free} free of {total}"),
        ("Engine", engine),
        ("Sandbox", _SANDBOX[body["sandbox"]]),
        ("Declaration", body["declaration"] or "none yet: launcher declare"),
        ("Policy", body["policy"]["version"]),
        *(("Note", note["text"]) for note in body["notes"]),
        ("Config", body["folders"]["config"]),
        ("State", body["folders"]["state"]),
    ]
