"""That each rollup is the sum of its calls, in SQL."""

from __future__ import annotations

from datetime import UTC
from typing import TYPE_CHECKING, Any, NamedTuple

from claudetrace._ledger._rollups import ROLLUPS, SUM, Rollup

if TYPE_CHECKING:
    import sqlite3
    from datetime import datetime

EXACT_FROM = "SELECT value FROM facts WHERE name = 'exact_from_day'"
EXACT_FROM_DAY = """
    INSERT INTO facts (name, value)
    VALUES ('exact_from_day', ?)
    ON CONFLICT (name) DO UPDATE SET value = MAX(value, excluded.value)
"""


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
