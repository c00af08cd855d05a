"""What is added up over calls, each number defined once: in SQL for the views, in Python for the loader."""

from __future__ import annotations

from typing import TYPE_CHECKING

import orjson

from claudetrace._call import RESERVED_TAGS, is_lower_bound, spend_of
from claudetrace._pricing._rates import CACHE_WRITE_PARTS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from claudetrace._call import Row

TOKEN_COLUMNS = (
    "input_tokens",
    "cache_read_tokens",
    "cache_write_5m_tokens",
    "cache_write_1h_tokens",
    "output_tokens",
    "thinking_tokens",
)
ROLLED_UP_COLUMNS = ("user_id", "customer", "prompt")
TAG_COLUMNS = {tag: column for tag, column in RESERVED_TAGS.items() if column in ROLLED_UP_COLUMNS}
"""The reserved tags that `rollup_tag_days` has beside all free ones. `feature` is a key of every rollup;
sessions are too many and are read by their index."""

# A CASE, because SQLite works out both sides of an OR.
FIRST_OF_CALL = """(CASE
            WHEN c.id = c.call_id THEN 1
            ELSE NOT EXISTS (SELECT 1 FROM calls AS o WHERE o.id = c.call_id AND o.rowid < c.rowid)
                AND NOT EXISTS (
                    SELECT 1 FROM calls AS o
                    WHERE o.call_id = c.call_id AND o.id <> o.call_id AND o.rowid < c.rowid
                )
        END)"""

CACHE_WRITES = tuple(name for name in CACHE_WRITE_PARTS if "." not in name)
"""The names without a prefix: a row whose parts have none of them in their text wrote nothing."""
# What costs nothing here is no spend on writes either, whatever its parts say.
CACHE_WRITE_PICOUSD = f"""(CASE
            WHEN COALESCE(c.spend_picousd, 0) = 0 OR c.cost_parts IS NULL THEN 0
            WHEN {" AND ".join(f"INSTR(c.cost_parts, '{name}') = 0" for name in CACHE_WRITES)} THEN 0
            ELSE COALESCE((
                SELECT SUM(part.value ->> 'picousd')
                FROM json_each(c.cost_parts) AS part
                WHERE part.value ->> 'name' IN ({", ".join(f"'{name}'" for name in CACHE_WRITE_PARTS)})
            ), 0)
        END)"""  # noqa: S608 - names of ours


def _counts(names: tuple[str, ...]) -> dict[str, str]:
    return {name: f"COALESCE(c.{name}, 0)" for name in names}


def _money(name: str, sql: str | None = None) -> dict[str, str]:
    """Whole microdollars and what is left of them, rounded down also below zero, because a bare sum of
    picodollars overflows 64 bits at 9.2 million dollars."""
    picousd = sql or f"COALESCE(c.{name}_picousd, 0)"
    rest = f"((({picousd} % 1000000) + 1000000) % 1000000)"
    return {f"{name}_microusd": f"(({picousd} - {rest}) / 1000000)", f"{name}_rest_picousd": rest}


LOWER_BOUND = """(CASE
    WHEN {0}usage_is_final AND COALESCE({0}cost_flags, '[]') = '[]' THEN 0
    ELSE ({0}usage_is_final = 0 AND INSTR(COALESCE({0}cost_flags, ''), '"free_host"') = 0
            AND INSTR(COALESCE({0}cost_flags, ''), '"replayed"') = 0)
        OR INSTR(COALESCE({0}cost_flags, ''), '"retried_after_timeout"') > 0
        OR INSTR(COALESCE({0}cost_flags, ''), '"unpriced_component"') > 0
END)"""
"""`is_lower_bound` in SQL, of the columns behind a prefix."""
OTHER_COUNTS = ("web_search_requests", "tool_calls", "retries")
_BLOCKED = "c.outcome = 'error' AND COALESCE(c.error_type, '') = 'BudgetExceeded'"
MEASURES: Mapping[str, str] = {
    "responses": "1",
    "calls": FIRST_OF_CALL,
    "errors": "(c.outcome = 'error' AND COALESCE(c.error_type, '') <> 'BudgetExceeded')",
    "unpriced_calls": "(c.cost_picousd IS NULL)",
    "lower_bound_calls": f"({LOWER_BOUND.format('c.')} AND c.cost_picousd IS NOT NULL)",
    **_counts(TOKEN_COLUMNS),
    **_counts(OTHER_COUNTS),
    # Whole milliseconds: sums of floats would depend on their order.
    "duration_ms": "CAST(COALESCE(c.duration_ms, 0) + 0.5 AS INTEGER)",
    **_money("spend"),
    **_money("cache_saved"),
    "blocked_calls": f"({_BLOCKED})",
    **_money("cache_write", CACHE_WRITE_PICOUSD),
}
"""Each number that is added up, as SQL over a row `c` of `calls`; `amounts_of` has the same from a `Row`."""
MEASURE_NAMES = tuple(MEASURES)
_COUNTS = (*TOKEN_COLUMNS, *OTHER_COUNTS)
_CACHE_WRITE_PARTS = frozenset(CACHE_WRITE_PARTS)


def amounts_of(row: Row, *, is_first: bool) -> list[int]:
    """What a row adds to each of `MEASURES`, in their order. Whether it is the first of its call is a question to the
    table."""
    get = row.get
    failed, cost, spend = row["outcome"] == "error", get("cost_picousd"), spend_of(row) or 0
    blocked = failed and get("error_type") == "BudgetExceeded"
    return [
        1,
        int(is_first),
        int(failed and not blocked),
        int(cost is None),
        int(is_lower_bound(row["usage_is_final"], get("cost_flags") or "") and cost is not None),
        *[get(name) or 0 for name in _COUNTS],
        int((get("duration_ms") or 0) + 0.5),
        *divmod(spend, 10**6),
        *divmod(get("cache_saved_picousd") or 0, 10**6),
        int(blocked),
        *divmod(_cache_write_picousd(get("cost_parts")) if spend else 0, 10**6),
    ]


def _cache_write_picousd(parts: str | None) -> int:
    if not parts or "cache_write" not in parts:
        return 0
    return sum([part["picousd"] for part in orjson.loads(parts) if part["name"] in _CACHE_WRITE_PARTS])
