"""A second model that guesses ahead: it changes how fast an answer comes, never what it says."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest

from launcher import flow
from launcher.asker import Asker, Request
from launcher.engine.client import Done, Engine, Worker
from launcher.engine.computing import Computing
from launcher.engine.drafting import Drafting
from launcher.engine.fit import Wishes
from launcher.engine.sampling import Sampling
from launcher.engine.worker import llama
from launcher.engine.worker.draft import Draft, Unsuitable
from launcher.engine.worker.sampler import Sampler
from launcher.engine.worker.speculation import Steps
from launcher.errors import IntegrityError, LauncherError
from launcher.licensing import records
from launcher.models.gguf import Entry, ValueType
from tests.command import launcher
from tests.engine.conftest import QUESTION
from tests.engine.test_client import Permit
from tests.headers import SMALL, statements, write_model
from tests.hub_server import HubServer
from tests.hub_server import hub as hub

SCOUT = "meta-llama/Llama-4-Scout-17B-16E"
WIDTH, HEADS, LAYERS = 64, 4, 2
GREEDY: dict[str, Any] = {"temperature": 0.0}
WARM: dict[str, Any] = {"temperature": 0.8, "seed": 7}
TEXT = "<|im_start|>user\nWhy is the sky blue?<|im_end|>\n<|im_start|>assistant\n"


@functools.cache
def vocabulary(path: Path) -> dict[str, Any]:
    """What the file of a model says of its tokens."""
    fields = gguf.GGUFReader(path).fields
    names = ("tokens", "token_type", "merges")
    return {name: fields[f"tokenizer.ggml.{name}"].contents() for name in names}


def write_draft(path: Path, model: Path, *, tokens: Sequence[str] = (), seed: int = 1) -> Path:
    """A model with the vocabulary of another one, or other tokens; its numbers drawn by lot."""
    known, lot = vocabulary(model), np.random.default_rng(seed)
    texts = list(tokens or known["tokens"])
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_license("apache-2.0")
    writer.add_block_count(LAYERS)
    writer.add_embedding_length(WIDTH)
    writer.add_feed_forward_length(WIDTH)
    writer.add_head_count(HEADS)
    writer.add_context_length(2048)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("smollm")
    writer.add_token_list(texts)
    types = [*known["token_type"], *[gguf.TokenType.NORMAL] * len(texts)]
    writer.add_token_types(types[: len(texts)])
    writer.add_token_merges(known["merges"])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    for name, shape in shapes(len(texts)):
        values = lot.standard_normal(shape, dtype=np.float32) * 0.3
        writer.add_tensor(name, np.abs(values) if name.endswith("norm.weight") else values)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def shapes(tokens: int) -> Iterator[tuple[str, tuple[int, ...]]]:
    yield "token_embd.weight", (tokens, WIDTH)
    yield "output_norm.weight", (WIDTH,)
    for layer in range(LAYERS):
        for name in ("attn_norm", "ffn_norm"):
            yield f"blk.{layer}.{name}.weight", (WIDTH,)
        for name in ("attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down"):
            yield f"blk.{layer}.{name}.weight", (WIDTH, WIDTH)


@pytest.fixture(scope="module")
def by_lot(smollm2: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A draft that knows nothing."""
    return write_draft(tmp_path_factory.mktemp("draft") / "lot.gguf", smollm2)


# --- In one process -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def context(smollm2: Path) -> llama.Context:
    llama.start()
    model = llama.Model([str(smollm2)])
    return llama.Context(model, tokens=512, computing=Computing(threads=1))


def written(
    context: llama.Context, sampling: Sampling, count: int, draft: Draft | None, **settings: Any
) -> tuple[list[int], Steps]:
    """So many tokens of an answer, and how they came about."""
    prompt = context.model.tokens(TEXT, add_special=False, parse_special=True)
    context.forget()
    context.fill(prompt, lambda: False)
    sampler = Sampler(context, sampling)
    if draft is not None:
        draft.begin(prompt, Drafting(**settings), lambda: False)
    steps = Steps(context, prompt, len(prompt) + count, guesses=draft is not None, draft=draft)
    tokens: list[int] = []
    while len(tokens) < count:
        tokens.append(sampler.choose(steps.at))
        steps.take(tokens[-1])
    steps.finish()
    sampler.close()
    assert context.held == prompt + tokens
    return tokens, steps


