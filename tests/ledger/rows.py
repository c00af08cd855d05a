"""Rows as the recorder makes them, for tests of the ledger."""

from __future__ import annotations

import itertools
import os
import time
from typing import Any

_numbers = itertools.count()


def row(**changes: Any) -> dict[str, Any]:
    """A priced call of a moment in 2026, with `changes`; `None` leaves a column out."""
    id_ = f"{time.time_ns():020d}-{os.getpid()}-{next(_numbers):06d}"
    made = {
        "id": id_,
        "call_id": id_,
        "started_at": "2026-06-15T12:34:56.789Z",
        "duration_ms": 1234.5,
        "source": "anthropic",
        "operation": "messages.create",
        "platform": "anthropic",
        "server_address": "api.anthropic.com",
        "streamed": 0,
        "model_requested": "claude-sonnet-4-5",
        "model": "claude-sonnet-4-5",
        "outcome": "ok",
        "stop_reason": "end_turn",
        "http_status": 200,
        "retries": 0,
        "max_tokens": 1024,
        "request_id": "req_011CSHoEeqs5C35K2UUqR7Fy",
        "message_id": "msg_013Zva2CMHLNnXjNJJKqJ2EF",
        "input_tokens": 1000,
        "output_tokens": 200,
        "service_tier": "standard",
        "usage": '{"input_tokens":1000,"output_tokens":200,"service_tier":"standard"}',
        "usage_is_final": 1,
        "cost_picousd": 6_000_000_000,
        "cost_parts": (
            '[{"name":"input_tokens","model":"claude-sonnet-4-5","quantity":1000,"rate_picousd":3000000,'
            '"picousd":3000000000},{"name":"output_tokens","model":"claude-sonnet-4-5","quantity":200,'
            '"rate_picousd":15000000,"picousd":3000000000}]'
        ),
        "cost_flags": "[]",
        "cache_saved_picousd": 0,
        "rates_version": "2026-06-01",
        "user_id": "u1",
        "feature": "rerank",
        "tags": '{"team":"search"}',
        "service": "tests",
        "instance": "host",
        **changes,
    }
    made.setdefault("call_id", made["id"])
    if "id" in changes and "call_id" not in changes:
        made["call_id"] = changes["id"]
    return {name: value for name, value in made.items() if value is not None}
