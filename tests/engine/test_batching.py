"""Answers side by side: none says other words for it, none waits long for another."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from launcher.engine.computing import Computing
from launcher.engine.sampling import Sampling
from launcher.engine.worker import llama
from launcher.engine.worker.batching import FEWEST
from launcher.engine.worker.slots import Slots
from tests.engine.house import House, slots_of

QUESTIONS = ("Why is the sky blue?", "Name five fruits.", "Who wrote Hamlet?", "What is rain?")
LONG = "The quick brown fox jumps over the lazy dog. " * 28


@pytest.fixture(scope="module")
def slots(smollm2: Path) -> Iterator[Slots]:
    llama.start()
    slots = slots_of(smollm2, slots=4, tokens=512, computing=Computing(threads=1))
    yield slots
    slots.close()
    slots.model.close()


def alone(slots: Slots, question: str, **how: Any) -> str:
    house = House(slots)
    house.ask(0, question, **how)
    house.finish()
    return house.text(0)


def test_side_by_side_each_says_what_it_says_alone(slots: Slots) -> None:
    expected = [alone(slots, question) for question in QUESTIONS]
    house = House(slots)
    for number, question in enumerate(QUESTIONS):
        house.ask(number, question)
    house.finish()
    assert [house.text(number) for number in range(4)] == expected
    assert len(set(expected)) == len(expected)


def test_each_has_samplers_of_its_own(slots: Slots) -> None:
    warm = [Sampling(temperature=1.2, seed=seed) for seed in (1, 2, 1)]
    expected = [alone(slots, QUESTIONS[0], sampling=sampling) for sampling in warm]
    house = House(slots)
    for number, sampling in enumerate(warm):
        house.ask(number, QUESTIONS[0], sampling=sampling)
    house.finish()
    assert [house.text(number) for number in range(3)] == expected
    assert expected[0] == expected[2] != expected[1]


def test_what_prompts_begin_with_is_computed_once(slots: Slots) -> None:
    house = House(slots)
    for number in range(4):
        house.ask(number, f"{LONG}What is {number} and {number}?", count=4)
    house.finish()
    computed = [house.done(number)["prompt_computed"] for number in range(4)]
    total = [house.done(number)["prompt_tokens"] for number in range(4)]
    assert computed[0] == total[0] > 250
    assert max(computed[1:]) < 20
    again = alone(slots, f"{LONG}What is 3 and 3?", count=4)
    assert house.text(3) == again


def test_the_next_turn_goes_on_from_the_last(slots: Slots) -> None:
    house = House(slots)
    house.ask(1, LONG, count=2)
    house.finish()
    house.ask(2, f"{LONG}And now?", count=2)
    house.finish()
    assert house.done(2)["prompt_computed"] < 20


def test_a_long_prompt_keeps_nobody_waiting(slots: Slots) -> None:
    house = House(slots)
    house.ask(1, QUESTIONS[0], count=100)
    house.batcher.step()
    house.ask(2, LONG, count=1)
    steps = 0
    while not any(said["number"] == 2 for step in house.said for said in step):
        before = held(house, 1)
        house.batcher.step()
        assert held(house, 1) == before + 1  # a token in each step
        steps += 1
    assert steps > 1
    house.batcher.drop(lambda number: True)


def held(house: House, number: int) -> int:
    """Tokens of an answer under way."""
    (running,) = [each for each in house.batcher._running if each.asked.number == number]
    return running.count


def test_a_short_prompt_overtakes_a_long_one(slots: Slots) -> None:
    house = House(slots)
    house.ask(1, LONG, count=1)
    house.ask(2, "Hi", count=1)
    house.finish()
    order = [said["number"] for step in house.said for said in step if said["type"] == "done"]
    assert order == [2, 1]


def test_more_than_there_are_slots_wait_for_their_turn(slots: Slots) -> None:
    house = House(slots)
    for number in range(9):
        house.ask(number, f"{QUESTIONS[number % 4]} {number}", count=3)
    house.finish()
    assert all(house.done(number)["tokens"] <= 3 for number in range(9))


def test_who_leaves_is_gone_with_the_next_step(slots: Slots) -> None:
    expected = alone(slots, QUESTIONS[3], count=30)
    house = House(slots)
    for number, question in enumerate(QUESTIONS):
        house.ask(number, question, count=30)
    house.ask(9, "never begun")
    house.batcher.step()
    house.batcher.step()
    house.batcher.drop(lambda number: number in {1, 2, 9})
    assert {running.asked.number for running in house.batcher._running} == {0, 3}
    house.batcher.step()
    numbers = {running.slot.number for running in house.batcher._running}
    assert numbers == {0, 1}  # neighbours: what lies apart would cost a step each
    house.finish()
    assert house.done(1)["reason"] == house.done(9)["reason"] == "stopped"
    assert house.text(3) == expected


def test_a_prompt_is_taken_in_by_shares_that_fit_the_clock(slots: Slots) -> None:
    house = House(slots)
    house.ask(1, LONG, count=1)
    house.batcher.step()
    house.batcher._speed = 1.0  # as on a machine that takes a second for each token
    before = sum(len(slot.held) for slot in slots.all)
    house.batcher.step()
    assert sum(len(slot.held) for slot in slots.all) == before + FEWEST
    house.finish()
    assert house.done(1)["tokens"] == 1


def test_a_full_context_ends_the_answer(slots: Slots) -> None:
    house = House(slots)
    house.ask(1, LONG + LONG[: 45 * 19], count=2000)
    room = slots.size - len(house.batcher._waiting[0].prompt)
    assert 0 < room < 200
    house.finish()
    done = house.done(1)
    assert done["reason"] in {"context", "end"}
    assert done["tokens"] <= room
