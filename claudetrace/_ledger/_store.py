"""`Store`: the one connection through which a process writes its ledger, a batch of rows a transaction."""

from __future__ import annotations

import json
import sqlite3
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from math import inf, nextafter
from typing import TYPE_CHECKING, Any

import orjson

from claudetrace._ledger import _replays, _segments, _unsent
from claudetrace._ledger._calls import COLUMNS
from claudetrace._ledger._file import COUNT, LedgerFile
from claudetrace._ledger._schema import begin, insert_rows, transaction
from claudetrace._ledger._sums import Sums, TagValues, columns_of, further_firsts
from claudetrace._ledger._times import stamp
from claudetrace._operations import BATCHES_CREATE, BATCHES_RESULT
from claudetrace._places import spool_of
from claudetrace._pricing._row import at_day_of_batch
from claudetrace._tags import OWN_TAGS, with_tags

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from claudetrace._call import Row
    from claudetrace._guard import Guard
    from claudetrace._ledger._latency import Columns
    from claudetrace._ledger._schema import Pace

_STORED = frozenset(COLUMNS)
_REALS = frozenset(("duration_ms", "response_ms", "time_to_first_token_ms", "budget_wait_ms", "rate_limit_headroom"))
_LEAST = 1e-9
TAGS_OF_BATCH = f"""
    SELECT started_at, user_id, session_id, feature, customer, prompt, tags
    FROM calls
    WHERE operation = '{BATCHES_CREATE.name}' AND batch_id = ?
    ORDER BY rowid
    LIMIT 1
"""  # noqa: S608 - names of ours
LOADED = """
    INSERT INTO segments (name, loaded_bytes, loaded_at)
    VALUES (?, ?, ?)
    ON CONFLICT (name) DO UPDATE SET loaded_bytes = excluded.loaded_bytes, loaded_at = excluded.loaded_at
"""
TAG_COLUMNS_OF_BATCH = ("user_id", "session_id", "feature", "customer", "prompt", "tags")
KNOWN_BATCHES = 1000
FAULTS_OF_A_ROW = (
    *(sqlite3.IntegrityError, sqlite3.DataError, sqlite3.InterfaceError, sqlite3.ProgrammingError),
    *(OverflowError, ValueError, TypeError, KeyError, AttributeError),
)
"""What a row can cause by itself. Anything else is a fault of the file, and the batch is tried again."""


@dataclass(slots=True)
class Written:
    """What became of a batch: the rows that are new to the ledger, and how many were quarantined."""

    rows: list[Row] = field(default_factory=list)
    quarantined: int = 0


class Store(LedgerFile):
    """Writes rows to the ledger at `path`. Only one thread at a time may use it.

    One that is only an outbox keeps no sums: its rows are deleted once they are sent. `before_commit` gets the rows
    that are new before the commit, and again where that fails. `pace` gives each row when it is its turn.
    """

    def __init__(
        self,
        path: Path,
        guard: Guard,
        *,
        only_outbox: bool = False,
        before_commit: Callable[[list[Row]], None] | None = None,
        pace: Pace = iter,
    ) -> None:
        super().__init__(path, guard)
        self._pace = pace
        self._before_commit = before_commit
        self.only_outbox = only_outbox
        self.batch_rows = BatchRows(guard)
        self._tag_values = TagValues()

    def _forget(self) -> None:
        self._tag_values.clear()
        self.batch_rows.clear()

    def loaded_bytes(self, segment: str) -> int:
        """How far the segment of that name is loaded."""
        sql = "SELECT loaded_bytes FROM segments WHERE name = ?"
        found = self.connection().execute(sql, (segment,)).fetchone()
        return int(found[0]) if found else 0

    def forget_segment(self, name: str) -> None:
        """Deletes the mark of a segment that is gone, and those that others left."""
        if not self.path.exists():
            return  # The mark went with the ledger.
        day_ago = datetime.now(UTC) - timedelta(days=1)
        sql = """
            DELETE FROM segments
            WHERE name = ? OR (loaded_at < ? AND name NOT IN (SELECT value FROM json_each(?)))
        """
        names = orjson.dumps([path.name for path in _segments.paths(spool_of(self.path))]).decode()
        try:
            connection = self.connection()
            with transaction(connection):
                connection.execute(sql, (name, stamp(day_ago), names))
        except sqlite3.OperationalError as error:
            # Others are writing. The mark does no harm until it is deleted as an old one.
            if not error.sqlite_errorname.startswith("SQLITE_BUSY"):
                raise

    def write(
        self, rows: list[Row], segment: str | None = None, loaded_bytes: int = 0, *, unsent: bool = False
    ) -> Written:
        """Stores `rows`, their sums and how far their segment is loaded, all or nothing; and marks them where they are
        `unsent`. Leaves out rows that the ledger has, and quarantines those that it cannot hold. Raises for a fault of
        the file."""
        connection = self.connection()
        begin(connection)
        try:
            written, sums = Written(), list[Sums]()
            told = self.batch_rows.completed(connection, rows)
            rows = _replays.without_known(connection, told)
            if len(rows) < len(told):
                _replays.complete(connection, told, self._tag_values)
            rows = _replays.decided(connection, rows, self._guard)
            self._insert(connection, rows, written, sums)
            if not self.only_outbox:
                for each in sums:
                    each.write(connection, self._tag_values, self._pace)
            if unsent:
                _unsent.mark(connection, written.rows)
            if segment is not None:
                connection.execute(LOADED, (segment, loaded_bytes, _now()))
            if self._before_commit is not None and written.rows:
                self._before_commit(written.rows)
            connection.execute(COUNT)
            connection.execute("COMMIT")
            self.committed()
        except BaseException:
            self._forget()
            with suppress(sqlite3.Error):
                connection.rollback()
            raise
        return written

    def _insert(self, connection: sqlite3.Connection, rows: list[Row], written: Written, sums: list[Sums]) -> None:
        """Inserts `rows`. Where one has a fault it halves them, until that one is alone and is quarantined."""
        if not rows:
            return
        connection.execute("SAVEPOINT some_rows")
        try:
            new, columns = _insert_all(connection, rows, self._pace)
            sums_of_new = Sums(new, columns, further_firsts(connection, new), self._pace)
        except FAULTS_OF_A_ROW as error:
            connection.execute("ROLLBACK TO some_rows")
            connection.execute("RELEASE some_rows")
            if len(rows) == 1:
                _quarantine(connection, rows[0], error)
                written.quarantined += 1
                return
            middle = len(rows) // 2
            self._insert(connection, rows[:middle], written, sums)
            self._insert(connection, rows[middle:], written, sums)
            return
        connection.execute("RELEASE some_rows")
        written.rows += new
        sums.append(sums_of_new)


