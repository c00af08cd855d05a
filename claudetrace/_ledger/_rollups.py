"""What is added up over calls, defined once: in SQL for the views, in Python for the loader.

Each rollup is the sum of a view's rows, so that `rollup_differences` can prove it in SQL.
"""

from __future__ import annotations

from dataclasses import dataclass
from operator import add
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import orjson

from claudetrace._call import RESERVED_TAGS

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Collection, Iterable

    from claudetrace._call import Row

MAX_VALUES_A_DAY = 1000
OTHER = "(other)"
BIGGEST_MEASURE = 10**15
"""A row with more of anything is refused: sums of such would overflow 64 bits."""

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

FIRST_OF_CALL = """(
            c.id = c.call_id
            OR (
                NOT EXISTS (SELECT 1 FROM calls AS o WHERE o.id = c.call_id AND o.rowid < c.rowid)
                AND NOT EXISTS (
                    SELECT 1 FROM calls AS o
                    WHERE o.call_id = c.call_id AND o.id <> o.call_id AND o.rowid < c.rowid
                )
            )
        )"""

Totals: TypeAlias = dict[tuple[str, ...], list[int]]


class Measure(NamedTuple):
    """One number that is added up: as SQL over a row `c` of `calls`, and from a `Row`."""

    name: str
    sql: str
    of: Callable[[Row], int]


def _column(name: str) -> Measure:
    return Measure(name, f"COALESCE(c.{name}, 0)", lambda row: row.get(name) or 0)


