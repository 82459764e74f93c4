"""What the policy must come to, written from the texts and not from the policy.

The oracle answers for the releases that it knows, through everything the gate does. This is
for all of the policy, clause by clause: who is withheld what, from which number on, and which
facts about families decide. Where the shipped data differ, one of the two is wrong.

Read for it: the texts in `meta-llama/llama-models` @ a9c89c4, `meta-llama/PurpleLlama` @
4be64c3, the Tencent repositories that `tests/oracle/oracle.py` names, `Tencent-Hunyuan/
HunyuanDiT` @ d2cb9cd, `Tencent/Tencent-Hunyuan-Large` @ cdc3735, `Liquid4All/liquid-audio` @
251949e, `LG-AI-EXAONE/EXAONE-4.0` @ c8b16a7, `LG-AI-EXAONE/K-EXAONE` @ 32343b0,
`MoonshotAI/Kimi-K2.5` @ 3e60763, `MiniMax-AI/MiniMax-M2.1`, `-M2.5`, `-M2.7`, `QwenLM/Qwen` @
e8e1596, and scancode-toolkit 32.5.0 (licensedcode/data/licenses) for the rest. What was only
quoted by others is second hand: it may ask, and never refuse.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache
from types import MappingProxyType

from launcher.clearance import Verdict
from launcher.licensing import gate
from launcher.licensing.acceptance import Acceptance, Acceptances
from launcher.licensing.declaration import Declaration, Person, Role
from launcher.licensing.gate import Case
from launcher.licensing.overlay import Overlay
from launcher.licensing.policy import Licence, Policy
from launcher.licensing.regions import Country
from launcher.models.bundle import Bundle, Part
from launcher.models.bundle import Role as PartRole
from launcher.models.card import Card, Chain
from launcher.models.catalogue import Catalogue, Family, HeldBy, Release
from launcher.models.gguf import Entry, Header, ValueType
from launcher.models.identity import Candidate, Identity, Knowledge, identify
from launcher.models.refs import CatalogueRef
from tests.headers import models, sizes
from tests.licensing import asked
from tests.oracle.oracle import EU, EU_ARGUABLE, SOUTH_KOREA, UK, UK_ARGUABLE


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


# --- Regions ----------------------------------------------------------------------------------

UNION, KINGDOM, KOREA, STATES = "european-union", "united-kingdom", "south-korea", "united-states"

# "The United States of America": its states and the District. The territories have codes of
# their own, and whether they are meant is open.
REGIONS: Mapping[str, tuple[frozenset[str], frozenset[str]]] = {
    # clear, arguable
    UNION: (EU, EU_ARGUABLE),
    KINGDOM: (UK, UK_ARGUABLE),
    KOREA: (SOUTH_KOREA, frozenset()),
    STATES: (frozenset({"US"}), _words("PR VI GU AS MP")),
}

# --- Licences ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Withheld:
    """What a clause withholds: from whom, and from which number on."""

    code: str
    models: str = ""
    """Only of models released so."""
    home: str = ""
    """From who is at home in this region."""
    use: tuple[str, ...] = ()
    """In these regions."""
    commercial: bool = False
    """For commercial use only."""
    users: int = 0
    """The smallest number of monthly users that is too large; 0: none is."""
    revenue: int = 0
    """The smallest annual revenue in US dollars that is too large; 0: none is."""
    counted: str = ""
    """When: `at-release` or `running`."""
    spares_end_users: bool = False
    outputs: bool = False
    """Whether the clause names what the model writes."""
    second_hand: bool = False

    def bites(self, probe: Probe) -> bool:
        return (
            (not self.models or self.models == probe.released_as)
            and (not self.home or probe.home in REGIONS[self.home][0])
            and (not self.use or any(probe.use in REGIONS[name][0] for name in self.use))
            and (not self.commercial or probe.commercial)
            and (not self.users or probe.users >= self.users)
            and (not self.revenue or probe.revenue >= self.revenue)
            and not (self.spares_end_users and probe.end_user and probe.product)
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """A licence, as far as the gate has to know it."""

    acceptance: bool = False
    """Community licences, terms of use, and whatever is second hand or sets a limit."""
    osi: bool = False
    second_hand: bool = False
    releases: frozenset[str] = frozenset()
    """What was released under it, where that is known and matters."""
    withheld: tuple[Withheld, ...] = ()


_TEXT, _BOTH = frozenset({"text"}), frozenset({"text", "multimodal"})
_MULTIMODAL = frozenset({"multimodal"})

# Section 2 of every Llama licence; 1.b.ii spares who receives an integrated end user product.
_LLAMA_USERS = Withheld(
    code="llama-700-million-users", users=700_000_001, counted="at-release", spares_end_users=True
)
# The use policies of 3.2, 3.3 and 4, in no licence and in none of the older policies.
_LLAMA_UNION = Withheld(
    code="llama-eu-multimodal", models="multimodal", home=UNION, spares_end_users=True
)
# Section 4 of every Tencent licence, and 1(l) with 2 and 5(c): no end user is spared either.
_TENCENT_USERS = Withheld(code="hunyuan-100-million-users", users=100_000_001, counted="at-release")
_TENCENT = Withheld(code="hunyuan-territory", use=(UNION, KINGDOM, KOREA), outputs=True)
_CC_NC = Withheld(code="cc-non-commercial", commercial=True)
_QWEN_USERS = Withheld(
    code="qwen-100-million-users", commercial=True, users=100_000_001, counted="running"
)
# "prohibited from using the Model, Derivatives, or Output for any commercial purposes"
_EXAONE = Withheld(code="exaone-non-commercial", commercial=True, outputs=True)


def _read(*withheld: Withheld, releases: frozenset[str] = frozenset()) -> Terms:
    """A licence to be accepted, whose text was read."""
    return Terms(acceptance=True, releases=releases, withheld=withheld)


def _quoted(*withheld: Withheld, releases: frozenset[str] = frozenset()) -> Terms:
    """A licence that is known at second hand."""
    clauses = tuple(replace(clause, second_hand=True) for clause in withheld)
    return Terms(acceptance=True, second_hand=True, releases=releases, withheld=clauses)


def _all(names: str, terms: Terms) -> dict[str, Terms]:
    return dict.fromkeys(names.split(), terms)


LICENCES: Mapping[str, Terms] = {
    # Approved by the Open Source Initiative.
    **_all(
        "afl-3.0 agpl-3.0 apache-2.0 artistic-2.0 bsd-2-clause bsd-3-clause bsl-1.0 ecl-2.0 "
        "epl-2.0 eupl-1.2 gpl-2.0 gpl-3.0 isc lgpl-2.1 lgpl-3.0 mit mpl-2.0 ms-pl ncsa osl-3.0 "
        "postgresql unlicense zlib",
        Terms(osi=True),
    ),
    # Public licences that withhold no use. Large users of Kimi K2 and MiniMax M2 have to show
    # the model's name, which is a duty and no limit.
    **_all(
        "cc0-1.0 cc-by-3.0 cc-by-4.0 cc-by-sa-3.0 cc-by-sa-4.0 cc-by-nd-4.0 cdla-permissive-2.0 "
        "kimi-k2 kimi-k2.5 minimax-m2 minimax-m2.1 modified-mit openmdw-1.0 openmdw-1.1 wtfpl",
        Terms(),
    ),
    **_all(
        "cc-by-nc-2.0 cc-by-nc-3.0 cc-by-nc-4.0 cc-by-nc-sa-3.0 cc-by-nc-sa-4.0 cc-by-nc-nd-4.0",
        Terms(withheld=(_CC_NC,)),
    ),
    # Restricted uses, no figure and no place.
    **_all(
        "bigcode-openrail-m bigscience-openrail-m bigscience-bloom-rail-1.0 creativeml-openrail-m "
        "deepseek falcon-2-11b gemma k-exaone minimax-m2.5 nvidia-open-model-license",
        _read(),
    ),
    # Whose terms are not known here.
    **_all(
        "falcon-llm-license grok2-community health-ai-developer-foundations openrail openrail++",
        _quoted(),
    ),
    "muse-glimmer": _quoted(releases=_MULTIMODAL),
    # --- Meta
    "llama1": replace(
        # The text was read; that it goes with a file of that shape is general knowledge.
        _quoted(Withheld(code="llama1-non-commercial", commercial=True, outputs=True)),
        second_hand=False,
        releases=_TEXT,
    ),
    **_all("llama2 llama3 llama3.1", _read(_LLAMA_USERS, releases=_TEXT)),
    "llama3.2": _read(_LLAMA_UNION, _LLAMA_USERS, releases=_BOTH),
    "llama3.3": _read(_LLAMA_UNION, _LLAMA_USERS, releases=_TEXT),
    "llama4": _read(_LLAMA_UNION, _LLAMA_USERS, releases=_MULTIMODAL),
    "fair-noncommercial-research-license": _read(
        Withheld(code="fair-non-commercial", commercial=True, outputs=True)
    ),
    # --- Tencent
    "tencent-hunyuan-community": _read(_TENCENT, _TENCENT_USERS, releases=_BOTH),
    "tencent-hy-community": _read(_TENCENT, _TENCENT_USERS, releases=_TEXT),
    "tencent-hunyuan-large": _read(
        Withheld(code="hunyuan-territory-eu", use=(UNION,), outputs=True),
        _TENCENT_USERS,
        releases=_BOTH,
    ),
    "tencent-hunyuan-3d": _read(
        _TENCENT,
        Withheld(code="hunyuan-3d-1-million-users", users=1_000_001, counted="at-release"),
        releases=_MULTIMODAL,
    ),
    # --- MiniMax
    "minimax-h3": _quoted(
        Withheld(code="minimax-h3-territory", use=(UNION, KINGDOM, KOREA, STATES), outputs=True),
        Withheld(code="minimax-h3-20-million-revenue", revenue=20_000_001, counted="running"),
        releases=_MULTIMODAL,
    ),
    "minimax-m3": _quoted(
        Withheld(
            code="minimax-m3-20-million-revenue",
            commercial=True,
            revenue=20_000_000,
            counted="running",
        )
    ),
    "minimax-m2.7": _read(Withheld(code="minimax-m27-non-commercial", commercial=True)),
    # --- Alibaba
    "qwen": _read(_QWEN_USERS),
    "tongyi-qianwen": _read(_QWEN_USERS),
    "tongyi-qianwen-research": _read(
        Withheld(code="tongyi-qianwen-non-commercial", commercial=True)
    ),
    "qwen-research": _quoted(Withheld(code="qwen-research-non-commercial", commercial=True)),
    "qwen3.8-max": _quoted(
        Withheld(code="qwen38-max-50-million-revenue", revenue=50_000_001, counted="running")
    ),
    # --- Others with a figure
    "bilibili-indextts2": _read(
        Withheld(code="bilibili-100-million-users", users=100_000_001, counted="running")
    ),
    "hyperclovax-seed": _read(
        Withheld(code="hyperclovax-10-million-users", users=10_000_001, counted="at-release")
    ),
    "kanana": _quoted(
        Withheld(code="kanana-10-million-users", users=10_000_001, counted="running")
    ),
    "lfm1.0": _read(
        Withheld(
            code="lfm-10-million-revenue", commercial=True, revenue=10_000_000, counted="running"
        )
    ),
    "stabilityai-ai-community": _read(
        Withheld(
            code="stability-1-million-revenue",
            commercial=True,
            revenue=1_000_001,
            counted="running",
            spares_end_users=True,
        )
    ),
    "jamba-open-model": _quoted(
        Withheld(
            code="jamba-50-million-revenue",
            commercial=True,
            revenue=50_000_001,
            counted="running",
        )
    ),
    "kimi-k3": _quoted(
        Withheld(
            code="kimi-k3-model-as-a-service",
            commercial=True,
            revenue=20_000_001,
            counted="running",
        )
    ),
    "glm-5.3": _quoted(
        Withheld(code="glm-53-10-billion-revenue", revenue=10_000_000_001, counted="running")
    ),
    # --- Others that are not for commerce
    "exaone-1.1-nc": _read(_EXAONE),
    "exaone-1.2-nc": _read(_EXAONE),
    "stabilityai-nc": _read(Withheld(code="stability-non-commercial", commercial=True)),
    "flux-1-dev-non-commercial-license": _read(
        Withheld(code="flux-non-commercial", commercial=True), releases=_MULTIMODAL
    ),
    "apple-amlr": _quoted(Withheld(code="apple-amlr-research-only", commercial=True)),
    "h-research": _quoted(Withheld(code="h-research-research-only", commercial=True)),
    "intel-research": _quoted(Withheld(code="intel-research-research-only", commercial=True)),
    "c4ai-cc-by-nc-4.0": _quoted(Withheld(code="c4ai-non-commercial", commercial=True)),
    "glm-4": _quoted(Withheld(code="glm-4-registration", commercial=True)),
    "mnpl": _quoted(Withheld(code="mistral-non-production", commercial=True)),
    # 3.2: "You shall only use the Mistral Models, Derivatives ... and Outputs for Research"
    "mrl": _quoted(Withheld(code="mistral-research-only", commercial=True, outputs=True)),
}

# --- Spellings --------------------------------------------------------------------------------


def _listed(text: str, separator: str) -> dict[str, frozenset[str]]:
    """What stands behind each name; indented lines go on."""
    found = {}
    for line in text.strip().replace("\n    ", " ").splitlines():
        name, _, rest = line.partition(": ")
        found[name] = frozenset(each.strip() for each in rest.split(separator))
    return found


# By which words, beside its id, a licence is meant. No other entry vouches for these: they are
# written here a second time, so that one that is lost, or goes to another licence, shows.
SPELLINGS = _listed(
    """
