"""A loopback API, a meter and a place where spans arrive."""

from __future__ import annotations

import functools
import ssl
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import anthropic
import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from telemetry.receiver import Receiver

import claudetrace
from claudetrace._demo._server import PlayServer

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


class Rows:
    """A sink that keeps the calls it is given."""

    def __init__(self) -> None:
        self.calls: list[claudetrace.Call] = []

    def write(self, calls: Sequence[claudetrace.Call]) -> None:
        self.calls.extend(calls)

    def close(self) -> None:
        """Keeps them."""


@pytest.fixture(autouse=True, scope="session")
def one_set_of_certificates() -> Iterator[None]:
    """Reads the certificates once: each new client would take 30 ms for it, and on loopback none is needed."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ssl, "create_default_context", functools.cache(ssl.create_default_context))
        yield


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


def has_native_spans() -> bool:
    """Whether this SDK makes spans of its own."""
    return hasattr(anthropic._base_client, "start_api_call_span")


@pytest.fixture(params=["native", "own"])
def client(request: pytest.FixtureRequest, server: PlayServer) -> Iterator[anthropic.Anthropic]:
    """A client with the SDK's own spans, and one without."""
    options: dict[str, Any] = {"open_telemetry": request.param == "native"} if has_native_spans() else {}
    if request.param == "native" and not options:
        pytest.skip("this SDK makes no spans of its own")
    if options.get("open_telemetry"):
        options = {}
    with anthropic.Anthropic(api_key="k", base_url=server.url, max_retries=1, **options) as opened:
        yield opened
