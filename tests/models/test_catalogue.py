"""The catalogue as data: which families can be told apart, and which cannot."""

from __future__ import annotations

from collections import Counter
from itertools import combinations

import pytest

from launcher.errors import LauncherError
from launcher.models import catalogue
from launcher.models.catalogue import (
    ADDED_TOKENS,
    Family,
    HeldBy,
    Model,
    Published,
    Shape,
    plain,
    says,
)

CATALOGUE = catalogue.load()
FAMILIES = CATALOGUE.families
FILES = catalogue.known_files()


def said(name: str) -> set[str]:
    """The families that a name says."""
    return {
        family.id
        for family in FAMILIES.values()
        if any(says(plain(name), phrase) for phrase in family.names)
    }


# --- What cannot be told apart by structure ---------------------------------------------------


def could_be_one(first: Shape, second: Shape) -> bool:
    """Whether some header fits both shapes."""
    names = ("layers", "embedding", "feed_forward", "heads", "kv_heads", "experts", "rope_factors")
    pairs = [(getattr(first, name), getattr(second, name)) for name in names]
    if first.architecture != second.architecture:
        return False
    if any(None not in pair and pair[0] != pair[1] for pair in pairs):
        return False
    if first.vocabulary is None or second.vocabulary is None:
        return True
    return abs(first.vocabulary - second.vocabulary) <= ADDED_TOKENS


def collide(first: Family, second: Family) -> bool:
    held = {first.held_by, second.held_by}
    if HeldBy.NAME in held:
        return False
    if HeldBy.ARCHITECTURE in held:
        ours, theirs = (
            {shape.architecture for shape in family.shapes} for family in (first, second)
        )
        return bool(ours & theirs)
    return any(could_be_one(a, b) for a in first.shapes for b in second.shapes)


def test_families_of_different_licences_collide_only_where_it_is_known() -> None:
    found = {
        (first.id, second.id)
        for first, second in combinations(FAMILIES.values(), 2)
        if first.licence != second.licence and collide(first, second)
    }
    assert found == {
        # One shape from the first LLaMA on.
        ("llama-1", "llama-2"),
        ("llama-1", "code-llama"),
        ("llama-1", "open-llama"),
        ("llama-2", "open-llama"),
        ("code-llama", "open-llama"),
        ("llama-3.1", "llama-3.3"),
        # MobileLLM-R1 has the architecture of Llama 4; Hy-MT2 has that of Hunyuan.
        ("llama-4", "mobilellm-r1"),
        ("hunyuan", "hy-mt1.5"),
        ("hunyuan", "hy-mt2"),
        ("hunyuan-mt", "hy-mt1.5"),
        ("hunyuan-mt", "hy-mt2"),
        ("hy-mt1.5", "hy-mt2"),
        # The same model again, under other terms.
        ("minimax-m2.7", "minimax-m2.5"),
        ("minimax-m2.7", "minimax-m2.1"),
        ("minimax-m2.7", "minimax-m2"),
        ("minimax-m2.5", "minimax-m2.1"),
        ("minimax-m2.5", "minimax-m2"),
        ("minimax-m2.1", "minimax-m2"),
        ("qwen2-72b", "qwen2.5-72b"),
        ("deepseek-v3", "deepseek-r1"),
        ("stablelm-3b", "stable-code"),
        ("kimi-k2", "kimi-k2.5"),
        ("jamba", "jamba-v0.1"),
    }


def test_no_shape_occurs_twice_in_a_family() -> None:
    for family in FAMILIES.values():
        assert len(set(family.shapes)) == len(family.shapes), family.id


def test_a_projector_belongs_to_one_family() -> None:
    counts = Counter(name for family in FAMILIES.values() for name in family.projectors)
    assert not [name for name, count in counts.items() if count > 1]


def test_every_family_can_be_found_and_says_where_it_was_read() -> None:
    for family in FAMILIES.values():
        assert family.sources, family.id
        assert family.names or family.repositories, family.id
        if family.held_by is not HeldBy.NAME:
            assert family.shapes, family.id
        if any("unverified" in source for source in family.sources if "licence" not in source):
            assert family.held_by is HeldBy.NAME, family.id


# --- Names ------------------------------------------------------------------------------------


def test_phrases_are_written_as_names_are_compared() -> None:
    for family in FAMILIES.values():
        for phrase in family.names:
            for word in phrase.split():
                assert plain(word.removeprefix("!")) == word.removeprefix("!"), family.id


