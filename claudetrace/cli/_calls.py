"""Single calls as lines of text and as JSON."""

from __future__ import annotations

import json
from dataclasses import asdict
from datetime import datetime
from decimal import Decimal
from fractions import Fraction
from typing import TYPE_CHECKING, Any

from claudetrace._call import RESERVED_TAGS, is_lower_bound
from claudetrace.cli._tables import Column, count_text, fitted, plain, table, usd_text

if TYPE_CHECKING:
    from collections.abc import Iterable

    from claudetrace._call import Call

DIGITS = 6
LONGEST_TAGS = 100
LEAST_WIDTHS = (14, 12, 17, 6, 6, 6, 12, 7)
"""So that lines which come later stand under those before."""
LEFT = (0, 1, 2, 8)
HEADS = {
    "time (UTC)": 0,
    "outcome": 2,
    "model": 1,
    "input": 5,
    "cached": 6,
    "output": 4,
    "cost (USD)": 0,
    "took": 3,
    "tags": 7,
}
"""Each head, and how soon its column is left out where the screen is narrow: the highest first."""


def calls_table(calls: Iterable[Call], *, width: int | None = None) -> str:
    """The calls, a line each, under heads."""
    rows = list(map(_cells, calls))
    if width is None:
        return table([*HEADS], rows, left=LEFT, least_widths=LEAST_WIDTHS)
    columns = [
        Column(head, [row[number] for row in rows], None, drop, left=number in LEFT)
        for number, (head, drop) in enumerate(HEADS.items())
    ]
    return "\n".join(filter(None, fitted(columns, width)))


def call_lines(call: Call, width: int | None = None) -> str:
    """One call, a line for each of its columns that says something."""
    told = {name: value for name, value in call_json(call).items() if name not in {"cost_parts", "usage"} and value}
    lines = [
        f"{name:<27}{plain(value if isinstance(value, str) else json.dumps(value), (width or 227) - 27)}"
        for name, value in told.items()
    ]
    return "\n".join(lines)


def has_lower_bound(call: Call) -> bool:
    """Whether its cost is known and leaves something out."""
    return call.cost_usd is not None and is_lower_bound(call.usage_is_final, call.cost_flags)


def _cells(call: Call) -> list[str]:
    bound = "≥" if has_lower_bound(call) else ""
    return [
        f"{call.started_at:%m-%d %H:%M:%S}",
        plain(call.error_type or call.outcome) if call.outcome == "error" else call.outcome,
        plain(call.model or call.model_requested or call.operation),
        count_text(call.input_tokens),
        count_text(call.cache_read_tokens),
        count_text(call.output_tokens),
        bound + usd_text(call.cost_usd, DIGITS),
        "–" if call.duration_ms is None else f"{call.duration_ms / 1000:.2f} s",
        plain(tags_text(call), LONGEST_TAGS),
    ]


def tags_text(call: Call) -> str:
    """The call's tags as `key=value`, the reserved ones first."""
    named = {tag: getattr(call, column) for tag, column in RESERVED_TAGS.items()}
    return " ".join(f"{key}={value}" for key, value in {**named, **call.tags}.items() if value is not None)


def call_json(call: Call) -> dict[str, Any]:
    """The call's columns as JSON has them; dollars are exact, as text."""
    return {name: _json(value) for name, value in asdict(call).items() if value is not None}


def _json(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    if isinstance(value, Decimal):
        return f"{value:f}"
    if isinstance(value, Fraction):
        return str(value)
    if isinstance(value, dict):
        return {name: _json(each) for name, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_json(each) for each in value]
    return value
