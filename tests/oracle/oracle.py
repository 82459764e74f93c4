"""A second answer to every question: may this person run this file?

Written from the licence texts, the facts about territories and the verdicts that
`docs/design.md` (sections 4 and 5) defines, and from nothing else: no code, table or
policy file of the gate was read. Where the two differ, one of them is wrong.

What the texts leave open is marked "Reading:" beside the line that decides it.

Texts, as they are called below:

    llama-models   meta-llama/llama-models @ a9c89c4, models/<version>/LICENSE, USE_POLICY.md
    PurpleLlama    meta-llama/PurpleLlama @ 4be64c3, Llama-Guard3/*, Llama-Guard4/12B
    Tencent        Tencent-Hunyuan/Hunyuan-7B @ 49c25a0, Hunyuan-A13B @ 2798f3c,
                   Hunyuan-MT @ 2338007, HunyuanOCR @ b138959, HY-MT @ 3b33173,
                   Hy-MT2 @ c30b36c
    scancode       scancode-toolkit 32.5.0, licensedcode/data/licenses/<key>.LICENSE
    LFM            Liquid4All/liquid-audio @ 251949e, LICENSE (LFM Open License v1.0)
    EXAONE         LG-AI-EXAONE/EXAONE-4.0 @ c8b16a7, LICENSE (1.2 - NC)
    FAIR           facebookresearch/MobileLLM-R1 @ f8e39d6, LICENSE
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from tests.oracle.cases import MODELS, Evidence, Outcome, Question

# --- Territories --------------------------------------------------------------------


def _codes(text: str) -> frozenset[str]:
    """ISO 3166-1 alpha-2, as they stand in a question."""
    return frozenset(text.split())


# Art. 52 TEU: the member states, as of November 2026.
EU_MEMBERS = _codes(
    "AT BE BG HR CY CZ DK EE FI FR DE GR HU IE IT LV LT LU MT NL PL PT RO SK SI ES SE"
)
# Art. 355(1) with 349 TFEU, as consolidated in 2016 (EUR-Lex CELEX:12016E355): the outermost
# regions that have a code of their own. The Azores, Madeira and the Canaries stand under PT
# and ES. Older copies still have Saint-Barthélemy (BL) and lack Mayotte (YT).
EU_OUTERMOST = _codes("GP MQ GF RE YT MF")
# Art. 355(4) TFEU: Åland.
EU_EUROPEAN_TERRITORIES = frozenset({"AX"})
EU = EU_MEMBERS | EU_OUTERMOST | EU_EUROPEAN_TERRITORIES

# Art. 355(2) TFEU and Annex II: overseas countries and territories. The treaties apply to
# them as association only, yet they belong to a member state or to its realm, so "domiciled
# in the European Union" can be read either way: the gate asks.
# FO is not among them: Art. 355(5)(a), "the Treaties shall not apply to the Faeroe Islands".
EU_ARGUABLE = _codes("NC PF PM WF BL TF BQ AW CW SX GL")

# "United Kingdom". The Crown Dependencies and Gibraltar are no part of it and yet not
# foreign to it: the gate asks. For the EU they are plainly outside, as GB is.
UK = frozenset({"GB"})
UK_ARGUABLE = _codes("JE GG IM GI")
# "South Korea".
SOUTH_KOREA = frozenset({"KR"})

# Tencent, section 1(l): "the worldwide territory, excluding the territory of the European
# Union, United Kingdom and South Korea".
TENCENT_EXCLUDED = EU | UK | SOUTH_KOREA
TENCENT_ARGUABLE = EU_ARGUABLE | UK_ARGUABLE

# --- Licences -----------------------------------------------------------------------


class Figure(Enum):
    """Which declared figure a limit looks at."""

    USERS = "monthly active users"
    REVENUE = "annual revenue in US dollars"


@dataclass(frozen=True, slots=True)
class Limit:
    """A number of users or an amount of revenue from which on nothing is granted."""

    figure: Figure
    withheld_from: int
    """The smallest figure for which the rights are withheld."""
    commercial_only: bool = False
    """Whether it bites on commercial use alone."""
    spares_end_users: bool = False
    """Whether it spares who receives the model in an integrated end user product."""


class Place(Enum):
    """Where a licence withholds its rights."""

    NOWHERE = "nowhere"
    EU_DOMICILE_IF_MULTIMODAL = "multimodal models, from who is at home in the EU"
    TENCENT_TERRITORY = "use in the EU, the UK and South Korea"


@dataclass(frozen=True, slots=True)
class Licence:
    """What a licence asks and withholds, as far as a question can tell."""

    name: str
    needs_acceptance: bool = True
    """True but for MIT and Apache-2.0 (docs/design.md, section 5)."""
    place: Place = Place.NOWHERE
    limit: Limit | None = None
    non_commercial: bool = False
    verified: bool = True
    """Read in the licensor's own text. If not, it can ask but never refuse."""