afl-3.0: afl
agpl-3.0: agpl, agpl-3, agpl3
apache-2.0: apache2, apache-2, apache license 2.0, apache-license-2.0, apache, yi-license
apple-amlr: amlr, apple-model-license-for-research
artistic-2.0: artistic
bigcode-openrail-m: bigcode-open-rail-m, bigcode-openrail-m-v1
bigscience-bloom-rail-1.0: bigscience-rail-1.0
bigscience-openrail-m: bigscience-open-rail-m
bilibili-indextts2: bilibili-indextts, indextts2, bilibili-model-license,
    bilibili-model-use-license-agreement
bsd-2-clause: bsd2, bsd-2
bsd-3-clause: bsd3, bsd-3, bsd, new-bsd
bsl-1.0: boost, boost-1.0
c4ai-cc-by-nc-4.0: c4ai, cohere-cc-by-nc-4.0
cc0-1.0: cc0
cdla-permissive-2.0: cdla-permissive
deepseek: deepseek-license, deepseek-license-agreement, deepseek-model-license, deepseek-la-1.0
ecl-2.0: ecl
epl-2.0: epl, epl-1.0
eupl-1.2: eupl, eupl-1.1
exaone-1.1-nc: exaone-ai-model-license-1.1-nc, exaone-ai-model-license-agreement-1.1-nc
exaone-1.2-nc: exaone, exaone-ai-model-license, exaone-ai-model-license-1.2-nc,
    exaone-ai-model-license-agreement-1.2-nc
