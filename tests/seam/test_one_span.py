"""A call of several responses is one span, which has the cost of all of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import anthropic
import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from claudetrace._demo._server import PlayServer

from .kinds._kit import ASK
from .kinds._middleware import KINDS, has_middleware

if TYPE_CHECKING:
    from collections.abc import Iterator

SEVERAL = [kind for kind in KINDS if len(kind.rows) == 2 and kind.rows[0]["call"] == kind.rows[1]["call"]]


@pytest.fixture
def exporter(monkeypatch: pytest.MonkeyPatch) -> Iterator[InMemorySpanExporter]:
    """Takes the spans of the app's provider."""
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", provider)
    yield exporter
    provider.shutdown()


@pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])
@pytest.mark.parametrize("native", ["true", "false"], ids=["the SDK's span", "a span of ours"])
@pytest.mark.parametrize("kind", SEVERAL, ids=[kind.name for kind in SEVERAL])
def test_several_responses_are_one_span(
    kind: Any, native: str, is_async: bool, exporter: Any, meter: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two responses of one call leave two rows and one span, whose cost is the sum of both."""
    if not kind.needs():
        pytest.skip("not available: this version of the SDK has no such call")
    monkeypatch.setenv("ANTHROPIC_OPEN_TELEMETRY", native)
    with PlayServer(*kind.plays()) as server:
        kind.run(server, is_async=is_async)

    calls = meter.calls()
    (span,) = exporter.get_finished_spans()
    assert {(call.trace_id, call.span_id) for call in calls} == {
        (f"{span.context.trace_id:032x}", f"{span.context.span_id:016x}")
    }
    assert span.attributes["claudetrace.cost.usd"] == float(sum(call.cost_usd for call in calls))
    assert len(calls) == 2


def test_a_middleware_that_answers_itself_has_a_span_without_cost(exporter: Any, meter: Any) -> None:
    """A call that nothing was billed for has its span, and no cost on it."""
    if not has_middleware():
        pytest.skip("not available: this version of the SDK has no middleware")
    message = anthropic.types.Message.model_construct(id="msg_cached")
    with anthropic.Anthropic(
        api_key="key", base_url="http://127.0.0.1:9", middleware=[lambda request, call_next: message]
    ) as client:
        assert client.messages.create(**ASK) is message

    (span,) = exporter.get_finished_spans()
    assert "claudetrace.cost.usd" not in span.attributes
    assert meter.calls() == []
