"""A loopback API, a meter and a place where spans arrive."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import anthropic
import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

import claudetrace
from claudetrace._demo._server import PlayServer
from telemetry.receiver import Receiver

from ._places import Place

if TYPE_CHECKING:
    from pathlib import Path

Spans = Callable[[], list[ReadableSpan]]
COST_NAMES = (
    "claudetrace.cost.usd",
    "gen_ai.usage.cost.amount",
    "gen_ai.usage.cost",
    "operation.cost",
    "llm.cost.total",
)
NO_NATIVE = "not available: this version of the SDK makes no spans of its own"


class Rows:
    """A sink that keeps the calls it is given."""

    def __init__(self) -> None:
        self.calls: list[claudetrace.Call] = []

    def write(self, calls: Sequence[claudetrace.Call]) -> None:
        self.calls.extend(calls)

    def close(self) -> None:
        """Keeps them."""


@pytest.fixture(scope="module")
def play() -> Iterator[PlayServer]:
    """One server for all tests of a file."""
    with PlayServer() as playing:
        yield playing


@pytest.fixture(scope="module")
def collector() -> Iterator[Receiver]:
    """One OTLP collector for all tests of a file."""
    with Receiver() as receiving:
        yield receiving


@pytest.fixture
def rows() -> Rows:
    return Rows()


@pytest.fixture
def exporter() -> InMemorySpanExporter:
    return InMemorySpanExporter()


@pytest.fixture
def provider(exporter: InMemorySpanExporter, monkeypatch: pytest.MonkeyPatch) -> TracerProvider:
    """The app's own provider, global for the test: the API lets it be set only once a process."""
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", provider)
    return provider


@pytest.fixture
def spans(exporter: InMemorySpanExporter) -> Spans:
    """The spans that have ended, after whatever the meter still holds."""

    def arrived() -> list[ReadableSpan]:
        assert claudetrace.flush()
        return list(exporter.get_finished_spans())

    return arrived


@pytest.fixture
def meter(tmp_path: Path) -> Iterator[claudetrace.Instrumentation]:
    with claudetrace.instrument(db=tmp_path / "ledger.db", force=True) as running:
        yield running


@pytest.fixture
def ledger(tmp_path: Path, meter: claudetrace.Instrumentation) -> Callable[[], list[claudetrace.Call]]:
    def calls() -> list[claudetrace.Call]:
        assert meter.flush()
        with claudetrace.Ledger(tmp_path / "ledger.db") as ledger:
            return ledger.calls()

    return calls


@pytest.fixture(params=["native", "own"])
def whose(request: pytest.FixtureRequest) -> str:
    """Whose span a call has: the SDK's or ours."""
    if request.param == "native" and not has_native_spans():
        pytest.skip(NO_NATIVE)
    return str(request.param)


def options_for(whose: str) -> dict[str, Any]:
    """The options of a client whose calls have such spans."""
    return {"open_telemetry": False} if whose == "own" and has_native_spans() else {}


@pytest.fixture
def app(monkeypatch: pytest.MonkeyPatch, collector: Receiver) -> Place:
    """The app's own provider, which stands before the meter begins."""
    place = Place("before", monkeypatch, collector)
    place.begin()
    return place


def has_native_spans() -> bool:
    """Whether this SDK makes spans of its own."""
    return hasattr(anthropic._base_client, "start_api_call_span")


@pytest.fixture
def client(whose: str, server: PlayServer) -> Iterator[anthropic.Anthropic]:
    """A client with the SDK's own spans, and one without."""
    with anthropic.Anthropic(api_key="k", base_url=server.url, max_retries=1, **options_for(whose)) as opened:
        yield opened