# llama-models, LICENSE section 2, in every version: "is greater than 700 million monthly
# active users in the preceding calendar month", whether the use is commercial or not.
# Section 1.b.ii, in every version: "If you receive Llama Materials ... from a Licensee as
# part of an integrated end user product, then Section 2 ... will not apply to you."
LLAMA_USERS = Limit(Figure.USERS, 700_000_001, spares_end_users=True)

LLAMA_2 = Licence("llama2", limit=LLAMA_USERS)
LLAMA_3 = Licence("llama3", limit=LLAMA_USERS)
LLAMA_3_1 = Licence("llama3.1", limit=LLAMA_USERS)
# llama-models, USE_POLICY.md of 3.2, 3.3 and 4, last paragraph before the contacts: "With
# respect to any multimodal models included in Llama 3.2, the rights granted under Section
# 1(a) ... are not being granted to you if you are an individual domiciled in, or a company
# with a principal place of business in, the European Union." It is in no LICENSE; section
# 1.b.iv of each makes the policy part of it.
LLAMA_3_2 = Licence("llama3.2", place=Place.EU_DOMICILE_IF_MULTIMODAL, limit=LLAMA_USERS)
LLAMA_3_3 = Licence("llama3.3", place=Place.EU_DOMICILE_IF_MULTIMODAL, limit=LLAMA_USERS)
LLAMA_4 = Licence("llama4", place=Place.EU_DOMICILE_IF_MULTIMODAL, limit=LLAMA_USERS)

# scancode llama-license-2023, section 1.a: "solely for your non-commercial research
# purposes"; 2.a(i): not for "any commercial or production purposes". That this text goes
# with a file of that shape is general knowledge only: it may ask, not refuse.
LLAMA_1 = Licence("llama1", non_commercial=True, verified=False)

# Tencent, section 4 of both licences: "is greater than 100 million monthly active users in
# the preceding calendar month", on the release date, commercial or not. Section 3 is all
# that an integrated end user product takes away (distribution): sections 4 and 5(c), the
# territory, have no exception.
TENCENT_USERS = Limit(Figure.USERS, 100_000_001)
HUNYUAN = Licence("tencent-hunyuan", place=Place.TENCENT_TERRITORY, limit=TENCENT_USERS)
HY = Licence("tencent-hy", place=Place.TENCENT_TERRITORY, limit=TENCENT_USERS)

# scancode gemma-tou-2024-04-01, gemma-tou-2025-03-24: restricted uses, no figure, no place.
GEMMA = Licence("gemma")

# scancode qwen-2024, section 4: "If you are commercially using the Materials, and your
# product or service has more than 100 million monthly active users": both, or neither.
QWEN = Licence("qwen", limit=Limit(Figure.USERS, 100_000_001, commercial_only=True))
# "FOR NON-COMMERCIAL PURPOSES ONLY": known from a card's page, second hand.
QWEN_RESEARCH = Licence("qwen-research", non_commercial=True, verified=False)

# MRL-0.1, section 3.2: "only ... for Research Purposes": second hand.
MRL = Licence("mrl", non_commercial=True, verified=False)

# scancode cc-by-nc-4.0, section 2(a)(1): "for NonCommercial purposes only". The text was
# read, so a file that states it may be refused.
CC_BY_NC = Licence("cc-by-nc-4.0", non_commercial=True)
# That Cohere put Command R7B under CC-BY-NC-4.0, and the use policy added to it, are second
# hand: what structure alone tells of it may ask, not refuse.
COMMAND_R = Licence("command-r", non_commercial=True, verified=False)

