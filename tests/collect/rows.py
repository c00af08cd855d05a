"""Rows of calls, as a program on some host has them in its ledger: with whole costs, written by hand."""

from __future__ import annotations

import time
from itertools import count
from typing import Any

from claudetrace._ids import uuid7

_numbers = count(1)


def row(**changes: Any) -> dict[str, Any]:
    """A priced call. Its cost is its number of output tokens times 15 dollars a million."""
    id_ = uuid7(time.time_ns())
    tokens = changes.get("output_tokens", next(_numbers))
    picousd = tokens * 15_000_000
    made = {
        "id": id_,
        "call_id": id_,
        "started_at": "2026-06-15T12:34:56.789Z",
        "duration_ms": 1234.5,
        "source": "anthropic",
        "billing": "api",
        "operation": "messages.create",
        "platform": "anthropic",
        "server_address": "api.anthropic.com",
        "streamed": 0,
        "model_requested": "claude-sonnet-4-5",
        "model": "claude-sonnet-4-5",
        "outcome": "ok",
        "http_status": 200,
        "output_tokens": tokens,
        "usage": f'{{"input_tokens":0,"output_tokens":{tokens}}}',
        "usage_is_final": 1,
        "cost_picousd": picousd,
        "cost_parts": f'[{{"name":"output_tokens","model":"claude-sonnet-4-5","quantity":{tokens},'
        f'"rate_picousd":15000000,"picousd":{picousd}}}]',
        "cost_flags": "[]",
        "pricing_terms": '{"platform":"anthropic"}',
        "rates_version": "2026-11-21-b585a19b",
        "user_id": "u1",
        "tags": '{"team":"search"}',
        "service": "desk",
        "environment": "staging",
        "instance": "host",
    }
    return made | changes
