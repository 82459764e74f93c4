"""`launcher records`: what was declared, decided and loaded."""

from __future__ import annotations

import json
from typing import Any

import click

from launcher.asker import Asker
from launcher.cli import options, render
from launcher.licensing import records


@click.group("records", short_help="Show and check what was declared, decided and loaded.")
def command() -> None:
    """Show and check what was declared, decided and loaded.

    \b
    launcher records list
    launcher records verify
    launcher records export > records.json
    """


@command.command("list")
@click.option("-n", "--last", type=click.IntRange(min=1), default=20, show_default=True)
@options.declaring
@options.as_json
def list_(last: int, as_json: bool, **values: Any) -> None:
    """List the latest records."""
    found = records.read(_log(values))[-last:]
    if as_json:
        click.echo(json.dumps({"schema": 1, "records": found}, indent=2))
        return
    rows = [
        (str(record["number"]), record["at"], record["kind"], _about(record)) for record in found
    ]
    click.echo(render.table(rows, ("NUMBER", "AT", "KIND", "ABOUT")))


@command.command("verify")
@options.declaring
@options.as_json
def verify(as_json: bool, **values: Any) -> None:
    """Check that no record was changed or lost by accident.

    The digest of the last record is the anchor: kept somewhere else, it shows later whether
    the records up to it are still the same.
    """
    found = records.verify(_log(values))
    if as_json:
        body = {"schema": 1, "records": found.count, "head": found.head, "torn": found.torn}
        click.echo(json.dumps(body, indent=2))
        return
    click.echo(f"{found.count} records, one chain. Head: {found.head or 'none'}")
    if found.torn:
        click.echo("A record that a power failure cut off lies beside them (records.torn).")


@command.command("export")
@options.declaring
@click.option("--json", "as_json", is_flag=True, help="One JSON object; the default.")
def export(as_json: bool, **values: Any) -> None:
    """Write all records, checked, as one JSON object."""
    log = _log(values)
    head = records.verify(log).head
    click.echo(json.dumps({"schema": 1, "head": head, "records": records.read(log)}, indent=2))


def _log(values: dict[str, Any]) -> records.Log:
    asker: Asker = options.asker(values)
    return asker.log


def _about(record: dict[str, Any]) -> str:
    """One line on what a record is about."""
    kind = record["kind"]
    if kind == "decision":
        return f"{record['verdict']} {record['ref']} ({record['code']})"
    if kind == "load":
        return ", ".join(file["name"] for file in record["files"])
    if kind == "acceptance":
        return f"{'accepted' if record['accepted'] else 'rejected'} {record['licence']}"
    if kind == "identification":
        return f"{record['sha256'][:16]} {record.get('family') or record.get('licence') or '-'}"
    declared = record.get("declaration")
    return f"{declared['as']}:{','.join(declared['domicile'])}" if declared else "withdrawn"
