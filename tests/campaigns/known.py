"""Every campaign by its name."""

from __future__ import annotations

from tests.campaigns import durability, parser_agreement, policy_mutants

CAMPAIGNS = {
    "policy-mutants": policy_mutants.CAMPAIGN,
    "parser-agreement": parser_agreement.CAMPAIGN,
    "durability": durability.CAMPAIGN,
}