class BatchRows:
    """Gives results of a message batch the tags, and the day of the price, of the call that made the batch."""

    def __init__(self, guard: Guard) -> None:
        self._guard = guard
        self._known: dict[str, Row] = {}

    def clear(self) -> None:
        self._known.clear()

    def completed(self, connection: sqlite3.Connection, rows: list[Row]) -> list[Row]:
        """`rows`, the results among them completed where the ledger knows their batch."""
        if len(self._known) > KNOWN_BATCHES:
            self._known.clear()
        return [row if row.get("batch_id") is None else self._completed(connection, row) for row in rows]

    def _completed(self, connection: sqlite3.Connection, row: Row) -> Row:
        operation, batch_id = row.get("operation"), row["batch_id"]
        if not isinstance(batch_id, str):
            return row
        if operation == BATCHES_CREATE.name:
            self._known.setdefault(batch_id, row)
        if operation != BATCHES_RESULT.name or (made := self._made(connection, batch_id)) is None:
            return row
        own = orjson.loads(row.get(OWN_TAGS) or "{}")
        tags = {name: made[name] for name in TAG_COLUMNS_OF_BATCH if made.get(name) is not None}
        row = {name: value for name, value in row.items() if name not in TAG_COLUMNS_OF_BATCH} | tags
        row = with_tags(row, own) if own else row
        with self._guard("price a batch's result by the day of the batch"):
            return at_day_of_batch(row, made["started_at"])
        return row

    def _made(self, connection: sqlite3.Connection, batch_id: str) -> Row | None:
        if batch_id not in self._known:
            found = connection.execute(TAGS_OF_BATCH, (batch_id,)).fetchone()
            if found is None:
                return None
            self._known[batch_id] = dict(zip(("started_at", *TAG_COLUMNS_OF_BATCH), found, strict=True))
        return self._known[batch_id]


def insert_of(columns: Sequence[str]) -> str:
    """Inserts the values of `columns`, unless the ledger has the row."""
    places = ", ".join("?" * len(columns))
    return f"INSERT INTO calls ({', '.join(columns)}) VALUES ({places}) ON CONFLICT DO NOTHING"  # noqa: S608 - names of ours


def storable(columns: dict[str, Sequence[Any]]) -> dict[str, Sequence[Any]]:
    """`columns` as this SQLite takes them: 3.37 refuses whole numbers as REAL where a STRICT table has generated
    columns, and gets the next larger one."""
    if sqlite3.sqlite_version_info >= (3, 38):
        return columns
    return columns | {name: [*map(_not_whole, columns[name])] for name in _REALS & columns.keys()}


def _not_whole(value: float | None) -> float | None:
    return value if value is None or not float(value).is_integer() else max(nextafter(value, inf), _LEAST)


def _insert_all(connection: sqlite3.Connection, rows: list[Row], pace: Pace) -> tuple[list[Row], Columns]:
    """Inserts `rows`. Returns those that the ledger did not have, and their columns."""
    columns = storable(columns_of(rows))
    # What is left out is NULL too, and Python takes long for each `None`.
    told = [name for name in columns if name in _STORED] or [COLUMNS[0]]
    insert, nones = insert_of(told), (None,) * len(rows)
    values = [*zip(*[columns.get(name, nones) for name in told], strict=True)]
    connection.execute("SAVEPOINT at_once")
    if insert_rows(connection, insert, values, pace) == len(rows):
        connection.execute("RELEASE at_once")
        return rows, columns
    connection.execute("ROLLBACK TO at_once")
    connection.execute("RELEASE at_once")
    new = [row for row, each in zip(rows, values, strict=True) if connection.execute(insert, each).rowcount]
    return new, columns_of(new)


def _quarantine(connection: sqlite3.Connection, row: Row, error: Exception) -> None:
    connection.execute(
        "INSERT INTO quarantine (quarantined_at, reason, line) VALUES (?, ?, ?)",
        (_now(), f"{type(error).__name__}: {error}"[:500], _line(row)),
    )


def _line(row: Row) -> str:
    try:
        return orjson.dumps(row).decode()
    except (TypeError, ValueError, RecursionError):
        # What JSON cannot hold may be why the row is quarantined.
        return json.dumps(row, default=repr)


def _now() -> str:
    return stamp(datetime.now(UTC))
