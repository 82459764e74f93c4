"""The settings of samplers: what a file recommends, and how an order is written."""

from __future__ import annotations

import pytest

from launcher.engine.sampling import ADAPTIVE, ORDER, order, recommended

NAMED = {
    "general.sampling.temp": "0.6",
    "general.sampling.top_k": "20",
    "general.sampling.top_p": "0.9",
    "general.sampling.penalty_last_n": "-1",
    "general.sampling.sequence": "top_k;top-p;temp",
}


def test_what_a_file_recommends_is_taken() -> None:
    assert recommended(NAMED.get) == {
        "temperature": 0.6,
        "top_k": 20,
        "top_p": 0.9,
        "repeat_last_n": -1,
        "samplers": ("top_k", "top_p", "temperature"),
    }


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("temp", "nan"),
        ("temp", "-1"),
        ("temp", "warm"),
        ("top_p", "2"),
        ("top_k", "1e9"),
        ("top_k", "-5"),
        ("penalty_last_n", "2147483647"),
        ("penalty_repeat", "0"),
        ("mirostat", "3"),
        ("mirostat_tau", "inf"),
        ("sequence", "top_k;rm -rf"),
        ("sequence", ""),
    ],
)
def test_what_makes_no_sense_is_not_believed(key: str, value: str) -> None:
    assert recommended({f"general.sampling.{key}": value}.get) == {}


@pytest.mark.parametrize(
    ("text", "samplers"),
    [
        ("penalties;dry;top_n_sigma;top_k;typ_p;top_p;min_p;xtc;temperature", ORDER),
        ("edskypmxt", ORDER),
        ("Top-K; nucleus ;typ", ("top_k", "top_p", "typ_p")),
        ("adaptive_p", (ADAPTIVE,)),
        ("ta", ("temperature", ADAPTIVE)),
        ("topk", ("top_k",)),
        ("", ()),
    ],
)
def test_an_order_is_written_as_for_llama_cpp(text: str, samplers: tuple[str, ...]) -> None:
    assert order(text) == samplers


@pytest.mark.parametrize(
    ("text", "unknown"),
    [("z", "z"), ("foo", "foo"), ("top_k;infill", "infill"), ("top_k;;bottom_k", "bottom_k")],
)
def test_what_is_no_sampler_is_named(text: str, unknown: str) -> None:
    with pytest.raises(ValueError, match=f"^{unknown}$"):
        order(text)
