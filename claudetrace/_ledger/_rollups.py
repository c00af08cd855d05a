"""The rollups: tables of sums. The loader adds to them and the proof checks them by the one definition here."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, date
from functools import lru_cache
from operator import add
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from claudetrace._call import PROMPT_TOKENS
from claudetrace._ledger._latency import create_buckets
from claudetrace._ledger._measures import MEASURE_NAMES, VIEWS

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Mapping
    from datetime import datetime

Key: TypeAlias = tuple[Any, ...]

MAX_VALUES_A_DAY = 1000
OTHER = "(other)"
"""The value of the row of a tag's day in which all values are counted that came after so many; its `others` is 1. A tag
may have that value too, which is counted by its name like any other."""
NUMBERS = ("bucket", "others")
"""The keys that are no text."""
EXACT_FROM = "SELECT value FROM facts WHERE name = 'exact_from_day'"
EXACT_FROM_DAY = """
    INSERT INTO facts (name, value)
    VALUES ('exact_from_day', ?)
    ON CONFLICT (name) DO UPDATE SET value = MAX(value, excluded.value)
"""


class Measure(NamedTuple):
    """A column that is no key: its type, and how many values become one, each time the same way."""

    type: str
    of_rows: str
    """In a query over the rows of the source."""
    of_two: str
    """Where a row is added to the one that the table has."""
    of_batch: Callable[[Any, Any], Any]
    """In Python, before that."""


def _extreme(type_: str, function: str, expression: str, of_batch: Callable[[Any, Any], Any]) -> Measure:
    two = f"COALESCE({function}({{0}}, excluded.{{0}}), {{0}}, excluded.{{0}})"
    return Measure(type_, f"{function}({expression})", two, of_batch)


def _least(one: Any, two: Any) -> Any:
    return two if one is None else one if two is None or one < two else two


def _most(one: Any, two: Any) -> Any:
    return two if one is None else one if two is None or one > two else two


SUM = Measure("INTEGER NOT NULL", "SUM(v.{0})", "{0} + excluded.{0}", add)
SUMS = dict.fromkeys(MEASURE_NAMES, SUM)


@lru_cache(maxsize=1000)
def week_of(day: str) -> str:
    """The Monday of the week of `day`, as the views say it."""
    at = date.fromisoformat(day)
    return date.fromordinal(at.toordinal() - at.weekday()).isoformat()


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Rollup:
    """A table with one row for each `key` of the rows of a view."""

    table: str
    source: str
    """The view; or the finer rollup whose sums this one has too, also where calls are pruned."""
    period: str | None
    """The key that is time. A rollup without one goes with its calls when they are pruned."""
    key: tuple[str, ...]
    measures: Mapping[str, Measure] = field(default_factory=lambda: SUMS)
    condition: str = "TRUE"
    """Which rows of the source count."""
    derived: Mapping[str, str] = field(default_factory=dict)
    """The keys that the source has by no column of that name."""
    folded: Callable[[Key], Key] | None = None
    """The key of this rollup, for one of the finer rollup that is its source."""

    @property
    def columns(self) -> str:
        """Their names, keys first."""
        return ", ".join((*self.key, *self.measures))

    def ddl(self) -> str:
        """Makes the table."""
        columns = [f"{name} {'INTEGER' if name in NUMBERS else 'TEXT'} NOT NULL" for name in self.key]
        columns += [f"{name} {measure.type}" for name, measure in self.measures.items()]
        columns.append(f"PRIMARY KEY ({', '.join(self.key)})")
        return f"CREATE TABLE {self.table} (\n    " + ",\n    ".join(columns) + "\n) STRICT, WITHOUT ROWID"

    def upsert(self) -> str:
        """Adds a row to the one that has its key."""
        places = ", ".join("?" * (len(self.key) + len(self.measures)))
        added = ", ".join(f"{name} = {measure.of_two.format(name)}" for name, measure in self.measures.items())
        return (
            f"INSERT INTO {self.table} ({self.columns}) VALUES ({places}) "  # noqa: S608 - names of ours
            f"ON CONFLICT ({', '.join(self.key)}) DO UPDATE SET {added}"
        )

    def rows(self, condition: str = "TRUE") -> str:
        """What the table is to have of those rows `v` of its source that are in `condition`."""
        keys = [f"{self.derived.get(name, f'v.{name}')} AS {name}" for name in self.key]
        values = [f"{measure.of_rows.format(name)} AS {name}" for name, measure in self.measures.items()]
        return f"""
            SELECT {", ".join((*keys, *values))}
            FROM {self.source} AS v
            WHERE {self.condition} AND {condition}
            GROUP BY {", ".join(str(number + 1) for number in range(len(self.key)))}
        """  # noqa: S608 - names of ours


NAMED = """EXISTS (
                SELECT 1
                FROM rollup_tag_days AS r
                WHERE r.tag = v.tag AND r.day = v.day AND r.value = v.value AND NOT r.others
            )"""
"""Whether a tag's day counts the value of a row `v` by its name."""
HOURS = Rollup(
    table="rollup_hours",
    source="measured_calls",
    period="hour",
    key=("hour", "platform", "model", "feature", "operation", "outcome", "reason"),
)
DAYS = Rollup(
    table="rollup_days",
    source=HOURS.table,
    period="day",
    key=("day", *HOURS.key[1:]),
    derived={"day": "SUBSTR(v.hour, 1, 10)"},
    folded=lambda key: (key[0][:10], *key[1:]),
)
TAG_DAYS = Rollup(
    table="rollup_tag_days",
    source="measured_call_tags",
    period="day",
    key=("tag", "day", "value", "others", "platform", "model", "feature"),
    derived={"value": f"CASE WHEN {NAMED} THEN v.value ELSE '{OTHER}' END", "others": f"NOT {NAMED}"},
)
# By week, because a quarter of days × users is more than a page can wait for.
TAG_WEEKS = Rollup(
    table="rollup_tag_weeks",
    source=TAG_DAYS.table,
    period="week",
    key=("tag", "week", *TAG_DAYS.key[2:]),
    derived={"week": "DATE(v.day, 'weekday 0', '-6 days')"},
    folded=lambda key: (key[0], week_of(key[1]), *key[2:]),
)
# By month, because that is how a customer is billed.
TAG_MONTHS = Rollup(
    table="rollup_tag_months",
    source=TAG_DAYS.table,
    period="month",
    key=("tag", "month", *TAG_DAYS.key[2:]),
    derived={"month": "SUBSTR(v.day, 1, 7)"},
    folded=lambda key: (key[0], key[1][:7], *key[2:]),
)
FEATURE_LATENCIES = Rollup(
    table="rollup_feature_latencies",
    source="measured_latencies",
    period="day",
    key=("kind", "day", "feature", "bucket", "platform", "model"),
    measures={"responses": SUM},
)
LATENCIES = Rollup(
    table="rollup_latencies",
    source=FEATURE_LATENCIES.table,
    period="day",
    key=("kind", "day", "bucket", "platform", "model"),
    measures={"responses": SUM},
    folded=lambda key: (*key[:2], *key[3:]),
)
# What was left of the tightest rate limit, at the least.
HEADROOM = Rollup(
    table="rollup_headroom",
    source="calls",
    period="hour",
    key=("hour", "rate_limit", "platform", "model", "feature"),
    measures={"least_headroom": _extreme("REAL NOT NULL", "MIN", "v.rate_limit_headroom", min)},
    condition="v.rate_limit_headroom IS NOT NULL",
    derived={
        "hour": "SUBSTR(v.started_at, 1, 13)",
        **{name: f"COALESCE(v.{name}, '')" for name in ("rate_limit", "model", "feature")},
    },
)
# A prompt of no tokens is one of which nothing is known.
_PROMPT = f"NULLIF({' + '.join(f'v.{name}' for name in PROMPT_TOKENS)}, 0)"
_REST = "spend_rest_picousd + excluded.spend_rest_picousd"
# A session is found by the day on which it began: the most expensive of a range, day by day. Unlike the sums by day it
# says who it was.
SESSIONS = Rollup(
    table="rollup_sessions",
    source="measured_calls",
    period=None,
    key=("session_id",),
    measures={
        "day": _extreme("TEXT NOT NULL", "MIN", "v.day", min),
        "first_at": _extreme("TEXT NOT NULL", "MIN", "v.started_at", min),
        "last_at": _extreme("TEXT NOT NULL", "MAX", "v.started_at", max),
        **dict.fromkeys(("responses", "calls", "errors", "unpriced_calls", "lower_bound_calls"), SUM),
        "tool_stops": SUM._replace(of_rows="SUM(v.outcome = 'ok' AND v.reason = 'tool_use')"),
        "least_prompt_tokens": _extreme("INTEGER", "MIN", _PROMPT, _least),
        "most_prompt_tokens": _extreme("INTEGER", "MAX", _PROMPT, _most),
        # The rest is less than a microdollar, so that the first alone puts them in order.
        "spend_microusd": SUM._replace(
            of_rows="SUM(v.spend_microusd) + SUM(v.spend_rest_picousd) / 1000000",
            of_two=f"spend_microusd + excluded.spend_microusd + ({_REST}) / 1000000",
        ),
        "spend_rest_picousd": SUM._replace(
            of_rows="SUM(v.spend_rest_picousd) % 1000000", of_two=f"({_REST}) % 1000000"
        ),
    },
    condition="v.session_id IS NOT NULL",
)
ROLLUPS = (HOURS, DAYS, TAG_DAYS, TAG_WEEKS, TAG_MONTHS, FEATURE_LATENCIES, LATENCIES, HEADROOM, SESSIONS)
"""A finer one comes before those that are made from it."""
BY_TABLE = {rollup.table: rollup for rollup in ROLLUPS}
INDEXES = (
    "CREATE INDEX sessions_dearest ON rollup_sessions (day, spend_microusd)",
    # Not `>= 10`, which would be taken for the range to look up in place of the one that a query asks for.
    "CREATE INDEX sessions_tool_loops ON rollup_sessions (day, tool_stops) WHERE tool_stops / 10 > 0",
)