def drafts(context: llama.Context, path: Path) -> Draft:
    return Draft(context, [str(path)], extra_buffers=True, same_tokens=False)


@pytest.mark.parametrize("wishes", [GREEDY, WARM], ids=["greedy", "warm"])
def test_a_model_that_drafts_for_itself_is_mostly_right(
    context: llama.Context, smollm2: Path, wishes: dict[str, Any]
) -> None:
    expected, _ = written(context, Sampling(**wishes), 30, None)
    tokens, steps = written(context, Sampling(**wishes), 30, drafts(context, smollm2))
    assert tokens == expected
    assert steps.guessed >= 20
    least = steps.guessed if wishes is GREEDY else 5
    assert steps.right >= least


@pytest.mark.parametrize("wishes", [GREEDY, WARM], ids=["greedy", "warm"])
def test_a_draft_that_knows_nothing_is_asked_less_and_changes_nothing(
    context: llama.Context, by_lot: Path, wishes: dict[str, Any]
) -> None:
    expected, _ = written(context, Sampling(**wishes), 40, None)
    tokens, steps = written(context, Sampling(**wishes), 40, drafts(context, by_lot))
    assert tokens == expected
    assert steps.right <= 2
    assert 3 <= steps.guessed < 10, "three times in vain, then it rests"


def test_guesses_keep_to_the_settings(context: llama.Context, smollm2: Path) -> None:
    draft = drafts(context, smollm2)
    prompt = context.model.tokens(TEXT, add_special=False, parse_special=True)

    def guessed(**settings: Any) -> int:
        draft.begin(prompt, Drafting(**settings), lambda: False)
        return len(draft.after(20))

    assert guessed() == 3
    assert guessed(n_max=7) == 7
    assert guessed(n_max=0) == 0
    sure = guessed(n_max=16, p_min=0.9)
    assert sure < 16
    assert guessed(n_max=16, p_min=0.9, n_min=sure + 1) == 0
    draft.begin(prompt, Drafting(), lambda: False)
    assert len(draft.after(2)) == 2, "no more than there is room for"


def test_a_second_answer_takes_up_what_the_draft_has_computed(
    context: llama.Context, smollm2: Path
) -> None:
    draft = drafts(context, smollm2)
    sampling = Sampling(**GREEDY)
    first, _ = written(context, sampling, 12, draft)
    again, steps = written(context, sampling, 12, draft)
    assert again == first
    assert steps.right == steps.guessed > 0


def test_another_vocabulary_is_found_token_by_token(
    context: llama.Context, smollm2: Path, tmp_path: Path
) -> None:
    texts = list(vocabulary(smollm2)["tokens"])
    longer = write_draft(tmp_path / "longer.gguf", smollm2, tokens=[*texts, "<more-1>", "<more-2>"])
    texts[40_000] = "<another>"
    other = write_draft(tmp_path / "other.gguf", smollm2, tokens=texts)
    with pytest.raises(Unsuitable, match="token 40000 is another"):
        drafts(context, other)
    expected, _ = written(context, Sampling(**GREEDY), 12, None)
    assert written(context, Sampling(**GREEDY), 12, drafts(context, longer))[0] == expected


# --- On the whole way -----------------------------------------------------------------------------


def answer(asker: Asker, model: Path, draft: object, **sampling: Any) -> tuple[str, Done]:
    request = Request(model=str(model), draft=str(draft))
    with flow.judged(request, asker) as judgement, contextlib.closing(Worker()) as worker:
        cleared = flow.clear(judgement, Wishes(context=512, threads=1), asker)
        with flow.load(cleared, worker, asker) as engine:
            *texts, done = engine.generate(QUESTION, sampling=sampling, max_tokens=24)
    assert isinstance(done, Done)
    return "".join(getattr(event, "text", "") for event in texts), done


