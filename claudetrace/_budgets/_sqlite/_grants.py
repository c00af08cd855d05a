"""Grants in the store: made and taken back from outside, and what is in force now."""

from __future__ import annotations

from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from claudetrace._budgets._sqlite._counters import PICO, split
from claudetrace._budgets._sqlite._file import begin, connect
from claudetrace._budgets._store import Grant

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable

    from claudetrace._budgets._store import Stored
    from claudetrace._budgets._windows import Window

PATIENCE_S = 10.0
COUNTER = """
    INSERT INTO counters (budget_id, key, slot, ends)
    VALUES (?, ?, ?, ?)
    ON CONFLICT DO NOTHING
"""
ADD = """
    INSERT INTO grants (budget_id, key, slot, usd, picousd, calls, made_at, made_by, why, until)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
"""
COLUMNS = "b.name, g.key, g.usd, g.picousd, g.calls, g.made_at, g.made_by, g.why, g.until, g.ended_at, g.ended_by"
IN_FORCE = f"""
    SELECT {COLUMNS}
    FROM grants AS g
    JOIN budgets AS b ON b.id = g.budget_id
    WHERE g.budget_id = ? AND g.key = ? AND g.slot BETWEEN ? AND ? AND g.ended_at IS NULL
    ORDER BY g.id
"""  # noqa: S608 - names of ours
END = """
    UPDATE grants
    SET ended_at = ?, ended_by = ?
    WHERE budget_id = ? AND key = ? AND slot BETWEEN ? AND ? AND ended_at IS NULL
"""
LAST = f"""
    SELECT {COLUMNS}
    FROM grants AS g
    JOIN budgets AS b ON b.id = g.budget_id
    ORDER BY g.id DESC
    LIMIT ?
"""  # noqa: S608 - names of ours


def in_force(connection: sqlite3.Connection, budget_id: int, key: str, window: Window) -> list[Grant]:
    """As `Store.grants`."""
    return _grants(connection.execute(IN_FORCE, (budget_id, key, window.since, window.until)).fetchall())


def last(connection: sqlite3.Connection, limit: int) -> list[Grant]:
    """As `View.grants`."""
    return _grants(connection.execute(LAST, (limit,)).fetchall())


def grant(store: str | Path, each: Stored, window: Window, given: Grant) -> None:
    """As `_connect.grant`."""
    with closing(connect(Path(store), "rw")) as connection:
        begin(connection, PATIENCE_S)
        where = each.id, given.key, window.slot
        connection.execute(COUNTER, (*where, window.end))
        until = None if given.until is None else int(given.until.timestamp())
        made = int(given.made_at.timestamp()), given.made_by, given.why, until
        connection.execute(ADD, (*where, *split(given.picousd), given.calls, *made))
        connection.execute("COMMIT")


def revoke(store: str | Path, each: Stored, key: str, window: Window, at: datetime, by: str) -> list[Grant]:
    """As `_connect.revoke`."""
    with closing(connect(Path(store), "rw")) as connection:
        begin(connection, PATIENCE_S)
        found = in_force(connection, each.id, key, window)
        connection.execute(END, (int(at.timestamp()), by, each.id, key, window.since, window.until))
        connection.execute("COMMIT")
    return found


def _grants(found: Iterable[tuple[Any, ...]]) -> list[Grant]:
    return [
        Grant(name, key, usd * PICO + rest, calls, _at(made_at), by, why, _when(until), _when(ended_at), ended_by)
        for name, key, usd, rest, calls, made_at, by, why, until, ended_at, ended_by in found
    ]


def _at(seconds: int) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


def _when(seconds: int | None) -> datetime | None:
    return None if seconds is None else _at(seconds)