def create_rollups(connection: sqlite3.Connection) -> None:
    """Makes the rollups and the views that they are the sums of."""
    create_buckets(connection)
    for ddl in (*(rollup.ddl() for rollup in ROLLUPS), *INDEXES, *VIEWS.values()):
        connection.execute(ddl)


class Difference(NamedTuple):
    """A row of a rollup that is not the sum of its calls: each sum that differs, rollup less calls."""

    table: str
    key: tuple[str, ...]
    measures: dict[str, int]


def exact_from_day(connection: sqlite3.Connection) -> str:
    """The UTC day from which on no call is pruned; empty where none ever was."""
    found = connection.execute(EXACT_FROM).fetchone()
    return str(found[0]) if found else ""


def pruned_before(connection: sqlite3.Connection, since: datetime) -> str | None:
    """The day before which calls of the time from `since` on are pruned, of which sums are left; `None` where none."""
    (first,) = connection.execute("SELECT MIN(hour) FROM rollup_hours").fetchone()
    day = exact_from_day(connection)
    return day if first is not None and max(first, since.astimezone(UTC).isoformat()[:13]) < day else None


def rollup_differences(connection: sqlite3.Connection) -> list[Difference]:
    """Where the rollups differ from the calls, from the first day on that is not pruned; or, those that are
    made from a finer one, from that, on every day. Empty when all is well."""
    first_day = exact_from_day(connection)
    return [difference for rollup in ROLLUPS for difference in _differences(connection, rollup, first_day)]


