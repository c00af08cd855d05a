"""Whose span a call has by the settings, the providers and what is switched off."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from opentelemetry import context, trace
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from seam.kinds._plays import json_answer

import claudetrace
from claudetrace._demo._server import PlayServer
from telemetry.receiver import Receiver

from ._calls import ASK, Inside, new_client
from ._places import Place, of_sdk, recording_provider
from .conftest import NO_NATIVE, Rows, has_native_spans, options_for

Start = Callable[..., claudetrace.Instrumentation]
needs_native = pytest.mark.skipif(not has_native_spans(), reason=NO_NATIVE)


def call(play: PlayServer, inside: Inside | None = None, **options: Any) -> None:
    """One call of a new client."""
    play.add(json_answer())
    with new_client(play.url, inside, is_async=False, **options) as client:
        client.messages.create(**ASK)


@needs_native
def test_own_spans_where_the_sdk_s_are_sampled_out(play: PlayServer, app: Place, start: Start) -> None:
    """`spans="own"` makes one where the SDK's does not record; the app's span is its parent."""
    start(spans="own")
    silent = recording_provider(InMemorySpanExporter(), sampled_out=True)

    with trace.get_tracer("app").start_as_current_span("request"):
        call(play, Inside(), open_telemetry={"tracer_provider": silent})

    http, own, request = app.spans()
    assert (own.is_ours, own.parent_id) == (True, request.span_id)
    assert http.parent_id == own.span_id
    assert own.attributes["claudetrace.cost.status"] == "priced"
    assert own.attributes["gen_ai.usage.output_tokens"] > 0


@needs_native
def test_a_row_has_no_span_that_is_not_its_call_s(play: PlayServer, start: Start, rows: Rows) -> None:
    """Where nobody takes spans, a row does not claim the span that came from afar with the request around it."""
    start(sinks=[rows])
    afar = trace.SpanContext(1, 2, is_remote=True, trace_flags=trace.TraceFlags(1))

    with trace.use_span(trace.NonRecordingSpan(afar)):
        call(play)

    assert claudetrace.flush()
    (row,) = rows.calls
    assert (row.trace_id, row.span_id) == (None, None)


@needs_native
def test_own_spans_join_the_sdk_s_where_it_records(play: PlayServer, app: Place, start: Start) -> None:
    """`spans="own"` makes no second span."""
    start(spans="own")

    call(play)

    (span,) = app.spans()
    assert (span.is_native, span.attributes["claudetrace.cost.status"]) == (True, "priced")


@needs_native
def test_sampled_out_by_the_client_s_provider_stays_so(play: PlayServer, app: Place, start: Start) -> None:
    """With "auto", a sampler's word holds, although the app's global provider takes spans."""
    start()

    call(play, open_telemetry={"tracer_provider": recording_provider(InMemorySpanExporter(), sampled_out=True)})

    assert app.spans() == []


@needs_native
@pytest.mark.parametrize("has_global", [True, False], ids=["beside a global one", "alone"])
def test_a_client_s_own_provider(
    has_global: bool, play: PlayServer, start: Start, monkeypatch: pytest.MonkeyPatch, collector: Receiver
) -> None:
    """A client with its own provider has its spans there, with cost; nothing is sent elsewhere."""
    place = Place("before" if has_global else "collector", monkeypatch, collector)
    place.begin()
    exporter = InMemorySpanExporter()
    start(**place.settings)

    call(play, open_telemetry={"tracer_provider": recording_provider(exporter)})

    assert place.spans() == []
    (span,) = map(of_sdk, exporter.get_finished_spans())
    assert (span.is_native, span.attributes["claudetrace.cost.status"]) == (True, "priced")


@pytest.mark.parametrize("native", [True, False])
@pytest.mark.parametrize("otlp", [True, False], ids=["collector", "nowhere"])
def test_a_provider_that_does_nothing(
    otlp: bool,
    native: bool,
    play: PlayServer,
    start: Start,
    rows: Rows,
    monkeypatch: pytest.MonkeyPatch,
    collector: Receiver,
) -> None:
    """An app whose provider is a no-op has no spans; with `otlp=` it has ours, and rows in any case."""
    place = Place("collector" if otlp else "none", monkeypatch, collector)
    place.set(trace.NoOpTracerProvider())
    start(sinks=[rows], **place.settings)

    call(play, **({} if native else options_for("own")))

    assert [span.is_ours for span in place.spans()] == [True] * otlp
    assert len(rows.calls) == 1


@pytest.mark.parametrize("spans", ["auto", "own"])
def test_suppressed_instrumentation(spans: str, whose: str, play: PlayServer, app: Place, start: Start) -> None:
    """Where instrumentation is suppressed there is no span of ours; the SDK's own, which is made, has its cost."""
    start(spans=spans)
    token = context.attach(context.set_value(context._SUPPRESS_INSTRUMENTATION_KEY, True))
    try:
        call(play, **options_for(whose))
    finally:
        context.detach(token)

    assert [(span.is_native, span.attributes["claudetrace.cost.status"]) for span in app.spans()] == [
        (True, "priced")
    ] * (whose == "native")


def test_spans_off(whose: str, play: PlayServer, app: Place, start: Start, rows: Rows) -> None:
    """`spans="off"` makes none and leaves the SDK's as it is; the row is written and knows of no span."""
    start(spans="off", sinks=[rows])
    inside = Inside()

    with trace.get_tracer("app").start_as_current_span("request"):
        call(play, inside, **options_for(whose))

    spans = app.spans()
    assert [span for span in spans if span.is_ours] == []
    assert [name for span in spans for name in span.attributes if name.startswith("claudetrace.")] == []
    assert ([row.trace_id for row in rows.calls], len(inside.current)) == ([None], 1)


@pytest.mark.parametrize("otlp", [True, False], ids=["collector", "nowhere"])
def test_an_app_that_sets_its_provider_late(
    otlp: bool,
    whose: str,
    play: PlayServer,
    start: Start,
    monkeypatch: pytest.MonkeyPatch,
    collector: Receiver,
) -> None:
    """A client's calls before that go to the collector, where there is one; those after, to the app, each once."""
    place = Place("collector" if otlp else "none", monkeypatch, collector)
    exporter = InMemorySpanExporter()
    start(**place.settings)
    play.add(json_answer(times=3))

    with new_client(play.url, None, is_async=False, **options_for(whose)) as client:
        client.messages.create(**ASK)
        place.set(recording_provider(exporter))
        client.messages.create(**ASK)
        client.messages.create(**ASK)

    assert [span.is_ours for span in place.spans()] == [True] * otlp
    told = [of_sdk(span) for span in exporter.get_finished_spans()]
    assert [(span.is_native, span.attributes["claudetrace.cost.status"]) for span in told] == [
        (whose == "native", "priced")
    ] * 2


def test_a_client_made_before_the_meter(whose: str, play: PlayServer, app: Place, start: Start) -> None:
    """A client that has called before `instrument()` has its later calls metered, on one span each."""
    play.add(json_answer(times=2))
    with new_client(play.url, None, is_async=False, **options_for(whose)) as client:
        client.messages.create(**ASK)
        start()
        client.messages.create(**ASK)

    spans = app.spans()
    assert [span.attributes.get("claudetrace.cost.status") for span in spans] == [None] * (whose == "native") + [
        "priced"
    ]


def test_both_have_their_span_when_one_of_two_is_native(play: PlayServer, app: Place, start: Start) -> None:
    """Clients with and without the SDK's spans live side by side, and each call has one."""
    start()
    call(play)
    call(play, **options_for("own"))

    assert [span.is_native for span in app.spans()] == [has_native_spans(), False]
