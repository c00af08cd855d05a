"""That the rollups equal the calls, in SQL; and how to make them so again."""

from __future__ import annotations

from datetime import date
from typing import TYPE_CHECKING, NamedTuple

from claudetrace._ledger import _headroom, _sessions
from claudetrace._ledger._measures import MEASURE_NAMES
from claudetrace._ledger._rollups import (
    BY_TABLE,
    COARSER_PERIODS,
    MAX_VALUES_A_DAY,
    OTHER,
    ROLLUPS,
    TAG_DAYS,
    TAG_WEEKS,
    TAGGED,
    Rollup,
    sum_up,
    week_of,
)

if TYPE_CHECKING:
    import sqlite3

EXACT_FROM = "SELECT value FROM facts WHERE name = 'exact_from_day'"
EXACT_FROM_DAY = """
    INSERT INTO facts (name, value)
    VALUES ('exact_from_day', ?)
    ON CONFLICT (name) DO UPDATE SET value = MAX(value, excluded.value)
"""


OTHERS = ((_headroom.DIFFERENCES, "rollup_headroom", 5), (_sessions.DIFFERENCES, "rollup_sessions", 2))
"""What proves the rollups that are no mere sums: rows that only one side has, and how many columns are their key."""


class Difference(NamedTuple):
    """A row of a rollup that is not the sum of its calls: each measure that differs, rollup less calls."""

    table: str
    key: tuple[str, ...]
    measures: dict[str, int]


def exact_from_day(connection: sqlite3.Connection) -> str:
    """The UTC day from which on no call is pruned; empty where none ever was."""
    found = connection.execute(EXACT_FROM).fetchone()
    return str(found[0]) if found else ""


def rollup_differences(connection: sqlite3.Connection) -> list[Difference]:
    """Where the rollups differ from the calls, from the first day on that is not pruned; or, those that are
    made from a finer one, from that, on every day. Empty when all is well."""
    first_day = exact_from_day(connection)
    found = [difference for rollup in ROLLUPS for difference in _differences(connection, rollup, first_day)]
    for sql, table, keys in OTHERS:
        # Sessions go with their calls, so that what is pruned is no matter.
        values = {"first": first_day, "past": "9999"}
        found += [Difference(table, row[:keys], {}) for row in connection.execute(sql, values)]
    return found


def _differences(connection: sqlite3.Connection, rollup: Rollup, first_day: str) -> list[Difference]:
    keys, names = ", ".join(rollup.key), ", ".join(rollup.measures)
    side, of_table = _side_of_calls(rollup) if rollup.finer is None else _side_of_finer(rollup)
    sql = f"""
        SELECT {keys}, {", ".join(f"SUM({name})" for name in rollup.measures)}
        FROM (
            SELECT {keys}, {names} FROM {rollup.table} WHERE {of_table}
            UNION ALL
            {side}
        )
        GROUP BY {keys}
        HAVING {" OR ".join(f"SUM({name}) <> 0" for name in rollup.measures)}
    """  # noqa: S608 - names of ours
    found = []
    for row in connection.execute(sql, {"first_day": first_day, "other": OTHER}):
        measures = dict(zip(rollup.measures, row[len(rollup.key) :], strict=True))
        nonzero = {name: value for name, value in measures.items() if value}
        found.append(Difference(rollup.table, row[: len(rollup.key)], nonzero))
    return found


def _side_of_calls(rollup: Rollup) -> tuple[str, str]:
    """What is taken from the rollup: its calls, from the first day on; and which of its rows that is."""
    exact = f"{rollup.period} >= :first_day"
    minus = ", ".join(f"-{name}" for name in rollup.measures)
    return f"SELECT {', '.join(keys_of_view(rollup))}, {minus} FROM {rollup.view} AS v WHERE {exact}", exact  # noqa: S608 - names of ours


def _side_of_finer(rollup: Rollup) -> tuple[str, str]:
    """What is taken from the rollup: the finer one."""
    finer, period = BY_TABLE[rollup.finer or ""], COARSER_PERIODS[rollup.table]
    keys = ", ".join(period if name == rollup.period else f"f.{name}" for name in rollup.key)
    minus = ", ".join(f"-{name}" for name in rollup.measures)
    return f"SELECT {keys}, {minus} FROM {finer.table} AS f", "TRUE"  # noqa: S608 - names of ours


