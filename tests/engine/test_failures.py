"""What the engine and its libraries say when memory runs out, word for word as it was seen."""

from __future__ import annotations

import pytest

from launcher.engine import failures
from launcher.errors import DoesNotFit, LauncherError

NO_MEMORY = [
    "llama_decode gave -2: decode: could not reserve space for batch with 12 outputs",
    "RuntimeError: Failed to load shared library 'libllama.so': libstdc++.so.6: failed to map "
    "segment from shared object",
    "terminate called after throwing an instance of 'std::bad_alloc'",
]
OTHER = [
    "llama_decode gave -3: graph_compute: failed",
    "libllama.so: failed to map segment from shared object: Operation not permitted",
]


@pytest.mark.parametrize("words", NO_MEMORY)
def test_a_lack_of_memory_is_told_whenever_it_comes(words: str) -> None:
    assert "ran out of memory" in failures.died(1, words).message
    found = failures.generation_error({"kind": "decode", "message": words}, "")
    assert isinstance(found, DoesNotFit)
    assert "--ctx-size" in found.hint


@pytest.mark.parametrize("words", OTHER)
def test_what_is_no_lack_of_memory_is_told_in_the_engine_s_words(words: str) -> None:
    assert words in failures.died(1, words).message
    found = failures.generation_error({"kind": "decode", "message": words}, "")
    assert type(found) is LauncherError
    assert words in found.message
