"""What Prometheus reads at /metrics: requests, tokens, times, models and memory.

Counted when a request is over, so that nothing is done here per token.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fastapi import APIRouter, Request
from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from starlette.responses import Response

from launcher.serving.door.account import Account

if TYPE_CHECKING:
    from starlette.types import Scope

router = APIRouter()
_SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600)
_SPEEDS = (1, 2, 5, 10, 15, 20, 30, 50, 75, 100, 150, 200, 300)
# Why a request went no further, by its status.
_REFUSALS = {
    401: "key",
    403: "origin",
    408: "slow",
    413: "long",
    421: "host",
    429: "busy",
    451: "licence",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelState:
    """How a model stands at this moment."""

    name: str
    state: str
    states: tuple[str, ...]
    """All that there are."""
    slots: int = 0
    active: int = 0
    waiting: int = 0
    loads: int = 0
    deaths: int = 0
    memory: int = 0
    """Of its worker, in bytes: resident, the model's mapped file included."""


class _Models(Collector):
    """Asks for the state of the models when somebody reads the metrics."""

    def __init__(self, states: Callable[[], Iterable[ModelState]]) -> None:
        self._states = states

    def collect(self) -> Iterator[Metric]:
        """One family after the other."""
        models = list(self._states())
        state = GaugeMetricFamily(
            "launcher_model_state", "1 for the state that a model is in", labels=("model", "state")
        )
        for model in models:
            for name in model.states:
                state.add_metric((model.name, name), float(name == model.state))
        yield state
        for name, about in _GAUGES.items():
            gauge = GaugeMetricFamily(f"launcher_{name}", about[1], labels=("model",))
            for model in models:
                gauge.add_metric((model.name,), getattr(model, about[0]))
            yield gauge
        for name, about in _COUNTERS.items():
            counter = CounterMetricFamily(f"launcher_{name}", about[1], labels=("model",))
            for model in models:
                counter.add_metric((model.name,), getattr(model, about[0]))
            yield counter


# Name, the field of `ModelState`, and what it is.
_GAUGES = {
    "slots": ("slots", "Answers that a model can give at a time"),
    "slots_active": ("active", "Answers that are being given"),
    "queue": ("waiting", "Answers that wait for a slot"),
    "worker_resident_memory_bytes": ("memory", "Memory of a model's worker"),
}
_COUNTERS = {
    "model_loads": ("loads", "How often a model was loaded"),
    "worker_deaths": ("deaths", "How often a model's worker died"),
}


class Metrics:
    """Everything that is counted, in a registry of its own."""

    def __init__(self, states: Callable[[], Iterable[ModelState]] = tuple) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self._registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        registry.register(_Models(states))
        self._requests = Counter(
            "launcher_requests",
            "Requests that are over",
            ("route", "status", "model"),
            registry=registry,
        )
        self._refusals = Counter(
            "launcher_refusals", "Requests that went no further", ("reason",), registry=registry
        )
        self._cut = Counter(
            "launcher_answers_cut", "Answers that broke off", ("model",), registry=registry
        )
        self._running = Gauge(
            "launcher_requests_running", "Requests that are being answered", registry=registry
        )
        self._prompt = Counter(
            "launcher_prompt_tokens", "Tokens of prompts", ("model",), registry=registry
        )
        self._tokens = Counter(
            "launcher_generated_tokens", "Tokens of answers", ("model",), registry=registry
        )
        self._seconds = _histogram("request_seconds", "From request to end", _SECONDS, registry)
        self._first = _histogram("first_token_seconds", "To the first token", _SECONDS, registry)
        self._speed = _histogram(
            "answer_tokens_per_second", "Speed of an answer once it runs", _SPEEDS, registry
        )

    def opened(self) -> None:
        """A request has come."""
        self._running.inc()

    def closed(self, account: Account, scope: Scope) -> None:
        """A request is over."""
        self._running.dec()
        model = account.model
        self._requests.labels(route_of(scope), str(account.status), model).inc()
        if account.status in _REFUSALS:
            self._refusals.labels(_REFUSALS[account.status]).inc()
        if not model:
            return
        if account.cut:
            self._cut.labels(model).inc()
        self._seconds.labels(model).observe(account.seconds)
        self._prompt.labels(model).inc(account.prompt_tokens)
        self._tokens.labels(model).inc(account.tokens)
        if account.first is not None:
            self._first.labels(model).observe(account.first)
        if account.tokens and account.decode_seconds:
            self._speed.labels(model).observe(account.tokens / account.decode_seconds)

    def page(self) -> bytes:
        """The metrics in Prometheus' text format."""
        return generate_latest(self._registry)


def _histogram(
    name: str, about: str, buckets: tuple[float, ...], registry: CollectorRegistry
) -> Histogram:
    return Histogram(f"launcher_{name}", about, ("model",), buckets=buckets, registry=registry)


def route_of(scope: Scope) -> str:
    """The route that a request took, as it is declared: no client can make up new ones."""
    return str(getattr(scope.get("route"), "path", "other"))


@router.get("/metrics", tags=["Server"], response_class=Response)
async def metrics(request: Request) -> Response:
    """Says how the server does, in Prometheus' text format."""
    counted: Metrics = request.app.state.metrics
    return Response(counted.page(), headers={"Content-Type": CONTENT_TYPE_LATEST})