# EXAONE, section 3.1: "expressly prohibited from using the Model, Derivatives, or Output
# for any commercial purposes".
# Reading: 2.1(a) grants "solely for research and educational purposes", which is narrower
# than not commercial; a question does not say so much.
EXAONE_NC = Licence("exaone", non_commercial=True)

# FAIR, section 1.b.i: "You will not use the Research Materials or any outputs or results
# ... in connection with any commercial uses or for any uses other than Noncommercial
# Research Uses". The text was read, so it may refuse. Reading: as for EXAONE.
FAIR_NC = Licence("fair-noncommercial-research-license", non_commercial=True)

# LFM, section 5(a): "The rights granted under this License for Commercial Use are
# conditioned upon You or Your Legal Entity not exceeding the Threshold"; section 1:
# "annual revenue of 10 million United States dollars ($10,000,000) or more".
# Reading: "exceeding" a threshold of "10 million or more" begins at 10 million.
# Reading: "You" is "an individual or Legal Entity", so 5(a) binds individuals too,
# although 5(b) repeats it for a Legal Entity alone.
# Reading: 5(c) spares non-profits in non-commercial use, which 5(a) leaves free anyway.
LFM = Licence("lfm1.0", limit=Limit(Figure.REVENUE, 10_000_000, commercial_only=True))

# scancode stability-ai-community-2024, section III (commercial use): "If at any time You or
# Your Affiliate(s) ... generate more than USD $1,000,000 in annual revenue ... any licenses
# granted to You under this Agreement shall terminate"; "If you receive Stability AI
# Materials ... as part of an integrated end user product, then Section III ... will not
# apply to you."
# Reading: at 1,000,000 exactly the operative "more than" holds, not the introduction's
# "less than US $1,000,000".
# Reading: standing in section III, it ends what section III grants. Section II (research
# and non-commercial) names no figure.
STABILITY = Licence(
    "stabilityai-ai-community",
    limit=Limit(Figure.REVENUE, 1_000_001, commercial_only=True, spares_end_users=True),
)

# No text of Falcon 3's licence was found (that of Falcon 2 11B, scancode falcon-2-11b-1.0,
# has neither figure nor commerce nor place). Not verified, hence to be accepted.
FALCON_LLM = Licence("falcon-llm-license", verified=False)

APACHE_2 = Licence("apache-2.0", needs_acceptance=False)
MIT = Licence("mit", needs_acceptance=False)

# --- Releases -----------------------------------------------------------------------

Shape = tuple[int, ...]
"""Layers, embedding, feed-forward, heads, key-value heads, experts, vocabulary."""


@dataclass(frozen=True, slots=True)
class Release:
    """One release: its licence, and what shows of it in a file."""

    licence: Licence
    arch: str
    shape: Shape
    multimodal: bool = False
    """As it was released, not as a file carries it (docs/design.md, section 4, point 5)."""

    states: Licence | None = None
    """A licence that an honest file of it states and whose text was read, where its own is
    second hand: "a stated licence binds beside it" (docs/design.md, section 4, point 2)."""

    @property
    def restricted(self) -> bool:
        """Whether its licence shuts anybody out by domicile or place of use."""
        if self.licence.place is Place.EU_DOMICILE_IF_MULTIMODAL:
            return self.multimodal
        return self.licence.place is Place.TENCENT_TERRITORY