fair-noncommercial-research-license: fair-noncommercial-research, fair-nc
falcon-2-11b: falcon-2-11b-tii-license, falcon-2-11b-tii-license-1.0, tii-falcon-2-11b
falcon-llm-license: falcon-llm, falcon-llm-license-2.0, tii-falcon-llm-license-2.0,
    tii-falcon-license-2.0
flux-1-dev-non-commercial-license: flux-1-dev-non-commercial, flux-1-nc, flux-1-dev
gemma: gemma-terms-of-use
glm-4: glm-4-9b, glm-4-license, glm4
glm-5.3: glm-5.3-license
gpl-2.0: gpl-2, gpl2
gpl-3.0: gpl, gpl-3, gpl3, gpl-3.0-only, gpl-3.0-or-later
grok2-community: grok-2-community, grok-2-community-license, grok-2-community-license-agreement
health-ai-developer-foundations: hai-def, health-ai-developer-foundations-terms-of-use
hyperclovax-seed: hyperclovax, hyperclova-x-seed, hyperclovax-seed-license,
    hyperclova-x-seed-model-license-agreement
intel-research: intel-research-use-license
jamba-open-model: jamba-open-model-license, jamba-open-model-license-agreement, jamba
k-exaone: k-exaone-license
kanana: kanana-license, kanana-license-agreement
kimi-k2: kimi-k2-license, moonshot-modified-mit
kimi-k2.5: kimi-k2.5-license
kimi-k3: kimi-k3-license
lfm1.0: lfm-1.0, lfm-open-license-v1.0, lfm-open-license-1.0, lfm-open-license, lfm
lgpl-2.1: lgpl-2
lgpl-3.0: lgpl, lgpl-3
llama1: llama-1, llama-license-2023, llama-non-commercial
llama2: llama-2, llama-2-community, llama2-community
llama3: llama-3, llama-3-community, llama3-community
llama3.1: llama-3.1, llama-3.1-community, llama3.1-community
llama3.2: llama-3.2, llama-3.2-community, llama3.2-community
llama3.3: llama-3.3, llama-3.3-community, llama3.3-community
llama4: llama-4, llama-4-community, llama4-community
minimax-h3: minimax-h3-community, minimax-h3-community-license,
    minimax-h3-community-license-agreement
minimax-m2: minimax-m2-license
minimax-m2.1: minimax-m2.1-license
minimax-m2.5: minimax-model-license, minimax-model
minimax-m2.7: minimax-m2.7-license, minimax-m2.7-non-commercial,
    minimax-m2.7-non-commercial-license, minimax-non-commercial
