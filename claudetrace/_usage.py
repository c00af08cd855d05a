"""Turns the API's usage object into the ledger's columns, and merges the usage that a stream's events state."""

from __future__ import annotations

from collections.abc import Mapping, MutableSequence, Sequence
from decimal import Decimal
from typing import Any

from claudetrace._text import bounded

LARGEST_COUNT = 2**63 - 1
LARGEST_IN_A_ROW = 10**15
"""Larger counts could make sums overflow 64 bits."""
_LONGEST_NUMBER = 40

COUNTS = (
    ("input_tokens", "input_tokens"),
    ("cache_read_input_tokens", "cache_read_tokens"),
    ("output_tokens", "output_tokens"),
)
NESTED_COUNTS = (
    ("output_tokens_details", "thinking_tokens", "thinking_tokens"),
    ("server_tool_use", "web_search_requests", "web_search_requests"),
)
WRITTEN = "cache_creation_input_tokens"
SPLIT = "cache_creation"
WRITTEN_5M, WRITTEN_1H = "ephemeral_5m_input_tokens", "ephemeral_1h_input_tokens"
WORDS = ("service_tier", "speed", "inference_geo")
_COMPOSITION = frozenset(["input_tokens", "cache_read_input_tokens", WRITTEN, SPLIT])
PROMPT = ("input_tokens", "cache_read_input_tokens", WRITTEN)
_TOP = (*PROMPT, "output_tokens")
_ATTEMPTS = frozenset(["compaction", "fallback_message"])
"""With such an iteration, the counts at the top belong to another attempt than the one that began the stream."""


def usage_columns(usage: Mapping[str, Any] | None) -> dict[str, Any]:
    """The columns that `usage` fills. Never raises.

    A count that is missing, null, negative, too large or not whole fills none.
    """
    columns: dict[str, Any] = {}
    # Check the exact type first: checking the abstract one takes longer than all the rest.
    if type(usage) is not dict and not isinstance(usage, Mapping):
        return columns
    get = usage.get
    for name, column in COUNTS:
        value = get(name)
        if type(value) is int and 0 <= value <= LARGEST_COUNT:
            columns[column] = value
        elif value is not None and (count := count_of(value)) is not None:
            columns[column] = count
    _fill_written(columns, get(WRITTEN), get(SPLIT))
    for outer, name, column in NESTED_COUNTS:
        inner = get(outer)
        if not inner or not (type(inner) is dict or isinstance(inner, Mapping)):
            continue
        if (count := count_of(inner.get(name))) is not None:
            columns[column] = count
    for word in WORDS:
        if value := get(word):
            columns[word] = bounded(value if type(value) is str else str(value))
    return columns


def cache_miss_columns(diagnostics: object) -> dict[str, Any]:
    """The columns that an answer's `diagnostics` fill: why the prompt was not read from the cache. Never raises."""
    reason = diagnostics.get("cache_miss_reason") if isinstance(diagnostics, Mapping) else None
    if not isinstance(reason, Mapping) or not isinstance(kind := reason.get("type"), str):
        return {}
    missed = count_of(reason.get("cache_missed_input_tokens"))
    return {"cache_miss_reason": bounded(kind), "cache_missed_input_tokens": missed}


def row_columns(columns: dict[str, Any]) -> dict[str, Any]:
    """`columns` without the counts that are too large for a row. The stored usage keeps them."""
    for value in columns.values():
        if type(value) is int and value > LARGEST_IN_A_ROW:
            return {name: each for name, each in columns.items() if type(each) is not int or each <= LARGEST_IN_A_ROW}
    return columns


def _fill_written(columns: dict[str, Any], written: object, split: object) -> None:
    """Fills in the tokens written to the cache: the counts of the split, and the rest of the total.

    The rest is of five minutes, the default: the last total of a stream has no split. If the split is larger than the
    total, the split counts, unless exactly the difference was read from the cache: then it is an outdated split.
    """
    total = count_of(written)
    short, hour = split_counts(split)
    if total is not None:
        lacking = (short or 0) + (hour or 0) - total
        if lacking > 0 and lacking == columns.get("cache_read_tokens"):
            short, hour = total, None if hour is None else 0
        else:
            short = max(short or 0, total - (hour or 0))
    if short is not None:
        columns["cache_write_5m_tokens"] = short
    if hour is not None:
        columns["cache_write_1h_tokens"] = hour


def split_counts(split: object) -> tuple[int | None, int | None]:
    """The tokens in `cache_creation` that were written for five minutes, and for an hour."""
    if type(split) is dict or isinstance(split, Mapping):
        return count_of(split.get(WRITTEN_5M)), count_of(split.get(WRITTEN_1H))
    return None, None


def count_of(value: object) -> int | None:
    """`value` as a count that SQLite can hold, also from a float or text; `None` for what is no whole count."""
    if type(value) is int:
        return value if 0 <= value <= LARGEST_COUNT else None
    if value is None or isinstance(value, bool) or not isinstance(value, int | float | str | Decimal):
        return None
    if isinstance(value, str) and len(value) > _LONGEST_NUMBER:
        return None
    try:
        number = Decimal(value)
        count = int(number) if 0 <= number <= LARGEST_COUNT else None
    except (ArithmeticError, ValueError):
        return None
    return count if count == number else None


