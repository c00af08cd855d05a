"""Finds what in a usage object cannot be priced or believed; the flags of its price say so."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from claudetrace._call import PROMPT_TOKENS
from claudetrace._usage import (
    LARGEST_COUNT,
    PROMPT,
    SPLIT,
    WORDS,
    WRITTEN,
    WRITTEN_1H,
    WRITTEN_5M,
    count_of,
    split_counts,
)

BILLED = (*PROMPT_TOKENS, "output_tokens", "web_search_requests")
"""The columns that have a price."""
_COUNTS = frozenset([*PROMPT, "output_tokens"])
_NESTED = {
    SPLIT: frozenset([WRITTEN_5M, WRITTEN_1H]),
    "server_tool_use": frozenset(["web_search_requests", "web_fetch_requests", "code_execution_requests"]),
    "output_tokens_details": frozenset(["thinking_tokens"]),
}
"""The counts of each object."""
_ELSEWHERE = frozenset(
    [
        *WORDS,
        *("iterations", "fallback_credit", "type", "model", "active_seconds", "list_cost"),
        *("total_tokens", "prompt_tokens", "completion_tokens", "prompt_tokens_details", "completion_tokens_details"),
    ]
)
"""Names that are read elsewhere, and names under which servers count the same tokens again."""
KNOWN = _COUNTS | _ELSEWHERE | _NESTED.keys() | frozenset(name for names in _NESTED.values() for name in names)
"""Every known name in a usage object."""
_UNITS = frozenset(
    [
        *("tokens", "requests", "calls", "uses", "runs", "searches", "fetches", "executions", "sessions"),
        *("seconds", "minutes", "hours", "images", "pages"),
    ]
)
"""A name that ends in one of these words counts something."""


def doubts_of(usage: Mapping[str, Any], columns: Mapping[str, Any], *, final: bool = True) -> tuple[str, ...]:
    """The flags that `usage`, which fills `columns`, brings to a price. Never raises.

    If it is not `final`, the output count may be the placeholder with which a stream begins.
    """
    flags: tuple[str, ...] = ()
    listed = isinstance(usage.get("iterations") or [], list)
    if not listed or (not _is_plain(usage) and (has_unreadable(usage) or _has_unknown(usage))):
        flags = ("unpriced_component",)
    return ("contradictory_usage", *flags) if _contradicts_itself(usage, columns, final) else flags


def tells_counts(columns: Mapping[str, Any]) -> bool:
    """Whether these columns say what was used: any count above 0, or both input and output."""
    get = columns.get
    return (get("input_tokens") is not None and get("output_tokens") is not None) or any(map(get, BILLED))


def has_unreadable(usage: Mapping[str, Any]) -> bool:
    """Whether a count in `usage` is invalid: text, a fraction, negative, or too large."""
    for name, value in usage.items():
        if name in _COUNTS:
            if value is not None and count_of(value) is None:
                return True
        elif name in _NESTED and value is not None:
            if not isinstance(value, Mapping):
                return True
            if any(value.get(each) is not None and count_of(value[each]) is None for each in _NESTED[name]):
                return True
    return False


def _is_plain(usage: Mapping[str, Any]) -> bool:
    """Whether every count is known and an integer, as the API sends them. Checked first, because it is quick."""
    for name, value in usage.items():
        if type(value) is int:
            if name not in _COUNTS or not 0 <= value <= LARGEST_COUNT:
                return False
        elif type(value) is dict and name in _NESTED:
            known = _NESTED[name]
            for each, count in value.items():
                if type(count) is not int or not 0 <= count <= LARGEST_COUNT or each not in known:
                    return False
        elif value is not None and name not in _ELSEWHERE:
            return False
    return True


def _has_unknown(usage: Mapping[str, Any]) -> bool:
    """Whether `usage` counts something unknown, such as a new class of tokens or a new server tool."""
    for name, value in usage.items():
        if name in _NESTED:
            if isinstance(value, Mapping) and any(
                each not in _NESTED[name] and _counts(each, count, among_counts=True) for each, count in value.items()
            ):
                return True
        elif name not in _COUNTS and name not in _ELSEWHERE and _counts(name, value):
            return True
    return False


def _counts(name: object, value: object, depth: int = 4, *, among_counts: bool = False) -> bool:
    """Whether `value` is, or contains, a count other than 0, by its name. With `among_counts` every number is one."""
    if isinstance(value, Mapping | list):
        inside = value.items() if isinstance(value, Mapping) else ((name, inner) for inner in value)
        return depth > 0 and any(_counts(each, inner, depth - 1, among_counts=among_counts) for each, inner in inside)
    if value is None or isinstance(value, bool):
        return False
    named = str(name).rpartition("_")[2] in _UNITS
    return (named or (among_counts and not isinstance(value, str))) and count_of(value) != 0


def _contradicts_itself(usage: Mapping[str, Any], columns: Mapping[str, Any], final: bool) -> bool:
    """Whether a part of `usage` is larger than the whole that it is a part of."""
    thinking, output = columns.get("thinking_tokens"), columns.get("output_tokens")
    if final and thinking and output is not None and thinking > output:
        return True
    if not (split := usage.get(SPLIT)) or (total := count_of(usage.get(WRITTEN))) is None:
        return False
    short, hour = split_counts(split)
    return (short or 0) + (hour or 0) > total
