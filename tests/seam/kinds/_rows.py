"""The rows that the kinds expect, and the messages that the server plays."""

from __future__ import annotations

from typing import Any

from claudetrace._demo import _wire

MODEL = "claude-sonnet-4-6"
"""One that no version of the SDK warns about."""

COUNTS = _wire.usage(
    120,
    17,
    cache_read=2000,
    write_5m=60,
    write_1h=40,
    output_tokens_details={"thinking_tokens": 5},
    server_tool_use={"web_search_requests": 2, "web_fetch_requests": 0},
    inference_geo="not_available",
)
"""A usage in which every count has a value of its own."""

MESSAGE = _wire.message("Hello to you.", COUNTS, message_id="msg_seam_1", model=MODEL)

COLUMNS: dict[str, Any] = {
    "input_tokens": 120,
    "cache_read_tokens": 2000,
    "cache_write_5m_tokens": 60,
    "cache_write_1h_tokens": 40,
    "output_tokens": 17,
    "thinking_tokens": 5,
    "web_search_requests": 2,
    "service_tier": "standard",
    "inference_geo": "not_available",
}
"""What the ledger makes of `COUNTS`."""

STARTED: dict[str, Any] = {**COLUMNS, "output_tokens": 1}
"""What it makes of a stream's `message_start` alone."""

TOLD: dict[str, Any] = {
    "request_id": "req_seam_1",
    "organization_id": "org_seam",
    "workspace_id": "wrkspc_seam",
    "rate_limit_headroom": 0.25,
    "rate_limit": "input-tokens",
}
"""What it makes of the headers of every answer."""

CALL: dict[str, Any] = {
    "source": "anthropic",
    "billing": "api",
    "operation": "messages.create",
    "platform": "anthropic",
    "server_address": "127.0.0.1",
    "streamed": False,
    "model_requested": MODEL,
    "max_tokens": 64,
    "message_count": 1,
    "image_count": 0,
    "document_count": 0,
    "retries": 0,
    "call": 1,
}
"""What every call of `ASK` says of itself, before anything is answered."""

ANSWERED: dict[str, Any] = {
    **CALL,
    "outcome": "ok",
    "http_status": 200,
    "usage_is_final": True,
    "model": MODEL,
    "message_id": "msg_seam_1",
    "stop_reason": "end_turn",
    "tool_calls": 0,
    "cost_flags": (),
    "usage": COUNTS,
    **COLUMNS,
    **TOLD,
}
"""The row of `MESSAGE`."""

STREAMED: dict[str, Any] = {**ANSWERED, "streamed": True}


def without(row: dict[str, Any], *names: str, **changed: Any) -> dict[str, Any]:
    """`row` without some of its columns, and with others changed."""
    return {name: value for name, value in row.items() if name not in names} | changed


BROKEN: dict[str, Any] = without(
    STREAMED,
    "stop_reason",
    outcome="cancelled",
    usage_is_final=False,
    cost_flags=("partial_usage",),
    usage={**COUNTS, "output_tokens": 1},
    **STARTED,
)
"""The row of a stream of `MESSAGE` that the caller left after its first events."""

UNREAD: dict[str, Any] = without(
    STREAMED,
    *COLUMNS,
    *("usage", "model", "message_id", "stop_reason", "tool_calls"),
    outcome="cancelled",
    usage_is_final=False,
    cost_flags=("no_usage",),
)
"""The row of a stream that the caller left before its first event."""


def failed(error_type: str, status: int | None, **changed: Any) -> dict[str, Any]:
    """The row of a call that failed."""
    row = {**CALL, "outcome": "error", "error_type": error_type}
    if status is None:
        return {**row, "usage_is_final": False, "cost_flags": ("no_usage",), **changed}
    return {**row, **TOLD, "http_status": status, "usage_is_final": True, "cost_flags": (), **changed}
