"""Rows of calls, as a program on some host has them in its ledger: with whole costs, written by hand."""

from __future__ import annotations

from itertools import count
from typing import Any

from telemetry._records import row as unpriced

_numbers = count(1)


def row(**changes: Any) -> dict[str, Any]:
    """A priced call. Its cost is its number of output tokens times 15 dollars a million."""
    tokens = changes.get("output_tokens", next(_numbers))
    picousd = tokens * 15_000_000
    made = {
        "output_tokens": tokens,
        "usage": f'{{"input_tokens":0,"output_tokens":{tokens}}}',
        "cost_picousd": picousd,
        "cost_parts": f'[{{"name":"output_tokens","model":"claude-sonnet-4-5","quantity":{tokens},'
        f'"rate_picousd":15000000,"picousd":{picousd}}}]',
        "cost_flags": "[]",
        "pricing_terms": '{"platform":"anthropic"}',
        "rates_version": "2026-11-21-b585a19b",
        "service": "desk",
    }
    return unpriced(**made | changes)
