"""What does the server answer to whatever its own description lets clients send, and to the rest?

Requests are made from /openapi.json, those that fit it and those that break it, and sent to the
real server with the real model. No answer is of the kind 5xx, and each is one that the description
has: status, type and form.
"""

from __future__ import annotations

import contextlib
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from random import Random
from typing import Any

import hypothesis
import schemathesis
from hypothesis import HealthCheck, Phase
from hypothesis import strategies as st
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.core.failures import FailureGroup
from schemathesis.core.result import Ok
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from tests.campaigns.campaign import Campaign, Tally
from tests.serving.running import MODEL, REFUSED, running

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
]
SHARE = 20  # requests of one kind to one address, one after the other
PATIENCE = 60.0  # seconds for one answer
# Requests that are answered: some fields of a made one are laid over them.
CHAT = {"model": MODEL, "messages": [{"role": "user", "content": "Hi"}]}
GOOD: Mapping[str, Mapping[str, Any]] = {
    "/v1/chat/completions": CHAT,
    "/v1/completions": {"model": MODEL, "prompt": "Hi"},
    "/v1/responses": {"model": MODEL, "input": "Hi"},
    "/v1/embeddings": {"model": MODEL, "input": "Hi"},
    "/api/chat": CHAT,
    "/api/generate": {"model": MODEL, "prompt": "Hi"},
    "/api/embed": {"model": MODEL, "input": "Hi"},
    "/api/embeddings": {"model": MODEL, "prompt": "Hi"},
    "/api/show": {"model": MODEL},
}
# However long an answer is wanted, it gets so many tokens: there are thousands of them.
LIMITS = {"max_tokens": 3, "max_completion_tokens": 3, "max_output_tokens": 16}
MOST_LAID_OVER = 3  # fields


def run(seed: int, count: int) -> Iterator[Tally]:
    """So many requests of each kind to each address."""
    with tempfile.TemporaryDirectory() as folder, running(Path(folder)) as server:
        description = schemathesis.openapi.from_url(f"{server.url}/openapi.json")
        operations = [_sound(found) for found in description.get_all_operations()]
        for first in range(0, count, SHARE):
            for operation in operations:
                for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE):
                    size = min(SHARE, count - first)
                    yield _share(operation, mode, seed + first, size)


def _sound(found: Any) -> Any:
    """An address; raises where the description of it is no good."""
    assert isinstance(found, Ok), found
    return found.ok()


def _share(operation: Any, mode: GenerationMode, seed: int, size: int) -> Tally:
    tally = Tally()

    @hypothesis.seed(seed)
    @hypothesis.settings(
        max_examples=size,
        phases=[Phase.generate],
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    @hypothesis.given(operation.as_strategy(generation_mode=mode), st.randoms())
    def send(case: Any, random: Random) -> None:
        _aim(case, random)
        _note(case, tally)

    with contextlib.suppress(Unsatisfiable):  # nothing can be wrong with a request without fields
        send()
    return tally


def _aim(case: Any, random: Random) -> None:
    """Has half of the requests be good ones but for a few fields, and answers be short."""
    good = GOOD.get(case.path)
    if good is None or not isinstance(case.body, dict):
        return
    if random.random() < 0.5:
        few = random.sample(sorted(case.body), min(len(case.body), MOST_LAID_OVER))
        case.body = {**good, **{name: case.body[name] for name in few}}
    if random.random() < 0.9:
        case.body["model"] = random.choice([MODEL, MODEL, MODEL, REFUSED])
    if case.path.startswith("/api/"):
        options = case.body.get("options")
        if isinstance(options, dict) or options is None:
            case.body["options"] = {**(options or {}), "num_predict": 3}
    else:
        limit = "max_output_tokens" if case.path == "/v1/responses" else "max_tokens"
        case.body.setdefault(limit, 3)
        case.body |= {name: limit for name, limit in LIMITS.items() if name in case.body}


def _note(case: Any, tally: Tally) -> None:
    response = case.call(timeout=PATIENCE)
    tally.counts["requests"] += 1
    tally.counts[f"{response.status_code // 100}xx"] += 1
    try:
        case.validate_response(response, checks=CHECKS)
    except FailureGroup as failures:
        tally.counts["wrong"] += 1
        said = "; ".join(str(failure).splitlines()[0] for failure in failures.exceptions)
        sent = case.as_curl_command()[:2000]
        tally.faults.append(f"{case.method} {case.path}: {said}: {response.text[:300]!a}\n  {sent}")


def summary(counts: Mapping[str, int]) -> str:
    kinds = ", ".join(f"{counts[kind]} {kind}" for kind in ("2xx", "4xx", "5xx"))
    return f"{counts['requests']} requests: {kinds}; {counts['wrong']} answered wrongly"


def fails(counts: Counter[str]) -> str:
    """That nothing was shown, where next to nothing was answered or refused."""
    least = counts["requests"] // 20
    return "" if min(counts["2xx"], counts["4xx"]) >= least else "the requests are all of a kind"


CAMPAIGN = Campaign(
    about="requests made from the description of the interface, to the real server",
    count=400,
    run=run,
    summary=summary,
    fails=fails,
)
