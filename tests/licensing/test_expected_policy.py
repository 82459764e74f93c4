"""The shipped policy is what was expected of it from the texts, in every clause."""

from __future__ import annotations

import pytest

from launcher.licensing import policy
from launcher.models import catalogue
from launcher.models.bundle import Bundle, Part, Role
from launcher.models.identity import Knowledge, identify
from launcher.models.refs import CatalogueRef
from tests.licensing import expected_policy
from tests.licensing.asked import known
from tests.licensing.expected_policy import FAMILIES, LICENCES, NAMES, REGIONS, header, restricted

POLICY = policy.load()
CATALOGUE = catalogue.load()


def test_nothing_is_shipped_that_was_not_expected_and_nothing_is_missing() -> None:
    assert set(POLICY.licences) == set(LICENCES)
    assert set(POLICY.regions) == set(REGIONS)
    assert set(CATALOGUE.families) == set(FAMILIES)


@pytest.mark.parametrize("id", sorted(LICENCES))
def test_a_licence_is_as_expected(id: str) -> None:
    assert list(expected_policy.licence_differences(POLICY, id)) == []


@pytest.mark.parametrize("id", sorted(REGIONS))
def test_a_region_is_as_expected(id: str) -> None:
    assert list(expected_policy.region_differences(POLICY, id)) == []


@pytest.mark.parametrize("id", sorted(FAMILIES))
def test_a_family_is_as_expected(id: str) -> None:
    assert list(expected_policy.family_differences(CATALOGUE.families[id])) == []


@pytest.mark.parametrize("name", NAMES)
def test_a_name_tells_the_restricted_families_that_it_should(name: str) -> None:
    part = Part(
        role=Role.WEIGHTS, name="model.gguf", header=header("other", {"general.name": name})
    )
    with_all: Knowledge = known()
    (identity,) = identify(Bundle(ref=CatalogueRef("a-file"), parts=(part,)), with_all)
    found = {candidate.family.id for candidate in identity.candidates}
    assert found & restricted() == NAMES[name]
