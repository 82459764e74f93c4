"""`launcher bench` with the real engine and the real model."""

from __future__ import annotations

import statistics
from pathlib import Path

from tests.command import Here, launcher
from tests.headers import write_model

WHO = ("--as", "individual:DE")


def test_speeds_with_their_medians_and_spread() -> None:
    arguments = ("-p", "64", "-n", "8", "-r", "3", "-t", "1", "-c", "512")
    result = launcher("bench", "smollm2:135m", *WHO, *arguments, "--json")
    assert (result.code, result.err) == (0, "")
    body = result.body
    assert (body["model"], body["threads"], body["context"]) == ("smollm2:135m", 1, 512)
    assert 60 < body["prompt"]["tokens"] < 110
    assert body["generation"]["tokens"] == 8
    for speed in (body["prompt"], body["generation"]):
        samples = speed["samples"]
        assert len(samples) == 3
        assert min(samples) > 0
        assert abs(speed["tokens_per_second"] - statistics.median(samples)) < 0.02
        width = (max(samples) - min(samples)) / speed["tokens_per_second"]
        assert abs(speed["spread"] - width) < 0.01


def test_it_is_told_in_words() -> None:
    arguments = ("-p", "16", "-n", "2", "-r", "1", "-t", "1", "-c", "512")
    result = launcher("bench", "smollm2:135m", *WHO, *arguments)
    assert result.code == 0
    assert "Prompt:" in result.out
    assert "Generation:" in result.out


def test_a_prompt_that_is_longer_than_the_context_is_an_error() -> None:
    result = launcher("bench", "smollm2:135m", *WHO, "-p", "600", "-c", "512")
    assert result.code == 1
    assert "the context holds 512" in result.err


def test_what_is_refused_is_not_measured(here: Here, tmp_path: Path) -> None:
    path = write_model(tmp_path / "innocent.gguf", "llama-4-scout")
    assert here("bench", path, *WHO).code == 3