def test_the_original_repositories_say_their_own_family_and_no_other() -> None:
    for family in FAMILIES.values():
        for repository in family.repositories:
            assert said(repository.partition("/")[2]) == {family.id}, repository


@pytest.mark.parametrize(
    ("name", "families"),
    [
        # Llama, as quantisers and fine-tuners write it.
        ("Meta-Llama-3.1-8B-Instruct.Q4_K_M.gguf", {"llama-3.1"}),
        ("Llama-3.2-3B.Q4_K_M.gguf", {"llama-3.2"}),
        ("llama3.2 1b", {"llama-3.2"}),
        ("Llama3_1-70B", {"llama-3.1"}),
        ("dolphin-2.9-llama3-8b", {"llama-3"}),
        ("Hermes-3-Llama-3.2-3B-GGUF", {"llama-3.2"}),
        ("L3.3-70B-Euryale-v2.3", {"llama-3.3"}),
        ("Llama-2-7B-Chat-GGUF", {"llama-2"}),
        ("LLaMA v2", {"llama-2"}),
        ("CodeLlama-7B-GGUF", {"code-llama"}),
        ("open_llama_3b", {"open-llama"}),
        ("TinyLlama-1.1B-Chat-v1.0", {"tinyllama"}),
        ("Skywork-o1-Open-Llama-3.1-8B", {"llama-3.1"}),
        ("Llama-Guard-3-8B", {"llama-guard-3-8b"}),
        ("Llama-Guard-3-1B", {"llama-3.2"}),
        # The multimodal ones, and what only sounds like them.
        ("Llama-3.2-11B-Vision-Instruct", {"llama-3.2-vision"}),
        ("Llama 3.2 11B Vision text half", {"llama-3.2-vision"}),
        ("Llama-3.2-Vision-Instruct", {"llama-3.2-vision"}),
        ("Llama-Guard-3-11B-Vision", {"llama-3.2-vision"}),
        ("Llama-3.2-1B-vision-adapter", {"llama-3.2"}),
        ("mmproj-Llama-3.2-3B-vision.gguf", {"llama-3.2"}),
        ("Llama-4-Scout-17B-16E-Instruct", {"llama-4"}),
        ("llama4 maverick", {"llama-4"}),
        ("Llama-Guard-4-12B", {"llama-4"}),
        ("Llama-3.2-3B-Distill-Llama-4-Scout", {"llama-3.2"}),
        ("Llama-4-tokenizer-experiment", set()),
        ("MobileLLM-R1-950M", {"mobilellm-r1"}),
        # Distills are what they were made from.
        ("DeepSeek-R1-Distill-Llama-8B", {"llama-3.1"}),
        ("DeepSeek-R1-Distill-Llama-70B", {"llama-3.3"}),
        ("DeepSeek-R1-Distill-Qwen-7B", {"qwen2.5"}),
        ("DeepSeek-R1-0528-Qwen3-8B", {"qwen3"}),
        ("DeepSeek-R1-0528", {"deepseek-r1"}),
        ("DeepSeek-V3-0324", {"deepseek-r1"}),
        ("DeepSeek-V3", {"deepseek-v3"}),
        # Tencent: the successors are free, the others are not.
        ("Hunyuan-7B-Instruct", {"hunyuan"}),
        ("hunyuan_1.8B.gguf", {"hunyuan"}),
        ("Hunyuan-A13B-Instruct", {"hunyuan-a13b"}),
        ("Hunyuan-MT-7B", {"hunyuan-mt"}),
        ("Hunyuan-MT-Chimera-7B", {"hunyuan-mt"}),
        ("HY-MT1.5-1.8B-GGUF", {"hy-mt1.5"}),
        ("Hy-MT2-1.8B-Q4_K_M.gguf", {"hy-mt2"}),
        ("Hunyuan-MT2-7B", {"hy-mt2"}),
        ("HunyuanOCR-Q8_0.gguf", {"hunyuan-ocr"}),
        ("hunyuan-video-t2v-720p-Q4_K_M.gguf", {"hunyuan-video"}),
        # Siblings under other licences.
        ("Qwen2.5-3B-Instruct", {"qwen2.5-3b"}),
        ("Qwen2.5-Coder-3B", {"qwen2.5-3b"}),
        ("Qwen2.5-32B-Instruct", {"qwen2.5"}),
        ("Qwen2.5-72B-Instruct", {"qwen2.5-72b"}),
        ("Qwen2.5-VL-3B-Instruct", {"qwen2.5-vl-3b"}),
        ("Qwen2.5-VL-7B-Instruct", {"qwen2-vl"}),
        ("Qwen2-72B-Instruct", {"qwen2-72b"}),
        ("Qwen3-VL-4B-Instruct", {"qwen3-vl"}),
        ("Qwen3.8-Max", {"qwen3.8-max"}),
        ("Impish_QWEN_14B-1M", set()),
        ("gemma-2b-it", {"gemma-1"}),
        ("gemma-2-2b-it", {"gemma-2"}),
        ("gemma-3-1b-it", {"gemma-3"}),
        ("gemma-3-4b-it", {"gemma-3-multimodal"}),
        ("gemma-3n-E2B-it", {"gemma-3n"}),
        ("gemma-4-E2B-it", {"gemma-4"}),
        ("medgemma-27b-it", {"medgemma"}),
        ("Mistral-7B-Instruct-v0.3", {"mistral-7b"}),
        ("Ministral-8B-Instruct-2410", {"mistral-research"}),
        ("Ministral-3-8B-Instruct-2512", {"ministral-3"}),
        ("Mistral-Small-Instruct-2409", {"mistral-research"}),
        ("Mistral-Small-24B-Instruct-2501", {"mistral-small"}),
        ("Codestral-22B-v0.1", {"codestral"}),
        ("EXAONE-4.0-1.2B", {"exaone-4.0"}),
        ("K-EXAONE-236B-A23B", {"k-exaone"}),
        ("Falcon3-7B-Instruct", {"falcon-3"}),
        ("falcon-7b-instruct", {"falcon"}),
        ("MiniMax-M2", {"minimax-m2"}),
        ("MiniMax-M2.7", {"minimax-m2.7"}),
        ("Kimi-K2-Instruct", {"kimi-k2"}),
        ("Kimi-K2.5", {"kimi-k2.5"}),
        ("AI21-Jamba-Reasoning-3B", set()),
        ("SmolLM-135M-Instruct", {"smollm"}),
        ("SmolLM2-135M-Instruct.Q4_1.gguf", {"smollm2"}),
        ("phi-4-mini-instruct", {"phi-4"}),
        ("model.gguf", set()),
    ],
)
def test_names_say_the_family_that_they_mean(name: str, families: set[str]) -> None:
    assert said(name) == families


