"""`launcher show MODEL`: identity, licence, duties, size, fit."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from typing import Any

import click

from launcher import flow
from launcher.asker import Asker
from launcher.cli import options, render
from launcher.engine import fit
from launcher.errors import DoesNotFit
from launcher.flow import Judgement
from launcher.models import quants
from launcher.models.bundle import Bundle, Part
from launcher.models.gguf import Header
from launcher.reach import Look

_HEADS = {"draft": "Draft:", "adapter": "Adapter:", "mmproj": "Image half:"}


@click.command("show", short_help="Show what a model is: identity, licence, duties, size.")
@click.argument("model")
@click.option("-c", "--ctx-size", type=click.IntRange(min=1), help="Context, in tokens.")
@options.with_parts
@options.reaching
@options.declaring
@options.as_json
def command(model: str, ctx_size: int | None, as_json: bool, **values: Any) -> None:
    """Show what a model is: identity, licence, duties, size, and whether it fits.

    \b
    launcher show smollm2:135m
    launcher show ./model.gguf --json
    """
    request = options.request(model, values)
    asker = options.asker(values)
    with flow.judged(request, asker, Look.REPOSITORIES, quick=True) as judgement:
        body = _body(judgement, ctx_size, asker)
    if as_json:
        click.echo(json.dumps(body, indent=2, ensure_ascii=False))
    else:
        click.echo("\n".join(_lines(body, render.Paper.of(sys.stdout))))


def _body(judgement: Judgement, context: int | None, asker: Asker) -> dict[str, Any]:
    body = judgement.as_json()
    bundle = judgement.bundle
    headers = [part.header for part in bundle.sets[0] if part.header is not None]
    body["here"] = bundle.is_here
    body["files"] = [_file(part) for part in bundle.parts if part.file or part.origin]
    if headers:
        body["sizes"] = _sizes(headers, bundle.main.name)
        body["fit"] = fit_json(bundle, fit.Wishes(context=context), asker)
    return body


def _file(part: Part) -> dict[str, Any]:
    """Where a part lies, and where it comes from."""
    path = str(part.file.path) if part.file is not None else ""
    origin = str(part.origin) if part.origin is not None else ""
    return {"role": str(part.role), "path": path, "origin": origin, "size": part.size}


def _sizes(headers: list[Header], name: str) -> dict[str, Any]:
    """What the headers say; of one that was read from a distance not all of it is known."""
    main = headers[0]
    return {
        "parameters": sum(header.parameters for header in headers) if main.complete else None,
        "quant": quants.held(headers) if main.complete else quants.label(name) or "-",
        "layers": main.parameter("block_count"),
        "embedding": main.parameter("embedding_length"),
        "vocabulary": main.vocabulary,
        "context": main.parameter("context_length"),
    }


def fit_json(bundle: Bundle, wishes: fit.Wishes, asker: Asker) -> dict[str, Any]:
    """Whether a bundle fits in this machine's memory; empty where its header was not seen."""
    if bundle.main.header is None:
        return {}
    try:
        plan = flow.planned(bundle, wishes, asker)
    except DoesNotFit as error:
        return {"fits": False, "message": error.message, "hint": error.hint}
    return {
        "fits": True,
        "context": plan.context,
        "threads": plan.threads,
        "threads_batch": plan.threads_batch,
        "memory": plan.memory.total,
        "available": plan.available,
        "kv_type": plan.kv_type,
        "flash_attention": plan.flash_attention,
        "repacked": plan.extra_buffers,
        "gpu_layers": plan.gpu_layers,
        "note": plan.note,
    }


def _lines(body: dict[str, Any], paper: render.Paper) -> Iterator[str]:
    model = body["model"]
    yield render.safe(model["title"])
    yield f"  Verdict:    {body['verdict']} ({body['code']})"
    yield f"  Licence:    {', '.join(model['licences']) or 'not known'}"
    yield f"  Family:     {model['family'] or 'not known'}"
    yield f"  Takes in:   {', '.join(model['modalities'])}"
    yield f"  Engine:     {'can run it' if body['engine']['supported'] else 'cannot run it'}"
    for file in body["files"]:
        lies = file["path"] or f"{file['origin']}, not on this disk"
        head = _HEADS.get(file["role"], "File:")
        yield f"  {head:<11} {render.safe(lies)} ({fit.megabytes(file['size'])})"
    if not body["files"]:
        yield "  File:       not on this disk"
    yield from _size_lines(body)
    if body["duties"]:
        yield "  If you pass the model on, or a product with it:"
    for duty in body["duties"]:
        yield paper.fold(f"- {duty['text']}", "    ")


def _size_lines(body: dict[str, Any]) -> Iterator[str]:
    if "sizes" not in body:
        return
    sizes, plan = body["sizes"], body["fit"]
    count = sizes["parameters"]
    known = f"{count / 1e6:.0f} million" if count is not None else "not counted from a distance"
    yield f"  Parameters: {known}, {sizes['quant']}"
    yield f"  Layers:     {sizes['layers']}, context {sizes['context']} tokens"
    if plan["fits"]:
        needed, free = fit.megabytes(plan["memory"]), fit.megabytes(plan["available"])
        yield f"  Memory:     about {needed} with {plan['context']} tokens; {free} are free"
        if plan["note"]:
            yield f"  Chosen:     {plan['note']}"
    else:
        yield f"  Memory:     {plan['message']}. {plan['hint']}"