minimax-m3: minimax-m3-community, minimax-m3-community-license, minimax-m3-license
mnpl: mnpl-0.1, mistral-ai-non-production-license, mistral-non-production-license
modified-mit: modified-mit-license, mit-modified
mpl-2.0: mpl
mrl: mrl-0.1, mistral-research-license, mistral-ai-research-license, mistral-research
muse-glimmer: muse-glimmer-license, muse-glimmer-usage-policy
ncsa: uoi-ncsa
nvidia-open-model-license: nvidia-open-model, nvidia-open-model-license-agreement,
    nvidia-open-model-agreement
openmdw-1.0: openmdw
openrail: openrail-m
openrail++: openrail++-m, creativeml-openrail++-m
osl-3.0: osl
qwen: qwen-license, qwen-license-agreement
qwen-research: qwen-research-license, qwen-research-license-agreement
qwen3.8-max: qwen3.8-max-license, qwen-3.8-max
stabilityai-ai-community: stabilityai-community, stability-ai-community,
    stability-ai-community-license, stability-community-license
stabilityai-nc: stabilityai-non-commercial, stabilityai-nc-research-community, stability-ai-nc,
    stabilityai-non-commercial-research-community
tencent-hunyuan-3d: tencent-hunyuan3d, tencent-hunyuan-3d-2.0, tencent-hunyuan-3d-2.0-community,
    tencent-hunyuan3d-2.0-community, tencent-hunyuan-3d-2.1-community, hunyuan-3d, hunyuan3d
tencent-hunyuan-community: tencent-hunyuan, tencent-license, tencent-hunyuan-community-license,
    tencent-hunyuan-community-license-agreement, hunyuan, hunyuan-community, tencent-hunyuan-a13b,
    tencent-hunyuan-7b, tencent-hunyuan-mt, tencent-hunyuanocr, tencent-hunyuan-video,
    tencent-hunyuanvideo, tencent-hunyuan-image
tencent-hunyuan-large: hunyuan-large, tencent-hunyuan-dit, tencent-hunyuandit, hunyuan-dit,
    hunyuandit
tencent-hy-community: tencent-hy, tencent-hy-community-license,
    tencent-hy-community-license-agreement, tencent-hy-mt, tencent-hy-mt1.5
tongyi-qianwen: tongyi-qianwen-license, tongyi-qianwen-license-agreement
tongyi-qianwen-research: tongyi-qianwen-research-license,
    tongyi-qianwen-research-license-agreement
unlicense: the-unlicense
wtfpl: wtfpl-2.0
""",
    ", ",
)

# --- Probes -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """A declaration in which nothing is missing, and a model released in a known way."""

    released_as: str = "text"
    person: str = "individual"
    home: str = "JP"
    use: str = "JP"
    end_user: bool = False
    product: bool = True
    """Whether an end user says of which product; until then, nobody is spared."""
    commercial: bool = False
    users: int = 0
    revenue: int = 0
    accepted: bool = True
    answer: str = ""
    """To whether clauses that are known at second hand apply: applies, does-not-apply."""
    osi_only: bool = False
    """Whether a policy of one's own allows nothing but what the OSI approved."""


# Japan is in no region; one clear member of each, at home and in use.
_PLACES = (("JP", "JP"), ("DE", "JP"), ("JP", "DE"), ("JP", "GB"), ("JP", "KR"), ("JP", "US"))
_ABROAD = (("GB", "JP"), ("KR", "JP"), ("US", "JP"), ("DE", "DE"))


@cache
def probes(id: str) -> tuple[Probe, ...]:
    """Around every point on which a clause of the licence could turn."""
    terms = LICENCES[id]
    territorial = any(clause.home or clause.use for clause in terms.withheld)
    users = {0} | {clause.users + step for clause in terms.withheld for step in (-2, -1, 0, 1)}
    revenue = {0} | {clause.revenue + step for clause in terms.withheld for step in (-2, -1, 0, 1)}
    found = [
        Probe(
            released_as=released_as,
            person=person,
            home=home,
            use=use,
            end_user=end_user,
            commercial=commercial,
            users=number,
            revenue=money,
        )
        for released_as, person, (home, use), end_user, commercial, number, money in (
            itertools.product(
                ("text", "multimodal"),
                ("individual", "company"),
                _PLACES + _ABROAD if territorial else _PLACES[:3],
                (False, True),
                (True, False),
                sorted(number for number in users if number >= 0),
                sorted(number for number in revenue if number >= 0),
            )
        )
    ]
    if any(clause.second_hand for clause in terms.withheld):
        answers = ("", "applies", "does-not-apply")
        found = [replace(probe, answer=answer) for probe in found for answer in answers]
    if any(clause.spares_end_users for clause in terms.withheld):
        found += [replace(probe, product=False) for probe in found if probe.end_user]
    first = Probe()
    return (first, replace(first, accepted=False), replace(first, osi_only=True), *found)


Answer = tuple[Verdict, frozenset[str]]
"""A verdict and the codes of its reasons."""


def expected(id: str, probe: Probe) -> Answer:
    """What the licence comes to for whoever declared so."""
    terms = LICENCES[id]
    biting = [clause for clause in terms.withheld if clause.bites(probe)]
    if probe.answer == "does-not-apply":
        biting = [clause for clause in biting if not clause.second_hand]
    spared = {clause for clause in biting if clause.spares_end_users and probe.end_user}
    refusing = {
        clause.code
        for clause in biting
        if clause not in spared and (probe.answer or not clause.second_hand)
    }
    if probe.osi_only and not terms.osi:
        refusing.add("own-policy-osi-only")
    if refusing:
        return Verdict.REFUSE, frozenset(refusing)
    asking = {f"rule-unverified:{clause.code}" for clause in biting if clause not in spared}
    if spared:
        asking.add("end-user-incomplete")
    if terms.acceptance and not probe.accepted:
        asking.add("acceptance-needed")
    return (Verdict.ASK if asking else Verdict.ALLOW), frozenset(asking)