@pytest.mark.parametrize(
    ("name", "form"),
    [
        ("Llama3.2 11B_Vision", "llama-3.2-11b-vision"),
        ("Llama-3_3-Nemotron", "llama-3.3-nemotron"),
        ("Llama-3.2-3B.Q4_K_M.gguf", "llama-3.2-3b-q4-k-m-gguf"),
        ("FLUX.1-dev", "flux-1-dev"),
        ("v0.1.gguf", "v0.1-gguf"),
        ("HY-MT1.5", "hy-mt1.5"),
        ("...", ""),
    ],
)
def test_names_have_one_plain_form(name: str, form: str) -> None:
    assert plain(name) == form
    assert plain(form) == form


@pytest.mark.parametrize(
    ("name", "phrase", "holds"),
    [
        ("llama-3.2-1b", "llama-3.2", True),
        ("llama-3.21b", "llama-3.2", False),
        ("my-llama-3.2", "llama-3.2", True),
        ("1b-llama-3.2", "llama-3.2 1b", False),
        ("llama-3.2-x-1b", "llama-3.2 1b", True),
        ("llama-3.2-1b", "llama-3.2 !1b", False),
        ("llama-3.2-11b", "llama-3.2 !1b", True),
        ("llama-llama", "llama llama", True),
        ("llama", "llama llama", False),
    ],
)
def test_phrases_hold_in_order_and_by_whole_words(name: str, phrase: str, holds: bool) -> None:
    assert says(name, phrase) is holds


# --- Catalogue names --------------------------------------------------------------------------


def test_names_are_typed_as_people_know_them() -> None:
    for name in (*CATALOGUE.models, *CATALOGUE.aliases):
        assert name == name.lower()
        assert " " not in name
    assert not set(CATALOGUE.aliases) & set(CATALOGUE.models)
    assert set(CATALOGUE.aliases.values()) <= set(CATALOGUE.models)