def keys_of_view(rollup: Rollup) -> list[str]:
    """The keys of a row `v` of the view as the rollup has them: a value that it does not name is among its others."""
    named = """EXISTS (
                SELECT 1
                FROM rollup_tag_days AS r
                WHERE r.tag = v.tag AND r.day = v.day AND r.value = v.value AND NOT r.others
            )"""
    limited = {"value": f"CASE WHEN {named} THEN v.value ELSE :other END", "others": f"NOT {named}"}
    return [limited[name] if rollup in TAGGED and name in limited else f"v.{name}" for name in rollup.key]


def rebuild(connection: sqlite3.Connection, first_day: str, past_day: str = "9999") -> None:
    """Makes the rollups of the days from `first_day` until before `past_day` anew, from the calls. Inside the
    caller's transaction, and only for days of which no call is pruned."""
    for rollup in ROLLUPS:
        rebuild_rollup(connection, rollup, first_day, past_day)
    _headroom.rebuild(connection, first_day, past_day)
    _sessions.rebuild(connection, first_day, past_day)


def rebuild_rollup(connection: sqlite3.Connection, rollup: Rollup, first_day: str, past_day: str) -> None:
    """Makes the days of one rollup anew, from the finer one where it has one, else from the calls."""
    if rollup.finer is not None:
        weeks = rollup is TAG_WEEKS
        first, past = (week_of(first_day), _week_after(past_day)) if weeks else (first_day, past_day)
        sum_up(connection, rollup, first, past)
        return
    values = {"first": first_day, "past": past_day, "other": OTHER, "most": MAX_VALUES_A_DAY}
    period = rollup.period
    connection.execute(
        f"DELETE FROM {rollup.table} WHERE {period} >= :first AND {period} < :past",  # noqa: S608 - names of ours
        values,
    )
    connection.execute(_REBUILD_TAG_DAYS if rollup is TAG_DAYS else _rebuild(rollup), values)


def _week_after(past_day: str) -> str:
    """The first Monday on or after `past_day`."""
    if past_day >= "9999":
        return past_day
    monday = date.fromisoformat(week_of(past_day))
    return past_day if monday.isoformat() == past_day else date.fromordinal(monday.toordinal() + 7).isoformat()


def _rebuild(rollup: Rollup) -> str:
    keys, names = ", ".join(rollup.key), ", ".join(rollup.measures)
    sums = ", ".join(f"SUM({name})" for name in rollup.measures)
    return f"""
        INSERT INTO {rollup.table} ({keys}, {names})
        SELECT {keys}, {sums}
        FROM {rollup.view}
        WHERE started_at >= :first AND started_at < :past
        GROUP BY {keys}
    """  # noqa: S608 - names of ours


_REBUILD_TAG_DAYS = f"""
    INSERT INTO rollup_tag_days ({", ".join(TAG_DAYS.key)}, {", ".join(MEASURE_NAMES)})
    WITH arrivals AS (
        SELECT v.tag, v.day, v.value, MIN(c.rowid) AS first_rowid
        FROM measured_call_tags AS v JOIN calls AS c ON c.id = v.id
        WHERE v.started_at >= :first AND v.started_at < :past
        GROUP BY v.tag, v.day, v.value
    ),
    ranked AS (
        SELECT tag, day, value, ROW_NUMBER() OVER (PARTITION BY tag, day ORDER BY first_rowid) AS place
        FROM arrivals
    )
    SELECT
        v.tag,
        v.day,
        CASE WHEN ranked.place <= :most THEN v.value ELSE :other END AS counted_as,
        ranked.place > :most AS others,
        v.platform,
        v.model,
        v.feature,
        {", ".join(f"SUM(v.{name})" for name in MEASURE_NAMES)}
    FROM measured_call_tags AS v
    JOIN ranked ON ranked.tag = v.tag AND ranked.day = v.day AND ranked.value = v.value
    WHERE v.started_at >= :first AND v.started_at < :past
    GROUP BY v.tag, v.day, counted_as, others, v.platform, v.model, v.feature
"""  # noqa: S608 - names of ours
