"""Offers rows that the ledger has to a budgets' store again, as to one that was restored from an older copy."""

from __future__ import annotations

from typing import TYPE_CHECKING

from claudetrace._guard import Guard
from claudetrace._ledger._load import load_orphans
from claudetrace._ledger._schema import CHUNK_ROWS, opened_ledger
from claudetrace._ledger._store import COLUMNS
from claudetrace._ledger._times import stamp

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime
    from pathlib import Path

    from claudetrace._call import Row

SINCE = f"SELECT {', '.join(COLUMNS)} FROM calls WHERE id > ? AND started_at >= ? ORDER BY id LIMIT {CHUNK_ROWS}"  # noqa: S608 - names of ours


def offer_again(
    db: Path, since: datetime, offer: Callable[[list[Row]], None], progress: Callable[[int], None] | None = None
) -> int:
    """How many rows since then were offered, oldest first. Raises `ClaudetraceError`, and what `offer` does."""
    load_orphans(db, Guard())
    done, after = 0, ""
    with opened_ledger(db) as connection:
        while found := connection.execute(SINCE, (after, stamp(since))).fetchall():
            rows: list[Row] = [
                {name: value for name, value in zip(COLUMNS, row, strict=True) if value is not None} for row in found
            ]
            after, done = rows[-1]["id"], done + len(rows)
            offer(rows)
            if progress is not None:
                progress(done)
    return done