# Dimensions: Lightning-AI/litgpt litgpt/config.py @ 26857050, unless a comment says more.
# Context length and rope base are not among them: a file loads with either changed.
# Beside the releases that are asked about stand those that share a shape with one of them
# or, where somebody is shut out, the architecture.
RELEASES = {
    # "same tensors as Llama 2 7B", general knowledge.
    "llama-1-7b": Release(LLAMA_1, "llama", (32, 4096, 11008, 32, 32, 0, 32000)),
    "llama-2-7b": Release(LLAMA_2, "llama", (32, 4096, 11008, 32, 32, 0, 32000)),
    # Differs from Llama 1 and 2 in context and in the tokens themselves, not in shape.
    "openllama-7b": Release(APACHE_2, "llama", (32, 4096, 11008, 32, 32, 0, 32000)),
    # One shape for the 8B of Llama 3 and 3.1 and what was made of them. The language half
    # of Llama 3.2 11B Vision without its cross-attention layers has it too; nothing in a
    # file would show that.
    "llama-3-8b": Release(LLAMA_3, "llama", (32, 4096, 14336, 32, 8, 0, 128256)),
    "llama-guard-2-8b": Release(LLAMA_3, "llama", (32, 4096, 14336, 32, 8, 0, 128256)),
    "llama-3.1-8b": Release(LLAMA_3_1, "llama", (32, 4096, 14336, 32, 8, 0, 128256)),
    "llama-guard-3-8b": Release(LLAMA_3_1, "llama", (32, 4096, 14336, 32, 8, 0, 128256)),
    # Both carry Llama 3.1 weights, so its licence binds in them beside their makers' own
    # (deepseek-ai/DeepSeek-R1 README: "originally licensed under llama3.1 license"): no free twins.
    "deepseek-r1-distill-llama-8b": Release(
        LLAMA_3_1, "llama", (32, 4096, 14336, 32, 8, 0, 128256)
    ),
    "llama-3.1-nemotron-nano-8b": Release(LLAMA_3_1, "llama", (32, 4096, 14336, 32, 8, 0, 128256)),
    # One shape for every 70B since Llama 3.
    "llama-3-70b": Release(LLAMA_3, "llama", (80, 8192, 28672, 64, 8, 0, 128256)),
    "llama-3.1-70b": Release(LLAMA_3_1, "llama", (80, 8192, 28672, 64, 8, 0, 128256)),
    # Text only (llama-models, models/llama3_3/MODEL_CARD.md), though its use policy carries
    # the paragraph on multimodal models.
    "llama-3.3-70b": Release(LLAMA_3_3, "llama", (80, 8192, 28672, 64, 8, 0, 128256)),
    # "originally licensed under llama3.3 license" (deepseek-ai/DeepSeek-R1 README).
    "deepseek-r1-distill-llama-70b": Release(
        LLAMA_3_3, "llama", (80, 8192, 28672, 64, 8, 0, 128256)
    ),
    "llama-3.1-nemotron-70b": Release(LLAMA_3_1, "llama", (80, 8192, 28672, 64, 8, 0, 128256)),
    "llama-3.1-405b": Release(LLAMA_3_1, "llama", (126, 16384, 53248, 128, 8, 0, 128256)),
    # "Llama 3.2 (text only)": llama-models, models/llama3_2/MODEL_CARD.md, table.
    "llama-3.2-1b": Release(LLAMA_3_2, "llama", (16, 2048, 8192, 32, 8, 0, 128256)),
    "llama-3.2-3b": Release(LLAMA_3_2, "llama", (28, 3072, 8192, 24, 8, 0, 128256)),
    # A text fine-tune of Llama 3.2 1B: PurpleLlama; llama-models sku_list.py @ c4d8644^.
    "llama-guard-3-1b": Release(LLAMA_3_2, "llama", (16, 2048, 8192, 32, 8, 0, 128256)),
    # "collection of multimodal large language models": llama-models,
    # models/llama3_2/MODEL_CARD_VISION.md; dimensions: ollama/ollama issues 8310 and 9311,
    # llama-models sku_list.py @ c4d8644^.
    "llama-3.2-11b-vision": Release(
        LLAMA_3_2, "mllama", (40, 4096, 14336, 32, 8, 0, 128256), multimodal=True
    ),
    "llama-3.2-90b-vision": Release(
        LLAMA_3_2, "mllama", (100, 8192, 28672, 64, 8, 0, 128256), multimodal=True
    ),
    "llama-guard-3-11b-vision": Release(
        LLAMA_3_2, "mllama", (40, 4096, 14336, 32, 8, 0, 128256), multimodal=True
    ),
    # "natively multimodal": llama-models, models/llama4/MODEL_CARD.md; PurpleLlama for the
    # guard, "pruned from the Llama 4 Scout"; dimensions: ai-dynamo/aiconfigurator @ 095f58a5.
    "llama-4-scout": Release(
        LLAMA_4, "llama4", (48, 5120, 16384, 40, 8, 16, 202048), multimodal=True
    ),
    "llama-4-maverick": Release(
        LLAMA_4, "llama4", (48, 5120, 16384, 40, 8, 128, 202048), multimodal=True
    ),
    "llama-guard-4-12b": Release(
        LLAMA_4, "llama4", (48, 5120, 8192, 40, 8, 0, 202048), multimodal=True
    ),
    # Text, and no part of Llama 4, but converted to its architecture:
    # facebookresearch/MobileLLM-R1 README.md @ cfc816c; llama-cpp-python 0.3.36,
    # vendor/llama.cpp/conversion/llama.py.
    "mobilellm-r1-950m": Release(FAIR_NC, "llama4", (22, 1536, 6144, 24, 6, 0, 128256)),
    "gemma-2-2b": Release(GEMMA, "gemma2", (26, 2304, 9216, 8, 4, 0, 256000)),
    "gemma-3-4b": Release(GEMMA, "gemma3", (34, 2560, 10240, 8, 4, 0, 262208), multimodal=True),
    "phi-3.5-mini": Release(MIT, "phi3", (32, 3072, 8192, 32, 32, 0, 32064)),
    "smollm2-135m": Release(APACHE_2, "llama", (30, 576, 1536, 9, 3, 0, 49152)),
    "qwen2.5-0.5b": Release(APACHE_2, "qwen2", (24, 896, 4864, 14, 2, 0, 151936)),
    # The 3B and the 72B differ in licence from their sisters.
    "qwen2.5-3b": Release(QWEN_RESEARCH, "qwen2", (36, 2048, 11008, 16, 2, 0, 151936)),
    "qwen2.5-72b": Release(QWEN, "qwen2", (80, 8192, 29568, 64, 8, 0, 152064)),
    "qwen3-4b": Release(APACHE_2, "qwen3", (36, 2560, 9728, 32, 8, 0, 151936)),
    # llama-cpp-python 0.3.36, vendor/llama.cpp/src/models/hunyuan-vl.cpp for the sizes; the
    # rest as Hy-MT2 and HunyuanOCR state it.
    "hunyuan-0.5b": Release(HUNYUAN, "hunyuan-dense", (24, 1024, 3584, 16, 8, 0, 120818)),
    # One shape, two licences: Hy-MT2 is Apache-2.0 (Tencent, Hy-MT2 LICENSE).
    "hunyuan-1.8b": Release(HUNYUAN, "hunyuan-dense", (32, 2048, 6144, 16, 4, 0, 120818)),
    "hy-mt1.5-1.8b": Release(HY, "hunyuan-dense", (32, 2048, 6144, 16, 4, 0, 120818)),
    "hy-mt2-1.8b": Release(APACHE_2, "hunyuan-dense", (32, 2048, 6144, 16, 4, 0, 120818)),
    "hunyuan-4b": Release(HUNYUAN, "hunyuan-dense", (36, 3072, 8192, 32, 8, 0, 120818)),
    # Likewise. Hunyuan-MT has another rope base, which proves nothing.
    "hunyuan-7b": Release(HUNYUAN, "hunyuan-dense", (32, 4096, 14336, 32, 8, 0, 128167)),
    "hunyuan-mt-7b": Release(HUNYUAN, "hunyuan-dense", (32, 4096, 14336, 32, 8, 0, 128167)),
    "hy-mt1.5-7b": Release(HY, "hunyuan-dense", (32, 4096, 14336, 32, 8, 0, 128167)),
    "hy-mt2-7b": Release(APACHE_2, "hunyuan-dense", (32, 4096, 14336, 32, 8, 0, 128167)),
    # Tencent, Hunyuan-A13B models/config.json.
    "hunyuan-a13b": Release(HUNYUAN, "hunyuan-moe", (32, 4096, 3072, 32, 8, 64, 128167)),
    "hunyuanocr": Release(
        HUNYUAN, "hunyuan_vl", (24, 1024, 3584, 16, 8, 0, 120818), multimodal=True
    ),
    "mistral-7b-v0.1": Release(APACHE_2, "llama", (32, 4096, 14336, 32, 8, 0, 32000)),
    # abhibambhaniya/GenZ-LLM-Analyzer GenZ/Models/Model_sets/mistral.py.
    "ministral-8b-2410": Release(MRL, "llama", (36, 4096, 12288, 32, 8, 0, 131072)),
    # ggml-org/llama.cpp pull request 18641. Key-value heads: 8 on attention layers.
    "lfm2-1.2b": Release(LFM, "lfm2", (16, 2048, 8192, 32, 8, 0, 65536)),
    # A loader's dump; 3.0 (llama-cpp-python 0.3.36, granite.cpp) has the same shape.
    "granite-3.0-2b": Release(APACHE_2, "granite", (40, 2048, 8192, 32, 8, 0, 49155)),
    "granite-3.1-2b": Release(APACHE_2, "granite", (40, 2048, 8192, 32, 8, 0, 49155)),
    # NVIDIA/TensorRT-LLM tests/unittest/_torch/modeling/test_modeling_exaone4.py.
    "exaone-4.0-32b": Release(EXAONE_NC, "exaone4", (64, 5120, 27392, 40, 8, 0, 102400)),
    # ai-dynamo/aiconfigurator @ 095f58a5.
    "gpt-oss-20b": Release(APACHE_2, "gpt-oss", (24, 2880, 2880, 64, 8, 32, 201088)),
    "falcon3-1b": Release(FALCON_LLM, "llama", (18, 2048, 8192, 8, 4, 0, 131072)),
    # mlc-ai/mlc-llm python/mlc_llm/model/model_preset.py @ 79d603f0.
    "stablelm-2-1.6b": Release(STABILITY, "stablelm", (24, 2048, 5632, 32, 32, 0, 100352)),
    # llama-cpp-python 0.3.36, vendor/llama.cpp/src/models/cohere2.cpp. An honest file says
    # `general.license: cc-by-nc-4.0`.
    "command-r7b": Release(
        COMMAND_R, "cohere2", (32, 4096, 14336, 32, 8, 0, 256000), states=CC_BY_NC
    ),
}

