"""`launcher check MODEL`: the decision alone."""

from __future__ import annotations

import sys
from typing import Any

import click

from launcher import flow
from launcher.cli import options, render, verdict
from launcher.reach import Look


@click.command("check", short_help="Say whether a model may be run, and why. Loads nothing.")
@click.argument("model")
@options.with_parts
@options.reaching
@options.declaring
@options.as_json
def command(model: str, as_json: bool, **values: Any) -> None:
    """Say whether a model may be run, and why. Loads and downloads nothing.

    \b
    launcher check llama3.2:1b
    launcher check ./model.gguf --as individual:DE --json

    Ends with 0 (allowed), 3 (refused), 4 (a person must act) or 5 (needs identification).
    """
    request = options.request(model, values)
    with flow.judged(request, options.asker(values), Look.REPOSITORIES, quick=True) as judgement:
        if as_json:
            import json  # slow to import

            text = json.dumps(judgement.as_json(), indent=2, ensure_ascii=False) + "\n"
        else:
            text = verdict.as_text(judgement, render.Paper.of(sys.stdout))
    click.echo(text, nl=False)
    sys.exit(judgement.decision.exit_code)
