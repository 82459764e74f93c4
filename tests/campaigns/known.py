"""Every campaign by its name."""

from __future__ import annotations

from tests.campaigns import (
    deaths,
    determinism,
    durability,
    exhaustive,
    http_fuzz,
    parser_agreement,
    policy_mutants,
    properties,
    swaps,
    worker_fuzz,
)

CAMPAIGNS = {
    "exhaustive": exhaustive.CAMPAIGN,
    "properties": properties.CAMPAIGN,
    "policy-mutants": policy_mutants.CAMPAIGN,
    "parser-agreement": parser_agreement.CAMPAIGN,
    "durability": durability.CAMPAIGN,
    "worker-fuzz": worker_fuzz.CAMPAIGN,
    "swaps": swaps.CAMPAIGN,
    "deaths": deaths.CAMPAIGN,
    "determinism": determinism.CAMPAIGN,
    "http-fuzz": http_fuzz.CAMPAIGN,
}
