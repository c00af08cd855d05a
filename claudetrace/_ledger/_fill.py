"""Fills what a newer version sums up more, from the calls that an older one stored: a day at a time, newest first.

The day in the fact `filled_from_day` and those after it are filled. A step holds the ledger for as long as the sums of
one day's calls take; who writes meanwhile waits in the journal. A day of which calls are pruned stays as it is.
"""

from __future__ import annotations

import time
from datetime import date
from typing import TYPE_CHECKING

from claudetrace._ledger import _headroom, _sessions
from claudetrace._ledger._measures import FIRST_MEASURES, MEASURE_NAMES
from claudetrace._ledger._proof import exact_from_day, filled_from_day, keys_of_view, rebuild_rollup
from claudetrace._ledger._rollups import DAYS, FEATURE_LATENCIES, HOURS, LATENCIES, OTHER, TAG_DAYS, TAG_WEEKS, Rollup

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable
    from pathlib import Path

SET = """
    INSERT INTO facts (name, value)
    VALUES ('filled_from_day', ?)
    ON CONFLICT (name) DO UPDATE SET value = excluded.value
"""
DONE = "DELETE FROM facts WHERE name = 'filled_from_day'"
NEXT = "SELECT MAX(SUBSTR(started_at, 1, 10)) FROM calls WHERE started_at < ?"


def begin(connection: sqlite3.Connection) -> None:
    """Marks all days that have calls as not filled."""
    (last,) = connection.execute("SELECT SUBSTR(MAX(started_at), 1, 10) FROM calls").fetchone()
    if last is not None:
        connection.execute(SET, (_day_after(last),))


def fill(db: Path, progress: Callable[[str], None] | None = None) -> int:
    """How many days were filled: all that were left. `progress` hears each, the newest first."""
    from claudetrace._ledger._edit import NAP_S, opened_ledger

    days = 0
    with opened_ledger(db) as connection:
        while fill_day(connection):
            days += 1
            if progress is not None:
                progress(filled_from_day(connection))
            time.sleep(NAP_S)
    return days


def fill_day(connection: sqlite3.Connection) -> bool:
    """Whether there was a day to fill, which now is. A transaction of its own."""
    if not filled_from_day(connection):
        return False
    connection.execute("BEGIN IMMEDIATE")
    try:
        filled = _fill_next(connection)
        connection.execute("COMMIT")
    except BaseException:
        connection.rollback()
        raise
    return filled


def _fill_next(connection: sqlite3.Connection) -> bool:
    (day,) = connection.execute(NEXT, (filled_from_day(connection),)).fetchone()
    if day is None or day < exact_from_day(connection):
        connection.execute(DONE)
        return False
    past = _day_after(day)
    for rollup in (HOURS, TAG_DAYS):
        _fill_measures(connection, rollup, day, past)
    for rollup in (DAYS, TAG_WEEKS, FEATURE_LATENCIES, LATENCIES):
        rebuild_rollup(connection, rollup, day, past)
    _headroom.rebuild(connection, day, past)
    _sessions.rebuild(connection, day, past)
    connection.execute(SET, (day,))
    return True


def _fill_measures(connection: sqlite3.Connection, rollup: Rollup, first: str, past: str) -> None:
    """Fills the measures that `rollup` has more, of the keys that it has."""
    new = MEASURE_NAMES[FIRST_MEASURES:]
    old = ["0" for _ in MEASURE_NAMES[:FIRST_MEASURES]]
    values = {"first": first, "past": past, "other": OTHER}
    connection.execute(
        f"""
        UPDATE {rollup.table}
        SET {", ".join(f"{name} = 0" for name in new)}
        WHERE {rollup.period} >= :first AND {rollup.period} < :past
        """,  # noqa: S608 - names of ours
        values,
    )
    connection.execute(
        f"""
        INSERT INTO {rollup.table} ({", ".join((*rollup.key, *MEASURE_NAMES))})
        SELECT {", ".join((*keys_of_view(rollup), *old, *(f"SUM(v.{name})" for name in new)))}
        FROM {rollup.view} AS v
        WHERE v.started_at >= :first
            AND v.started_at < :past
            AND (v.blocked_calls > 0 OR v.cache_write_5m_tokens > 0 OR v.cache_write_1h_tokens > 0)
        GROUP BY {", ".join(str(number + 1) for number in range(len(rollup.key)))}
        ON CONFLICT ({", ".join(rollup.key)}) DO UPDATE SET {", ".join(f"{name} = excluded.{name}" for name in new)}
        """,  # noqa: S608 - names of ours
        values,
    )


def _day_after(day: str) -> str:
    return date.fromordinal(date.fromisoformat(day).toordinal() + 1).isoformat()
