"""CPU of the caller's thread added to a call."""

from __future__ import annotations

import gc
import json
import statistics
import tempfile
import time
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anthropic
from _table import Row
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult

import claudetrace

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

try:
    import httpx2 as http
except ImportError:
    import httpx as http

ROUNDS, CALLS, EVENTS = 21, 100, 1_000
SETTLE_S = 0.02
ASK: dict[str, Any] = {
    "model": "claude-sonnet-5",
    "max_tokens": 1_000,
    "messages": [{"role": "user", "content": "How many rivers flow into the Black Sea?"}],
}
LARGE = {**ASK, "messages": [{"role": "user", "content": "river " * 17_000}]}
USAGE = {
    "input_tokens": 120,
    "cache_creation_input_tokens": 300,
    "cache_read_input_tokens": 2_000,
    "cache_creation": {"ephemeral_5m_input_tokens": 200, "ephemeral_1h_input_tokens": 100},
    "output_tokens": 250,
    "service_tier": "standard",
    "inference_geo": "global",
}
MESSAGE = {
    "id": "msg_01",
    "type": "message",
    "role": "assistant",
    "model": "claude-sonnet-5",
    "content": [{"type": "text", "text": "Many."}],
    "stop_reason": "end_turn",
    "stop_sequence": None,
    "usage": USAGE,
}
HEADERS = {
    "request-id": "req_01",
    "anthropic-organization-id": "org",
    **{
        f"anthropic-ratelimit-{name}-{part}": value
        for name in ("requests", "tokens", "input-tokens", "output-tokens")
        for part, value in (("limit", "4000"), ("remaining", "3999"), ("reset", "2026-11-21T12:00:00Z"))
    },
}
DELTA = {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": " river"}}


def events(deltas: int) -> list[bytes]:
    """A streamed answer, one network chunk an event."""
    told = [
        {"type": "message_start", "message": {**MESSAGE, "content": [], "stop_reason": None}},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
        *[DELTA] * deltas,
        {"type": "content_block_stop", "index": 0},
        {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 250}},
        {"type": "message_stop"},
    ]
    return [f"event: {event['type']}\ndata: {json.dumps(event)}\n\n".encode() for event in told]


class Chunks(http.SyncByteStream):
    """A body that comes in these chunks."""

    def __init__(self, chunks: list[bytes]) -> None:
        self._chunks = chunks

    def __iter__(self) -> Iterator[bytes]:
        yield from self._chunks


class Nowhere(SpanExporter):
    """Takes spans and forgets them."""

    def export(self, spans: Any) -> SpanExportResult:
        return SpanExportResult.SUCCESS


def client(**options: Any) -> anthropic.Anthropic:
    """A client whose requests are answered in this process."""
    body, stream = json.dumps(MESSAGE).encode(), events(EVENTS)

    def answer(request: Any) -> Any:
        if b'"stream":true' in request.content:
            return http.Response(200, headers={**HEADERS, "content-type": "text/event-stream"}, stream=Chunks(stream))
        return http.Response(200, headers={**HEADERS, "content-type": "application/json"}, content=body)

    transport = http.MockTransport(answer)
    return anthropic.Anthropic(api_key="bench", http_client=http.Client(transport=transport), **options)


def cpu_us(call: Callable[[], object], times: int) -> float:
    """CPU of this thread for one `call`, in microseconds."""
    began = time.thread_time_ns()
    for _ in range(times):
        call()
    return (time.thread_time_ns() - began) / times / 1e3


def added_us(
    call: Callable[[], object],
    *,
    times: int = CALLS,
    base: Callable[[], object] | None = None,
    base_metered: bool = False,
    **settings: Any,
) -> tuple[float, float]:
    """The bare cost of `base`, or of `call`, and what the metered `call` costs beyond it: medians of rounds in turn."""
    without: list[float] = []
    beyond: list[float] = []
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(ROUNDS):
            if not base_metered:
                claudetrace.uninstrument()
            without.append(cpu_us(base or call, times))
            claudetrace.instrument(db=Path(folder) / "ledger.db", tags={"team": "bench"}, **settings)
            call()
            # The loader's start is over before the clock runs: what it takes has rows of its own in the table.
            claudetrace.flush()
            time.sleep(SETTLE_S)
            beyond.append(cpu_us(call, times) - without[-1])
            claudetrace.uninstrument()
    return statistics.median(without), statistics.median(beyond)


def call_rows() -> list[Row]:
    """The figures of calls and streams."""
    warnings.simplefilter("ignore")
    gc.collect()
    provider = TracerProvider()
    provider.add_span_processor(BatchSpanProcessor(Nowhere()))
    native = {"open_telemetry": {"tracer_provider": provider}}
    plain, traced = client(**_supported({"open_telemetry": False})), client(**_supported(native))
    rows = [
        _row("ledger only", lambda: plain.messages.create(**ASK), 80, spans="off"),
        _row("ledger only, 100 kB prompt", lambda: plain.messages.create(**LARGE), 80, spans="off"),
        _row(
            "ledger and a budget that blocks",
            lambda: plain.messages.create(**ASK),
            400,
            spans="off",
            budgets=[claudetrace.Budget("bench", usd=10**6, on_exceeded="block")],
        ),
    ]
    if _supported(native):
        own = cpu_us(lambda: traced.messages.create(**ASK), CALLS) - cpu_us(lambda: plain.messages.create(**ASK), CALLS)
        rows.append(Row(what="the SDK's own span, for comparison", measured=own, unit="µs"))
        rows.append(_row("ledger and joined span, over the SDK's own", lambda: traced.messages.create(**ASK), 80))
    _set_global(provider)
    rows.append(_row("ledger and own span", lambda: plain.messages.create(**ASK), 220))
    rows.append(_event_row(plain))
    claudetrace.uninstrument()
    return rows


def _row(what: str, call: Callable[[], object], limit: float, **settings: Any) -> Row:
    bare, beyond = added_us(call, **settings)
    return Row(what=what, measured=beyond, unit="µs", limit=limit, beside=f"bare {bare:,.0f} µs")


def _event_row(plain: anthropic.Anthropic) -> Row:
    def stream() -> None:
        for _ in plain.messages.create(**ASK, stream=True):
            pass

    bare, beyond = added_us(stream, times=2, spans="off")
    return Row(
        what="a streamed event",
        measured=beyond / EVENTS,
        unit="µs",
        limit=1,
        beside=f"bare {bare / EVENTS:,.1f} µs",
    )


def _supported(options: dict[str, Any]) -> dict[str, Any]:
    """`options`, or none of them where this SDK has no spans of its own."""
    try:
        client_type = anthropic.Anthropic(api_key="bench", **options)
    except TypeError:
        return {}
    client_type.close()
    return options


def _set_global(provider: TracerProvider) -> None:
    from opentelemetry import trace

    trace.set_tracer_provider(provider)
