"""Copies in memory of the calls that no index finds: looked for once, and read by all panels as the ledger is."""

from __future__ import annotations

import asyncio
import weakref
from typing import TYPE_CHECKING

from claudetrace._call import CALL_FIELDS
from claudetrace._ledger._measures import VIEWS
from claudetrace._ledger._question import CALLS, IN_HOURS, IN_SUMS, Question
from claudetrace._sqlite import connect_to_read

if TYPE_CHECKING:
    from pathlib import Path

    from claudetrace._ledger._question import Filter
    from claudetrace._ledger._times import Span

BUSY_S = 5.0
OTHERWISE = {*IN_SUMS, *IN_HOURS, "flags", "cost_status"}
"""The dimensions that the table `calls` has not as questions ask for them."""
COPIED = tuple(name for name in CALL_FIELDS if name not in ("usage", "pricing_terms"))
ROWIDS = "SELECT COUNT(*), MIN(rowid), MAX(rowid) FROM main.calls WHERE started_at >= ? AND started_at < ?"
COPY = f"INSERT OR IGNORE INTO temp.calls SELECT rowid, {', '.join(COPIED)} FROM main.calls"  # noqa: S608 - names of ours
COPIED_VIEWS = ("measured_calls", "measured_latencies")


def of_filters(question: Question) -> tuple[Filter, ...]:
    """The filters by which calls can be copied."""
    return tuple(each for each in question.where if each.name not in OTHERWISE)


class Copy:
    """A connection to the ledger that has only such calls of these spans; all else is as in the ledger. Whoever reads
    it holds its `lock`."""

    def __init__(self, path: Path, where: tuple[Filter, ...], spans: tuple[Span, ...]) -> None:
        self.lock = asyncio.Lock()
        self.connection = connect_to_read(path, BUSY_S)
        weakref.finalize(self, self.connection.close)
        self._where, self._spans = where, spans

    def fill(self) -> Copy:
        """Copies the calls: what is in `temp` is found before what the ledger has by that name."""
        execute = self.connection.execute
        execute("PRAGMA temp_store = MEMORY")
        execute(f"CREATE TEMP TABLE calls (rowid INTEGER PRIMARY KEY, {', '.join(COPIED)})")
        execute("BEGIN")
        for span in self._spans:
            count, first, last = execute(ROWIDS, span.stamps()).fetchone()
            condition, values = Question(where=self._where).condition(CALLS, span)
            # Reading rows in their own order takes half as long as looking up each.
            in_order = f"NOT INDEXED WHERE rowid BETWEEN {first} AND {last} AND"
            where = in_order if count and last - first < 2 * count else "WHERE"
            execute(f"{COPY} {where} {condition}", values)
        execute("COMMIT")
        execute("CREATE INDEX temp.copied_started_at ON calls (started_at)")
        execute("CREATE INDEX temp.copied_id ON calls (id)")
        for name in COPIED_VIEWS:
            # Which call of several responses is the first is a question to all calls.
            sql = VIEWS[name].replace("FROM calls AS o", "FROM main.calls AS o")
            execute(sql.replace("CREATE VIEW", "CREATE TEMP VIEW", 1))
        return self
