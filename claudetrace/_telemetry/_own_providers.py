"""Our own providers, which export over OTLP where the app has none. This module loads OpenTelemetry's SDK."""

from __future__ import annotations

import math
from collections import deque
from queue import Empty, SimpleQueue
from threading import Event, Thread
from typing import TYPE_CHECKING, Any

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


class _Request(Event):
    """Somebody waits for a delivery that begins after this was made."""

    delivered = False


class Side:
    """Our provider for one signal, and a daemon thread that sends what it makes."""

    signal: str
    provider: Any

    def __init__(self, make: Callable[[], Any], guard: Guard, interval_s: float) -> None:
        self._make = make
        self._guard = guard
        self._interval_s = interval_s
        # A `put` may interrupt another one on the same thread: a dropped stream ends inside a garbage collection.
        self._requests: SimpleQueue[_Request | None] = SimpleQueue()
        self._woken = self._closing = False
        self._exporter: Any = None
        self._open = True
        self._sending = self.lost = 0
        self.said: list[LogRecord] = []
        """The log of the exporter during the present delivery."""

    def unsent(self) -> int:
        """How many spans or exports were lost or are still waiting."""
        return self.lost + self._sending

    def abandon(self) -> None:
        """Accepts and sends nothing more. Takes no lock."""
        self._open = False

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

    def _wake(self) -> None:
        """Has a delivery begin soon. Takes no lock."""
        if not self._woken:
            self._woken = True
            self._requests.put(None)

    def _start(self) -> None:
        self._thread = Thread(target=self._run, name=f"claudetrace-otlp-{self.signal}", daemon=True)
        self._thread.start()

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

    def _deliver(self) -> bool:
        """Whether it sent all that is there. On its thread, as `_finish` at the end."""
        raise NotImplementedError

    def _finish(self) -> None:
        raise NotImplementedError

    def _send(self, batch: Any, count: int, **options: Any) -> bool:
        """Whether the collector has accepted `batch`, which counts as `count`."""
        self._sending = count
        try:
            self._exporter = self._exporter or self._make()
            _otlp.export(self._exporter, batch, self.said, **options)
        except Exception as error:  # noqa: BLE001 - a collector's faults end here
            self.lost += count
            if self._open:
                self._guard.caught(_otlp.SENDING[self.signal], error)
            return False
        finally:
            self._sending = 0
        return True


class SpanExport(Side, SpanProcessor):
    """The private tracer provider. Spans wait here for its thread; if too many wait, the oldest are dropped."""

    signal = "traces"

    def __init__(self, make: Callable[[], Any], guard: Guard, resource: Resource) -> None:
        super().__init__(make, guard, _otlp.number("OTEL_BSP_SCHEDULE_DELAY", 5000) / 1e3)
        most = _otlp.whole("OTEL_BSP_MAX_QUEUE_SIZE", 2048)
        self._at_once = min(_otlp.whole("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", 512), most)
        self._waiting: deque[ReadableSpan] = deque(maxlen=most)
        self.dropped = self._told = 0
        self.provider = TracerProvider(resource=resource, shutdown_on_exit=False)
        self.provider.add_span_processor(self)
        self._start()

    def on_end(self, span: ReadableSpan) -> None:
        """Queues a sampled `span`. On the caller's thread, perhaps inside a garbage collection."""
        if not self._open or span.context is None or not span.context.trace_flags.sampled:
            return
        if len(self._waiting) == self._waiting.maxlen:
            self.dropped += 1
        self._waiting.append(span)
        if len(self._waiting) >= self._at_once:
            self._wake()

    def unsent(self) -> int:
        return super().unsent() + self.dropped + len(self._waiting)

    def abandon(self) -> None:
        super().abandon()
        self._waiting = deque(maxlen=self._waiting.maxlen)

    def _deliver(self) -> bool:
        before = self.lost, self.dropped
        while waiting := self._waiting:
            batch = [waiting.popleft() for _ in range(min(len(waiting), self._at_once))]
            self._send(batch, len(batch))
        if self.dropped > self._told:
            full = OverflowError(f"{self.dropped - self._told} were dropped: more than {self._waiting.maxlen} waited")
            self._guard.caught(_otlp.SENDING[self.signal], full)
            self._told = self.dropped
        return (self.lost, self.dropped) == before

    def _finish(self) -> None:
        if self._exporter is not None:
            with self._guard("close the exporter of spans"):
                self._exporter.shutdown()


class MetricExport(Side, MetricExporter):
    """The private meter provider, and the exporter in it, which reports failures to the guard alone.

    Its thread exports every `OTEL_METRIC_EXPORT_INTERVAL`. The reader has no thread of its own: a fork would start that
    again in the child.
    """

    signal = "metrics"

    def __init__(self, make: Callable[[], Any], guard: Guard, resource: Resource) -> None:
        Side.__init__(self, make, guard, _otlp.number("OTEL_METRIC_EXPORT_INTERVAL", 60_000) / 1e3)
        self._exporter = by = make()
        MetricExporter.__init__(self, by._preferred_temporality, by._preferred_aggregation)  # noqa: SLF001 - the reader reads them
        self._timeout_ms = _otlp.number("OTEL_METRIC_EXPORT_TIMEOUT", 30_000)
        self._reader = PeriodicExportingMetricReader(self, export_interval_millis=math.inf)
        self.provider = MeterProvider([self._reader], resource=resource, shutdown_on_exit=False)
        self._start()

    def _deliver(self) -> bool:
        lost = self.lost
        with self._guard(_otlp.SENDING[self.signal]):
            self._reader.collect(timeout_millis=self._timeout_ms)
            return self.lost == lost
        return False

    def _finish(self) -> None:
        with self._guard("close the exporter of metrics"):
            self.provider.shutdown()

    # Called by the reader.

    def export(self, metrics_data: MetricsData, timeout_millis: float = 10_000, **_: Any) -> MetricExportResult:
        sent = self._open and self._send(metrics_data, 1, timeout_millis=timeout_millis)
        return MetricExportResult.SUCCESS if sent else MetricExportResult.FAILURE

    def force_flush(self, timeout_millis: float = 10_000) -> bool:
        return bool(self._exporter.force_flush(timeout_millis))

    def shutdown(self, timeout_millis: float = 30_000, **_: Any) -> None:
        self._exporter.shutdown(timeout_millis)


SIDES: dict[str, Callable[[Callable[[], Any], Guard, Resource], Side]] = {"traces": SpanExport, "metrics": MetricExport}
