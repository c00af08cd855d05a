"""CPU of the caller's thread for a price, and for loading the rates."""

from __future__ import annotations

import statistics
import subprocess
import sys
from time import thread_time_ns
from typing import TYPE_CHECKING, Any

from _table import Row

from claudetrace._pricing._engine import price_response
from claudetrace._pricing._terms import Terms
from claudetrace._usage import usage_columns

if TYPE_CHECKING:
    from collections.abc import Callable

    from claudetrace._pricing._bill import Priced

ROUNDS, TIMES, STARTS = 21, 2_000, 7
PLAIN: dict[str, Any] = {
    "input_tokens": 1000,
    "cache_creation_input_tokens": 5000,
    "cache_read_input_tokens": 4000,
    "cache_creation": {"ephemeral_5m_input_tokens": 2000, "ephemeral_1h_input_tokens": 3000},
    "output_tokens": 500,
    "service_tier": "standard",
    "inference_geo": "global",
}
TURN = {"input_tokens": 500, "output_tokens": 250, "cache_read_input_tokens": 0, "cache_creation_input_tokens": 0}
ITERATED = {
    **PLAIN,
    "iterations": [
        {**TURN, "type": "compaction"},
        {**TURN, "type": "message"},
        {**TURN, "type": "advisor_message", "model": "claude-fable-5-2"},
        {**TURN, "type": "message"},
    ],
}
LOAD = """
from time import process_time
import orjson, fractions, hashlib, pathlib
from claudetrace._pricing import _rates
start = process_time()
_rates.book()
print((process_time() - start) * 1e3)
"""


def pricing_rows() -> list[Row]:
    """The figures of pricing."""
    loaded_ms = [
        float(subprocess.run([sys.executable, "-c", LOAD], capture_output=True, text=True, check=True).stdout)
        for _ in range(STARTS)
    ]
    return [
        _price_row("a plain response's price", PLAIN, 8),
        _price_row("a price with iterations", ITERATED, 40),
        Row(what="loading the rates", measured=statistics.median(loaded_ms), unit="ms", limit=10),
    ]


def _price_row(what: str, usage: dict[str, Any], limit: float) -> Row:
    columns, terms = usage_columns(usage), Terms()

    def price(columns: dict[str, Any] = columns) -> Priced:
        return price_response(
            usage,
            columns,
            model="claude-opus-5-5",
            model_requested="claude-opus-5-5",
            stop_reason="end_turn",
            day="2026-11-20",
            terms=terms,
        )

    def from_usage_to_columns() -> None:
        priced = price(usage_columns(usage))
        priced.parts_json()
        priced.flags_json()

    alone, whole = (statistics.median(_us(act) for _ in range(ROUNDS)) for act in (price, from_usage_to_columns))
    beside = f"{whole:.1f} µs with its usage read and its columns written"
    return Row(what=what, measured=alone, unit="µs", limit=limit, beside=beside)


def _us(act: Callable[[], object]) -> float:
    began = thread_time_ns()
    for _ in range(TIMES):
        act()
    return (thread_time_ns() - began) / TIMES / 1e3