def answered(id: str, probe: Probe, rules: Policy) -> Answer:
    """What the gate says of a model under this licence."""
    family = Family(
        id="probe",
        title="Probe",
        licence=id,
        released_as=Release(probe.released_as),
        held_by=HeldBy.NAME,
        shapes=(),
        names=(),
        repositories=(),
        projectors=(),
        fingerprints=(),
        sources=(),
    )
    identity = replace(_IDENTITY, candidates=(Candidate(family, True, 1),))
    accepted = _accepted(rules.licences[id]) if probe.accepted else Acceptances()
    overlay = Overlay(path="policy.toml", title="Own policy", osi_approved_only=True)
    decision = gate.decide(
        Case(
            policy=rules,
            bundle=_BUNDLE,
            identities=(identity,),
            declaration=_declared(id, probe),
            acceptances=accepted,
            overlays=(overlay,) if probe.osi_only else (),
        )
    )
    return decision.verdict, frozenset(reason.code for reason in decision.reasons)


_BUNDLE = Bundle(ref=CatalogueRef("probe"), parts=(Part(role=PartRole.WEIGHTS, name="probe.gguf"),))
_IDENTITY = Identity(
    role=PartRole.WEIGHTS,
    name="probe.gguf",
    architecture="",
    candidates=(),
    licences=(),
    evidence=(),
)


def _declared(id: str, probe: Probe) -> Declaration:
    open_points = [clause for clause in LICENCES[id].withheld if clause.second_hand]
    return Declaration(
        person=Person(probe.person),
        domicile=(Country(probe.home),),
        place_of_use=(Country(probe.use),),
        role=Role.END_USER if probe.end_user else Role.LICENSEE,
        product="Kiosk" if probe.product else "",
        supplied_by="Example Inc" if probe.product else "",
        commercial=probe.commercial,
        monthly_active_users=probe.users,
        annual_revenue_usd=probe.revenue,
        answers={
            f"rule-unverified:{clause.code}": probe.answer for clause in open_points if probe.answer
        },
    )


def _accepted(licence: Licence) -> Acceptances:
    """What was accepted on the texts as they are; nothing where nothing has to be."""
    if not LICENCES[licence.id].acceptance:
        return Acceptances()
    return Acceptances(
        tuple(
            Acceptance(
                licence=licence.id,
                text_sha256=licence.text_sha256,
                person=person,
                accepted=True,
                at="",
                by="option",
            )
            for person in Person
        )
    )


def licence_differences(rules: Policy, id: str) -> Iterator[str]:
    """In what a licence is not as expected, by what is stated of it and by what it does."""
    terms, licence = LICENCES[id], rules.licences[id]
    for name, theirs, ours in (
        ("acceptance", licence.acceptance, terms.acceptance),
        ("osi_approved", licence.osi_approved, terms.osi),
        ("verified", licence.verified, not terms.second_hand),
        ("releases", frozenset(licence.releases), terms.releases),
        ("spellings", frozenset(licence.spellings), SPELLINGS.get(id, frozenset()) | {id}),
    ):
        if theirs != ours:
            yield f"{name}: {theirs}, not {ours}"
    stated = {
        rule.code: (
            rule.outputs,
            rule.verified,
            {limit.counted for limit in (rule.when.monthly_active_users,) if limit}
            | {limit.counted for limit in (rule.when.annual_revenue_usd,) if limit},
        )
        for rule in licence.rules
    }
    clauses = {
        clause.code: (
            clause.outputs,
            not clause.second_hand,
            {clause.counted} if clause.counted else set(),
        )
        for clause in terms.withheld
    }
    if stated != clauses:
        yield f"clauses: {stated}, not {clauses}"
    for probe in probes(id):
        answer, wanted = answered(id, probe, rules), expected(id, probe)
        if answer != wanted:
            yield f"{answer}, not {wanted}: {probe}"


def region_differences(rules: Policy, id: str) -> Iterator[str]:
    """In what a region is not as expected."""
    clear, arguable = REGIONS[id]
    region = rules.regions[id]
    if region.clear != clear:
        yield f"clear: {sorted(region.clear ^ clear)}"
    if set(region.arguable) != arguable:
        yield f"arguable: {sorted(set(region.arguable) ^ arguable)}"


# --- Families ---------------------------------------------------------------------------------


def _table(text: str) -> dict[str, tuple[str, str, str]]:
    """Licence, kind of release and what holds it, by the family's id."""
    found = {}
    for line in text.strip().splitlines():
        licence, released_as, held_by, *families = line.split()
        for family in families:
            found[family] = (licence, released_as, held_by)
    return found


