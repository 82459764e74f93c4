"""`launcher show MODEL`: identity, licence, duties, size, fit."""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Iterator
from typing import Any

import click

from launcher import flow
from launcher.cli import options, render, verdict
from launcher.engine import fit, machine
from launcher.errors import DoesNotFit
from launcher.flow import Judgement
from launcher.models import ggml
from launcher.models.gguf import Header


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
    with flow.judged(
        request, options.asker(values), flow.Look.REPOSITORIES, quick=True
    ) as judgement:
        body = _body(judgement, ctx_size)
    if as_json:
        click.echo(json.dumps(body, indent=2, ensure_ascii=False))
    else:
        click.echo("\n".join(_lines(body, render.Paper.of(sys.stdout))))


def _body(judgement: Judgement, context: int | None) -> dict[str, Any]:
    body = verdict.as_json(judgement)
    bundle = judgement.bundle
    headers = [part.header for part in bundle.parts if part.header is not None]
    body["here"] = bundle.is_here
    body["files"] = [
        {"role": str(part.role), "path": str(part.file.path), "size": part.file.stamp.size}
        for part in bundle.parts
        if part.file is not None
    ]
    if headers:
        body["sizes"] = _sizes(headers)
        body["fit"] = _fit(headers, bundle.size, context)
    return body


def _sizes(headers: list[Header]) -> dict[str, Any]:
    main = headers[0]
    return {
        "parameters": sum(header.parameters for header in headers),
        "quant": quant(headers),
        "layers": main.parameter("block_count"),
        "embedding": main.parameter("embedding_length"),
        "vocabulary": main.vocabulary,
        "context": main.parameter("context_length"),
    }


def quant(headers: list[Header]) -> str:
    """The type that holds most of the weights."""
    held: Counter[int] = Counter()
    for header in headers:
        for tensor in header.tensors:
            held[tensor.type] += tensor.size
    return ggml.type_name(held.most_common(1)[0][0]) if held else "-"


def _fit(headers: list[Header], size: int, context: int | None) -> dict[str, Any]:
    here = machine.measure()
    try:
        plan = fit.plan(headers, size, here, fit.Wishes(context=context))
    except DoesNotFit as error:
        return {"fits": False, "message": error.message, "hint": error.hint}
    return {
        "fits": True,
        "context": plan.context,
        "threads": plan.threads,
        "memory": plan.memory.total,
        "available": plan.available,
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
        yield f"  File:       {render.safe(file['path'])} ({fit.megabytes(file['size'])})"
    if not body["here"]:
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
    yield f"  Parameters: {sizes['parameters'] / 1e6:.0f} million, {sizes['quant']}"
    yield f"  Layers:     {sizes['layers']}, context {sizes['context']} tokens"
    if plan["fits"]:
        needed, free = fit.megabytes(plan["memory"]), fit.megabytes(plan["available"])
        yield f"  Memory:     about {needed} with {plan['context']} tokens; {free} are free"
    else:
        yield f"  Memory:     {plan['message']}. {plan['hint']}"
