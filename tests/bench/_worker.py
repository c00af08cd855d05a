"""A process that makes calls bare or under one tool, and says what they cost: `_worker.py TOOL`.

It answers each line of its input, `MEASURE NUMBER`, by a line of JSON. CPU is that of the whole process, in
microseconds a call, with what the tool does afterwards until nothing waits any more.
"""

from __future__ import annotations

import gc
import json
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from _wire import ASK, client

if TYPE_CHECKING:
    from collections.abc import Callable

SHORT, LONG = 8, 495
"""Deltas of a stream; five more events are around them."""
CALLS_A_SECOND, CROWD_A_SECOND, THREADS = 20, 900, 16


def _nothing() -> None:
    """Bare, nothing is left to do."""


def tracer_provider() -> Any:
    """A provider whose spans go nowhere, in batches."""
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult

    class Nowhere(SpanExporter):
        def export(self, spans: Any) -> SpanExportResult:
            return SpanExportResult.SUCCESS

    provider = TracerProvider()
    provider.add_span_processor(BatchSpanProcessor(Nowhere()))
    return provider


def _providers() -> tuple[Any, Any]:
    """The application's own, set globally."""
    from opentelemetry import metrics, trace
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.metrics.export import InMemoryMetricReader

    tracers, meters = tracer_provider(), MeterProvider([InMemoryMetricReader()])
    trace.set_tracer_provider(tracers)
    metrics.set_meter_provider(meters)
    return tracers, meters


class Bare:
    """The SDK alone."""

    native: Any = False

    def start(self) -> Callable[[], object]:
        """Makes the tool active; returns what waits for it."""
        return _nothing


class Ledger(Bare):
    """claudetrace with its ledger alone."""

    settings: dict[str, Any] = {"spans": "off", "metrics": False}  # noqa: RUF012 - a table

    def start(self) -> Callable[[], object]:
        import claudetrace

        db = Path(tempfile.mkdtemp(prefix="claudetrace-bench-")) / "ledger.db"
        claudetrace.instrument(db=db, tags={"team": "bench"}, **self.settings)
        return claudetrace.flush


class Own(Ledger):
    """With a span of ours and metrics."""

    settings: dict[str, Any] = {}  # noqa: RUF012 - a table

    def start(self) -> Callable[[], object]:
        tracers, _ = _providers()
        if self.native is not False:
            self.native = {"tracer_provider": tracers}
        return super().start()


class Joined(Own):
    """With the SDK's span and metrics."""

    native = True


class Native(Bare):
    """The SDK with spans of its own."""

    def start(self) -> Callable[[], object]:
        tracers, _ = _providers()
        self.native = {"tracer_provider": tracers}
        return tracers.force_flush  # type: ignore[no-any-return]


class Official(Bare):
    """OpenTelemetry's own instrumentation."""

    def start(self) -> Callable[[], object]:
        from opentelemetry.instrumentation.genai.anthropic import AnthropicInstrumentor

        tracers, meters = _providers()
        AnthropicInstrumentor().instrument(tracer_provider=tracers, meter_provider=meters)
        return tracers.force_flush  # type: ignore[no-any-return]


class OpenInference(Bare):
    """OpenInference's."""

    def start(self) -> Callable[[], object]:
        from openinference.instrumentation.anthropic import AnthropicInstrumentor

        tracers, _ = _providers()
        AnthropicInstrumentor().instrument(tracer_provider=tracers)
        return tracers.force_flush  # type: ignore[no-any-return]


TOOLS = {
    "bare": Bare,
    "ledger": Ledger,
    "own": Own,
    "joined": Joined,
    "sdk": Native,
    "official": Official,
    "openinference": OpenInference,
}


class Measures:
    """What can be measured, a method each: of so many calls, or for so many seconds."""

    def __init__(self, tool: Bare) -> None:
        self._settle = tool.start()
        self._short, self._long = (client(deltas, open_telemetry=tool.native) for deltas in (SHORT, LONG))
        self.create(20)
        self.short(5)

    def create(self, calls: int) -> dict[str, float]:
        """Plain calls, one after the other."""
        return self._cost(lambda: self._short.messages.create(**ASK), calls)

    def short(self, calls: int) -> dict[str, float]:
        """Short streams."""
        return self._cost(lambda: [*self._short.messages.create(**ASK, stream=True)], calls)

    def long(self, calls: int) -> dict[str, float]:
        """Streams of 500 events."""
        return self._cost(lambda: [*self._long.messages.create(**ASK, stream=True)], calls)

    def _cost(self, call: Callable[[], object], calls: int) -> dict[str, float]:
        # A full collection takes as long as ten streams, and comes in one round of five, whatever the tool.
        gc.collect()
        whole, own = time.process_time_ns(), time.thread_time_ns()
        for _ in range(calls):
            call()
        own = time.thread_time_ns() - own
        self._settle()
        return {"all_us": (time.process_time_ns() - whole) / calls / 1e3, "caller_us": own / calls / 1e3}

    def paced(self, seconds: int) -> dict[str, float]:
        """Twenty calls a second: the CPU of all threads but the caller's."""
        whole, own, calls = time.process_time_ns(), time.thread_time_ns(), seconds * CALLS_A_SECOND
        began = time.perf_counter()
        for number in range(calls):
            time.sleep(max(0.0, began + number / CALLS_A_SECOND - time.perf_counter()))
            self._short.messages.create(**ASK)
        own = time.thread_time_ns() - own
        self._settle()
        return {"others_us": (time.process_time_ns() - whole - own) / calls / 1e3}

    def crowd(self, seconds: int) -> dict[str, float]:
        """Many threads that make 900 calls a second together: how long a call takes them."""
        taken_us: list[float] = []
        pause_s, began = THREADS / CROWD_A_SECOND, time.perf_counter()

        def calls(first_s: float) -> None:
            for number in range(int(seconds / pause_s)):
                time.sleep(max(0.0, began + first_s + number * pause_s - time.perf_counter()))
                start = time.perf_counter_ns()
                self._short.messages.create(**ASK)
                taken_us.append((time.perf_counter_ns() - start) / 1e3)

        threads = [threading.Thread(target=calls, args=(pause_s * each / THREADS,)) for each in range(THREADS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self._settle()
        taken_us.sort()
        return {"p99_us": taken_us[int(len(taken_us) * 0.99)], "p50_us": taken_us[len(taken_us) // 2]}

    def idle(self, seconds: int) -> dict[str, float]:
        """No calls: the share of a core."""
        began = time.process_time_ns()
        time.sleep(seconds)
        return {"percent": (time.process_time_ns() - began) / seconds / 1e7}


def main() -> None:
    """Answers what is asked, to the end of the input."""
    measures = Measures(TOOLS[sys.argv[1]]())
    for line in sys.stdin:
        name, number = line.split()
        print(json.dumps(getattr(measures, name)(int(number))), flush=True)


if __name__ == "__main__":
    main()