# --- What a file can be -------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Family:
    """One thing that a file can be."""

    licences: tuple[Licence, ...]
    """Its own, and a stated one that binds beside it."""
    restricted: bool
    """Whether it shuts anybody out by domicile or place of use."""


@dataclass(frozen=True, slots=True)
class File:
    """What can be told of a file before anybody is asked anything."""

    place: Place
    """Where the restricted families among its possible ones shut somebody out."""
    families: tuple[Family, ...]
    """Whose refusals and conditions count: the one that it says it is, or else all."""


def _set(release: Release) -> list[Release]:
    """All that a file of this structure can be.

    docs/design.md, section 4: an architecture that a restricted family uses keeps that
    family in the set at any size, and no statement takes it out. Nothing but the exact
    shape brings in a free one.
    """
    return [
        other
        for other in RELEASES.values()
        if other.arch == release.arch and (other.restricted or other.shape == release.shape)
    ]


def _families(release: Release, evidence: Evidence) -> tuple[Family, ...]:
    if evidence is Evidence.NAMED:
        # A statement against interest identifies; conditions follow the family that the
        # statements support best (section 4, "refuse" and point 6).
        stated = () if release.states is None else (release.states,)
        return (Family((release.licence, *stated), release.restricted),)
    # Nothing is said that speaks for one of them. Reading: `license: mit` under a made-up
    # name does not, even where one of them is MIT's; it binds beside, and asks for nothing.
    every = (Family((one.licence,), one.restricted) for one in _set(release))
    return tuple(dict.fromkeys(every))


