"""`Ledger`: reads a ledger. It may be slow, and it raises."""

from __future__ import annotations

import sqlite3
import time
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Self

from claudetrace._call import Call
from claudetrace._clock import monotonic
from claudetrace._config import use_file_mode
from claudetrace._errors import ClaudetraceError
from claudetrace._files import is_writable
from claudetrace._guard import Guard
from claudetrace._ledger._answer import read_spend
from claudetrace._ledger._calls import rows_of
from claudetrace._ledger._load import load_orphans
from claudetrace._ledger._question import Question
from claudetrace._ledger._schema import VERSION, connect_to_read, ledger_version, open_ledger
from claudetrace._ledger._segments import left_elsewhere
from claudetrace._ledger._spend import Spend, Spends
from claudetrace._places import default_db, spool_of
from claudetrace._sqlite import TOO_LONG, check_unchanged, is_changed, limit_time, refuse_old_sqlite

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterator

    import sqlite_utils

    from claudetrace._ledger._question import By, Where
    from claudetrace._ledger._times import When

__all__ = ["Ledger", "Spend", "Spends"]

BUSY_S = 5.0


class Ledger:
    """Reads the ledger at `path`, by default the one that `instrument()` writes to.

    with claudetrace.Ledger() as ledger:
        for row in ledger.spend(by=("customer", "model"), since="this month"):
            print(row.customer, row.model, row.calls, row.cost_usd)

    Opening it first loads what killed processes left in the journal. Raises `ClaudetraceError` if there is no ledger.
    """

    def __init__(self, path: str | os.PathLike[str] | None = None) -> None:
        self.path = default_db() if path is None else Path(path)
        self._db: sqlite_utils.Database | None = None
        refuse_old_sqlite()
        use_file_mode()
        try:
            self._require_ledger()
        except PermissionError as error:
            raise ClaudetraceError(f"the ledger {self.path} cannot be read by this user: {error.strerror}") from error
        load_orphans(self.path, Guard())
        with self.reading():
            pass

    def _require_ledger(self) -> None:
        if self.path.is_dir():
            raise ClaudetraceError(f"{self.path} is a folder; name a file in it as the ledger")
        spool = spool_of(self.path)
        if not self.path.is_file() and not spool.is_dir() and not left_elsewhere(spool):
            raise ClaudetraceError(
                f"there is no ledger at {self.path}; call claudetrace.instrument() in the program whose calls it is "
                "to hold, or name another with db= or CLAUDETRACE_DB"
            )

    def spend(
        self,
        by: By = "model",
        since: When = "7d",
        until: When = None,
        where: Where | None = None,
        *,
        timezone: str = "UTC",
        top: int | None = None,
        sort: str | None = None,
        progress: Callable[[int], None] | None = None,
    ) -> Spends:
        """The exact sums for each value of `by`, with their `total`.

        by: `"model"`, `"day"`, `"customer"`, `"tag:team"`, …, or up to three of them. Default: `"model"`.
        since, until: `"7d"`, `"this month"`, `"2026-11"`, `"all"`, a date or a datetime. Default: the last seven days.
        where: filters: a value, several, `None` for calls without one, and `!` for all but these.
            Example: `{"feature": "rerank", "model!": ["m1", "m2"], "customer": None}`.
        timezone: where days begin. Example: `"Europe/Berlin"`. Default: `"UTC"`.
        top: how many rows; the others are summed in one more, whose `rest` says how many they are. Default: all.
        sort: `"cost"`, `"calls"`, `"tokens"`, `"name"`, …; the largest first. Default: `"cost"`, or by time if `by`
            begins with a time.

        Beyond 1,000 values of a tag in a day, further ones are summed in one row, whose `others` is set; `too_low`
        marks a value that may have calls in that row. Parts of hours that were pruned are not counted.
        """
        question = Question.of(by, since, until, where, timezone)
        with self.reading() as connection:
            return read_spend(connection, question, top=top, sort=sort, progress=progress)

    def calls(
        self,
        since: When = None,
        limit: int | None = 100,
        until: When = None,
        where: Where | None = None,
        trace_id: str | None = None,
    ) -> list[Call]:
        """The calls, newest first: `ledger.calls(since="1h", where={"customer": "acme"}, limit=None)`.

        `limit` is the largest number of them, `None` for all. `since`, `until` and `where` are those of `spend`.
        """
        condition, values = Question.of(since=since, until=until, where=where).of_rows()
        if trace_id is not None:
            condition, values = f"{condition} AND trace_id = ?", [*values, trace_id]
        sql = f"SELECT * FROM calls WHERE {condition} ORDER BY started_at DESC, id DESC LIMIT ?"  # noqa: S608 - SQL of ours
        with self.reading() as connection:
            return [*map(Call.from_row, rows_of(connection, sql, (*values, -1 if limit is None else limit)))]

    @property
    def db(self) -> sqlite_utils.Database:
        """The ledger as a `sqlite_utils.Database`, for SQL of your own. Open until `close()`; close it before a fork.

        for row in ledger.db.query("SELECT model, COUNT(*) AS calls FROM calls GROUP BY model"):
            print(row)
        """
        if self._db is not None and is_changed(self._db.conn):
            self.close()
        if self._db is None:
            from sqlite_utils import Database

            self._db = Database(self._connect(), use_counts_table=False)
        return self._db

    def close(self) -> None:
        """Closes `db`, if it was opened."""
        database, self._db = self._db, None
        if database is not None:
            database.conn.close()

    def __repr__(self) -> str:
        return f"<Ledger {self.path}>"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """A connection that sees one state of the ledger while the block lasts. Reads have a limit of time."""
        with closing(self._connect()) as connection:
            limit_time(connection, self.path)
            connection.execute("BEGIN")
            try:
                yield connection
            except sqlite3.DatabaseError as error:
                check_unchanged(connection)
                if getattr(error, "sqlite_errorname", "") != "SQLITE_INTERRUPT":
                    raise
                raise ClaudetraceError(f"the ledger {self.path} cannot be read: {TOO_LONG}") from error
            check_unchanged(connection)

    def _connect(self) -> sqlite3.Connection:
        deadline = monotonic() + BUSY_S
        while True:
            try:
                connection = self._opened()
                break
            except sqlite3.OperationalError as error:
                if error.sqlite_errorname.startswith("SQLITE_BUSY") and monotonic() < deadline:
                    time.sleep(0.05)
                    continue
                raise ClaudetraceError(
                    f"the ledger {self.path} cannot be read: {error}; SQLite needs to read its -wal and -shm files "
                    "too, and to make them where they are missing"
                ) from error
            except sqlite3.DatabaseError as error:
                raise ClaudetraceError(f"the ledger {self.path} cannot be read: {error}") from error
        connection.execute(f"PRAGMA busy_timeout = {int(BUSY_S * 1000)}")
        return connection

    def _opened(self) -> sqlite3.Connection:
        if is_writable(self.path):
            # Where there is a journal, a program may be making the ledger right now.
            return open_ledger(self.path, make=spool_of(self.path).is_dir())
        connection = connect_to_read(self.path)
        try:
            self._require_current(ledger_version(connection, self.path))
        except BaseException:
            connection.close()
            raise
        return connection

    def _require_current(self, version: int) -> None:
        if version < VERSION:
            raise ClaudetraceError(
                f"{self.path} is a ledger of version {version}, which has to be migrated to version {VERSION}, and "
                "this user cannot write it; open it once as a user who can"
            )
