"""The worker as the launcher meets it: real engine, real model, real deaths."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import shutil
import signal
import time
from pathlib import Path

import pytest

from launcher.asker import Asker
from launcher.clearance import Cleared, Verdict
from launcher.engine.client import Done, Engine, Text, Worker
from launcher.engine.fit import Memory, Plan
from launcher.errors import EngineDied, IntegrityError, LauncherError, Unsupported
from launcher.models import sources
from launcher.models.bundle import Bundle
from launcher.models.catalogue import load as load_catalogue
from launcher.models.gguf import Entry, ValueType
from launcher.models.refs import PathRef
from tests.engine.conftest import GREEDY, QUESTION, cleared_file
from tests.engine.processes import ended
from tests.headers import SMALL, statements, write_model, write_shards


def answer(engine: Engine, max_tokens: int = 12) -> tuple[str, Done]:
    events = list(engine.generate(QUESTION, sampling=GREEDY, max_tokens=max_tokens))
    text = "".join(event.text for event in events if isinstance(event, Text))
    assert isinstance(events[-1], Done)
    return text, events[-1]


def test_the_real_model_answers_and_says_the_same_again(cleared: Cleared) -> None:
    with contextlib.closing(Worker()) as worker, Engine(cleared, worker) as engine:
        first, done = answer(engine)
        assert first.strip()
        assert done.reason == "length"
        assert done.tokens == 12
        again, cached = answer(engine)
        assert again == first
        assert cached.prompt_computed == 1


def test_a_full_context_is_an_error_with_numbers(cleared: Cleared) -> None:
    with contextlib.closing(Worker()) as worker, Engine(cleared, worker) as engine:
        long = [{"role": "user", "content": "word " * 900}]
        with pytest.raises(LauncherError, match=r"9\d\d tokens.* 512"):
            list(engine.generate(long, sampling=GREEDY, max_tokens=4))
        assert answer(engine)[0].strip()


def test_bytes_that_are_no_text_reach_the_engine(cleared: Cleared) -> None:
    question = [{"role": "user", "content": os.fsdecode(b"caf\xe9")}]
    with contextlib.closing(Worker()) as worker, Engine(cleared, worker) as engine:
        *_, done = engine.generate(question, sampling=GREEDY, max_tokens=2)
        assert isinstance(done, Done)


def test_stopping_ends_the_answer_and_not_the_worker(cleared: Cleared) -> None:
    with contextlib.closing(Worker()) as worker, Engine(cleared, worker) as engine:
        events = engine.generate(QUESTION, sampling=GREEDY, max_tokens=400)
        next(events)
        engine.stop()
        *_, last = events
        assert isinstance(last, Done)
        assert last.reason == "stopped"
        assert last.tokens < 400
        assert answer(engine)[0].strip()


def test_a_prompt_that_is_stopped_was_not_computed(cleared: Cleared) -> None:
    long = [{"role": "user", "content": "fox " * 450}]
    with contextlib.closing(Worker()) as worker, Engine(cleared, worker) as engine:
        events = engine.generate(long, sampling=GREEDY, max_tokens=4)
        engine.stop()
        (done,) = events
        assert isinstance(done, Done)
        assert (done.reason, done.tokens, done.prompt_computed) == ("stopped", 0, 0)
        assert answer(engine)[0].strip()


@pytest.mark.parametrize("name", ["SIGILL", "SIGSEGV", "SIGABRT", "SIGKILL", "SIGTERM"])
def test_a_worker_that_is_killed_mid_answer_is_named(cleared: Cleared, name: str) -> None:
    with contextlib.closing(Worker()) as worker, Engine(cleared, worker) as engine:
        events = engine.generate(QUESTION, sampling=GREEDY, max_tokens=400)
        next(events)
        os.kill(worker.process.pid, signal.Signals[name])
        with pytest.raises(EngineDied, match=name) as caught:
            list(events)
        assert caught.value.exit_code == 7
        assert caught.value.hint


def test_a_worker_that_is_killed_before_the_load_is_named(cleared: Cleared) -> None:
    with contextlib.closing(Worker()) as worker:
        os.kill(worker.process.pid, signal.SIGILL)
        worker.process.wait()
        with pytest.raises(EngineDied, match="SIGILL") as caught:
            Engine(cleared, worker)
    assert caught.value.commands == ("launcher doctor --rebuild",)


def test_a_worker_does_not_outlive_its_launcher(smollm2: Path, tmp_path: Path) -> None:
    note = tmp_path / "pid"
    child = os.fork()
    if child == 0:
        worker = Worker()
        note.write_text(str(worker.process.pid))
        time.sleep(60)
        os._exit(0)
    while not note.exists() or not note.read_text():
        time.sleep(0.01)
    pid = int(note.read_text())
    time.sleep(0.3)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    assert ended(pid)


def test_the_worker_gets_no_variables_that_could_swap_the_engine(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("LLAMA_CPP_LIB_PATH", "LD_PRELOAD", "GGML_BACKEND_PATH", "PYTHONPATH", "SECRET"):
        monkeypatch.setenv(name, "/tmp/nothing")
    names: set[bytes] = set()
    deadline = time.monotonic() + 30
    with contextlib.closing(Worker()) as worker:
        while b"GGML_NO_BACKTRACE" not in names:  # until it has become the worker
            assert time.monotonic() < deadline
            environment = Path(f"/proc/{worker.process.pid}/environ").read_bytes().split(b"\0")
            names = {entry.partition(b"=")[0] for entry in environment}
    assert not names & {b"LLAMA_CPP_LIB_PATH", b"LD_PRELOAD", b"GGML_BACKEND_PATH", b"SECRET"}


def test_what_was_judged_is_what_is_loaded_though_the_path_is_swapped(
    smollm2: Path, tmp_path: Path, asker: Asker
) -> None:
    path = tmp_path / "model.gguf"
    path.symlink_to(smollm2)
    other = write_model(tmp_path / "other.gguf", "llama-4-scout")
    with cleared_file(path, asker, context=512) as found:
        path.unlink()
        path.symlink_to(other)
        with contextlib.closing(Worker()) as worker, Engine(found, worker) as engine:
            assert answer(engine)[0].strip()


def test_a_file_that_is_written_to_after_it_was_judged_is_refused(
    smollm2: Path, tmp_path: Path, asker: Asker
) -> None:
    path = tmp_path / "model.gguf"
    shutil.copyfile(smollm2, path)
    with cleared_file(path, asker, context=512) as found:
        with path.open("r+b") as stream:
            stream.seek(-1, os.SEEK_END)
            stream.write(b"\0")
        os.utime(path, ns=(1, 1))
        with contextlib.closing(Worker()) as worker, pytest.raises(IntegrityError, match="changed"):
            Engine(found, worker)


def test_an_architecture_that_the_engine_does_not_know_is_unsupported(
    tmp_path: Path, asker: Asker
) -> None:
    path = write_model(
        tmp_path / "new.gguf", SMALL, architecture="newarch9", metadata=statements(license="mit")
    )
    with contextlib.ExitStack() as stack:
        bundle = stack.enter_context(sources.resolved(PathRef(path), load_catalogue()))
        worker = stack.enter_context(contextlib.closing(Worker()))
        with pytest.raises(Unsupported, match="newarch9"):
            Engine(key(bundle), worker)


def test_a_file_without_its_weights_is_an_integrity_error(tmp_path: Path, asker: Asker) -> None:
    path = write_model(
        tmp_path / "m.gguf",
        SMALL,
        metadata=statements(license="mit"),
        tensors={"output_norm.weight": None},
    )
    with (
        cleared_file(path, asker) as found,
        contextlib.closing(Worker()) as worker,
        pytest.raises(IntegrityError, match="output_norm"),
    ):
        Engine(found, worker)


def test_shards_are_loaded_by_their_descriptors(tmp_path: Path, asker: Asker) -> None:
    folder = tmp_path / "shards"
    folder.mkdir()
    paths = write_shards(folder, SMALL, count=3, metadata=statements(license="mit"))
    with cleared_file(paths[0], asker, context=512) as found:
        folder.rename(tmp_path / "elsewhere")
        with contextlib.closing(Worker()) as worker, Engine(found, worker) as engine:
            assert engine.loaded.context == 512


def test_another_model_takes_the_place_of_the_one_that_is_loaded(
    cleared: Cleared, tmp_path: Path, asker: Asker
) -> None:
    other = write_model(tmp_path / "other.gguf", SMALL, metadata=statements(license="mit"))
    broken = write_model(tmp_path / "broken.gguf", SMALL, tensors={"output_norm.weight": None})
    with contextlib.closing(Worker()) as worker:
        first = answer(Engine(cleared, worker))[0]
        with cleared_file(other, asker, context=512) as found:
            assert Engine(found, worker).loaded.context == 512
        with contextlib.ExitStack() as stack:
            bundle = stack.enter_context(sources.resolved(PathRef(broken), load_catalogue()))
            with pytest.raises(IntegrityError, match="output_norm"):
                Engine(key(bundle), worker)
        again = Engine(cleared, worker)
        assert answer(again)[0] == first


def test_an_answer_is_not_stopped_by_what_stopped_the_model_before(cleared: Cleared) -> None:
    with contextlib.closing(Worker()) as worker:
        engine = Engine(cleared, worker)
        for _ in range(3):
            engine.stop()
            list(engine.generate(QUESTION, sampling=GREEDY, max_tokens=1))
        engine.stop()
        assert answer(Engine(cleared, worker))[1].reason == "length"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("general.architecture", Entry(ValueType.STRING, "qwen2")),
        ("general.license", Entry(ValueType.STRING, "mit")),
        ("general.basename", Entry(ValueType.STRING, "Other")),
        ("general.source.url", Entry(ValueType.STRING, "https://huggingface.co/some/model")),
        ("llama.block_count", Entry(ValueType.UINT32, 31)),
        ("llama.feed_forward_length", Entry(ValueType.UINT32, 1)),
        ("llama.attention.head_count_kv", Entry(ValueType.UINT32, 9)),
        ("tokenizer.ggml.add_bos_token", Entry(ValueType.BOOL, True)),
    ],
)
def test_a_file_that_shows_the_engine_another_model_is_refused(
    cleared: Cleared, name: str, value: Entry
) -> None:
    header = cleared.bundle.main.header
    assert header is not None
    other = dataclasses.replace(header, metadata={**header.metadata, name: value})
    part = dataclasses.replace(cleared.bundle.main, header=other)
    bundle = dataclasses.replace(cleared.bundle, parts=(part,))
    with contextlib.closing(Worker()) as worker, pytest.raises(IntegrityError, match=name):
        Engine(dataclasses.replace(cleared, bundle=bundle), worker)


class Refusal:
    """A decision that allows nothing."""

    verdict = Verdict.REFUSE
    subject = ""


class Permit:
    """A decision about one bundle, for tests of what comes after the gate."""

    verdict = Verdict.ALLOW

    def __init__(self, subject: str) -> None:
        self.subject = subject


PLAN = Plan(
    context=512,
    threads=1,
    memory=Memory(weights=0, repacked=0, kv_cache=0, compute=0),
    available=0,
)


def key(bundle: Bundle) -> Cleared:
    return Cleared(bundle=bundle, decision=Permit(bundle.fingerprint), plan=PLAN, record="")


def test_the_key_cannot_be_made_from_a_refusal(cleared: Cleared) -> None:
    with pytest.raises(AssertionError, match="refuse"):
        Cleared(bundle=cleared.bundle, decision=Refusal(), plan=PLAN, record="")


def test_the_key_cannot_be_made_from_a_decision_on_another_bundle(cleared: Cleared) -> None:
    with pytest.raises(AssertionError, match="another bundle"):
        Cleared(bundle=cleared.bundle, decision=Permit("another"), plan=PLAN, record="")
