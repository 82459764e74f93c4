"""What was computed of a system prompt is kept, and taken up by another process."""

from __future__ import annotations

import contextlib
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from launcher.clearance import Cleared
from launcher.engine.client import Done, Engine, Worker
from launcher.engine.prompt_cache import PromptCache
from tests.engine.conftest import GREEDY

SYSTEM = "You know all about foxes. " + " ".join(
    f"Rule {number}: be brief, and name a colour." for number in range(1, 28)
)
MESSAGES = [{"role": "system", "content": SYSTEM}, {"role": "user", "content": "What is a fox?"}]


@pytest.fixture
def cache(tmp_path: Path) -> PromptCache:
    return PromptCache(tmp_path / "prompts", tmp_path / "state" / "key")


def kept(tmp_path: Path) -> list[Path]:
    return list((tmp_path / "prompts").glob("*.state"))


@contextlib.contextmanager
def started(cleared: Cleared, cache: PromptCache | None) -> Iterator[Engine]:
    with contextlib.closing(Worker()) as worker, Engine(cleared, worker) as engine:
        engine.prompt_cache = cache
        yield engine


def ask(cleared: Cleared, cache: PromptCache | None, system: str = SYSTEM) -> tuple[str, Done]:
    """By a worker of its own, as after a start."""
    messages = [{"role": "system", "content": system}, MESSAGES[1]]
    with started(cleared, cache) as engine:
        *pieces, done = engine.generate(messages, sampling=GREEDY, max_tokens=12)
    assert isinstance(done, Done)
    return "".join(piece.text for piece in pieces if not isinstance(piece, Done)), done


def test_another_start_goes_on_from_the_kept_state_unless_it_was_changed(
    cleared: Cleared, cache: PromptCache, tmp_path: Path
) -> None:
    plain, _ = ask(cleared, None)
    first, slow = ask(cleared, cache)
    (state,) = kept(tmp_path)
    assert stat.S_IMODE(state.stat().st_mode) == 0o600
    second, quick = ask(cleared, cache)
    assert first == second == plain
    assert quick.prompt_tokens == slow.prompt_tokens
    assert quick.prompt_computed < 20 < 200 < slow.prompt_computed
    assert quick.prompt_seconds < slow.prompt_seconds / 2
    data = bytearray(state.read_bytes())
    data[len(data) // 2] ^= 1
    state.write_bytes(data)
    third, changed = ask(cleared, cache)
    assert third == plain
    assert changed.prompt_computed == slow.prompt_computed


def test_a_short_system_prompt_is_not_kept(
    cleared: Cleared, cache: PromptCache, tmp_path: Path
) -> None:
    ask(cleared, cache, "Be brief.")
    assert kept(tmp_path) == []


def test_another_key_knows_nothing(tmp_path: Path) -> None:
    cache = PromptCache(tmp_path / "prompts", tmp_path / "key")
    cache.keep("a", 3, [b"ab", b"c"])
    with cache.found("a") as descriptor:
        assert descriptor is not None
    with PromptCache(tmp_path / "prompts", tmp_path / "other").found("a") as descriptor:
        assert descriptor is None


def test_a_state_is_not_taken_for_another(cache: PromptCache, tmp_path: Path) -> None:
    cache.keep("a", 3, [b"abc"])
    (state,) = kept(tmp_path)
    state.rename(state.with_name("b.state"))
    with cache.found("b") as descriptor:
        assert descriptor is None


def test_the_latest_used_stay(
    cache: PromptCache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("launcher.engine.prompt_cache.TOTAL", 100)
    for name in "abc":
        cache.keep(name, 10, [bytes(10)])
    assert len(kept(tmp_path)) == 2
    with cache.found("c") as descriptor:
        assert descriptor is not None


def test_a_folder_that_cannot_be_written_stops_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    cache = PromptCache(tmp_path / "file" / "prompts", tmp_path / "key")
    pieces = iter([b"a", b"b"])
    cache.keep("a", 2, pieces)
    assert list(pieces) == []
    with cache.found("a") as descriptor:
        assert descriptor is None