# The licence of each, what it was released as, and what tells it. Not all could be read in a
# primary text: `configs/models.toml` marks those.
FAMILIES = _table("""
apache-2.0 text shape open-llama hy-mt2 qwen2.5 qwen3 qwen3-next mistral-7b mixtral mistral-nemo
apache-2.0 text shape smollm smollm2 tinyllama gpt-oss granite olmo yi internlm minicpm falcon
apache-2.0 text shape embedders jamba-v0.1
apache-2.0 text name hy3 smollm3 pythia
apache-2.0 multimodal shape qwen3-vl ministral-3
apache-2.0 multimodal name qwen2-vl qwen3.5 gemma-4 mistral-small pixtral-12b smolvlm
bigcode-openrail-m text shape starcoder
bilibili-indextts2 multimodal name indextts2
c4ai-cc-by-nc-4.0 text shape command-r
cc-by-nc-4.0 text name jina-nc
cc-by-sa-4.0 text shape stablelm-3b
deepseek text shape deepseek-v3 deepseek-v2 deepseek-moe
deepseek text name deepseek-1
exaone-1.1-nc text name exaone-3
exaone-1.2-nc text shape exaone-4.0
fair-noncommercial-research-license text shape mobilellm-r1
falcon-2-11b text name falcon-2-11b
falcon-llm-license text shape falcon-3
flux-1-dev-non-commercial-license multimodal name flux-1-dev
gemma text shape gemma-1 gemma-2 gemma-3
gemma text name gemma-embedding
gemma multimodal shape gemma-3-multimodal gemma-3n
glm-4 text shape glm-4-9b
glm-5.3 text name glm-5.3
grok2-community text name grok-2
health-ai-developer-foundations multimodal name medgemma
hyperclovax-seed text name hyperclovax-seed
jamba-open-model text shape jamba
k-exaone text name k-exaone
kanana text name kanana
kimi-k2 text shape kimi-k2
kimi-k2.5 multimodal shape kimi-k2.5
kimi-k3 multimodal shape kimi-k3
lfm1.0 text shape lfm2
lfm1.0 multimodal name lfm2-multimodal
llama1 text shape llama-1
llama2 text shape llama-2 code-llama
llama3 text shape llama-3
llama3.1 text shape llama-3.1
llama3.2 text shape llama-3.2
llama3.2 text name llama-guard-3-8b
llama3.2 multimodal architecture llama-3.2-vision
llama3.3 text shape llama-3.3
llama4 multimodal architecture llama-4
minimax-h3 multimodal name minimax-h3
minimax-m2 text shape minimax-m2
minimax-m2.1 text shape minimax-m2.1
minimax-m2.5 text shape minimax-m2.5
minimax-m2.7 text shape minimax-m2.7
minimax-m3 multimodal shape minimax-m3
mit multimodal name ultravox phi-vision
mit text name deepseek-v4 glm embedders-mit
mit text shape deepseek-r1 phi-2 phi-3 phi-3.5-mini phi-3.5-moe phi-4
mnpl text name codestral
modified-mit multimodal name kimi-k2.6
mrl text shape mistral-research
muse-glimmer multimodal name muse-glimmer
nvidia-open-model-license text name nemotron
openmdw-1.1 text name nemotron-3.5
qwen text shape qwen2.5-72b
qwen multimodal name qwen2-vl-72b
qwen-research text shape qwen2.5-3b
qwen-research multimodal name qwen2.5-vl-3b
qwen3.8-max text name qwen3.8-max
stabilityai-ai-community text shape stablelm-2 stable-code
tencent-hunyuan-3d multimodal name hunyuan-3d
tencent-hunyuan-community text architecture hunyuan hunyuan-a13b hunyuan-mt
tencent-hunyuan-community multimodal architecture hunyuan-ocr hunyuan-video
tencent-hunyuan-community multimodal name hunyuan-image
tencent-hunyuan-large text name hunyuan-large
tencent-hunyuan-large multimodal name hunyuan-dit
tencent-hy-community text architecture hy-mt1.5
tongyi-qianwen text shape qwen-1 qwen2-72b
tongyi-qianwen text name qwen1.5
tongyi-qianwen-research text shape qwen-1-small
""")


def _told(*families: str) -> frozenset[str]:
    return frozenset(families)


# Families whose licence shuts somebody out by home or place of use: whatever tells them
# decides. The architectures by which a file is one of them, at any size.
HELD: Mapping[str, frozenset[str]] = {
    "mllama": _told("llama-3.2-vision"),
    "llama4": _told("llama-4"),
    "hunyuan-dense": _told("hunyuan", "hunyuan-mt", "hy-mt1.5"),
    "hunyuan-moe": _told("hunyuan-a13b"),
    "hunyuan_vl": _told("hunyuan-ocr"),
    "hyvid": _told("hunyuan-video"),
}
PROJECTORS: Mapping[str, frozenset[str]] = {
    "llama4": _told("llama-4"),
    "hunyuanocr": _told("hunyuan-ocr"),
    "hunyuanvl": _told("hunyuan-ocr"),
}

# Which files of `tests/shapes.tsv` could be of a family, by their structure alone. A restricted
# family holds whatever has its architecture.
FITS = _listed(
    """
llama-1: llama-1-7b llama-2-7b llama-2-13b code-llama-7b code-llama-13b openllama-7b
llama-2: llama-1-7b llama-2-7b llama-2-13b llama-2-70b code-llama-7b code-llama-13b openllama-7b
open-llama: llama-1-7b llama-2-7b llama-2-13b code-llama-7b code-llama-13b openllama-7b
code-llama: code-llama-7b code-llama-13b code-llama-34b
tinyllama: tinyllama-1.1b
llama-3: llama-3-8b llama-3-70b llama-guard-2-8b
llama-3.1: llama-3.1-8b llama-3.1-70b llama-3.1-405b llama-3.3-70b llama-guard-3-8b
    deepseek-r1-distill-llama-8b deepseek-r1-distill-llama-70b llama-3.1-nemotron-70b
    llama-3.1-nemotron-nano-8b
llama-3.3: llama-3.1-70b llama-3.3-70b deepseek-r1-distill-llama-70b llama-3.1-nemotron-70b
llama-3.2: llama-3.2-1b llama-3.2-3b llama-guard-3-1b
llama-3.2-vision: llama-3.2-11b-vision llama-3.2-90b-vision llama-guard-3-11b-vision
llama-4: llama-4-scout llama-4-maverick llama-guard-4-12b mobilellm-r1-140m mobilellm-r1-360m
    mobilellm-r1-950m
mobilellm-r1: mobilellm-r1-140m mobilellm-r1-360m mobilellm-r1-950m
gemma-2: gemma-2-2b gemma-2-9b gemma-2-27b
gemma-3: gemma-3-270m gemma-3-1b
gemma-3-multimodal: gemma-3-4b gemma-3-12b gemma-3-27b
gemma-3n: gemma-3n-e2b gemma-3n-e4b
phi-3: phi-3.5-mini
phi-3.5-mini: phi-3.5-mini
phi-4: phi-4-mini phi-4-14b
smollm: smollm2-135m smollm2-360m smollm2-1.7b
smollm2: smollm2-135m smollm2-360m smollm2-1.7b
qwen2.5: qwen2.5-0.5b qwen2.5-1.5b qwen2.5-7b qwen2.5-14b qwen2.5-32b
    deepseek-r1-distill-qwen-1.5b deepseek-r1-distill-qwen-7b
qwen2.5-3b: qwen2.5-3b
qwen2-72b: qwen2.5-72b
qwen2.5-72b: qwen2.5-72b
qwen3: qwen3-0.6b qwen3-1.7b qwen3-4b qwen3-8b
hunyuan: hunyuan-0.5b hunyuan-1.8b hunyuan-4b hunyuan-7b hunyuan-mt-7b hy-mt1.5-1.8b hy-mt1.5-7b
    hy-mt2-1.8b hy-mt2-7b
hunyuan-mt: hunyuan-0.5b hunyuan-1.8b hunyuan-4b hunyuan-7b hunyuan-mt-7b hy-mt1.5-1.8b
    hy-mt1.5-7b hy-mt2-1.8b hy-mt2-7b
hy-mt1.5: hunyuan-0.5b hunyuan-1.8b hunyuan-4b hunyuan-7b hunyuan-mt-7b hy-mt1.5-1.8b hy-mt1.5-7b
    hy-mt2-1.8b hy-mt2-7b
hy-mt2: hunyuan-1.8b hunyuan-7b hunyuan-mt-7b hy-mt1.5-1.8b hy-mt1.5-7b hy-mt2-1.8b hy-mt2-7b
hunyuan-a13b: hunyuan-a13b
hunyuan-ocr: hunyuanocr
mistral-7b: mistral-7b-v0.1 mistral-7b-v0.3
mistral-research: ministral-8b-2410
mistral-nemo: mistral-nemo-2407
mixtral: mixtral-8x7b
lfm2: lfm2-350m lfm2-700m lfm2-1.2b
granite: granite-3.0-2b granite-3.1-2b granite-3.0-8b granite-3.1-8b
olmo: olmo2-7b olmo2-13b olmo2-32b
exaone-4.0: exaone-4.0-1.2b exaone-4.0-32b
gpt-oss: gpt-oss-20b gpt-oss-120b
falcon-3: falcon3-1b falcon3-3b falcon3-7b falcon3-10b
stablelm-2: stablelm-2-1.6b
command-r: command-r7b
qwen3-vl: qwen3-vl-2b qwen3-vl-4b
""",
    " ",
)