def _money(name: str, of: Callable[[Row], int | None]) -> tuple[Measure, Measure]:
    """Whole microdollars and what is left of them, rounded down also below zero, because a bare sum of
    picodollars overflows 64 bits at 9.2 million dollars."""
    picousd = f"COALESCE(c.{name}_picousd, 0)"
    rest = f"((({picousd} % 1000000) + 1000000) % 1000000)"
    return (
        Measure(f"{name}_microusd", f"(({picousd} - {rest}) / 1000000)", lambda row: (of(row) or 0) // 10**6),
        Measure(f"{name}_rest_picousd", rest, lambda row: (of(row) or 0) % 10**6),
    )


def _spend_picousd(row: Row) -> int | None:
    if '"billed_to_user_profile"' in (row.get("cost_flags") or ""):
        return 0
    return row.get("cost_picousd")


MEASURES = (
    Measure("responses", "1", lambda _: 1),
    # `Deltas.add` sets it: whether a row is the first of its call is a question to the table.
    Measure("calls", FIRST_OF_CALL, lambda _: 0),
    Measure(
        "errors",
        "(c.outcome = 'error' AND COALESCE(c.error_type, '') <> 'BudgetExceeded')",
        lambda row: int(row["outcome"] == "error" and row.get("error_type") != "BudgetExceeded"),
    ),
    Measure("unpriced_calls", "(c.cost_picousd IS NULL)", lambda row: int(row.get("cost_picousd") is None)),
    Measure(
        "lower_bound_calls",
        "(c.usage_is_final = 0 AND c.cost_picousd IS NOT NULL)",
        lambda row: int(row["usage_is_final"] == 0 and row.get("cost_picousd") is not None),
    ),
    *map(_column, TOKEN_COLUMNS),
    *map(_column, ("web_search_requests", "tool_calls", "retries")),
    # Whole milliseconds: sums of floats would depend on their order.
    Measure(
        "duration_ms",
        "CAST(COALESCE(c.duration_ms, 0) + 0.5 AS INTEGER)",
        lambda row: int((row.get("duration_ms") or 0) + 0.5),
    ),
    *_money("spend", _spend_picousd),
    *_money("cache_saved", lambda row: row.get("cache_saved_picousd")),
)
MEASURE_NAMES = tuple(measure.name for measure in MEASURES)
CALLS = MEASURE_NAMES.index("calls")
FORMULAS = tuple(measure.of for measure in MEASURES)
TEXTS = (
    *("id", "call_id", "started_at", "platform", "model", "feature", "operation", "outcome", "stop_reason"),
    *("error_type", *ROLLED_UP_COLUMNS),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rollup:
    """A table that holds the sums of a view's measures for each `key`; `period` is the key that is time."""

    table: str
    view: str
    period: str
    key: tuple[str, ...]

    def ddl(self) -> str:
        columns = [f"{name} TEXT NOT NULL" for name in self.key]
        columns += [f"{name} INTEGER NOT NULL" for name in MEASURE_NAMES]
        columns.append(f"PRIMARY KEY ({', '.join(self.key)})")
        return f"CREATE TABLE {self.table} (\n    " + ",\n    ".join(columns) + "\n) STRICT, WITHOUT ROWID"

    def upsert(self) -> str:
        names = (*self.key, *MEASURE_NAMES)
        sums = ", ".join(f"{name} = {name} + excluded.{name}" for name in MEASURE_NAMES)
        return (
            f"INSERT INTO {self.table} ({', '.join(names)}) VALUES ({', '.join('?' * len(names))}) "  # noqa: S608 - names of ours
            f"ON CONFLICT ({', '.join(self.key)}) DO UPDATE SET {sums}"
        )


HOURS = Rollup(
    table="rollup_hours",
    view="measured_calls",
    period="hour",
    key=("hour", "platform", "model", "feature", "operation", "outcome", "reason"),
)
TAG_DAYS = Rollup(
    table="rollup_tag_days",
    view="measured_call_tags",
    period="day",
    key=("tag", "day", "value", "platform", "model", "feature"),
)
ROLLUPS = (HOURS, TAG_DAYS)
UPSERT_HOURS = HOURS.upsert()
UPSERT_TAG_DAYS = TAG_DAYS.upsert()

_MEASURED = ",\n    ".join(f"{measure.sql} AS {measure.name}" for measure in MEASURES)
_NAMES = ",\n        ".join(f"c.{name}" for name in MEASURE_NAMES)
_FREE = ", ".join(f"'{tag}'" for tag in RESERVED_TAGS)
_RESERVED = "\n    UNION ALL\n".join(
    f"    SELECT id, '{tag}' AS tag, {column} AS value FROM calls WHERE {column} IS NOT NULL"  # noqa: S608 - names of ours
    for tag, column in TAG_COLUMNS.items()
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
    c.service,
    c.environment,
    {_MEASURED}
FROM calls AS c""",  # noqa: S608 - names of ours
    "call_tags": f"""CREATE VIEW call_tags AS
{_RESERVED}
    UNION ALL
    SELECT calls.id, free.key AS tag, free.value AS value
    FROM calls, json_each(calls.tags) AS free
    WHERE free.key NOT IN ({_FREE})""",  # noqa: S608 - names of ours
    "measured_call_tags": f"""CREATE VIEW measured_call_tags AS
SELECT
    c.id,
    c.started_at,
    t.tag,
    c.day,
    t.value,
    c.platform,
    c.model,
    c.feature,
    {_NAMES}
FROM measured_calls AS c JOIN call_tags AS t ON t.id = c.id""",  # noqa: S608 - names of ours
}


def create_rollups(connection: sqlite3.Connection) -> None:
    """Makes the rollups' tables and views."""
    for rollup in ROLLUPS:
        connection.execute(rollup.ddl())
    for ddl in VIEWS.values():
        connection.execute(ddl)


class Deltas:
    """What a batch of rows adds to the rollups."""

    def __init__(self) -> None:
        self.hours: Totals = {}
        self.tag_days: Totals = {}

    def add(self, rows: Iterable[Row], further_firsts: Collection[str]) -> None:
        """Adds `rows`, or raises at the first that cannot be. `further_firsts` are the ids of those that are
        the first of their call without bearing its id."""
        for row in rows:
            _require_texts(row)
            amounts = [formula(row) for formula in FORMULAS]
            amounts[CALLS] = int(row["id"] == row["call_id"] or row["id"] in further_firsts)
            if max(amounts) > BIGGEST_MEASURE or min(amounts) < -BIGGEST_MEASURE:
                raise ValueError("a count is too large to be true")
            started_at, platform = row["started_at"], row["platform"]
            model, feature, outcome = row.get("model") or "", row.get("feature") or "", row["outcome"]
            reason = row.get("stop_reason" if outcome == "ok" else "error_type") or ""
            tags = _tags(row)
            hour = (started_at[:13], platform, model, feature, row["operation"], outcome, reason)
            _accumulate(self.hours, hour, amounts)
            for tag, value in tags.items():
                _accumulate(self.tag_days, (tag, started_at[:10], value, platform, model, feature), amounts)

    def merge(self, other: Deltas) -> None:
        """Adds all that `other` holds."""
        for mine, more in ((self.hours, other.hours), (self.tag_days, other.tag_days)):
            for key, amounts in more.items():
                _accumulate(mine, key, amounts)


def _accumulate(totals: Totals, key: tuple[str, ...], amounts: list[int]) -> None:
    known = totals.get(key)
    totals[key] = amounts if known is None else list(map(add, known, amounts))


def _require_texts(row: Row) -> None:
    for name in TEXTS:
        value = row.get(name)
        if value is not None and value.__class__ is not str:
            raise TypeError(f"{name} is not text")


def _tags(row: Row) -> dict[str, str]:
    """Each tag of the row that `rollup_tag_days` has, with its value."""
    free: dict[str, Any] = orjson.loads(row["tags"]) if row.get("tags") else {}
    tags = {tag: value for tag, value in free.items() if tag not in RESERVED_TAGS}
    if any(value.__class__ is not str for value in tags.values()):
        raise TypeError("a tag is not text")
    for tag, column in TAG_COLUMNS.items():
        if (value := row.get(column)) is not None:
            tags[tag] = value
    return tags


class TagValues:
    """Which values of a tag a day's rollup counts by name: the first 1,000. Knows them between batches, so
    that a batch without new values asks nothing."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, str], set[str]] = {}

    def clear(self) -> None:
        """Forgets all, as after a transaction that was rolled back."""
        self._known.clear()

    def limited(self, connection: sqlite3.Connection, tag_days: Totals) -> Totals:
        """`tag_days` with values beyond a day's limit as `(other)`."""
        if len(self._known) > 10_000:
            self._known.clear()
        read: set[tuple[str, str]] = set()
        limited: Totals = {}
        for key, amounts in tag_days.items():
            tag, day, value, *rest = key
            known = self._known.get((tag, day), set())
            if value not in known and OTHER not in known and (tag, day) not in read:
                # Another process may have added values, or the last that fit.
                read.add((tag, day))
                sql = "SELECT DISTINCT value FROM rollup_tag_days WHERE tag = ? AND day = ?"
                known = known | {stored for (stored,) in connection.execute(sql, (tag, day))}
                self._known[tag, day] = known
            if value not in known:
                # Once there is an `(other)`, nothing more is let in: an earlier row of the value may be in it.
                value = value if OTHER not in known and len(known) < MAX_VALUES_A_DAY else OTHER
                known.add(value)
            _accumulate(limited, (tag, day, value, *rest), amounts)
        return limited