def _file(name: str, evidence: Evidence) -> File:
    release = RELEASES[name]
    places = {one.licence.place for one in _set(release) if one.restricted} or {Place.NOWHERE}
    (place,) = places  # one kind of rule to an architecture
    return File(place, _families(release, evidence))


FILES = {name: {evidence: _file(name, evidence) for evidence in Evidence} for name in MODELS}

# --- Judgement ----------------------------------------------------------------------


class Finding(Enum):
    """What a rule comes to for one person."""

    CLEAR = "does not bite"
    OPEN = "turns on something that is not known"
    WITHHELD = "bites"


def _within(
    codes: tuple[str, ...],
    clear: frozenset[str],
    arguable: frozenset[str],
    answers: tuple[tuple[str, str], ...],
) -> Finding:
    """Several countries: any match forbids. A point the law leaves open wants an answer."""
    if not clear.isdisjoint(codes):
        return Finding.WITHHELD
    finding = Finding.CLEAR
    for code in codes:
        if code in arguable:
            point = f"territory-arguable:{code}"
            if (point, "inside") in answers:
                return Finding.WITHHELD
            if (point, "outside") not in answers:
                finding = Finding.OPEN
    return finding


def _for_end_user(question: Question) -> Finding:
    """What is left of a rule that does not apply to end users.

    The product and its supplier make an end user (docs/design.md, section 5); without them
    that is still to be declared. Reading: it is asked for where a rule would otherwise
    bite, not of every end user.
    """
    if question.role != "end-user":
        return Finding.WITHHELD
    return Finding.CLEAR if question.product else Finding.OPEN


