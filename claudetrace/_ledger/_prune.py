"""Takes calls out of the ledger: the old and the too many."""

from __future__ import annotations

import time
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING

from claudetrace._clock import monotonic
from claudetrace._ledger import _outbox, _sessions
from claudetrace._ledger._edit import CHUNK_ROWS, NAP_S, opened_ledger, transaction, truncate_log
from claudetrace._ledger._forget import forget
from claudetrace._ledger._proof import EXACT_FROM_DAY, keys_of_view
from claudetrace._ledger._rollups import COUNTED, OTHER, ROLLUPS, TAG_WEEKS, sum_up, week_of

if TYPE_CHECKING:
    import sqlite3
    import threading
    from collections.abc import Callable
    from pathlib import Path

__all__ = ["Limits", "forget", "prune", "vacuum"]

OLDEST = "SELECT id, call_id, started_at, session_id FROM calls WHERE started_at < ? ORDER BY started_at LIMIT ?"
FIRST_WITHOUT_ITS_ID = """
    SELECT c.id
    FROM calls AS c
    WHERE c.rowid = (SELECT MIN(o.rowid) FROM calls AS o WHERE o.call_id = :call_id AND o.id <> o.call_id)
        AND NOT EXISTS (SELECT 1 FROM calls AS o WHERE o.id = :call_id AND o.rowid < c.rowid)
"""
NO_DAY = "9999"


def prune(
    db: Path,
    before: datetime | date,
    everything: bool = False,
    progress: Callable[[int], None] | None = None,
) -> int:
    """How many calls were removed: those of whole UTC days before `before`. Their rollups stay, unless
    `everything`. Other processes go on writing meanwhile."""
    day = before.astimezone(UTC).date() if isinstance(before, datetime) else before
    first_kept = day.isoformat()
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
                    connection.execute(f"DELETE FROM {rollup.table} WHERE {rollup.period} < ?", (first_kept,))  # noqa: S608 - names of ours
                connection.execute("DELETE FROM rollup_headroom WHERE hour < ?", (first_kept,))
                # The week in which the first kept day is.
                sum_up(connection, TAG_WEEKS, week_of(first_kept), _week_after(first_kept))
                connection.execute("DELETE FROM quarantine WHERE quarantined_at < ?", (first_kept,))
    return removed


def prune_chunk(connection: sqlite3.Connection, first_kept: str = NO_DAY, rows: int = CHUNK_ROWS) -> int:
    """How many calls of days before `first_kept` were removed, the oldest first; 0 when none is left."""
    with transaction(connection):
        found = connection.execute(OLDEST, (first_kept, rows)).fetchall()
        if not found:
            return 0
        exact_from = _day_after(found[-1][2])
        calls = {call_id for _, call_id, _, _ in found}
        began = _sessions.first_at(connection, {session for _, _, _, session in found if session is not None})
        before = {call_id: _first_without_its_id(connection, call_id) for call_id in calls}
        connection.executemany("DELETE FROM calls WHERE id = ?", [(id_,) for id_, _, _, _ in found])
        _outbox.lose(connection, [id_ for id_, _, _, _ in found])
        connection.execute(EXACT_FROM_DAY, (exact_from,))
        for call_id in calls:
            first = _first_without_its_id(connection, call_id)
            if first is not None and first != before[call_id]:
                _count_call(connection, first, exact_from if first_kept == NO_DAY else first_kept)
                began |= _session_of(connection, first)
        _sessions.refresh(connection, began)
    return len(found)


def _first_without_its_id(connection: sqlite3.Connection, call_id: str) -> str | None:
    """The row that counts as the call though it does not bear the call's id, if there is one."""
    found = connection.execute(FIRST_WITHOUT_ITS_ID, {"call_id": call_id}).fetchone()
    return found[0] if found else None


def _session_of(connection: sqlite3.Connection, id_: str) -> dict[str, str]:
    """The session of a row, with when it began."""
    ((session,),) = connection.execute("SELECT session_id FROM calls WHERE id = ?", (id_,))
    return {} if session is None else _sessions.first_at(connection, [session])


def _count_call(connection: sqlite3.Connection, id_: str, from_day: str) -> None:
    """Counts a row as a call, now that the rows before it are gone, so that its day's rollups equal its calls."""
    for rollup in COUNTED:
        keys = (
            f"SELECT {', '.join(keys_of_view(rollup))} FROM {rollup.view} AS v WHERE v.id = :id AND v.day >= :from_day"  # noqa: S608 - names of ours
        )
        conditions = " AND ".join(f"{name} = ?" for name in rollup.key)
        found = connection.execute(keys, {"id": id_, "from_day": from_day, "other": OTHER}).fetchall()
        connection.executemany(f"UPDATE {rollup.table} SET calls = calls + 1 WHERE {conditions}", found)  # noqa: S608 - names of ours


def _day_after(moment: str) -> str:
    return date.fromordinal(date.fromisoformat(moment[:10]).toordinal() + 1).isoformat()


def _week_after(day: str) -> str:
    return date.fromordinal(date.fromisoformat(week_of(day)).toordinal() + 7).isoformat()


def used_mb(connection: sqlite3.Connection) -> float:
    """How much of the file is in use: it never shrinks, but what is free is used again."""
    (pages,) = connection.execute("PRAGMA page_count").fetchone()
    (free,) = connection.execute("PRAGMA freelist_count").fetchone()
    (bytes_,) = connection.execute("PRAGMA page_size").fetchone()
    return float((pages - free) * bytes_) / 1e6


def vacuum(db: Path) -> int:
    """How many bytes the file became smaller. Others cannot write meanwhile."""
    with opened_ledger(db) as connection:
        before = db.stat().st_size
        connection.execute("VACUUM")
        truncate_log(connection)
        return before - db.stat().st_size


class Limits:
    """How old and how much the ledger may grow, kept a chunk at a time by the loader."""

    def __init__(self, retention_days: float | None, max_db_mb: float | None) -> None:
        self._retention = None if retention_days is None else timedelta(days=retention_days)
        self._max_db_mb = max_db_mb
        self.pruned_calls = self.lost_records = 0

    def enforce_for(self, longest_s: float, connection: Callable[[], sqlite3.Connection], gate: threading.Lock) -> bool:
        """Whether there is more to remove after so long. Holds `gate` for one chunk at a time."""
        more, until = True, monotonic() + longest_s
        while more and monotonic() < until:
            with gate:
                more = self.enforce(connection())
            time.sleep(NAP_S)
        return more

    def enforce(self, connection: sqlite3.Connection) -> bool:
        """Whether there may be more to remove after this chunk."""
        removed, lost_before = 0, _outbox.lost(connection)
        if self._retention is not None:
            first_kept = (datetime.now(UTC) - self._retention).date().isoformat()
            removed = prune_chunk(connection, first_kept)
        if removed == 0 and self._max_db_mb is not None and used_mb(connection) > self._max_db_mb:
            removed = prune_chunk(connection)
        self.pruned_calls += removed
        self.lost_records += _outbox.lost(connection) - lost_before
        return removed > 0
