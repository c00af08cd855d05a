"""What is added up over calls, each number defined once, in SQL and in Python for the loader; and the views with it."""

from __future__ import annotations

from operator import mul, sub
from typing import TYPE_CHECKING, Any

import orjson

from claudetrace._call import PROMPT_TOKENS, RESERVED_TAGS, is_lower_bound, is_paid_elsewhere
from claudetrace._ledger._latency import VIEW as MEASURED_LATENCIES
from claudetrace._pricing._rates import CACHE_WRITE_PARTS
from claudetrace._usage import LARGEST_IN_A_ROW

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

    from claudetrace._ledger._latency import Columns

TOKEN_COLUMNS = (*PROMPT_TOKENS, "output_tokens", "thinking_tokens")
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
                SELECT SUM(JSON_EXTRACT(part.value, '$.picousd'))
                FROM json_each(c.cost_parts) AS part
                WHERE JSON_EXTRACT(part.value, '$.name') IN ({", ".join(f"'{name}'" for name in CACHE_WRITE_PARTS)})
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
"""Each number that is added up, as SQL over a row `c` of `calls`; `amounts_of` has the same from columns of rows."""
MEASURE_NAMES = tuple(MEASURES)
_COUNTS = (*TOKEN_COLUMNS, *OTHER_COUNTS)
_CACHE_WRITE_PARTS = frozenset(CACHE_WRITE_PARTS)


def amounts_of(columns: Columns, further_firsts: Collection[str]) -> Iterator[Iterable[int]]:
    """What each row of `columns` adds to each of `MEASURES`, in their order. Whether a row is the first of its call
    without bearing its id is a question to the table, which answered `further_firsts`."""
    ids, nones = columns["id"], (None,) * len(columns["id"])
    flags, costs = columns.get("cost_flags", nones), columns.get("cost_picousd", nones)
    paid = [*zip(columns["usage_is_final"], flags, columns.get("billing", nones), strict=True)]
    # Few are different.
    partly = {each: is_lower_bound(each[0], each[1] or "") for each in {*paid}}
    elsewhere = {each: is_paid_elsewhere(each[1] or "", each[2]) for each in partly}
    spends = [0 if elsewhere[each] else cost for each, cost in zip(paid, costs, strict=True)]
    failed = [int(outcome == "error") for outcome in columns["outcome"]]
    blocked = [*map(mul, failed, [type_ == "BudgetExceeded" for type_ in columns.get("error_type", nones)])]
    yield (1,) * len(ids)
    yield [int(id_ == call_id or id_ in further_firsts) for id_, call_id in zip(ids, columns["call_id"], strict=True)]
    yield map(sub, failed, blocked)
    yield [int(cost is None) for cost in costs]
    yield [int(partly[each] and cost is not None) for each, cost in zip(paid, costs, strict=True)]
    for name in _COUNTS:
        yield _numbers(columns, name)
    yield [int(duration_ms + 0.5) for duration_ms in _numbers(columns, "duration_ms")]
    yield from _money_of(spends)
    yield from _money_of(columns.get("cache_saved_picousd", nones))
    yield blocked
    parts = zip(columns.get("cost_parts", nones), spends, strict=True)
    yield from _money_of([_cache_write_picousd(each) if spend else 0 for each, spend in parts])


def _numbers(columns: Columns, name: str) -> Sequence[Any]:
    if name not in columns:
        return (0,) * len(columns["id"])
    numbers = [value or 0 for value in columns[name]]
    if max(numbers) > LARGEST_IN_A_ROW or min(numbers) < -LARGEST_IN_A_ROW:
        raise ValueError("a count is too large to be true")
    return numbers


def _money_of(picousd: Iterable[int | None]) -> Iterable[Iterable[int]]:
    return zip(*[divmod(each or 0, 10**6) for each in picousd], strict=True)


def _cache_write_picousd(parts: str | None) -> int:
    if not parts or "cache_write" not in parts:
        return 0
    return sum([part["picousd"] for part in orjson.loads(parts) if part["name"] in _CACHE_WRITE_PARTS])


_MEASURED = ",\n    ".join(f"{sql} AS {name}" for name, sql in MEASURES.items())
AS_THEY_ARE = (
    *("model_requested", "source", "server_address", "billing", "agent", "project", "service", "environment"),
    *("instance", "workspace_id", "organization_id"),
)
"""What no sum has."""
_AS_THEY_ARE = ",\n    ".join(f"c.{name}" for name in AS_THEY_ARE)
_NAMES = ",\n    ".join(f"c.{name}" for name in MEASURE_NAMES)
_FREE = ", ".join(f"'{tag}'" for tag in RESERVED_TAGS)
_RESERVED = "\n    UNION ALL\n".join(
    f"    SELECT id, '{tag}' AS tag, {column} AS value FROM calls WHERE {column} IS NOT NULL"  # noqa: S608 - names of ours
    for tag, column in TAG_COLUMNS.items()
)


def _tagged(tag: str, value: str, source: str, condition: str) -> str:
    """The calls that have a tag, each with its value. Not a join of views: SQLite would read all tags for one day."""
    return f"""SELECT
    c.id,
    c.started_at,
    {tag} AS tag,
    c.day,
    DATE(c.day, 'weekday 0', '-6 days') AS week,
    {value} AS value,
    c.platform,
    c.model,
    c.feature,
    {_NAMES}
FROM {source}
WHERE {condition}"""  # noqa: S608 - names of ours


_TAGGED = "\nUNION ALL\n".join(
    [
        *(
            _tagged(f"'{tag}'", f"c.{column}", "measured_calls AS c", f"c.{column} IS NOT NULL")
            for tag, column in TAG_COLUMNS.items()
        ),
        _tagged(
            "free.key", "free.value", "measured_calls AS c, json_each(c.tags) AS free", f"free.key NOT IN ({_FREE})"
        ),
    ]
)
VIEWS = {
    "measured_calls": f"""CREATE VIEW measured_calls AS
SELECT
    c.id,
    c.started_at,
    SUBSTR(c.started_at, 1, 13) AS hour,
    SUBSTR(c.started_at, 1, 10) AS day,
    c.platform,
    COALESCE(c.model, '') AS model,
    COALESCE(c.feature, '') AS feature,
    c.operation,
    c.outcome,
    COALESCE(CASE WHEN c.outcome = 'ok' THEN c.stop_reason ELSE c.error_type END, '') AS reason,
    c.user_id,
    c.session_id,
    c.customer,
    c.prompt,
    c.tags,
    {_AS_THEY_ARE},
    TRIM(REPLACE(REPLACE(c.cost_flags, '"', ''), ',', ', '), '[]') AS cost_flags,
    CASE
        WHEN c.cost_picousd IS NULL THEN 'unpriced'
        WHEN {LOWER_BOUND.format("c.")} THEN 'partial'
        ELSE 'priced'
    END AS cost_status,
    {_MEASURED}
FROM calls AS c""",  # noqa: S608 - names of ours
    "call_tags": f"""CREATE VIEW call_tags AS
{_RESERVED}
    UNION ALL
    SELECT calls.id, free.key AS tag, free.value AS value
    FROM calls, json_each(calls.tags) AS free
    WHERE free.key NOT IN ({_FREE})""",  # noqa: S608 - names of ours
    "measured_call_tags": f"""CREATE VIEW measured_call_tags AS
{_TAGGED}""",
    "measured_latencies": MEASURED_LATENCIES,
}