def _by_place(place: Place, question: Question) -> Finding:
    if place is Place.NOWHERE:
        return Finding.CLEAR
    if place is Place.TENCENT_TERRITORY:
        # Tencent, section 2: "for the Territory only"; 5(c): "You must not use ... the
        # Tencent Hunyuan Works, Output or results ... outside the Territory". Where the
        # user is at home is not asked, and no end user is spared.
        return _within(question.place_of_use, TENCENT_EXCLUDED, TENCENT_ARGUABLE, question.answers)
    # Llama: "an individual domiciled in, or a company with a principal place of business
    # in". One field holds either, so another body, tested as both, fares alike.
    finding = _within(question.domicile, EU, EU_ARGUABLE, question.answers)
    if finding is Finding.CLEAR:
        return Finding.CLEAR
    # "This restriction does not apply to end users of a product or service that
    # incorporates any such multimodal models." Then nobody needs to know the domicile.
    spared = _for_end_user(question)
    return finding if spared is Finding.WITHHELD else spared


def _by_limit(limit: Limit, question: Question) -> Finding:
    users = limit.figure is Figure.USERS
    figure = question.monthly_active_users if users else question.annual_revenue_usd
    # Undeclared counts as below: accepting the licence says so (docs/design.md, section 5),
    # and who has not accepted is asked for that.
    if figure is None or figure < limit.withheld_from:
        return Finding.CLEAR
    if limit.commercial_only and question.commercial is False:
        return Finding.CLEAR
    if limit.spares_end_users:
        spared = _for_end_user(question)
        if spared is not Finding.WITHHELD:
            return spared
    if limit.commercial_only and question.commercial is None:
        return Finding.OPEN
    return Finding.WITHHELD


def _by_licence(licence: Licence, question: Question) -> Finding:
    """Commerce, figures and acceptance."""
    finding = Finding.CLEAR
    if licence.non_commercial and question.commercial is not False:
        finding = Finding.OPEN if question.commercial is None else Finding.WITHHELD
    elif licence.limit is not None:
        finding = _by_limit(licence.limit, question)
    if finding is Finding.WITHHELD:
        # Second hand never decides alone.
        return Finding.WITHHELD if licence.verified else Finding.OPEN
    if licence.needs_acceptance and not question.accepted:
        return Finding.OPEN
    return finding


def _by_family(family: Family, place: Finding, question: Question) -> Finding:
    """Withheld by any rule, of place or on conditions: forbid overrides permit.

    A rule of place that is open does not withhold, and is asked about for the whole set.
    """
    if family.restricted and place is Finding.WITHHELD:
        return Finding.WITHHELD
    finding = Finding.CLEAR
    for licence in family.licences:
        found = _by_licence(licence, question)
        if found is Finding.WITHHELD:
            return found
        if found is Finding.OPEN:
            finding = found
    return finding


def expected(question: Question) -> Outcome:
    """What must come out. Refusal first, then what is to be declared, then what it is."""
    file = FILES[question.model][question.evidence]
    place = _by_place(file.place, question)
    findings = [_by_family(family, place, question) for family in file.families]

    withheld = findings.count(Finding.WITHHELD)
    if withheld == len(findings):
        # "in every family the bundle can be, or in the one that it says it is"
        return Outcome.REFUSE
    if place is Finding.OPEN:
        # "When both are missing, 4 comes first." Reading: also where the family whose rule
        # of place is open is withheld by another rule.
        return Outcome.ASK_PERSON
    if withheld or place is Finding.WITHHELD:
        # "some families it can be are withheld, some not". What shuts out by place binds
        # for every family in the set, whatever the file says that it is.
        # Reading: until it is known what the file is, commerce, product and acceptance are
        # not missing, as the strictest of the set does not ask, but withholds.
        return Outcome.ASK_FILE
    if Finding.OPEN in findings:
        return Outcome.ASK_PERSON
    return Outcome.ALLOW