_HUNYUAN = ("0.5B", "1.8B", "4B", "7B")


# Names, and which of the restricted families each one tells.
NAMES: Mapping[str, frozenset[str]] = {
    **dict.fromkeys(
        (
            "Llama 3.2 11B Vision Instruct",
            "Llama-3.2-11B-Instruct.Q4_K_M.gguf",
            "llama3.2-90b",
            "Llama 3.2 Vision",
            "Llama-Guard-3-11B",
            "Llama Guard 3 Vision",
        ),
        _told("llama-3.2-vision"),
    ),
    **dict.fromkeys(
        (
            "Llama-4-Scout-17B-16E-Instruct",
            "Llama 4 Scout",
            "Llama-4-Maverick",
            "llama4 17b 128e",
            "Llama-Guard-4-12B",
        ),
        _told("llama-4"),
    ),
    **{f"Hunyuan {size} Instruct": _told("hunyuan") for size in _HUNYUAN},
    **{f"Hunyuan MT {size}": _told("hunyuan-mt") for size in _HUNYUAN},
    "Hunyuan-A13B-Instruct": _told("hunyuan-a13b"),
    "HY-MT1.5-7B": _told("hy-mt1.5"),
    "HY MT 1.5": _told("hy-mt1.5"),
    "Hunyuan-MT1.5": _told("hy-mt1.5"),
    "HunyuanOCR": _told("hunyuan-ocr"),
    "Hunyuan OCR 1B": _told("hunyuan-ocr"),
    "Tencent-Hunyuan-Large": _told("hunyuan-large"),
    "Hunyuan A52B Instruct": _told("hunyuan-large"),
    "HunyuanDiT": _told("hunyuan-dit"),
    "Hunyuan-DiT-v1.2": _told("hunyuan-dit"),
    "HunyuanVideo": _told("hunyuan-video"),
    "hunyuan-video-t2v-720p": _told("hunyuan-video"),
    "Hunyuan 720p Video": _told("hunyuan-video"),
    "HunyuanImage-3.0": _told("hunyuan-image"),
    "Hunyuan-Image-2.1": _told("hunyuan-image"),
    "Hunyuan3D-2.1": _told("hunyuan-3d"),
    "MiniMax-H3": _told("minimax-h3"),
    "MiniMax Video H3": _told("minimax-h3"),
    # Text models of the same makers, adapters made by others, and words that also stand
    # elsewhere.
    **dict.fromkeys(
        (
            "Llama 3.2 1B Instruct",
            "Llama-3.2-3B-Instruct",
            "Llama 3.2 1B Vision Adapter",
            "Llama 3.2 3B Vision Adapter",
            "Llama 3.2",
            "Llama Guard 3 8B",
            "Llama 3.3 70B Instruct",
            "Falcon2 11B",
            "Some Model 90B",
            "Phi 3.5 Vision Instruct",
            *(
                f"Small {what} of Llama 4 {which}"
                for what in ("Distill", "Distilled")
                for which in ("Scout", "Maverick", "17B")
            ),
            "Tiny Llama 4",
            "Scout 7B",
            "Maverick 7B",
            "Some Model 17B",
            "MobileLLM R1 950M",
            *(f"Hunyuan MT2 {size}" for size in _HUNYUAN),
            "Hy-MT2-7B",
            "HY-MT-7B",
            "Hunyuan Turbo",
            "Qwen2.5 0.5B",
            "Danube 1.8B",
            "Phi 1.5",
            "Qwen3 4B",
            "Mistral 7B",
            "Other A13B",
            "Other A52B",
            "Some OCR",
            "Wan Video",
            "Danube H3",
            "MiniMax M2",
        ),
        _told(),
    ),
}
REPOSITORIES: Mapping[str, str] = {
    **dict.fromkeys(
        (
            "meta-llama/Llama-3.2-11B-Vision",
            "meta-llama/Llama-3.2-11B-Vision-Instruct",
            "meta-llama/Llama-3.2-90B-Vision",
            "meta-llama/Llama-3.2-90B-Vision-Instruct",
            "meta-llama/Llama-Guard-3-11B-Vision",
        ),
        "llama-3.2-vision",
    ),
    **dict.fromkeys(
        (
            "meta-llama/Llama-4-Scout-17B-16E",
            "meta-llama/Llama-4-Scout-17B-16E-Instruct",
            "meta-llama/Llama-4-Maverick-17B-128E",
            "meta-llama/Llama-4-Maverick-17B-128E-Instruct",
            "meta-llama/Llama-4-Maverick-17B-128E-Instruct-FP8",
            "meta-llama/Llama-Guard-4-12B",
        ),
        "llama-4",
    ),
    **{
        f"tencent/Hunyuan-{size}-{kind}": "hunyuan"
        for size in _HUNYUAN
        for kind in ("Instruct", "Pretrain")
    },
    "tencent/Hunyuan-A13B-Instruct": "hunyuan-a13b",
    "tencent/Hunyuan-A13B-Pretrain": "hunyuan-a13b",
    "tencent/Hunyuan-MT-7B": "hunyuan-mt",
    "tencent/Hunyuan-MT-7B-fp8": "hunyuan-mt",
    "tencent/Hunyuan-MT-Chimera-7B": "hunyuan-mt",
    "tencent/Hunyuan-MT-Chimera-7B-fp8": "hunyuan-mt",
    "tencent/HY-MT1.5-1.8B": "hy-mt1.5",
    "tencent/HY-MT1.5-7B": "hy-mt1.5",
    "tencent/HY-MT1.5-1.8B-GGUF": "hy-mt1.5",
    "tencent/HY-MT1.5-7B-GGUF": "hy-mt1.5",
    "tencent/HunyuanOCR": "hunyuan-ocr",
    "tencent/Tencent-Hunyuan-Large": "hunyuan-large",
    "Tencent-Hunyuan/HunyuanDiT": "hunyuan-dit",
    "tencent/HunyuanVideo": "hunyuan-video",
    "tencent/HunyuanImage-3.0": "hunyuan-image",
    "tencent/HunyuanImage-3.0-Instruct": "hunyuan-image",
    "tencent/Hunyuan3D-2": "hunyuan-3d",
    "tencent/Hunyuan3D-2.1": "hunyuan-3d",
    "MiniMaxAI/MiniMax-H3": "minimax-h3",
}


