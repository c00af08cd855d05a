"""Removes calls from the ledger: the old ones, and the oldest of too many."""

from __future__ import annotations

import time
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING

import orjson

from claudetrace._clock import monotonic
from claudetrace._ledger import _unsent
from claudetrace._ledger._calls import rows_with_ids
from claudetrace._ledger._rollups import EXACT_FROM_DAY, ROLLUPS, TAG_MONTHS, TAG_WEEKS
from claudetrace._ledger._schema import CHUNK_ROWS, NAP_S, opened_ledger, transaction
from claudetrace._ledger._sums import TagValues, exchange, remake_sessions

if TYPE_CHECKING:
    import sqlite3
    import threading
    from collections.abc import Callable
    from pathlib import Path

    from claudetrace._clock import WallClock
    from claudetrace._guard import Guard
    from claudetrace._ledger._rollups import Rollup
    from claudetrace._ledger._store import Store

HOUSEKEEPING_S = 60.0
AT_ONCE_S = 0.2
OLDEST = "SELECT id, call_id, started_at, session_id FROM calls WHERE started_at < ? ORDER BY started_at LIMIT ?"
# By the least rowid, since a batch is a call of many rows.
FIRSTS = """
    SELECT c.id
    FROM json_each(?) AS asked
    JOIN calls AS c ON c.rowid = (
        SELECT MIN(o.rowid) FROM calls AS o WHERE o.call_id = asked.value AND o.id <> o.call_id
    )
    WHERE NOT EXISTS (SELECT 1 FROM calls AS o WHERE o.id = c.call_id AND o.rowid < c.rowid)
"""
"""The rows that count as their calls although their ids are others."""
NO_DAY = "9999"
USED = ("page_count", "freelist_count", "page_size")


def _anew(rollup: Rollup) -> tuple[str, str]:
    """Makes the sums anew of the period that has the day `:day`."""
    assert rollup.period is not None
    period = rollup.derived[rollup.period]
    of_day = period.replace("v.day", ":day")
    return (
        f"DELETE FROM {rollup.table} WHERE {rollup.period} = {of_day}",  # noqa: S608 - names of ours
        f"INSERT INTO {rollup.table} ({rollup.columns}) {rollup.rows(f'{period} = {of_day}')}",
    )


# The week and the month in which the first kept day is have days before it.
ANEW = (*_anew(TAG_WEEKS), *_anew(TAG_MONTHS))


def prune(
    db: Path,
    before: date,
    everything: bool = False,
    progress: Callable[[int], None] | None = None,
) -> int:
    """How many calls were removed: those of whole UTC days before `before`. Their rollups stay, unless
    `everything`. Other processes go on writing meanwhile."""
    first_kept = before.isoformat()
    removed = 0
    with opened_ledger(db) as connection:
        while chunk := prune_chunk(connection, first_kept):
            removed += chunk
            if progress is not None:
                progress(removed)
            time.sleep(NAP_S)
        if everything:
            with transaction(connection):
                for rollup in ROLLUPS:
                    if rollup.period is not None:
                        connection.execute(f"DELETE FROM {rollup.table} WHERE {rollup.period} < ?", (first_kept,))  # noqa: S608 - names of ours
                for sql in ANEW:
                    connection.execute(sql, {"day": first_kept})
                connection.execute("DELETE FROM quarantine WHERE quarantined_at < ?", (first_kept,))
                connection.execute("DELETE FROM bill WHERE day < ?", (first_kept,))
    return removed


def older_calls(db: Path, before: date) -> int:
    """How many calls `prune` would remove."""
    with opened_ledger(db) as connection:
        found = connection.execute("SELECT COUNT(*) FROM calls WHERE started_at < ?", (before.isoformat(),))
        return int(found.fetchone()[0])


def prune_chunk(connection: sqlite3.Connection, first_kept: str = NO_DAY) -> int:
    """How many calls of days before `first_kept` were removed, the oldest first; 0 when none is left."""
    with transaction(connection):
        found = connection.execute(OLDEST, (first_kept, CHUNK_ROWS)).fetchall()
        if not found:
            return 0
        exact_from = (date.fromisoformat(found[-1][2][:10]) + timedelta(days=1)).isoformat()
        calls = (orjson.dumps([*{call_id for _, call_id, _, _ in found}]).decode(),)
        before = set(connection.execute(FIRSTS, calls))
        connection.executemany("DELETE FROM calls WHERE id = ?", [(id_,) for id_, _, _, _ in found])
        _unsent.lose(connection, [id_ for id_, _, _, _ in found])
        connection.execute(EXACT_FROM_DAY, (exact_from,))
        # A row counts as its call once those before it are gone: its day's rollups equal the calls that are left.
        firsts = rows_with_ids(connection, [id_ for (id_,) in set(connection.execute(FIRSTS, calls)) - before])
        remake_sessions(connection, {session for _, _, _, session in found} | {row["session_id"] for row in firsts})
        from_day = exact_from if first_kept == NO_DAY else first_kept
        kept = [row for row in firsts if row["started_at"] >= from_day]
        exchange(connection, kept, kept, TagValues(), new_firsts={row["id"] for row in kept})
    return len(found)


def used_mb(connection: sqlite3.Connection) -> float:
    """How much of the file is in use. It never shrinks, but free pages are used again."""
    pages, free, bytes_ = (connection.execute(f"PRAGMA {name}").fetchone()[0] for name in USED)
    return float((pages - free) * bytes_) / 1e6


class Retention:
    """Removes what is older or more than the ledger may hold, on the loader's thread, in chunks so small that nobody
    who writes is held up. The lock `gate` is held for one at a time."""

    def __init__(
        self,
        store: Store,
        gate: threading.Lock,
        guard: Guard,
        wall_clock: WallClock,
        retention_days: float | None,
        max_db_mb: float | None,
    ) -> None:
        self.pruned = 0
        self._store, self._gate, self._guard, self._wall_clock = store, gate, guard, wall_clock
        self._retention_days, self._max_db_mb = retention_days, max_db_mb
        self._next_at = 0.0

    def step(self) -> None:
        """Removes what is due, for so long at most that rows do not wait. Raises what the file raises."""
        if not (self._retention_days or self._max_db_mb) or monotonic() < self._next_at:
            return
        self._next_at = monotonic() + HOUSEKEEPING_S
        first_kept = None
        if self._retention_days is not None and self._wall_clock.may_delete():
            first_kept = (datetime.now(UTC) - timedelta(days=self._retention_days)).date().isoformat()
        until = monotonic() + AT_ONCE_S
        while self._remove_chunk(first_kept):
            time.sleep(NAP_S)
            if monotonic() > until:
                self._next_at = 0.0
                return

    def _remove_chunk(self, first_kept: str | None) -> int:
        """How many calls were removed."""
        with self._gate:
            connection = self._store.connection()
            lost_before = _unsent.lost(connection)
            removed = 0 if first_kept is None else prune_chunk(connection, first_kept)
            if removed == 0 and self._max_db_mb is not None and used_mb(connection) > self._max_db_mb:
                removed = prune_chunk(connection)
            lost = _unsent.lost(connection) - lost_before
        self.pruned += removed
        if lost:
            error = ValueError(f"{lost} were not sent yet when retention= or max_db_mb= removed their calls")
            self._guard.caught("send every record", error)
        return removed
