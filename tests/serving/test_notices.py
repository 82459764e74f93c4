"""What goes with the answers of a model, by its licence."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from launcher import flow, settings
from launcher.asker import Asker, Request
from launcher.licensing.decision import Decision
from launcher.licensing.declaration import Stated, who
from launcher.paths import places
from launcher.serving import notices
from tests.headers import write_model


def decided(path: Path) -> Decision:
    folders = places()
    asker = Asker(
        places=folders, settings=settings.load(folders), stated=Stated(who=who("individual:US"))
    )
    with flow.judged(Request(model=str(path)), asker) as judgement:
        return judgement.decision


def test_words_that_have_to_be_shown_travel_with_the_answer(tmp_path: Path) -> None:
    decision = decided(write_model(tmp_path / "m.gguf", "llama-4-scout"))
    assert notices.headers(decision) == {
        "X-Model-Licence": "llama4",
        "X-Model-Notice": "Built with Llama",
    }
    found = notices.of(decision)
    assert found["licence"] == "llama4"
    assert {duty["code"]: duty.get("display") for duty in found["duties"]}[
        "built-with-llama"
    ] == "Built with Llama"


def test_words_go_into_a_header_whatever_they_are(tmp_path: Path) -> None:
    decision = decided(write_model(tmp_path / "m.gguf", "llama-4-scout"))
    (bound, *_) = decision.duties
    strange = replace(bound, duty=replace(bound.duty, display="Mit Größe\r\nX: y"))
    found = notices.headers(replace(decision, duties=(bound, strange, strange)))
    assert found["X-Model-Notice"] == "Built with Llama; Mit Gr%C3%B6%C3%9Fe%0D%0AX: y"
