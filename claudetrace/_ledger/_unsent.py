"""The table `unsent`: which rows of the ledger wait to be sent as records, until a receiver acknowledges them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import orjson

from claudetrace._call import CALL_FIELDS
from claudetrace._ledger._calls import rows_of, told

if TYPE_CHECKING:
    import sqlite3

    from claudetrace._call import Row

MARK = "INSERT INTO unsent (id) VALUES (?) ON CONFLICT DO NOTHING"
TAKE = f"""
    SELECT unsent.id, {", ".join(f"calls.{name}" for name in CALL_FIELDS[1:])}
    FROM unsent LEFT JOIN calls ON calls.id = unsent.id
    WHERE unsent.id > ? AND unsent.id <= ? AND unsent.refused IS NULL
    ORDER BY unsent.id
    LIMIT ?
"""  # noqa: S608 - names of ours
NEWEST = "SELECT id FROM unsent WHERE refused IS NULL ORDER BY id DESC LIMIT 1"
WAITING = "SELECT COUNT(*) FROM (SELECT 1 FROM unsent WHERE refused IS NULL LIMIT ?)"
OLDEST_AT = """
    SELECT calls.started_at
    FROM unsent JOIN calls ON calls.id = unsent.id
    WHERE unsent.refused IS NULL
    ORDER BY unsent.id
    LIMIT 1
"""
"""When the first of the rows that wait began."""
DROP = "DELETE FROM unsent WHERE id IN (SELECT value FROM json_each(?))"
DROP_ROWS = "DELETE FROM calls WHERE id IN (SELECT value FROM json_each(?))"
REFUSE = "UPDATE unsent SET refused = ? WHERE id = ?"
"""Gives up a row that the receiver never takes, for a reason."""
REFUSED = "SELECT COUNT(*), MIN(refused) FROM unsent WHERE refused IS NOT NULL"
"""How many rows were given up, and the reason of one."""
LOST = "records_lost"
ADD_LOST = """
    INSERT INTO facts (name, value) VALUES (?, ?)
    ON CONFLICT (name) DO UPDATE SET value = CAST(CAST(value AS INTEGER) + CAST(excluded.value AS INTEGER) AS TEXT)
"""


def mark(connection: sqlite3.Connection, rows: list[Row]) -> None:
    """Marks `rows` in the transaction that stores them."""
    connection.executemany(MARK, [(row["id"],) for row in rows])


def newest(connection: sqlite3.Connection) -> str | None:
    """The last of the rows that wait, or `None` where none does."""
    found = connection.execute(NEWEST).fetchone()
    return found[0] if found else None


def waiting(connection: sqlite3.Connection, at_most: int) -> int:
    """How many rows wait, counted up to `at_most`."""
    (count,) = connection.execute(WAITING, (at_most,)).fetchone()
    return int(count)


def take(connection: sqlite3.Connection, after: str, until: str, limit: int) -> list[Row]:
    """The next rows that wait, with ids after `after` up to `until`. One that is marked and gone is its id alone."""
    return [*map(told, rows_of(connection, TAKE, (after, until, limit)))]


def drop(connection: sqlite3.Connection, ids: list[str], *, with_rows: bool = False) -> int:
    """How many of `ids` were waiting. They no longer do; with `with_rows` their rows are deleted too."""
    as_json = orjson.dumps(ids).decode()
    if with_rows:
        connection.execute(DROP_ROWS, (as_json,))
    return connection.execute(DROP, (as_json,)).rowcount


def lose(connection: sqlite3.Connection, ids: list[str]) -> int:
    """How many of `ids` will never be sent, because their rows are removed now; counted in the table `facts`."""
    lost = drop(connection, ids)
    if lost:
        connection.execute(ADD_LOST, (LOST, str(lost)))
    return lost


def lost(connection: sqlite3.Connection) -> int:
    """How many rows were removed before they were sent."""
    found = connection.execute("SELECT value FROM facts WHERE name = ?", (LOST,)).fetchone()
    return int(found[0]) if found else 0
