"""`launcher doctor`: is this machine able, and what mends it."""

from __future__ import annotations

import json
import platform
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict
from importlib import metadata
from typing import Any

import click

from launcher import __version__, files, reach
from launcher.asker import Asker
from launcher.cli import calibrating, options, render, who
from launcher.engine import graphics, machine, sandbox
from launcher.engine.fit import megabytes
from launcher.engine.sandbox import Level
from launcher.errors import NotFound, PersonNeeded
from launcher.licensing import declaration, notes, policy, records
from launcher.licensing.notes import Note


@click.command("doctor", short_help="Check whether this machine is able, and mend the engine.")
@click.option("--rebuild", is_flag=True, help="Build the engine anew for this processor.")
@click.option(
    "--backend",
    type=click.Choice(sorted(graphics.BACKENDS)),
    help="With --rebuild: a graphics backend to build in.",
)
@click.option("--calibrate", is_flag=True, help="Measure which settings are fastest here.")
@options.declaring
@options.as_json
def command(
    rebuild: bool, backend: str | None, calibrate: bool, as_json: bool, **values: Any
) -> None:
    """Check whether this machine is able, and mend the engine.

    \b
    launcher doctor
    launcher doctor --rebuild
    launcher doctor --rebuild --backend vulkan
    launcher doctor --calibrate
    """
    if backend and not rebuild:
        raise click.UsageError("--backend says what to build in: give --rebuild with it.")
    if rebuild:
        from launcher.installation import build

        build.rebuild(backend=backend or "")
    asker = options.asker(values)
    if calibrate:
        calibrating.anew(asker)
    body = _body(asker)
    if as_json:
        click.echo(json.dumps(body, indent=2, ensure_ascii=False))
        return
    click.echo(
        "\n".join(
            f"{name + ':' if name else '':<14}{render.safe(str(value))}"
            for name, value in _shown(body)
        )
    )


_SANDBOX = {
    Level.FULL: "full: the engine reads its model and computes, nothing else",
    Level.DEVICE: "full, but for what a graphics driver needs",
    Level.PARTIAL: "partial: this kernel lacks Landlock or seccomp",
    Level.NONE: "none: it takes Linux 5.13 or newer, with Landlock and seccomp",
}


def _body(asker: Asker) -> dict[str, Any]:
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
        "memory_limit": machine.memory_limit(),
        **_engine(),
        **_graphics(),
        "calibrations": calibrating.as_json(asker),
        "sandbox": sandbox.reachable(),
        "declaration": _declaration(asker),
        "policy": {"version": policy.load().version, "sha256": policy.load().sha256},
        **_storage_and_hub(asker),
        "notes": [{"code": note.code, "text": note.text} for note in _notes(asker)],
        "folders": {
            "config": str(asker.places.config),
            "state": str(asker.places.state),
            "site": str(asker.places.site),
        },
    }


def _engine() -> dict[str, Any]:
    """Which one it is, and whether it works; one that was not tried here is tried now."""
    from launcher.installation import canary, installed

    version = _engine_version()
    fault = canary.tried() if version else None
    return {
        "engine": version,
        "engine_proven": bool(version) and fault is None,
        "engine_extra_buffers": fault is None and installed.uses_extra_buffers(),
        "engine_fault": fault.message if fault else "",
        "engine_remedy": [fault.hint, *fault.commands] if fault else [],
    }


def _graphics() -> dict[str, Any]:
    """The backends that are built in, and the devices that they find."""
    known = graphics.backends()
    found = graphics.devices() if known else ()
    return {"backends": list(known), "devices": [asdict(device) for device in found]}


def _storage_and_hub(asker: Asker) -> dict[str, Any]:
    from launcher.models.cache import Cache

    root = Cache.from_environment().root
    try:
        hub = reach.hub(asker)
        address = {"endpoint": hub.endpoint, "offline": hub.offline}
    except NotFound as error:
        address = {"endpoint": error.message, "offline": False}
    return {"storage": {"folder": str(root), "free": files.free_room(root)}, "hub": address}


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
    storage, hub = body["storage"], body["hub"]
    offline = ", offline: nothing is asked of it" if hub["offline"] else ""
    return [
        ("Launcher", f"{body['launcher']}, Python {body['python']}, {body['system']}"),
        ("Processor", f"{body['processor']}, {body['processors']} usable"),
        ("Memory", _memory_line(body)),
        *_engine_lines(body),
        *(("Graphics", line) for line in _graphics_lines(body)),
        *(("Fastest", line) for line in calibrating.lines(body["calibrations"])),
        ("Sandbox", _SANDBOX[body["sandbox"]]),
        ("Declaration", body["declaration"] or "none yet: launcher declare"),
        ("Policy", body["policy"]["version"]),
        *(("Note", note["text"]) for note in body["notes"]),
        ("Models", f"{storage['folder']}, {megabytes(storage['free'])} free"),
        ("Hub", f"{hub['endpoint']}{offline}"),
        ("Config", body["folders"]["config"]),
        ("State", body["folders"]["state"]),
    ]


def _memory_line(body: dict[str, Any]) -> str:
    free, total = megabytes(body["memory_available"]), megabytes(body["memory"])
    limit = body["memory_limit"]
    container = f", limited to {megabytes(limit)} by its container" if limit is not None else ""
    return f"{free} free of {total}{container}"


def _graphics_lines(body: dict[str, Any]) -> Iterator[str]:
    """Nothing, where the engine has no backend."""
    if not body["backends"]:
        return
    built_in = f"{', '.join(body['backends'])} built in"
    for device in body["devices"]:
        free, total = megabytes(device["free"]), megabytes(device["total"])
        yield f"{built_in}: {device['name']}, {device['description']}, {free} free of {total}"
    if not body["devices"]:
        yield f"{built_in}, but no device is found"
    yield "another: launcher doctor --rebuild --backend " + "|".join(sorted(graphics.BACKENDS))


def _engine_lines(body: dict[str, Any]) -> Iterator[tuple[str, str]]:
    if not body["engine"]:
        yield "Engine", "not installed"
        yield "Remedy", "launcher doctor --rebuild"
        return
    said = "has answered on this processor" if body["engine_proven"] else body["engine_fault"]
    yield "Engine", f"{body['engine']}: {said}"
    if body["engine_proven"] and not body["engine_extra_buffers"]:
        cost = calibrating.cost_of_none(body["calibrations"])
        yield "", f"but not with its extra buffers, so weights stay as they are; {cost}"
        yield "Remedy", "launcher doctor --rebuild"
    yield from (("Remedy", line) for line in body["engine_remedy"] if line)
