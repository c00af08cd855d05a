"""What of a usage object cannot be priced, or cannot be believed: told by the flags of its price."""

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
"""What is read elsewhere, and what servers add that counts the same tokens under other names."""
KNOWN = _COUNTS | _ELSEWHERE | _NESTED.keys() | frozenset(name for names in _NESTED.values() for name in names)
"""Every name in a usage object that means something here."""
_UNITS = frozenset(
    [
        *("tokens", "requests", "calls", "uses", "runs", "searches", "fetches", "executions", "sessions"),
        *("seconds", "minutes", "hours", "images", "pages"),
    ]
)
"""The last word of a name that counts something."""


def doubts_of(usage: Mapping[str, Any], columns: Mapping[str, Any], *, final: bool = True) -> tuple[str, ...]:
    """The flags that `usage`, which fills `columns`, brings to a price. Never raises.

    Where it is not `final`, the output's count may be the placeholder that a stream begins with.
    """
    flags: tuple[str, ...] = ()
    listed = isinstance(usage.get("iterations") or [], list)
    if not listed or (not _is_plain(usage) and (has_unreadable(usage) or _has_unknown(usage))):
        flags = ("unpriced_component",)
    return ("contradictory_usage", *flags) if _contradicts_itself(usage, columns, final) else flags


def tells_counts(columns: Mapping[str, Any]) -> bool:
    """Whether these columns of a usage say what was used: a count above 0, or both the input's and the output's."""
    get = columns.get
    return (get("input_tokens") is not None and get("output_tokens") is not None) or any(map(get, BILLED))


def has_unreadable(usage: Mapping[str, Any]) -> bool:
    """Whether a count of `usage` is there and is none: text, a part of a token, negative, or too large."""
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
    """Whether every count is known and an integer, as the API has them: asked first, since it is quickly told."""
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
    """Whether `usage` counts what is not known here, such as a new class of tokens or a new tool of the server's."""
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
    """Whether `value` is a count by its name, or holds one: any but 0. `among_counts`, every number is one."""
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