def test_a_bare_name_stands_for_its_usual_size() -> None:
    for bare, name in (
        ("llama3.2", "llama3.2:3b"),
        ("qwen3", "qwen3:8b"),
        ("phi3.5", "phi3.5:mini"),
    ):
        model = CATALOGUE.model(bare)
        assert model is not None
        assert model.name == name


def every_file() -> list[tuple[Model, Published]]:
    return [(model, file) for model in CATALOGUE.models.values() for file in model.files]


def test_a_file_to_be_fetched_has_a_digest() -> None:
    for model, file in every_file():
        assert file.file.endswith(".gguf"), model.name
        assert len(bytes.fromhex(file.sha256)) == 32, model.name
        assert bool(file.repository) != bool(model.package), model.name
    digests = Counter(file.sha256 for _, file in every_file())
    assert max(digests.values()) == 1


def test_a_name_may_end_in_a_quant() -> None:
    for name, found in (
        ("llama3.2:1b-q8_0", ("llama3.2:1b", "Q8_0")),
        ("llama3.2-Q4_K_M", ("llama3.2:3b", "Q4_K_M")),
        ("llama3.2:1b", ("llama3.2:1b", "")),
        ("qwen3:30b-a3b", ("qwen3:30b-a3b", "")),
    ):
        asked = CATALOGUE.asked(name)
        assert asked is not None, name
        assert (asked[0].name, asked[1]) == found
    assert CATALOGUE.asked("llama3.2:1b-q99") is None
    assert CATALOGUE.asked("q8_0") is None


def test_every_variant_has_a_quant_of_its_own() -> None:
    for model in CATALOGUE.models.values():
        quants = [file.quant for file in model.files]
        assert len(set(quants)) == len(quants), model.name
        assert all(quants) or model.name == "gpt-oss:20b", model.name


def test_names_of_files_agree_with_the_family_of_the_model() -> None:
    for model, file in every_file():
        names = said(file.file) | said(file.repository.partition("/")[2])
        assert not names or model.family in names, model.name


def test_what_is_offered_after_a_refusal_exists() -> None:
    assert CATALOGUE.alternatives
    assert set(CATALOGUE.alternatives) <= set(CATALOGUE.models)


# --- Published files --------------------------------------------------------------------------


def test_published_files_are_known_by_their_digests() -> None:
    assert len(FILES) == 129
    for sha256, file in FILES.items():
        assert len(bytes.fromhex(sha256)) == 32
        assert file.family in FAMILIES, file.file
        assert file.file.endswith(".gguf")
        assert file.repository.count("/") == 1


def test_published_files_and_catalogue_names_agree() -> None:
    for model, named in every_file():
        if named.sha256 in FILES:
            file = FILES[named.sha256]
            assert (file.family, file.repository, file.file) == (
                model.family,
                named.repository,
                named.file,
            )


def test_a_published_file_under_a_restricted_name_is_of_that_family() -> None:
    for file in FILES.values():
        for id in said(file.repository.partition("/")[2]) | said(file.file):
            if FAMILIES[id].held_by is HeldBy.ARCHITECTURE:
                assert file.family == id, file.file


# --- Faults -----------------------------------------------------------------------------------


def test_all_faults_are_reported_at_once_with_file_key_and_place() -> None:
    data = b"""
    alternatives = ["nobody:1b"]
    colour = "blue"
    [[family]]
    id = "own"
    title = "Own"
    licence = "mit"
    released_as = "sound"
    held_by = "hope"
    shape = [{ architecture = "llama", layers = "many", width = 3 }]
    sources = ["me"]
    [[model]]
    name = "own:1b"
    family = "other"
    title = "Own"
    [[model]]
    name = "own:1b"
    family = "own"
    title = "Own"
    """
    with pytest.raises(LauncherError) as caught:
        catalogue.read(data, "own/models.toml")
    found = str(caught.value).splitlines()
    for fault in (
        "'released_as' in family[0]: 'sound' is none of text, multimodal",
        "'held_by' in family[0]: 'hope' is none of architecture, shape, name",
        "'layers' in family[0].shape[0]: expected a whole number, found text",
        "'width' in family[0].shape[0]: unknown key",
        "'family' in model[0]: 'other' is none of own",
        "'name' in model[1]: 'own:1b' occurs twice",
        "'alternatives': 'nobody:1b' is no name in this catalogue",
        "'colour': unknown key",
    ):
        assert [line for line in found if line.startswith(f"own/models.toml: {fault}")], fault