def test_the_text_is_the_same_with_a_draft_and_it_is_recorded(
    smollm2: Path, by_lot: Path, asker: Asker
) -> None:
    expected, alone = answer(asker, smollm2, "", **GREEDY)
    text, done = answer(asker, smollm2, "smollm2:135m", **GREEDY)
    assert text == expected
    assert done.guessed_right >= 12 > alone.guessed_right
    text, done = answer(asker, smollm2, by_lot, **GREEDY)
    assert text == expected
    assert done.guessed_right <= 2 < done.guessed
    *_, load = records.recent(asker.log)
    found = [(file["role"], file["name"]) for file in load["files"]]
    assert found[1:] == [("draft", "lot.gguf")]


def test_a_draft_of_another_vocabulary_is_refused_before_it_is_loaded(
    smollm2: Path, tmp_path: Path
) -> None:
    other = write_model(tmp_path / "other.gguf", SMALL, metadata=statements(license="mit"))
    result = launcher("run", smollm2, "hi", "--draft", other, "--as", "individual:DE")
    assert result.code == 8, result.err
    assert "other.gguf cannot draft for this model: its vocabulary is of the kind" in result.err


def test_a_draft_of_the_hub_is_judged_and_fetched(
    hub: HubServer, smollm2: Path, by_lot: Path
) -> None:
    hub.add("acme/Tiny-GGUF", {"tiny.gguf": by_lot}, {"license": "apache-2.0"})
    hub.add("acme/Scout-GGUF", {"tiny.gguf": by_lot}, {"base_model": SCOUT})
    command = ("run", smollm2, "hi", "-n", 4, "-c", 256, "--as", "individual:DE", "--draft")
    result = launcher(*command, "acme/Tiny-GGUF")
    assert result.code == 0, result.err
    assert "Fetching" in result.err
    again = len(hub.log)
    assert launcher(*command, "acme/Tiny-GGUF").out
    assert len(hub.log) == again
    assert launcher(*command, "acme/Scout-GGUF").code == 3
    assert launcher(*command, "acme/None-GGUF").code == 10


def test_a_draft_of_other_tokens_is_refused_by_the_worker(
    smollm2: Path, tmp_path: Path, asker: Asker
) -> None:
    texts = list(vocabulary(smollm2)["tokens"])
    texts[9] = "<another>"
    other = write_draft(tmp_path / "other.gguf", smollm2, tokens=texts)
    with pytest.raises(LauncherError, match=r"other.gguf cannot draft.*token 9 is") as caught:
        answer(asker, smollm2, other)
    assert caught.value.exit_code == 8
    *_, load = records.recent(asker.log)
    assert load["failure"]["exit_code"] == 8


def test_a_draft_that_the_engine_sees_otherwise_ends_the_load(
    smollm2: Path, by_lot: Path, asker: Asker
) -> None:
    request = Request(model=str(smollm2), draft=str(by_lot))
    with flow.judged(request, asker) as judgement:
        cleared = flow.clear(judgement, Wishes(context=512, threads=1), asker)
        main, draft = cleared.bundle.parts
        assert draft.header is not None
        said = {**draft.header.metadata, "general.license": Entry(ValueType.STRING, "mit")}
        other = replace(draft, header=replace(draft.header, metadata=said))
        bundle = replace(cleared.bundle, parts=(main, other))
        hidden = replace(cleared, bundle=bundle, decision=Permit(bundle.fingerprint))
        with (
            contextlib.closing(Worker()) as worker,
            pytest.raises(IntegrityError, match=r"lot.gguf shows .* another model.*'mit'"),
        ):
            Engine(hidden, worker)


def test_the_plan_counts_a_draft(smollm2: Path, by_lot: Path, asker: Asker) -> None:
    totals = []
    for draft in ("", str(by_lot)):
        with flow.judged(Request(model=str(smollm2), draft=draft), asker) as judgement:
            totals.append(flow.planned(judgement.bundle, Wishes(context=512), asker).memory.total)
    # The keys and values of 512 tokens in two layers, and the weights.
    assert totals[1] - totals[0] > 512 * LAYERS * WIDTH * 4 + 49152 * WIDTH * 4


def test_show_names_the_draft(smollm2: Path, by_lot: Path) -> None:
    result = launcher("show", smollm2, "--draft", by_lot, "--as", "individual:DE")
    assert result.code == 0, result.err
    assert f"Draft:      {by_lot}" in result.out
