"""`launcher bench MODEL`: how fast a model reads and writes on this machine."""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

from launcher.cli import computing, opening, options, render
from launcher.engine import support
from launcher.errors import LauncherError

if TYPE_CHECKING:
    from launcher.clearance import Cleared
    from launcher.engine.client import Done, Engine

_FILLER = "the fox and the hen went on and on until "  # a token a word, or a little more
_STORY = "Write a very long story about a fox and a hen who travel around the world."
_GREEDY = {"temperature": 0.0}


@dataclass(frozen=True, slots=True)
class Speed:
    """Tokens a second, once for each round."""

    tokens: int
    samples: Sequence[float]

    @property
    def median(self) -> float:
        return statistics.median(self.samples)

    @property
    def spread(self) -> float:
        """From the slowest to the fastest, as a share of the median."""
        return (max(self.samples) - min(self.samples)) / self.median


@click.command("bench", short_help="Measure how fast a model reads and writes here.")
@click.argument("model")
@click.option(
    "-p",
    "--prompt-tokens",
    type=click.IntRange(min=16),
    default=512,
    show_default=True,
    help="About so long a prompt is read.",
)
@click.option(
    "-n",
    "--tokens",
    type=click.IntRange(min=2),
    default=64,
    show_default=True,
    help="So many tokens are written.",
)
@click.option(
    "-r",
    "--rounds",
    type=click.IntRange(min=1),
    default=5,
    show_default=True,
    help="How often; one more goes before, and does not count.",
)
@computing.computing
@options.reaching
@options.declaring
@options.as_json
def command(
    model: str, prompt_tokens: int, tokens: int, rounds: int, as_json: bool, **values: Any
) -> None:
    """Measure how fast a model reads a prompt and writes an answer here.

    \b
    launcher bench smollm2:135m
    launcher bench ./model.gguf --rounds 10 --json
    """
    request, asker = options.request(model, values), options.asker(values)
    wishes = computing.wishes(values)
    with opening.opened(request, asker, wishes) as (engine, here):
        reading = _reading(engine, prompt_tokens, rounds)
        writing = _writing(engine, tokens, rounds)
        body = _body(engine, here, reading, writing)
    if as_json:
        click.echo(json.dumps(body, indent=2, ensure_ascii=False))
    else:
        click.echo("\n".join(_lines(body)))


def _reading(engine: Engine, tokens: int, rounds: int) -> Speed:
    """Each prompt begins in another way, so that nothing of it is in the cache."""
    words = (_FILLER * (tokens // len(_FILLER.split()) + 1)).split()[:tokens]
    done = [
        _done(engine, f"{number} {' '.join(words)}", max_tokens=1) for number in range(rounds + 1)
    ][1:]
    computed = round(statistics.median(each.prompt_computed for each in done))
    return Speed(computed, [each.prompt_computed / each.prompt_seconds for each in done])


def _writing(engine: Engine, tokens: int, rounds: int) -> Speed:
    done = [_done(engine, _STORY, max_tokens=tokens) for _ in range(rounds + 1)][1:]
    if min(_steps(each) for each in done) < 1:
        raise LauncherError("The model ended its answer at once, so there is nothing to measure")
    written = round(statistics.median(each.tokens for each in done))
    return Speed(written, [_steps(each) / each.seconds for each in done])


def _steps(done: Done) -> int:
    """How often the engine computed; nothing is, after the last of a full number of tokens."""
    return done.tokens - (done.reason == "length")


def _done(engine: Engine, text: str, *, max_tokens: int) -> Done:
    from launcher.engine.client import Done

    messages = [{"role": "user", "content": text}]
    events = engine.generate(messages, sampling=_GREEDY, max_tokens=max_tokens, guesses=False)
    *_, done = events
    assert isinstance(done, Done)
    return done


def _body(engine: Engine, here: Cleared, reading: Speed, writing: Speed) -> dict[str, Any]:
    return {
        "schema": 1,
        "model": str(here.bundle.ref),
        "engine": support.load().engine,
        "threads": here.plan.threads,
        "context": engine.loaded.context,
        "load_seconds": round(engine.loaded.seconds, 3),
        "prompt": _speed(reading),
        "generation": _speed(writing),
    }


def _speed(speed: Speed) -> dict[str, Any]:
    return {
        "tokens": speed.tokens,
        "tokens_per_second": round(speed.median, 2),
        "spread": round(speed.spread, 3),
        "samples": [round(sample, 2) for sample in speed.samples],
    }


def _lines(body: dict[str, Any]) -> Iterator[str]:
    threads = "1 thread" if body["threads"] == 1 else f"{body['threads']} threads"
    yield render.safe(f"{body['model']}: {body['engine']}, {threads}, context {body['context']}")
    yield f"  Load:       {body['load_seconds']:.2f} s"
    for title, name in (("Prompt:", "prompt"), ("Generation:", "generation")):
        speed = body[name]
        low, high = min(speed["samples"]), max(speed["samples"])
        yield (
            f"  {title:<11} {speed['tokens_per_second']:.1f} tokens/s, the median of "
            f"{len(speed['samples'])} ({low:.1f} to {high:.1f}), {speed['tokens']} tokens"
        )
