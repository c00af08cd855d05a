"""Our own providers, which export over OTLP where the app has none. This module loads OpenTelemetry's SDK."""

from __future__ import annotations

import math
from collections import deque
from queue import Empty, SimpleQueue
from threading import Event, Thread
from typing import TYPE_CHECKING, Any, Protocol

from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import MetricExporter, MetricExportResult, PeriodicExportingMetricReader
from opentelemetry.sdk.trace import ReadableSpan, SpanLimits, SpanProcessor, TracerProvider

from claudetrace._clock import monotonic
from claudetrace._telemetry import _otlp

if TYPE_CHECKING:
    from collections.abc import Callable
    from logging import LogRecord

    from opentelemetry.sdk.metrics.export import MetricsData
    from opentelemetry.sdk.resources import Resource

    from claudetrace._guard import Guard


def check() -> None:
    """Raises `ValueError` for impossible limits of spans in the standard variables."""
    SpanLimits()


class Side(Protocol):
    """Our provider for one signal, with the thread that sends what it makes."""

    provider: Any
    thread: DeliveryThread
    said: list[LogRecord]
    """The log of its exporter during the present delivery."""

    def unsent(self) -> int:
        """How many spans or exports were lost or are still waiting."""

    def abandon(self) -> None:
        """Accepts and sends nothing more. Takes no lock."""


class SpanExport(SpanProcessor):
    """The private tracer provider. Spans wait here for its thread; if too many wait, the oldest are dropped."""

    def __init__(self, make: Callable[[], Any], guard: Guard, resource: Resource) -> None:
        self._make = make
        self._guard = guard
        self._exporter: Any = None
        most = _otlp.whole("OTEL_BSP_MAX_QUEUE_SIZE", 2048)
        self._at_once = min(_otlp.whole("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", 512), most)
        self._waiting: deque[ReadableSpan] = deque(maxlen=most)
        self._sending = 0
        self._open = True
        self.lost = self.dropped = self._told = 0
        self.said: list[LogRecord] = []
        self.provider = TracerProvider(resource=resource, shutdown_on_exit=False)
        self.provider.add_span_processor(self)
        self.thread = DeliveryThread(
            "claudetrace-otlp-spans", _otlp.number("OTEL_BSP_SCHEDULE_DELAY", 5000) / 1e3, self._deliver, self._finish
        )

    def on_end(self, span: ReadableSpan) -> None:
        """Queues a sampled `span`. On the caller's thread, perhaps inside a garbage collection."""
        if not self._open or span.context is None or not span.context.trace_flags.sampled:
            return
        if len(self._waiting) == self._waiting.maxlen:
            self.dropped += 1
        self._waiting.append(span)
        if len(self._waiting) >= self._at_once:
            self.thread.wake()

    def unsent(self) -> int:
        return self.lost + self.dropped + self._sending + len(self._waiting)

    def abandon(self) -> None:
        self._open = False
        self._waiting = deque(maxlen=self._waiting.maxlen)

    def _deliver(self) -> bool:
        before = self.lost, self.dropped
        while waiting := self._waiting:
            batch = [waiting.popleft() for _ in range(min(len(waiting), self._at_once))]
            self._sending = len(batch)
            try:
                self._exporter = self._exporter or self._make()
                _otlp.export(self._exporter, batch, self.said)
            except Exception as error:  # noqa: BLE001 - a collector's faults end here
                self.lost += getattr(error, "rejected", 0) or len(batch)
                if self._open:
                    self._guard.caught(_otlp.SENDING["traces"], error)
            self._sending = 0
        if self.dropped > self._told:
            full = OverflowError(f"{self.dropped - self._told} were dropped: more than {self._waiting.maxlen} waited")
            self._guard.caught(_otlp.SENDING["traces"], full)
            self._told = self.dropped
        return (self.lost, self.dropped) == before

    def _finish(self) -> None:
        if self._exporter is not None:
            with self._guard("close the exporter of spans"):
                self._exporter.shutdown()


