"""The API's usage object → the ledger's columns, by a table."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from claudetrace._text import utf8

LARGEST_COUNT = 2**63 - 1

COUNTS = (
    ("input_tokens", "input_tokens"),
    ("cache_read_input_tokens", "cache_read_tokens"),
    ("output_tokens", "output_tokens"),
)
NESTED_COUNTS = (
    ("cache_creation", "ephemeral_1h_input_tokens", "cache_write_1h_tokens"),
    ("output_tokens_details", "thinking_tokens", "thinking_tokens"),
    ("server_tool_use", "web_search_requests", "web_search_requests"),
)
WORDS = ("service_tier", "speed", "inference_geo")


def usage_columns(usage: Mapping[str, Any] | None) -> dict[str, Any]:
    """The columns that `usage` fills, without those it says nothing of. Never raises.

    A count that is missing, null, negative, too large or of another type says nothing.
    """
    columns: dict[str, Any] = {}
    # Asking for the exact type first: the check of the abstract one takes longer than all the rest.
    if type(usage) is not dict and not isinstance(usage, Mapping):
        return columns
    get = usage.get
    for name, column in COUNTS:
        value = get(name)
        if type(value) is int and 0 <= value <= LARGEST_COUNT:
            columns[column] = value
    for outer, name, column in NESTED_COUNTS:
        inner = get(outer)
        if type(inner) is dict or isinstance(inner, Mapping):
            value = inner.get(name)
            if type(value) is int and 0 <= value <= LARGEST_COUNT:
                columns[column] = value
    if (written := cache_write_5m_tokens(usage, columns.get("cache_write_1h_tokens"))) is not None:
        columns["cache_write_5m_tokens"] = written
    for word in WORDS:
        if isinstance(value := get(word), str):
            columns[word] = utf8(value)
    return columns


def cache_write_5m_tokens(usage: Mapping[str, Any], written_1h_tokens: int | None) -> int | None:
    """The tokens written for five minutes: the split's own count, and what the total has beyond the split.

    Five minutes is the default, and a stream's last total comes without a split.
    """
    split = usage.get("cache_creation")
    written = None
    if type(split) is dict or isinstance(split, Mapping):
        written = whole_count(split.get("ephemeral_5m_input_tokens"))
    total = whole_count(usage.get("cache_creation_input_tokens"))
    if total is None:
        return written
    return max(written or 0, total - (written_1h_tokens or 0))


def whole_count(value: object) -> int | None:
    """`value` if it is a count that SQLite can hold."""
    return value if type(value) is int and 0 <= value <= LARGEST_COUNT else None


def merged_usage(start: Mapping[str, Any] | None, delta: Mapping[str, Any]) -> dict[str, Any]:
    """The usage of a stream after another `message_delta`.

    Its counts are running totals, not increments: the last one wins, and what it leaves out stays.
    """
    usage = dict(start or {})
    usage.update((name, value) for name, value in delta.items() if value is not None or name not in usage)
    return usage
