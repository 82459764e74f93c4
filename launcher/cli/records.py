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
@click.option("--anchor", default="", metavar="HEAD", help="A head from before: is it still there?")
@options.declaring
@options.as_json
def verify(anchor: str, as_json: bool, **values: Any) -> None:
    """Check that no record was changed or lost by accident.

    The head is the digest of the last record. Kept somewhere else, it shows later, given with
    --anchor, whether the records up to it are still the same.
    """
    found = records.verify(_log(values), anchor.strip().lower())
    if as_json:
        click.echo(json.dumps({"schema": 1, **_verified(found)}, indent=2))
        return
    click.echo(f"{found.count} records, one chain. Head: {found.head or 'none'}")
    if found.torn:
        click.echo("A record that a power failure cut off lies beside them (records.torn).")
    if found.set_back:
        click.echo(f"The clock had been set back before {found.set_back} of them were made.")


def _verified(found: records.Verified) -> dict[str, Any]:
    return {
        "records": found.count,
        "head": found.head,
        "torn": found.torn,
        "clock_set_back": found.set_back,
    }


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
        noted = ", ".join([record["code"], *record.get("notes", [])])
        return f"{record['verdict']} {record['ref']} ({noted})"
    if kind == "load":
        names = ", ".join(file["name"] for file in record["files"])
        failure = record.get("failure")
        return f"failed, exit {failure['exit_code']}: {names}" if failure else names
    if kind == "acceptance":
        return f"{'accepted' if record['accepted'] else 'rejected'} {record['licence']}"
    if kind == "identification":
        return f"{record['sha256'][:16]} {record.get('family') or record.get('licence') or '-'}"
    declared = record.get("declaration")
    return f"{declared['as']}:{','.join(declared['domicile'])}" if declared else "withdrawn"
