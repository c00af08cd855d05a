"""CPU of the caller's thread added to a call."""

from __future__ import annotations

import gc
import statistics
import tempfile
import time
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

from _table import Row
from _wire import ASK, LARGE, client, supported
from _worker import tracer_provider

import claudetrace

if TYPE_CHECKING:
    from collections.abc import Callable

ROUNDS, CALLS, EVENTS = 21, 100, 1_000
SETTLE_S = 0.02


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
    provider = tracer_provider()
    native = {"open_telemetry": {"tracer_provider": provider}}
    plain, traced = client(open_telemetry=False), client(**native)
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
    if supported(native):
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


def _event_row(plain: Any) -> Row:
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


def _set_global(provider: Any) -> None:
    from opentelemetry import trace

    trace.set_tracer_provider(provider)
