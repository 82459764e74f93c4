"""What was measured on this machine, as `launcher doctor` tells of it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from launcher.asker import Asker
from launcher.engine.calibration import Found


def anew(asker: Asker) -> None:
    """Measures now, and says on standard error how it went."""
    from launcher import tuning

    asker.say("Measuring which settings are fastest here, up to 15 seconds for each kind of model.")
    for kind, found in tuning.learn_anew(asker):
        if found is None:
            asker.say(f"{kind.title}: nothing was learnt. Other programs use the processors.")
        else:
            asker.say(f"{kind.title}: done.")


def as_json(asker: Asker) -> list[dict[str, Any]]:
    """All that is known."""
    from launcher import tuning
    from launcher.engine import machine

    return [_body(found) for found in tuning.calibrations(asker, machine.measure()).all()]


def _body(found: Found) -> dict[str, Any]:
    tuning = found.tuning
    return {
        "kind": found.kind.title,
        "threads": tuning.threads,
        "threads_batch": tuning.threads_batch,
        "flash_attention": tuning.flash_attention or "auto",
        "repacked": tuning.extra_buffers is not False,
        "repacking_gains": {"prompt": found.repacked_prompt, "answer": found.repacked_answer},
        "flash_attention_gains": {"prompt": found.flash_prompt, "answer": found.flash_answer},
    }


def lines(body: list[dict[str, Any]]) -> Iterator[str]:
    """A line for each kind of models."""
    for found in body:
        threads = found["threads"]
        parts = ["1 thread" if threads == 1 else f"{threads} threads"]
        if found["threads_batch"] != threads:
            parts.append(f"{found['threads_batch']} for prompts")
        if found["flash_attention"] == "off":
            parts.append("no flash attention")
        gains = found["repacking_gains"]
        if gains["prompt"] is not None:
            laid_out = "weights laid out anew" if found["repacked"] else "weights as they are"
            parts.append(
                f"{laid_out} (anew, prompts are read {gains['prompt']:.1f} and answers written "
                f"{gains['answer']:.1f} times as fast)"
            )
        yield f"{found['kind']}: {', '.join(parts)}"


def cost_of_none(body: list[dict[str, Any]]) -> str:
    """What it costs that weights cannot be laid out anew, where that was measured."""
    gains = [found["repacking_gains"]["prompt"] for found in body]
    known = [gain for gain in gains if gain is not None]
    if not known:
        return "how much slower that is cannot be measured where they fail"
    return f"prompts are read up to {max(known):.1f} times slower than with them"
