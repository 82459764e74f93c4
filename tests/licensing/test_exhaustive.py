"""The gate against its oracle: every country and alias, and every pair of the other facts."""

from __future__ import annotations

import itertools
import multiprocessing
from collections.abc import Iterator, Sequence

import pytest

from launcher.licensing.regions import ALIASES, countries, country
from tests.licensing.asked import HONEST, answered
from tests.oracle.cases import MODELS, Evidence, Question
from tests.oracle.oracle import expected

PERSONS = ("individual", "company", "other-body")
ROLES = (("licensee", False), ("end-user", False), ("end-user", True))
CODES = tuple(sorted({*countries(), *(country(alias) for alias in ALIASES)}))

# Values of each fact for the pairwise table: every two of them meet in some question.
USES = (("DE",), ("US",), ("GB",), ("KR",), ("JE",), ("JP",))
DOMICILES = (("DE",), ("FR",), ("GP",), ("US",), ("GB",), ("NC",), ("KR",), ("US", "DE"))
COMMERCIAL = (None, True, False)
USERS = (None, 0, 100_000_000, 100_000_001, 700_000_000, 700_000_001)
REVENUES = (None, 0, 999_999, 1_000_000, 1_000_001, 9_999_999, 10_000_000, 10_000_001)
ANSWERS = (
    (),
    (("territory-arguable:NC", "outside"), ("territory-arguable:JE", "outside")),
    (("territory-arguable:NC", "inside"), ("territory-arguable:JE", "inside")),
)


def by_country(models: tuple[str, ...]) -> Iterator[Question]:
    """Model x evidence x person x every country x role."""
    for model, evidence, person, code, (role, product) in itertools.product(
        models, Evidence, PERSONS, CODES, ROLES
    ):
        yield Question(
            model=model,
            evidence=evidence,
            person=person,
            domicile=(code,),
            place_of_use=(code,),
            role=role,
            product=product,
            commercial=False,
        )


def pairwise(models: tuple[str, ...]) -> Iterator[Question]:
    """For every two facts all their values together, the others as they come in turn."""
    facts = (DOMICILES, USES, COMMERCIAL, USERS, REVENUES, (True, False), ANSWERS, PERSONS, ROLES)
    turn = itertools.count()
    for model, evidence in itertools.product(models, Evidence):
        for first, second in itertools.combinations(range(len(facts)), 2):
            for one, two in itertools.product(facts[first], facts[second]):
                step = next(turn)
                chosen = [
                    values[(step + place) % len(values)] for place, values in enumerate(facts)
                ]
                chosen[first], chosen[second] = one, two
                yield question(model, evidence, chosen)


def question(model: str, evidence: Evidence, chosen: Sequence[object]) -> Question:
    domicile, use, commercial, users, revenue, accepted, answers, person, role = chosen
    return Question(
        model=model,
        evidence=evidence,
        domicile=domicile,  # type: ignore[arg-type]
        place_of_use=use,  # type: ignore[arg-type]
        commercial=commercial,  # type: ignore[arg-type]
        monthly_active_users=users,  # type: ignore[arg-type]
        annual_revenue_usd=revenue,  # type: ignore[arg-type]
        accepted=accepted,  # type: ignore[arg-type]
        answers=answers,  # type: ignore[arg-type]
        person=person,  # type: ignore[arg-type]
        role=role[0],  # type: ignore[index]
        product=role[1],  # type: ignore[index]
    )


def disagreements(models: tuple[str, ...]) -> tuple[int, list[str]]:
    """How many questions there were, and those on which gate and oracle differ."""
    count, found = 0, []
    for asked in itertools.chain(by_country(models), pairwise(models)):
        count += 1
        ours, theirs = answered(asked), expected(asked)
        if ours is not theirs:
            found.append(f"gate {ours.value}, oracle {theirs.value}: {asked}")
    return count, found


@pytest.fixture(scope="module")
def table() -> tuple[int, list[str]]:
    """The whole table, on as many processors as there are."""
    shares = [MODELS[start::8] for start in range(8)]
    with multiprocessing.get_context("fork").Pool() as pool:
        results = pool.map(disagreements, shares)
    return sum(count for count, _ in results), [line for _, lines in results for line in lines]


def test_every_model_of_the_oracle_has_an_honest_name() -> None:
    assert set(HONEST) == set(MODELS)


def test_gate_and_oracle_agree_on_every_question(table: tuple[int, list[str]]) -> None:
    count, found = table
    assert count > 300_000
    assert not found, f"{len(found)} of {count}:\n" + "\n".join(found[:20])
