"""Do answers that are computed side by side say what each says alone?

Greedy answers of the real model, alone and eight at a time, compared text by text. Where two
part, the place is told: a step of several rows may add its fractions up in another order.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from random import Random

from launcher.engine.computing import Computing
from launcher.engine.worker import llama
from launcher.engine.worker.slots import Slots
from launcher.models import catalogue, sources
from tests.campaigns.campaign import Campaign, Tally
from tests.engine.house import House, slots_of

SLOTS = 8
COUNT = 64  # tokens of an answer
KINDS = ("Explain", "Write a poem about", "List five facts about", "Tell a story about")
THINGS = ("rain", "a lighthouse", "bees", "the number seven", "old maps", "bread", "a violin")


def run(seed: int, count: int) -> Iterator[Tally]:
    """So many questions, eight at a time."""
    model = catalogue.load().model("smollm2:135m")
    path = sources.packaged_file(model) if model is not None else None
    if path is None:
        raise SystemExit("The default model is not here: run scripts/test")
    lot = Random(seed)
    llama.start()
    slots = slots_of(path, slots=SLOTS, tokens=256, computing=Computing(threads=1))
    for start in range(0, count, SLOTS):
        questions = [f"{lot.choice(KINDS)} {lot.choice(THINGS)}." for _ in range(SLOTS)]
        yield compared(slots, questions[: count - start])


def compared(slots: Slots, questions: Sequence[str]) -> Tally:
    tally = Tally()
    alone = [answers(slots, [question])[0] for question in questions]
    for question, one, other in zip(questions, alone, answers(slots, questions), strict=True):
        tally.counts["questions"] += 1
        tally.counts["same"] += one == other
        if one != other:
            at = next(at for at, (a, b) in enumerate(zip(one, other, strict=False)) if a != b)
            tally.notes.append(f"{question!r} parts at character {at}: {one[at : at + 30]!r}")
    return tally


def answers(slots: Slots, questions: Sequence[str]) -> list[str]:
    """Side by side."""
    house = House(slots)
    for number, question in enumerate(questions):
        house.ask(number, question, count=COUNT)
    house.finish()
    return [house.text(number) for number in range(len(questions))]


def summary(counts: Counter[str]) -> str:
    """One line with the figures."""
    return f"{counts['same']} of {counts['questions']} answers are the same, alone and together"


CAMPAIGN = Campaign(
    about="greedy answers computed side by side against each alone",
    count=64,
    run=run,
    summary=summary,
)
