"""Takes calls out of the ledger: the old and the too many."""

from __future__ import annotations

import time
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING

from claudetrace._ledger._edit import CHUNK_ROWS, NAP_S, opened_ledger, transaction, truncate_log
from claudetrace._ledger._forget import forget
from claudetrace._ledger._proof import EXACT_FROM_DAY, rebuild

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable
    from pathlib import Path

__all__ = ["Limits", "forget", "prune", "vacuum"]

OLDEST = "SELECT id, started_at FROM calls WHERE started_at < ? ORDER BY started_at LIMIT ?"
CUT_CALLS = """
    SELECT DISTINCT SUBSTR(c.started_at, 1, 10)
    FROM calls AS c
    WHERE c.id <> c.call_id
        AND c.started_at >= ?
        AND NOT EXISTS (SELECT 1 FROM calls AS o WHERE o.id = c.call_id)
"""


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
        with transaction(connection):
            mend(connection, first_kept)
            if everything:
                connection.execute("DELETE FROM rollup_hours WHERE hour < ?", (first_kept,))
                connection.execute("DELETE FROM rollup_tag_days WHERE day < ?", (first_kept,))
                connection.execute("DELETE FROM quarantine WHERE quarantined_at < ?", (first_kept,))
    return removed


def prune_chunk(connection: sqlite3.Connection, first_kept: str, rows: int = CHUNK_ROWS) -> int:
    """How many calls of days before `first_kept` were removed, the oldest first; 0 when none is left."""
    with transaction(connection):
        found = connection.execute(OLDEST, (first_kept, rows)).fetchall()
        if found:
            connection.executemany("DELETE FROM calls WHERE id = ?", [(id_,) for id_, _ in found])
            connection.execute(EXACT_FROM_DAY, (_day_after(found[-1][1]),))
    return len(found)


def mend(connection: sqlite3.Connection, first_kept: str) -> None:
    """Makes the rollups right for calls of which only the first row was removed."""
    for (day,) in connection.execute(CUT_CALLS, (first_kept,)).fetchall():
        rebuild(connection, day, _day_after(day))


def _day_after(moment: str) -> str:
    return date.fromordinal(date.fromisoformat(moment[:10]).toordinal() + 1).isoformat()


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
        self.pruned_calls = 0

    def enforce(self, connection: sqlite3.Connection) -> bool:
        """Whether there may be more to remove after this chunk."""
        removed = 0
        if self._retention is not None:
            first_kept = (datetime.now(UTC) - self._retention).date().isoformat()
            removed = prune_chunk(connection, first_kept)
            if 0 < removed < CHUNK_ROWS:
                with transaction(connection):
                    mend(connection, first_kept)
        if removed == 0 and self._max_db_mb is not None and used_mb(connection) > self._max_db_mb:
            removed = prune_chunk(connection, "9999")
        self.pruned_calls += removed
        return removed > 0
