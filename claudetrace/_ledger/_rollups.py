"""The rollups: sums of a view's rows, so that `rollup_differences` can prove each in SQL."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from functools import lru_cache
from operator import add
from typing import TYPE_CHECKING, Any

from claudetrace._ledger._latency import create_buckets
from claudetrace._ledger._measures import MEASURE_NAMES, Totals
from claudetrace._ledger._views import VIEWS

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable

MAX_VALUES_A_DAY = 1000
OTHER = "(other)"
"""The value of the row of a tag's day in which all values are counted that came after so many; its `others` is 1. A tag
may have that value too, which is counted by its name like any other."""
NUMBERS = ("bucket", "others")
"""The keys that are no text."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rollup:
    """A table that holds the sums of a view's `measures` for each `key`; `period` is the key that is time."""

    table: str
    view: str
    period: str
    key: tuple[str, ...]
    measures: tuple[str, ...] = MEASURE_NAMES
    finer: str | None = None
    """The rollup whose sums this one has too, so that it can be made from it also where calls are pruned."""

    def ddl(self) -> str:
        columns = [f"{name} {'INTEGER' if name in NUMBERS else 'TEXT'} NOT NULL" for name in self.key]
        columns += [f"{name} INTEGER NOT NULL" for name in self.measures]
        columns.append(f"PRIMARY KEY ({', '.join(self.key)})")
        return f"CREATE TABLE {self.table} (\n    " + ",\n    ".join(columns) + "\n) STRICT, WITHOUT ROWID"

    def upsert(self) -> str:
        names = (*self.key, *self.measures)
        sums = ", ".join(f"{name} = {name} + excluded.{name}" for name in self.measures)
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
DAYS = Rollup(
    table="rollup_days",
    view="measured_calls",
    period="day",
    key=("day", "platform", "model", "feature", "operation", "outcome", "reason"),
    finer="rollup_hours",
)
TAG_DAYS = Rollup(
    table="rollup_tag_days",
    view="measured_call_tags",
    period="day",
    key=("tag", "day", "value", "others", "platform", "model", "feature"),
)
# By week, because a quarter of days × users is more than a page can wait for.
TAG_WEEKS = Rollup(
    table="rollup_tag_weeks",
    view="measured_call_tags",
    period="week",
    key=("tag", "week", "value", "others", "platform", "model", "feature"),
    finer="rollup_tag_days",
)
FEATURE_LATENCIES = Rollup(
    table="rollup_feature_latencies",
    view="measured_latencies",
    period="day",
    key=("kind", "day", "feature", "bucket", "platform", "model"),
    measures=("responses",),
)
LATENCIES = Rollup(
    table="rollup_latencies",
    view="measured_latencies",
    period="day",
    key=("kind", "day", "bucket", "platform", "model"),
    measures=("responses",),
    finer="rollup_feature_latencies",
)
ROLLUPS = (HOURS, DAYS, TAG_DAYS, TAG_WEEKS, FEATURE_LATENCIES, LATENCIES)
"""A finer one comes before those that are made from it."""
BY_TABLE = {rollup.table: rollup for rollup in ROLLUPS}
TAGGED = (TAG_DAYS, TAG_WEEKS)
COUNTED = (HOURS, DAYS, *TAGGED)
"""Those that count calls and money, beside responses."""
COARSER_PERIODS = {
    DAYS.table: "SUBSTR(f.hour, 1, 10)",
    TAG_WEEKS.table: "DATE(f.day, 'weekday 0', '-6 days')",
    LATENCIES.table: "f.day",
}
"""The period of a row `f` of the finer rollup, as the coarser one has it."""


def create_rollups(connection: sqlite3.Connection) -> None:
    """Makes the rollups and the views that they are the sums of."""
    create_buckets(connection)
    for ddl in (*(rollup.ddl() for rollup in ROLLUPS), *VIEWS.values()):
        connection.execute(ddl)


def sum_up(connection: sqlite3.Connection, rollup: Rollup, first: str, past: str) -> None:
    """Makes the periods of `rollup` from `first` until before `past` anew, from the finer one. Both are days, and
    for weeks Mondays."""
    finer, period = BY_TABLE[rollup.finer or ""], COARSER_PERIODS[rollup.table]
    keys = ", ".join(f"{period} AS {name}" if name == rollup.period else f"f.{name}" for name in rollup.key)
    values = {"first": first, "past": past}
    connection.execute(
        f"DELETE FROM {rollup.table} WHERE {rollup.period} >= :first AND {rollup.period} < :past",  # noqa: S608 - names of ours
        values,
    )
    connection.execute(
        f"""
        INSERT INTO {rollup.table} ({", ".join((*rollup.key, *rollup.measures))})
        SELECT {keys}, {", ".join(f"SUM(f.{name})" for name in rollup.measures)}
        FROM {finer.table} AS f
        WHERE f.{finer.period} >= :first AND f.{finer.period} < :past
        GROUP BY {", ".join(str(number + 1) for number in range(len(rollup.key)))}
        """,  # noqa: S608 - names of ours
        values,
    )


def folded(totals: Totals, place: int, of: Callable[[str], str] | None) -> Totals:
    """`totals` with the part of the key at `place` made coarser by `of`, or left out."""
    coarser: Totals = {}
    for key, amounts in totals.items():
        kept = key[:place] + (() if of is None else (of(key[place]),)) + key[place + 1 :]
        accumulate(coarser, kept, amounts)
    return coarser


def accumulate(totals: Totals, key: tuple[Any, ...], amounts: list[int]) -> None:
    """Adds `amounts` to those of `key`."""
    known = totals.get(key)
    totals[key] = amounts if known is None else list(map(add, known, amounts))


@lru_cache(maxsize=1000)
def week_of(day: str) -> str:
    """The Monday of the week of `day`, as the views say it."""
    at = date.fromisoformat(day)
    return date.fromordinal(at.toordinal() - at.weekday()).isoformat()