def merged_usage(
    start: Mapping[str, Any] | None, delta: Mapping[str, Any], contradictions: MutableSequence[str] | None = None
) -> dict[str, Any]:
    """The usage of a stream after another event. Names with contradictory values are added to `contradictions`.

    Counts are running totals, not increments: the last one wins, and what it leaves out stays. docs/pricing.md has the
    rule for counts that fall.
    """
    usage = dict(start or {})
    for name, value in delta.items():
        old = usage.get(name)
        if value is None or value == old:
            usage.setdefault(name, value)
        elif (old is None and name not in _COMPOSITION) or (
            name == "output_tokens" and type(value) is type(old) is int and value > old
        ):
            usage[name] = value
        else:
            return _merged(start or {}, delta, [] if contradictions is None else contradictions)
    return usage


def _merged(start: Mapping[str, Any], delta: Mapping[str, Any], told: MutableSequence[str]) -> dict[str, Any]:
    """Like `merged_usage`, where more than the output has changed."""
    usage = dict(start)
    fresh = _is_of_another_attempt(delta)
    gains = _gains([start.get(name) for name in PROMPT], [delta.get(name) for name in PROMPT])
    for name, value in delta.items():
        old = start.get(name)
        if name == "iterations" and isinstance(old, list) and isinstance(value, list):
            usage[name] = _merged_iterations(old, value, told)
        elif name != SPLIT:
            gained = LARGEST_COUNT if fresh else sum(gains) if name in PROMPT else 0
            usage[name], falls = _later(old, value, gained)
            if (falls and not (fresh and name in _TOP)) or (name in WORDS and old and usage[name] != old):
                told.append(name)
    for name in PROMPT:
        # Another class has gained exactly these tokens: they moved there.
        if delta.get(name) is None and count_of(start.get(name)) in gains:
            usage[name] = 0
            told.append(name)
    if _merge_split(usage, start, delta) and not fresh:
        told.append(SPLIT)
    return usage


def _merge_split(usage: dict[str, Any], start: Mapping[str, Any], delta: Mapping[str, Any]) -> bool:
    """Puts the split into `usage`, which has its total already. Whether the later event contradicts the earlier one."""
    old, new, total = start.get(SPLIT), delta.get(SPLIT), count_of(usage.get(WRITTEN))
    if total is not None and usage.get(WRITTEN) != start.get(WRITTEN) and total < _written_tokens(start):
        usage[SPLIT] = new
        return True
    if new is None:
        return False
    usage[SPLIT], falls = _later(old, new, sum(_gains(split_counts(old), split_counts(new))))
    if total is not None and _sum_of(usage[SPLIT]) > total >= _sum_of(new) > 0:
        # The later split already contains what it does not list.
        usage[SPLIT] = new
        return True
    return falls


def _sum_of(split: object) -> int:
    return sum(count or 0 for count in split_counts(split))


def _later(old: Any, new: Any, gained: int) -> tuple[Any, bool]:
    """Which of two values of one name holds, and whether the later one contradicts the earlier one.

    A count falls to zero only if others have `gained` about as much: a lone zero means that nothing was stated.
    """
    if new is None or old is None:
        return (old if new is None else new), False
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        each = {name: _later(old.get(name), value, gained) for name, value in new.items()}
        return {**old, **{name: value for name, (value, _) in each.items()}}, any(falls for _, falls in each.values())
    before, after = count_of(old), count_of(new)
    if before is None:
        return (old, bool(new)) if isinstance(old, Mapping | list) or not new else (new, False)
    if after is None or (after == 0 and 2 * gained < before):
        return old, before > 0 or after is None
    return new, after < before


def _gains(old: Sequence[object], new: Sequence[object]) -> list[int]:
    """By how much each count that has grown has grown."""
    changes = ((count_of(after) or 0) - (count_of(before) or 0) for before, after in zip(old, new, strict=True))
    return [change for change in changes if change > 0]


def _written_tokens(usage: Mapping[str, Any]) -> int:
    columns = usage_columns(usage)
    return (columns.get("cache_write_5m_tokens") or 0) + (columns.get("cache_write_1h_tokens") or 0)


def _is_of_another_attempt(delta: Mapping[str, Any]) -> bool:
    """Whether the counts at the top belong to another attempt than the one that began the stream."""
    iterations = delta.get("iterations")
    if not isinstance(iterations, list) or not any(count_of(delta.get(name)) for name in PROMPT):
        return False
    return any(isinstance(entry, Mapping) and entry.get("type") in _ATTEMPTS for entry in iterations)


def _merged_iterations(old: list[Any], new: list[Any], told: MutableSequence[str]) -> list[Any]:
    """`new`, with the entries of `old` that it leaves out; an entry in both is merged."""
    merged: list[Any] = []
    rest = old
    for entry in new:
        at = next((at for at, each in enumerate(rest) if _is_same_entry(each, entry)), None)
        if at is None:
            merged.append(entry)
        else:
            merged += [*rest[:at], merged_usage(rest[at], entry, told)]
            rest = rest[at + 1 :]
    return [*merged, *rest]


def _is_same_entry(old: Any, new: Any) -> bool:
    if not (isinstance(old, Mapping) and isinstance(new, Mapping)) or old.get("type") != new.get("type"):
        return False
    models = {old.get("model"), new.get("model")} - {None}
    return len(models) <= 1
