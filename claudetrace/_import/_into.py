"""`Into`: a ledger that takes rows from elsewhere, each once; and `Rows`: those of ledgers, journals and logs."""

from __future__ import annotations

import gzip
import json
import sys
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import orjson

from claudetrace._call import CALL_FIELDS, JSON_COLUMNS
from claudetrace._errors import ClaudetraceError
from claudetrace._guard import Guard
from claudetrace._ids import FAMILIES
from claudetrace._ledger import _segments
from claudetrace._ledger._calls import COLUMNS, GENERATED, last_row, rows_of, told
from claudetrace._ledger._load import load_orphans
from claudetrace._ledger._rollups import exact_from_day
from claudetrace._ledger._row_check import RowCheck
from claudetrace._ledger._schema import PATIENCE_MS, VERSION, connect_to_read, ledger_version
from claudetrace._ledger._store import Store
from claudetrace._ledger._times import stamp
from claudetrace._places import spool_of
from claudetrace._pricing._row import with_price
from claudetrace._tags import with_own_tags
from claudetrace._telemetry._attributes import EVENT

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Iterable, Iterator
    from datetime import datetime

    from claudetrace._call import Row

    Progress = Callable[[int], None] | None
    Lines = IO[bytes] | gzip.GzipFile

ROWS_AT_ONCE = 1_000
KNOWN = "SELECT id FROM calls WHERE id IN (SELECT value FROM json_each(?))"
STDIN = "-"
SQLITE = b"SQLite format 3\0"
GZIP = b"\x1f\x8b"
TAKE = f"SELECT rowid, {', '.join(COLUMNS)} FROM calls WHERE rowid > ? ORDER BY rowid LIMIT {ROWS_AT_ONCE}"  # noqa: S608 - names of ours
START = b'{"event":"%b"' % EVENT.encode()
ESCAPED = START.replace(b'"', b'\\"')
_scan = json.JSONDecoder().raw_decode


@dataclass(slots=True)
class Imported:
    """What an import has done so far."""

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


