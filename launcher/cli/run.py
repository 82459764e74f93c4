"""`launcher run MODEL [PROMPT]`: one answer, or a chat."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from launcher.asker import Request
from launcher.cli import asking, computing, generation, opening, options
from launcher.cli.chat import manner
from launcher.cli.generation import Style
from launcher.cli.interrupting import interruptible
from launcher.engine.prompt_cache import PromptCache
from launcher.errors import ExitCode, LauncherError

if TYPE_CHECKING:
    from launcher.cli.chat.thread import Thread
    from launcher.cli.chat.words import Words
    from launcher.engine.client import Done, Engine, Text

STOPPED = 130  # as a shell counts what SIGINT ended


@click.command("run", short_help="Chat with a model, or get one answer.")
@click.argument("model")
@click.argument("prompt", nargs=-1)
@generation.styled
@computing.computing
@click.option("--force", is_flag=True, help="Also what does not seem to fit in memory.")
@click.option("-s", "--system", help="What the model is told before the conversation.")
@click.option(
    "--image",
    "images",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    multiple=True,
    help="An image that the prompt is about; takes --mmproj.",
)
@click.option("--require-sandbox", is_flag=True, help="Only where the engine can be confined.")
@click.option(
    "--no-prompt-cache", is_flag=True, help="Keep nothing that was computed of a system prompt."
)
@click.option("--set-up", is_flag=True, help="Build the engine first where it is missing.")
@manner.held
@options.with_parts
@options.reaching
@options.declaring
def command(model: str, prompt: tuple[str, ...], **values: Any) -> None:
    """Chat with a model, or get one answer for PROMPT or what is piped in.

    \b
    launcher run smollm2:135m "Why is the sky blue?"
    launcher run ./model.gguf < question.txt
    launcher run smollm2:135m
    launcher run smollm2:135m --continue "And at night?"

    MODEL is a name (llama3.2:1b), a repository of the hub (owner/name:Q4_K_M) or a path.
    """
    request, asker = options.request(model, values), options.asker(values)
    set_up, confined = values.pop("set_up"), values.pop("require_sandbox")
    forgets = values.pop("no_prompt_cache")
    wishes = computing.wishes(values)
    style, held = generation.style(values), manner.manner(values)
    images = _images(values.pop("images"), request)
    _refuse_mixed(style, held, images)
    with opening.opened(request, asker, wishes, set_up=set_up, confined=confined) as (engine, here):
        if not (forgets or held.private):
            kept = asker.places
            engine.prompt_cache = PromptCache(kept.prompts, kept.prompts_key)
        text = _raw(prompt) if style.raw else _prompt(prompt)
        if text is None:
            if style.logprobs is not None or images:
                option = "--image" if images else "--logprobs"
                raise click.UsageError(f"{option} is for single answers: give a prompt.")
            from launcher.cli.chat import about, loop

            loop.chat(engine, style, about.of(here), asker.places, held)
        else:
            from launcher.cli.chat import about, thread

            belongs = thread.Thread(about.of(here), held, asker, style.system)
            sys.exit(_answer_once(engine, style, text, belongs, images))


def _prompt(words: Sequence[str]) -> str | None:
    """What is piped in comes before what is typed; None when neither is there."""
    piped = "" if sys.stdin is None or sys.stdin.isatty() else sys.stdin.read().strip()
    text = "\n\n".join(part for part in (piped, " ".join(words).strip()) if part)
    if text:
        return text
    if asking.on_terminal():
        return None
    raise click.UsageError("There is no prompt: give one after MODEL, or pipe one in.")


def _raw(words: Sequence[str]) -> str:
    """The same, to the letter, but for the line break at the end of what is piped in."""
    piped = "" if sys.stdin is None or sys.stdin.isatty() else sys.stdin.read()
    text = piped.removesuffix("\n") + " ".join(words)
    if text:
        return text
    raise click.UsageError("--no-conversation is for single answers: give a prompt.")


def _images(paths: Sequence[Path], request: Request) -> list[bytes]:
    """The images that a prompt is about."""
    if not paths:
        return []
    if request.mmproj is None:
        raise click.UsageError("--image takes the image half of the model: give it with --mmproj.")
    from launcher.engine import pictures

    pictures.refuse_too_many(len(paths))
    return [pictures.read(path) for path in paths]


def _refuse_mixed(style: Style, held: manner.Manner, images: Sequence[bytes]) -> None:
    """What belongs to conversations goes with no text that is gone on with."""
    talks = style.system is not None or style.chat_template or held.continues or images
    if style.raw and talks:
        raise click.UsageError(
            "--no-conversation goes without --system, --continue, --image and a template."
        )


def _answer_once(
    engine: Engine, style: Style, text: str, thread: Thread, images: Sequence[bytes]
) -> int:
    *before, last = thread.messages(text)
    asked: list[Mapping[str, Any]] = [*before, last]
    if images:
        asked[-1] = {**last, "images": len(images)}
    wishes = {**style.wishes, "images": images}
    if style.raw:
        asked, wishes["prompt"] = [], text
    done = _answer(engine, wishes, asked, thread.words)
    if done.reason == "context":
        raise LauncherError(
            _full(done, engine),
            hint="The answer is not finished. Use a longer context (--ctx-size), or say with "
            "--max-tokens how long it may be.",
        )
    if style.logprobs is None:
        thread.note(text)
    return STOPPED if done.reason == "stopped" else ExitCode.DONE


def _full(done: Done, engine: Engine) -> str:
    return (
        f"The context is full: {done.prompt_tokens} tokens of the conversation and {done.tokens} "
        f"of the answer, of {engine.loaded.context} in all"
    )


def _answer(
    engine: Engine, wishes: dict[str, Any], messages: Sequence[Mapping[str, Any]], words: Words
) -> Done:
    """Streams one answer to standard output; Ctrl-C ends it, not the program."""
    from launcher.engine.client import Done

    measures = wishes["logprobs"] is not None
    with interruptible(engine.stop) as interrupted:
        events = engine.generate(messages, **wishes)
        if interrupted():
            engine.stop()  # Ctrl-C came before there was anything to stop
        for event in events:
            if isinstance(event, Done):
                break
            if measures:
                click.echo(_measured(event), nl=False)
            else:
                words.say(event.text)
    if not measures:
        words.finish()
    assert isinstance(event, Done)
    return event


def _measured(event: Text) -> str:
    """A line for each token; what was only held back is no token."""
    return "" if event.logprobs is None else json.dumps(event.logprobs) + "\n"
