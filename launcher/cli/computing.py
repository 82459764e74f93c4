"""Options that say how the engine computes: llama.cpp's names."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

from launcher.engine import graphics
from launcher.engine.fit import Wishes

F = TypeVar("F", bound=Callable[..., Any])


class _Layers(click.ParamType[int | None]):
    name = "auto|all|number"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> int | None:
        if isinstance(value, int) or value == "auto":
            return value if isinstance(value, int) else None
        if value != "all" and not (value.isascii() and value.isdecimal() and len(value) < 6):
            self.fail(f"{value!a} is neither auto, all nor a number of layers", param, ctx)
        return graphics.ALL if value == "all" else int(value)


_TYPES = click.Choice(["f16", "q8_0"])
_OPTIONS = (
    click.option("-c", "--ctx-size", type=click.IntRange(min=1), help="Context, in tokens."),
    click.option("-t", "--threads", type=click.IntRange(min=1), help="Threads to compute with."),
    click.option(
        "-tb",
        "--threads-batch",
        type=click.IntRange(min=1),
        help="Threads to read prompts with, if not as many.",
    ),
    click.option(
        "-fa",
        "--flash-attn",
        type=click.Choice(["on", "off", "auto"]),
        default="auto",
        show_default=True,
        help="Flash attention; auto: as is faster here.",
    ),
    click.option("-ctk", "--cache-type-k", type=_TYPES, help="How keys are kept."),
    click.option("-ctv", "--cache-type-v", type=_TYPES, help="How values are kept."),
    click.option(
        "-ngl",
        "--gpu-layers",
        "--n-gpu-layers",
        "gpu_layers",
        type=_Layers(),
        default="auto",
        show_default=True,
        hidden=not graphics.backends(),
        help="Layers on a graphics device; auto: as many as fit.",
    ),
    click.option(
        "--no-repack", is_flag=True, help="Do not lay out the weights anew for this processor."
    ),
)


def computing(function: F) -> F:
    """Adds the options of which `wishes` makes `Wishes`."""
    for option in reversed(_OPTIONS):
        function = option(function)
    return function


def wishes(values: dict[str, Any]) -> Wishes:
    """What the options ask for; they are taken out of the values."""
    return Wishes(
        context=values.pop("ctx_size"),
        threads=values.pop("threads"),
        threads_batch=values.pop("threads_batch"),
        flash_attention=values.pop("flash_attn"),
        type_k=values.pop("cache_type_k"),
        type_v=values.pop("cache_type_v"),
        extra_buffers=False if values.pop("no_repack") else None,
        gpu_layers=values.pop("gpu_layers"),
        force=values.pop("force", False),
    )
