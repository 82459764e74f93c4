"""Every campaign by its name."""

from __future__ import annotations

from tests.campaigns import (
    deaths,
    determinism,
    durability,
    exhaustive,
    parser_agreement,
    policy_mutants,
    properties,
)

CAMPAIGNS = {
    "exhaustive": exhaustive.CAMPAIGN,
    "properties": properties.CAMPAIGN,
    "policy-mutants": policy_mutants.CAMPAIGN,
    "parser-agreement": parser_agreement.CAMPAIGN,
    "durability": durability.CAMPAIGN,
    "deaths": deaths.CAMPAIGN,
    "determinism": determinism.CAMPAIGN,
}
