"""Laws of the gate, held against whatever hypothesis can think of."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Collection, Mapping
from typing import Any

from hypothesis import assume, example, given
from hypothesis import strategies as st

from launcher.clearance import Verdict
from launcher.licensing import gate, policy
from launcher.licensing.decision import Decision
from launcher.licensing.declaration import Declaration, Person, Role
from launcher.licensing.gate import Case
from launcher.licensing.policy import Policy
from launcher.licensing.regions import Country, countries
from launcher.models.catalogue import HeldBy
from tests.headers import SMALL, Sizes, models, sizes
from tests.licensing.asked import everything_accepted, header, known, seen

CATALOGUE = known().catalogue
RESTRICTED = tuple(
    shape.architecture
    for family in CATALOGUE.families.values()
    if family.held_by is HeldBy.ARCHITECTURE
    for shape in family.shapes
)
REPOSITORIES = tuple(
    repository for family in CATALOGUE.families.values() for repository in family.repositories
)
SPELLINGS = (*sorted(policy.load().spellings), "other", "unknown", "my-own-licence", "MIT ")
NAMES = (
    *(family.title for family in CATALOGUE.families.values()),
    *(
        " ".join(word for word in phrase.split() if "!" not in word)
        for family in CATALOGUE.families.values()
        for phrase in family.names
    ),
    "Free Spirit 9",
    "model",
)
EUROPE = tuple(sorted(policy.load().regions["european-union"].clear))
STRICTEST_LAST = {Verdict.ALLOW: 0, Verdict.ASK: 1, Verdict.REFUSE: 2}

known_shapes = st.sampled_from(
    [name for name in models() if CATALOGUE.that_fit(header(sizes(name), {}))]
).map(sizes)
withheld_shapes = st.sampled_from(
    [name for name in models() if sizes(name).architecture in RESTRICTED]
).map(sizes)
unknown_shapes = st.builds(
    lambda layers, width: dataclasses.replace(SMALL, layers=layers, embedding=64 * width),
    st.integers(1, 11),
    st.integers(1, 5),
)
names = st.one_of(st.sampled_from(NAMES), st.text(max_size=40))
licences = st.one_of(st.sampled_from(SPELLINGS), st.text(max_size=20))
statements = st.fixed_dictionaries(
    {},
    optional={
        "general.name": names,
        "general.basename": names,
        "general.size_label": st.sampled_from(["1B", "3B", "8B", "11B", "17B", "70B", "16E"]),
        "general.license": licences,
        "general.license.name": licences,
        "general.base_model.0.name": names,
        "general.base_model.0.repo_url": st.sampled_from(REPOSITORIES).map(
            lambda repository: f"https://huggingface.co/{repository}"
        ),
    },
)
codes = st.sampled_from(sorted(countries())).map(Country)
places = st.lists(codes, min_size=1, max_size=3, unique=True).map(tuple)


@st.composite
def declarations(draw: st.DrawFn, *, plain: bool = False) -> Declaration:
    """Anybody; `plain`: with nothing said that only conditions turn on."""
    domicile = draw(places)
    counts = st.none() if plain else st.one_of(st.none(), st.integers(0, 2**40))
    return Declaration(
        person=draw(st.sampled_from(list(Person))),
        domicile=domicile,
        place_of_use=draw(st.one_of(st.just(domicile), places)),
        role=Role.LICENSEE if plain else draw(st.sampled_from(list(Role))),
        product="" if plain else draw(st.sampled_from(["", "Kiosk"])),
        supplied_by="" if plain else draw(st.sampled_from(["", "Example Inc"])),
        commercial=False if plain else draw(st.sampled_from([None, True, False])),
        monthly_active_users=draw(counts),
        annual_revenue_usd=draw(counts),
    )


def decided(
    model: Sizes,
    said: Mapping[str, str],
    declaration: Declaration | None,
    name: str = "model.gguf",
    rules: Policy | None = None,
) -> Decision:
    bundle, identities = seen(model, said, name)
    return gate.decide(
        Case(
            policy=rules or policy.load(),
            bundle=bundle,
            identities=identities,
            declaration=declaration,
            acceptances=everything_accepted(),
        )
    )


def rank(decision: Decision) -> int:
    return STRICTEST_LAST[decision.verdict]


@given(known_shapes, statements, declarations(plain=True))
def test_statements_never_make_a_known_structure_more_permissive(
    model: Sizes, said: dict[str, str], declaration: Declaration
) -> None:
    assert rank(decided(model, said, declaration)) >= rank(decided(model, {}, declaration))


@given(st.sampled_from(RESTRICTED), known_shapes, statements, declarations(), st.data())
def test_a_restricted_architecture_never_allows_on_statements(
    architecture: str, model: Sizes, said: dict[str, str], asked: Declaration, data: st.DataObject
) -> None:
    inside = (Country(data.draw(st.sampled_from(EUROPE))),)
    asker = dataclasses.replace(asked, domicile=inside, place_of_use=inside, role=Role.LICENSEE)
    cut = dataclasses.replace(model, architecture=architecture)
    assert decided(cut, said, asker).verdict is not Verdict.ALLOW


@given(unknown_shapes, declarations(), names)
def test_an_unknown_structure_without_a_licence_never_allows(
    model: Sizes, declaration: Declaration, name: str
) -> None:
    decision = decided(model, {"general.name": name}, declaration)
    assert decision.verdict is not Verdict.ALLOW


@given(known_shapes, statements, declarations(plain=True), st.sampled_from(EUROPE))
def test_adding_a_country_never_relaxes(
    model: Sizes, said: dict[str, str], declaration: Declaration, code: str
) -> None:
    more = dataclasses.replace(
        declaration,
        domicile=(*declaration.domicile, Country(code)),
        place_of_use=(*declaration.place_of_use, Country(code)),
    )
    assert rank(decided(model, said, more)) >= rank(decided(model, said, declaration))


@given(st.one_of(known_shapes, unknown_shapes), statements, declarations(plain=True))
def test_a_restricted_origin_never_allows_in_the_union(
    model: Sizes, said: dict[str, str], declaration: Declaration
) -> None:
    inside = dataclasses.replace(declaration, domicile=(Country("DE"),))
    origin = "https://huggingface.co/meta-llama/Llama-4-Scout-17B-16E-Instruct"
    derived = {**said, "general.base_model.0.repo_url": origin}
    assert decided(model, derived, inside).verdict is Verdict.REFUSE


@given(known_shapes, statements, declarations(), st.randoms())
def test_order_and_duplicates_do_not_matter(
    model: Sizes, said: dict[str, str], declaration: Declaration, chance: Any
) -> None:
    first = decided(model, said, declaration)
    items, domicile = list(said.items()), [*declaration.domicile, declaration.domicile[0]]
    chance.shuffle(items)
    chance.shuffle(domicile)
    other = dataclasses.replace(declaration, domicile=tuple(domicile))
    second = decided(model, dict(items), other)
    assert (first.verdict, first.exit_code) == (second.verdict, second.exit_code)
    assert {reason.code for reason in first.reasons} == {reason.code for reason in second.reasons}


@given(st.one_of(known_shapes, unknown_shapes), declarations(plain=True), names, licences)
def test_renaming_never_relaxes(
    model: Sizes, declaration: Declaration, name: str, licence: str
) -> None:
    said = {"general.license": licence}
    plain = decided(model, said, declaration)
    renamed = decided(model, said | {"general.name": name}, declaration, f"{name}.gguf")
    assert rank(renamed) >= rank(plain)


@given(st.one_of(known_shapes, unknown_shapes), statements, declarations())
def test_a_missing_fact_never_allows_what_its_presence_might_not(
    model: Sizes, said: dict[str, str], declaration: Declaration
) -> None:
    assert decided(model, said, None).verdict is not Verdict.ALLOW
    unknown = dataclasses.replace(declaration, commercial=None)
    assume(decided(model, said, unknown).verdict is Verdict.ALLOW)
    for answer in (True, False):
        known_ = dataclasses.replace(declaration, commercial=answer)
        assert decided(model, said, known_).verdict is Verdict.ALLOW


# Refused by its origin: that two of three families of its shape are refused by the same clause
# is then no reason, and the third's is not needed either.
@example(
    sizes("hunyuan-0.5b"),
    {"general.base_model.0.repo_url": "https://huggingface.co/tencent/HunyuanVideo"},
    Declaration(person=Person.INDIVIDUAL, domicile=(Country("DE"),), place_of_use=(Country("DE"),)),
    Country("DE"),
)
@given(withheld_shapes, statements, declarations(), st.sampled_from(EUROPE).map(Country))
def test_every_cited_rule_is_needed(
    model: Sizes, said: dict[str, str], asked: Declaration, code: Country
) -> None:
    """Each belongs to a set of cited rules that refuses, and would not without it."""
    declaration = dataclasses.replace(asked, domicile=(code,), place_of_use=(code,))
    decision = decided(model, said, declaration)
    assume(decision.verdict is Verdict.REFUSE)
    cited = frozenset((reason.licence, reason.code) for reason in decision.reasons)
    refusing = {
        kept
        for size in range(len(cited) + 1)
        for kept in map(frozenset, itertools.combinations(sorted(cited), size))
        if decided(model, said, declaration, rules=without(cited - kept)).verdict is Verdict.REFUSE
    }
    assert frozenset() not in refusing
    for rule in cited:
        assert any(rule in kept and kept - {rule} not in refusing for kept in refusing)


def without(rules: Collection[tuple[str, str]]) -> Policy:
    """The policy without some rules."""
    shipped = policy.load()
    licences = {
        id: dataclasses.replace(
            licence,
            rules=tuple(rule for rule in licence.rules if (id, rule.code) not in rules),
        )
        for id, licence in shipped.licences.items()
    }
    return dataclasses.replace(shipped, licences=licences)