class Rows:
    """What is at `path`, read on from where the step before has ended. Raises `ClaudetraceError` for what is none."""

    def __init__(self, path: Path, into: Into) -> None:
        self.path, self._into = path, into
        self._read: dict[Path, int] = {}
        """How far each file is read; of a ledger, its last row."""
        self._step = self._kind()

    def size(self) -> int:
        """How many bytes there are, of what has bytes."""
        return sum(each.stat().st_size for each in self._files())

    def step(self, progress: Progress = None) -> None:
        """Takes in what is new. `progress` hears how many bytes were read."""
        self._step(progress)

    def _kind(self) -> Callable[[Progress], None]:
        if str(self.path) == STDIN:
            return self._stdin
        if self.path.is_dir():
            if self.path.suffix != ".spool":
                raise ClaudetraceError(f"{self.path} is a folder; name ledgers, spools or files of record lines in it")
            return self._spool
        if self._into.db.exists() and self.path.samefile(self._into.db):
            raise ClaudetraceError(f"{self.path} is the ledger itself; name another by --db")
        with self.path.open("rb") as opened:
            begin = opened.read(len(SQLITE))
        if begin != SQLITE:
            return self._lines
        with closing(connect_to_read(self.path)) as connection:
            if ledger_version(connection, self.path) != VERSION:
                raise ClaudetraceError(f"{self.path} is an older ledger; have its program, or `doctor`, open it first")
        return self._ledger

    def _files(self) -> list[Path]:
        if str(self.path) == STDIN:
            return []
        return _segments.paths(self.path) if self.path.is_dir() else [self.path]

    def _ledger(self, progress: Progress) -> None:
        with ExitStack() as held:
            # Before the ledger is read: what is loaded meanwhile goes from there into the ledger.
            segments = [held.enter_context(each) for each in _opened(_segments.paths(spool_of(self.path)))]
            with closing(connect_to_read(self.path)) as connection:
                if (pruned := exact_from_day(connection)) and not self._read:
                    self._into.done.notes.append(f"{self.path} is pruned: it has no calls of before {pruned}.")
                size, after = self.path.stat().st_size, self._read.get(self.path, 0)
                last = last_row(connection)
                while found := [*rows_of(connection, TAKE, (after,))]:
                    numbers = [row.pop("rowid") for row in found]
                    self._into.take(with_own_tags(told(row)) for row in found)
                    if progress is not None:
                        progress(size * len(found) // max(1, last))
                    self._read[self.path] = after = numbers[-1]
            for segment in segments:
                self._take(segment, Path(segment.name), _raw, None)

    def _spool(self, progress: Progress) -> None:
        for segment in _opened(_segments.paths(self.path)):
            with segment:
                self._take(segment, Path(segment.name), _raw, progress)

    def _lines(self, progress: Progress) -> None:
        of_journal = self.path.suffix == _segments.SUFFIX and self.path.parent.suffix == ".spool"
        with self.path.open("rb") as opened:
            if opened.read(2) == GZIP:
                with gzip.open(self.path) as unpacked:
                    self._take(unpacked, self.path, _recorded, None)
                return
            self._take(opened, self.path, _raw if of_journal else _recorded, progress)

    def _stdin(self, _progress: Progress) -> None:
        self._take(sys.stdin.buffer, None, _recorded, None)

    def _take(self, lines: Lines, path: Path | None, read: Callable[[bytes], Row | None], progress: Progress) -> None:
        """Takes in each whole line of the file; one that is still being written is read next time."""
        at = self._read.get(path, 0) if path is not None else 0
        if path is not None:
            lines.seek(at)
        rows: list[Row] = []
        for line in lines:
            if not line.endswith(b"\n") and path is not None:
                break
            at += len(line)
            if progress is not None:
                progress(len(line))
            if (row := self._row(line, read)) is not None:
                rows.append(row)
            if len(rows) == ROWS_AT_ONCE:
                self._into.take(rows)
                rows = []
        self._into.take(rows)
        if path is not None:
            self._read[path] = at

    def _row(self, line: bytes, read: Callable[[bytes], Row | None]) -> Row | None:
        try:
            return read(line) if line.strip() else None
        except (ValueError, KeyError, TypeError, AttributeError, IndexError, StopIteration) as error:
            self._into.broke(f"{error}")
            return None


def _opened(paths: Iterable[Path]) -> Iterator[IO[bytes]]:
    for path in paths:
        try:
            yield path.open("rb")
        except FileNotFoundError:
            continue  # It was loaded in between.


def _raw(line: bytes) -> Row:
    """The row in a line of a journal, which nobody may have priced yet."""
    row = orjson.loads(line)
    if not isinstance(row, dict):
        raise ValueError("a line of a journal is no row")  # noqa: TRY004 - as one that is no JSON
    return with_price(row)


def _recorded(line: bytes) -> Row | None:
    """The row in `line`, whatever a log has put before it or around it; `None` where it has none. Raises `ValueError`
    for a broken one."""
    if ESCAPED in line:
        # Docker's own log: the line is a text in a line of JSON.
        line = next(text.encode() for text in orjson.loads(line).values() if isinstance(text, str) and "{" in text)
    at = line.find(START)
    if at < 0:
        return None
    row: Row = {}
    for name, value in _members(line[at:].decode()):
        if name == "event":
            continue
        if name not in CALL_FIELDS:
            raise ValueError(f"{name[:64]} is of another version of claudetrace")
        if name not in GENERATED:
            row[name] = value
    return with_own_tags(row)


def _members(text: str) -> list[tuple[str, Any]]:
    """The members of the object at the start of `text`; those that the ledger has as JSON are as they are written."""
    members, at = [], 1
    while text[at - 1] != "}":
        name, end = _scan(text, at)
        value, after = _scan(text, end + 1)
        members.append((name, text[end + 1 : after] if name in JSON_COLUMNS else value))
        at = after + 1
    return members
