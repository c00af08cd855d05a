"""`Into`: a ledger that takes rows from elsewhere, each once, and counts what became of them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import orjson

from claudetrace._guard import Guard
from claudetrace._ids import FAMILIES
from claudetrace._ledger._load import load_orphans
from claudetrace._ledger._proof import exact_from_day
from claudetrace._ledger._row_check import RowCheck
from claudetrace._ledger._schema import PATIENCE_MS
from claudetrace._ledger._store import Store
from claudetrace._ledger._times import stamp

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable
    from datetime import datetime
    from pathlib import Path

    from claudetrace._call import Row

ROWS_AT_ONCE = 1_000
KNOWN = "SELECT id FROM calls WHERE id IN (SELECT value FROM json_each(?))"


@dataclass(slots=True)
class Imported:
    """What an import has done so far."""

    files: int = 0
    """Files that have something new."""
    responses: int = 0
    new: int = 0
    """Of these, those that the ledger did not have."""
    broken: int = 0
    """Lines and rows that are none."""
    why_broken: str = ""
    """What is wrong with the first of them."""
    pruned: int = 0
    """Rows of a time of which the ledger keeps sums alone: whether they are among those is not known any more."""
    unreadable: int = 0
    """Files that this user may not read."""
    notes: list[str] = field(default_factory=list)
    """What else leaves something out."""


class Into:
    """The ledger `db`. Raises what the ledger raises."""

    def __init__(self, db: Path, since: datetime | None) -> None:
        self.db, self.done, self.guard = db, Imported(), Guard()
        self._since = "" if since is None else stamp(since)
        self._check = RowCheck()
        self._store = Store(db, self.guard)
        load_orphans(db, self.guard)

    def connection(self) -> sqlite3.Connection:
        """The ledger's, which waits for programs that write to it."""
        connection = self._store.connection()
        connection.execute(f"PRAGMA busy_timeout = {PATIENCE_MS}")
        return connection

    def take(self, rows: Iterable[Row]) -> None:
        """Stores those of `rows` that are new."""
        good = []
        for row in rows:
            if fault := self._check.fault(row):
                self.broke(fault)
            elif row["started_at"] >= self._since:
                good.append(row)
        self.done.responses += len(good)
        for start in range(0, len(good), ROWS_AT_ONCE):
            self._write(good[start : start + ROWS_AT_ONCE])

    def broke(self, why: str) -> None:
        """Counts a line or a row that is none."""
        self.done.broken += 1
        self.done.why_broken = self.done.why_broken or why

    def close(self) -> None:
        """Closes the ledger."""
        self._store.close()

    def _write(self, rows: list[Row]) -> None:
        connection = self.connection()
        ids = orjson.dumps([row["id"] for row in rows]).decode()
        known = {id_ for (id_,) in connection.execute(KNOWN, (ids,))}
        # A later telling of an agent's response may complete it.
        wanted = [row for row in rows if row["id"] not in known or row["source"] in FAMILIES]
        first_day = exact_from_day(connection)
        late = [row for row in wanted if row["started_at"] >= first_day]
        self.done.pruned += len(wanted) - len(late)
        if late:
            self.done.new += len(self._store.write(late).rows)
