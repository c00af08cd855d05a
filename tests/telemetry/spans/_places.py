"""Where spans go: to the app's provider, set before or after the meter began, to a collector, or nowhere."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider, sampling
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

import claudetrace
from telemetry.receiver import Receiver, Span

PLACES = ("before", "after", "collector", "none")
NATIVE_SCOPE = "com.anthropic.sdk.python"


@dataclass(frozen=True, slots=True)
class Seen:
    """A span that has ended and arrived."""

    name: str
    scope: str
    kind: str
    trace_id: str
    span_id: str
    parent_id: str
    failed: bool
    attributes: dict[str, Any]

    @property
    def is_ours(self) -> bool:
        return self.scope == "claudetrace"

    @property
    def is_native(self) -> bool:
        return self.scope.startswith(NATIVE_SCOPE)

    @property
    def of_the_app(self) -> bool:
        return self.scope == "app"


def of_sdk(span: ReadableSpan) -> Seen:
    """A span as the SDK's exporters get it."""
    return Seen(
        name=span.name,
        scope="" if span.instrumentation_scope is None else span.instrumentation_scope.name,
        kind=span.kind.name,
        trace_id=f"{span.context.trace_id:032x}",
        span_id=f"{span.context.span_id:016x}",
        parent_id="" if span.parent is None else f"{span.parent.span_id:016x}",
        failed=span.status.status_code is trace.StatusCode.ERROR,
        attributes=dict(span.attributes or {}),
    )


def of_wire(span: Span) -> Seen:
    """A span as a collector gets it."""
    return Seen(
        name=span.name,
        scope=span.scope.name,
        kind=span.kind.removeprefix("SPAN_KIND_"),
        trace_id=span.trace_id,
        span_id=span.span_id,
        parent_id=span.parent_span_id,
        failed=span.status.endswith("ERROR"),
        attributes=span.attributes,
    )


def recording_provider(exporter: InMemorySpanExporter, *, sampled_out: bool = False) -> TracerProvider:
    """A provider as apps have one."""
    provider = TracerProvider(
        sampler=sampling.ALWAYS_OFF if sampled_out else sampling.DEFAULT_ON, shutdown_on_exit=False
    )
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    return provider


class Place:
    """Takes the spans of one test. `begin` comes before `instrument(**settings)`, `go_on` after it."""

    def __init__(self, when: str, patch: pytest.MonkeyPatch, collector: Receiver, *, sampled_out: bool = False) -> None:
        self.when = when
        self._patch = patch
        self._collector = collector
        self._exporter = InMemorySpanExporter()
        self._provider = recording_provider(self._exporter, sampled_out=sampled_out)
        collector.spans.clear()
        self.set(None)
        if sampled_out:
            # What a provider of ours goes by.
            patch.setenv("OTEL_TRACES_SAMPLER", "always_off")

    @property
    def settings(self) -> dict[str, Any]:
        return {"otlp": self._collector.url} if self.when == "collector" else {}

    def set(self, provider: trace.TracerProvider | None) -> None:
        """Has `provider` be the global one: the API itself lets it be set once a process."""
        self._patch.setattr(trace, "_TRACER_PROVIDER", provider)

    def begin(self) -> None:
        if self.when == "before":
            self.set(self._provider)

    def go_on(self) -> None:
        if self.when == "after":
            self.set(self._provider)

    def spans(self) -> list[Seen]:
        """The spans that have ended, in that order, wherever they went."""
        assert claudetrace.flush(timeout_s=30)
        return [of_sdk(span) for span in self._exporter.get_finished_spans()] + [
            of_wire(span) for span in self._collector.spans
        ]