def restricted() -> frozenset[str]:
    """The families whose licence shuts somebody out."""
    found = (
        family
        for family, (licence, released_as, _) in FAMILIES.items()
        for clause in LICENCES[licence].withheld
        if (clause.home or clause.use) and clause.models in ("", released_as)
    )
    return frozenset(found)


def family_differences(family: Family) -> Iterator[str]:
    """In what a family is not as expected."""
    stated = (family.licence, str(family.released_as), str(family.held_by))
    if stated != FAMILIES[family.id]:
        yield f"{stated}, not {FAMILIES[family.id]}"
    fitting, wanted = files_that_fit(family), FITS.get(family.id, frozenset())
    if fitting != wanted:
        yield f"files of its structure: {sorted(fitting ^ wanted)}"
    if family.id in restricted():
        yield from _tells(family)


def files_that_fit(family: Family) -> frozenset[str]:
    """The files of `tests/shapes.tsv` that have the structure of a family."""
    alone = Catalogue({family.id: family}, {}, {}, ())
    return frozenset(name for name, header in _headers().items() if alone.that_fit(header))


@cache
def _headers() -> Mapping[str, Header]:
    return {name: asked.header(sizes(name), {}) for name in models()}


def _tells(family: Family) -> Iterator[str]:
    """In what a restricted family is told otherwise than it should be."""
    alone = Knowledge(
        catalogue=Catalogue({family.id: family}, {}, {}, ()), published=dict, identifications={}
    )
    for architecture, families in HELD.items():
        part = Part(role=PartRole.WEIGHTS, name="", header=header(architecture))
        if _is_told(part, alone) != (family.id in families):
            yield f"files of the architecture {architecture}"
    for projector, families in PROJECTORS.items():
        keys = {"clip.projector_type": projector}
        part = Part(role=PartRole.MMPROJ, name="", header=header("clip", keys))
        if _is_told(part, alone) != (family.id in families):
            yield f"projectors of the type {projector}"
    for name, families in NAMES.items():
        said = header("an-unknown-one", {"general.name": name})
        if _is_told(Part(role=PartRole.WEIGHTS, name="", header=said), alone) != (
            family.id in families
        ):
            yield f"files called {name}"
    for repository, told in REPOSITORIES.items():
        chain = Chain(cards=(Card(repository=repository, commit="0" * 40),))
        part = Part(role=PartRole.WEIGHTS, name="", chain=chain)
        (identity,) = identify(_bundle(part), alone)
        if (identity.settled is not None) != (family.id == told):
            yield f"files of {repository}"


def _is_told(part: Part, known: Knowledge) -> bool:
    (identity,) = identify(_bundle(part), known)
    return bool(identity.candidates)


def _bundle(part: Part) -> Bundle:
    return Bundle(ref=CatalogueRef("probe"), parts=(part,))


@cache
def _plain_header(architecture: str) -> Header:
    """A header of odd sizes: those of no release."""
    texts = {"general.architecture": Entry(ValueType.STRING, architecture)}
    numbers = {
        f"{architecture}.{name}": Entry(ValueType.UINT32, 7)
        for name in ("block_count", "embedding_length", "attention.head_count")
    }
    return Header(
        version=3,
        metadata=MappingProxyType(texts | numbers),
        tensors=(),
        alignment=32,
        data_offset=0,
        file_size=0,
    )


def header(architecture: str, texts: Mapping[str, str] | None = None) -> Header:
    plain = _plain_header(architecture)
    said = {key: Entry(ValueType.STRING, text) for key, text in (texts or {}).items()}
    return replace(plain, metadata=MappingProxyType({**plain.metadata, **said}))
