"""Every campaign by its name."""

from __future__ import annotations

from tests.campaigns import (
    batched,
    deaths,
    determinism,
    durability,
    exhaustive,
    http_fuzz,
    parser_agreement,
    policy_mutants,
    properties,
    server_deaths,
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
    "server-deaths": server_deaths.CAMPAIGN,
    "batched": batched.CAMPAIGN,
    "http-fuzz": http_fuzz.CAMPAIGN,
}