def _differences(connection: sqlite3.Connection, rollup: Rollup, first_day: str) -> list[Difference]:
    """What only the table has, or only its source."""
    pruned = rollup.period is not None and rollup.folded is None
    sql = f"""
        SELECT {rollup.columns}, MAX(is_due)
        FROM (
            SELECT {rollup.columns}, 0 AS is_due FROM {rollup.table} {f"WHERE {rollup.period} >= :first" * pruned}
            UNION ALL
            SELECT *, 1 FROM ({rollup.rows("v.started_at >= :first" if pruned else "TRUE")})
        )
        GROUP BY {rollup.columns}
        HAVING COUNT(*) = 1
    """  # noqa: S608 - names of ours
    sums = [name for name, measure in rollup.measures.items() if measure is SUM]
    found: dict[tuple[str, ...], dict[str, int]] = {}
    for *row, is_due in connection.execute(sql, {"first": first_day}):
        values: dict[str, Any] = dict(zip((*rollup.key, *rollup.measures), row, strict=True))
        measures = found.setdefault(tuple(row[: len(rollup.key)]), dict.fromkeys(sums, 0))
        for name in sums:
            measures[name] += -values[name] if is_due else values[name]
    return [
        Difference(rollup.table, key, {name: value for name, value in measures.items() if value})
        for key, measures in found.items()
    ]
