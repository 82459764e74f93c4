"""`launcher pull MODEL`: judged, then fetched, then verified."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from typing import Any

import click

from launcher import files, flow
from launcher.asker import Asker
from launcher.cli import obtaining, options, render, settling, show, verdict
from launcher.engine.fit import Wishes, megabytes
from launcher.flow import Judgement
from launcher.models import quants
from launcher.models.bundle import Bundle
from launcher.models.cache import Cache
from launcher.reach import Look


@click.command("pull", short_help="Fetch a model, after the gate has allowed it.")
@click.argument("model")
@click.option("--dry-run", is_flag=True, help="Say what would be fetched, and fetch nothing.")
@click.option("--limit-rate", type=options.RATE, help="Bytes a second at most: 500k, 2M.")
@click.option("-c", "--ctx-size", type=click.IntRange(min=1), help="Context, in tokens.")
@click.option("--force", is_flag=True, help="Also what does not fit in this machine's memory.")
@options.reaching
@options.declaring
@options.as_json
def command(
    model: str, *, dry_run: bool, limit_rate: float | None, as_json: bool, **values: Any
) -> None:
    """Fetch a model, after the gate has allowed it, and verify every byte.

    \b
    launcher pull llama3.2:1b
    launcher pull bartowski/Llama-3.2-1B-Instruct-GGUF:Q8_0 --dry-run
    launcher pull owner/name --quant auto --limit-rate 2M

    What a kill or a lost line leaves is kept: the same command goes on with it. With --json
    it prints an object a line.
    """
    wishes = Wishes(context=values.pop("ctx_size"), force=values.pop("force"))
    request, asker = options.request(model, values), options.asker(values)
    with flow.judged(request, asker, Look.ANEW) as judgement:
        if dry_run:
            sys.exit(_say_offer(judgement, wishes, asker, as_json=as_json))
        judgement = settling.settle(judgement, asker)
        cleared = flow.clear(judgement, wishes, asker)
        from launcher.models.transfer import Options

        pace = Options(limit_rate=limit_rate or 0.0)
        with obtaining.obtained(cleared, wishes, asker, pace, as_json=as_json) as here:
            _say_done(here.bundle, model, as_json=as_json)


def _say_done(bundle: Bundle, model: str, *, as_json: bool) -> None:
    paths = [str(part.file.path) for part in bundle.parts if part.file is not None]
    if as_json:
        click.echo(json.dumps({"event": "done", "model": model, "paths": paths, "verified": True}))
        return
    for path in paths:
        click.echo(render.safe(path))
    click.echo(f"{render.safe(model)} is here and verified ({megabytes(bundle.size)}).", err=True)


# --- What would be fetched --------------------------------------------------------------------


def _say_offer(judgement: Judgement, wishes: Wishes, asker: Asker, *, as_json: bool) -> int:
    body = {**judgement.as_json(), "pull": _offer(judgement.bundle, wishes, asker)}
    if as_json:
        click.echo(json.dumps(body, indent=2, ensure_ascii=False))
    else:
        click.echo(verdict.as_text(judgement, render.Paper.of(sys.stdout)))
        click.echo("\n".join(_offer_lines(body["pull"])))
    return int(judgement.decision.exit_code)


def _offer(bundle: Bundle, wishes: Wishes, asker: Asker) -> dict[str, Any]:
    cache = Cache.from_environment()
    origins = [part.origin for part in bundle.parts if part.origin is not None]
    missing = [file for file in bundle.to_fetch if cache.present(file) is None]
    return {
        "repository": origins[0].repository if origins else "",
        "commit": origins[0].commit if origins else "",
        "quant": quants.label(origins[0].name) if origins else "",
        "files": [
            {"name": file.name, "size": file.size, "sha256": file.sha256} for file in origins
        ],
        "size": bundle.size,
        "to_fetch": sum(file.size for file in missing),
        "cache": str(cache.root),
        "free": files.free_room(cache.root),
        "fit": show.fit_json(bundle, wishes, asker),
    }


def _offer_lines(offer: dict[str, Any]) -> Iterator[str]:
    if offer["repository"]:
        yield f"  From:     hf.co/{offer['repository']} at {offer['commit'][:12]}"
    for file in offer["files"]:
        yield f"  File:     {render.safe(file['name'])} ({megabytes(file['size'])})"
    if offer["quant"]:
        yield f"  Quant:    {offer['quant']}"
    yield (
        f"  To fetch: {megabytes(offer['to_fetch'])}; {megabytes(offer['free'])} are free in "
        f"{render.safe(offer['cache'])}"
    )
    fit = offer["fit"]
    if fit.get("fits"):
        yield (
            f"  Memory:   {megabytes(fit['memory'])} with a context of {fit['context']} tokens; "
            f"{megabytes(fit['available'])} are free"
        )
    elif fit:
        yield f"  Memory:   {fit['message']}. {fit['hint']}"
