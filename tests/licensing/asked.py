"""Questions of the oracle, put to the gate: real identities from real-shaped headers."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from types import MappingProxyType

from launcher.clearance import Verdict
from launcher.errors import ExitCode
from launcher.licensing import gate, policy
from launcher.licensing.acceptance import Acceptance, Acceptances
from launcher.licensing.declaration import Declaration, Person, Role
from launcher.licensing.gate import Case
from launcher.licensing.regions import Country
from launcher.models import catalogue
from launcher.models.bundle import Bundle, Part
from launcher.models.bundle import Role as PartRole
from launcher.models.gguf import Entry, Header, Tensor, ValueType
from launcher.models.identity import Identity, Knowledge, identify
from launcher.models.refs import CatalogueRef
from tests.headers import Sizes, sizes
from tests.oracle.cases import Evidence, Outcome, Question

# What a converter writes into the files of these releases: name and licence.
HONEST = {
    "llama-2-7b": ("Llama 2 7b Chat Hf", "llama2"),
    "llama-3-8b": ("Meta Llama 3 8B Instruct", "llama3"),
    "llama-3.1-8b": ("Llama 3.1 8B Instruct", "llama3.1"),
    "llama-3.1-405b": ("Llama 3.1 405B Instruct", "llama3.1"),
    "llama-3.2-1b": ("Llama 3.2 1B Instruct", "llama3.2"),
    "llama-3.2-3b": ("Llama 3.2 3B Instruct", "llama3.2"),
    "llama-3.2-11b-vision": ("Llama 3.2 11B Vision Instruct", "llama3.2"),
    "llama-3.2-90b-vision": ("Llama 3.2 90B Vision Instruct", "llama3.2"),
    "llama-3.3-70b": ("Llama 3.3 70B Instruct", "llama3.3"),
    "llama-guard-3-1b": ("Llama Guard 3 1B", "llama3.2"),
    "llama-guard-3-11b-vision": ("Llama Guard 3 11B Vision", "llama3.2"),
    "llama-4-scout": ("Llama 4 Scout 17B 16E Instruct", "llama4"),
    "llama-4-maverick": ("Llama 4 Maverick 17B 128E Instruct", "llama4"),
    "llama-guard-4-12b": ("Llama Guard 4 12B", "llama4"),
    "mobilellm-r1-950m": ("MobileLLM R1 950M", "fair-noncommercial-research-license"),
    "gemma-2-2b": ("Gemma 2 2b It", "gemma"),
    "gemma-3-4b": ("Gemma 3 4b It", "gemma"),
    "phi-3.5-mini": ("Phi 3.5 Mini Instruct", "mit"),
    "smollm2-135m": ("SmolLM2 135M Instruct", "apache-2.0"),
    "qwen2.5-0.5b": ("Qwen2.5 0.5B Instruct", "apache-2.0"),
    "qwen2.5-3b": ("Qwen2.5 3B Instruct", "qwen-research"),
    "qwen2.5-72b": ("Qwen2.5 72B Instruct", "qwen"),
    "qwen3-4b": ("Qwen3 4B", "apache-2.0"),
    "hunyuan-1.8b": ("Hunyuan 1.8B Instruct", "tencent-hunyuan-community"),
    "hunyuan-4b": ("Hunyuan 4B Instruct", "tencent-hunyuan-community"),
    "hunyuan-7b": ("Hunyuan 7B Instruct", "tencent-hunyuan-community"),
    "hunyuan-a13b": ("Hunyuan A13B Instruct", "tencent-hunyuan-a13b"),
    "hy-mt1.5-1.8b": ("HY MT1.5 1.8B", "tencent-hy-community"),
    "hy-mt2-1.8b": ("Hy MT2 1.8B", "apache-2.0"),
    "hy-mt2-7b": ("Hy MT2 7B", "apache-2.0"),
    "hunyuanocr": ("HunyuanOCR", "tencent-hunyuan-community"),
    "mistral-7b-v0.1": ("Mistral 7B Instruct v0.1", "apache-2.0"),
    "ministral-8b-2410": ("Ministral 8B Instruct 2410", "mrl"),
    "lfm2-1.2b": ("LFM2 1.2B", "lfm1.0"),
    "granite-3.1-2b": ("Granite 3.1 2b Instruct", "apache-2.0"),
    "exaone-4.0-32b": ("EXAONE 4.0 32B", "exaone"),
    "gpt-oss-20b": ("Gpt Oss 20b", "apache-2.0"),
    "falcon3-1b": ("Falcon3 1B Instruct", "falcon-llm-license"),
    "stablelm-2-1.6b": ("Stablelm 2 1_6b Chat", "stabilityai-ai-community"),
    "command-r7b": ("C4ai Command R7b 12 2024", "cc-by-nc-4.0"),
}

OUTCOMES = {
    ExitCode.DONE: Outcome.ALLOW,
    ExitCode.REFUSED: Outcome.REFUSE,
    ExitCode.PERSON_NEEDED: Outcome.ASK_PERSON,
    ExitCode.UNIDENTIFIED: Outcome.ASK_FILE,
}


def answered(question: Question) -> Outcome:
    """What the gate says."""
    decision = gate.decide(case(question))
    assert (decision.verdict is Verdict.ALLOW) == (decision.exit_code is ExitCode.DONE)
    return OUTCOMES[decision.exit_code]


def case(question: Question) -> Case:
    """A question as the gate gets it."""
    bundle, identities = identified(question.model, question.evidence)
    return Case(
        policy=policy.load(),
        bundle=bundle,
        identities=identities,
        declaration=declared(question),
        acceptances=everything_accepted() if question.accepted else Acceptances(),
    )


def declared(question: Question) -> Declaration:
    return Declaration(
        person=Person(question.person),
        domicile=tuple(map(Country, question.domicile)),
        place_of_use=tuple(map(Country, question.place_of_use)),
        role=Role(question.role),
        product="Kiosk" if question.product else "",
        supplied_by="Example Inc" if question.product else "",
        commercial=question.commercial,
        monthly_active_users=question.monthly_active_users,
        annual_revenue_usd=question.annual_revenue_usd,
        answers=dict(question.answers),
    )


@cache
def everything_accepted() -> Acceptances:
    """Every licence that wants it, accepted by every kind of person."""
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
            for licence in policy.load().licences.values()
            if licence.acceptance
            for person in Person
        )
    )


@cache
def known() -> Knowledge:
    return Knowledge(catalogue=catalogue.load(), published=dict, identifications={})


@cache
def identified(model: str, evidence: Evidence) -> tuple[Bundle, tuple[Identity, ...]]:
    """A file of that release, in that state, as identity sees it."""
    said: dict[str, str] = {}
    if evidence is Evidence.NAMED:
        name, licence = HONEST[model]
        said = {"general.name": name, "general.license": licence}
    elif evidence is Evidence.MISLABELLED:
        said = {"general.name": "Free Spirit 9", "general.license": "mit"}
    return seen(sizes(model), said)


def seen(
    model: Sizes, said: Mapping[str, str], name: str = "model.gguf"
) -> tuple[Bundle, tuple[Identity, ...]]:
    """A file of these sizes that says these things of itself, as identity sees it."""
    part = Part(role=PartRole.WEIGHTS, name=name, header=header(model, said))
    bundle = Bundle(ref=CatalogueRef("a-file"), parts=(part,))
    return bundle, identify(bundle, known())


def header(model: Sizes, said: Mapping[str, str]) -> Header:
    """The header of a release, without its vocabulary's tokens and most of its tensors."""
    arch = model.architecture
    numbers = {
        "block_count": model.layers,
        "embedding_length": model.embedding,
        "feed_forward_length": model.feed_forward,
        "attention.head_count": model.heads,
        "vocab_size": model.vocabulary,
    }
    if model.experts:
        numbers["expert_count"] = model.experts
    entries = {f"{arch}.{key}": Entry(ValueType.UINT32, value) for key, value in numbers.items()}
    kv = model.kv_heads
    entries[f"{arch}.attention.head_count_kv"] = Entry(
        ValueType.UINT32, kv, is_array=isinstance(kv, tuple)
    )
    texts = {"general.architecture": arch, **said}
    entries |= {key: Entry(ValueType.STRING, text) for key, text in texts.items()}
    names = ["token_embd.weight", *(["rope_freqs.weight"] if model.rope_factors else [])]
    return Header(
        version=3,
        metadata=MappingProxyType(entries),
        tensors=tuple(Tensor(name, (1,), 0, 0) for name in names),
        alignment=32,
        data_offset=0,
        file_size=0,
    )
