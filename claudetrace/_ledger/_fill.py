"""Fills what a newer version sums up more, from the calls that an older one stored: a day at a time, newest first.

The day in the fact `filled_from_day` and those after it are filled. A step holds the ledger for as long as the sums of
one day's calls take; who writes meanwhile waits in the journal. A day of which calls are pruned stays as it is.
"""

from __future__ import annotations

from datetime import date
from typing import TYPE_CHECKING

from claudetrace._ledger._proof import exact_from_day, filled_from_day, rebuild

if TYPE_CHECKING:
    import sqlite3

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
    rebuild(connection, day, _day_after(day))
    connection.execute(SET, (day,))
    return True


def _day_after(day: str) -> str:
    return date.fromordinal(date.fromisoformat(day).toordinal() + 1).isoformat()