class MetricExport(MetricExporter):
    """The private meter provider, and the exporter in it, which reports failures to the guard alone.

    Its thread exports every `OTEL_METRIC_EXPORT_INTERVAL`. The reader has no thread of its own: a fork would start that
    again in the child.
    """

    def __init__(self, make: Callable[[], Any], guard: Guard, resource: Resource) -> None:
        self._by = make()
        super().__init__(self._by._preferred_temporality, self._by._preferred_aggregation)  # noqa: SLF001 - the reader reads them
        self._guard = guard
        self._open = True
        self.lost = self._sending = 0
        self.said: list[LogRecord] = []
        self._timeout_ms = _otlp.number("OTEL_METRIC_EXPORT_TIMEOUT", 30_000)
        self._reader = PeriodicExportingMetricReader(self, export_interval_millis=math.inf)
        self.provider = MeterProvider([self._reader], resource=resource, shutdown_on_exit=False)
        interval_s = _otlp.number("OTEL_METRIC_EXPORT_INTERVAL", 60_000) / 1e3
        self.thread = DeliveryThread("claudetrace-otlp-metrics", interval_s, self._deliver, self._finish)

    def unsent(self) -> int:
        return self.lost + self._sending

    def abandon(self) -> None:
        self._open = False

    def _deliver(self) -> bool:
        lost = self.lost
        with self._guard(_otlp.SENDING["metrics"]):
            self._reader.collect(timeout_millis=self._timeout_ms)
            return self.lost == lost
        return False

    def _finish(self) -> None:
        with self._guard("close the exporter of metrics"):
            self.provider.shutdown()

    # Called by the reader.

    def export(self, metrics_data: MetricsData, timeout_millis: float = 10_000, **_: Any) -> MetricExportResult:
        if not self._open:
            return MetricExportResult.FAILURE
        self._sending = 1
        try:
            _otlp.export(self._by, metrics_data, self.said, timeout_millis=timeout_millis)
        except Exception as error:  # noqa: BLE001 - a collector's faults end here
            self.lost += 1
            if self._open:
                self._guard.caught(_otlp.SENDING["metrics"], error)
            return MetricExportResult.FAILURE
        finally:
            self._sending = 0
        return MetricExportResult.SUCCESS

    def force_flush(self, timeout_millis: float = 10_000) -> bool:
        return bool(self._by.force_flush(timeout_millis))

    def shutdown(self, timeout_millis: float = 30_000, **_: Any) -> None:
        self._by.shutdown(timeout_millis)


SIDES: dict[str, Callable[[Callable[[], Any], Guard, Resource], Side]] = {"traces": SpanExport, "metrics": MetricExport}


class _Request(Event):
    """Somebody waits for a delivery that begins after this was made."""

    delivered = False


class DeliveryThread:
    """Calls `deliver`, which returns whether all was sent, on its own daemon thread; at the end calls `finish`."""

    def __init__(self, name: str, interval_s: float, deliver: Callable[[], bool], finish: Callable[[], object]) -> None:
        self._interval_s = interval_s
        self._deliver = deliver
        self._finish = finish
        # A `put` may interrupt another one on the same thread: a dropped stream ends inside a garbage collection.
        self._requests: SimpleQueue[_Request | None] = SimpleQueue()
        self._woken = False
        self._closing = False
        self._thread = Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def wake(self) -> None:
        """Has a delivery begin soon. Takes no lock."""
        if not self._woken:
            self._woken = True
            self._requests.put(None)

    def flush(self, timeout_s: float) -> bool:
        """Begins a delivery. Whether it sent everything within `timeout_s`."""
        request = _Request()
        self._requests.put(request)
        return request.wait(timeout_s) and request.delivered

    def close(self) -> None:
        """Begins the last delivery. Does not wait for it."""
        self._closing = True
        self._requests.put(None)

    def ended(self, timeout_s: float) -> bool:
        """Whether the last delivery is over. Blocks at most `timeout_s`."""
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _run(self) -> None:
        from opentelemetry import context

        # The exporter's own requests are no calls of the user's: other instrumentations must not trace them.
        suppressed = context._SUPPRESS_INSTRUMENTATION_KEY  # noqa: SLF001 - the SDK's own processors use it
        context.attach(context.set_value(suppressed, True))
        due = monotonic() + self._interval_s
        closing = False
        while not closing:
            try:
                request = self._requests.get(timeout=max(0.0, due - monotonic()))
            except Empty:
                request = None
                due = monotonic() + self._interval_s
            self._woken = False
            closing = self._closing
            delivered = self._deliver()
            if request is not None:
                request.delivered = delivered
                request.set()
        self._finish()
