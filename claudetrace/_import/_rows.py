"""`Rows`: the rows of other ledgers, of journals and of record lines, also while they are being written."""

from __future__ import annotations

import gzip
import sys
from contextlib import ExitStack, closing
from pathlib import Path
from typing import IO, TYPE_CHECKING

import orjson

from claudetrace._errors import ClaudetraceError
from claudetrace._import._into import ROWS_AT_ONCE
from claudetrace._import._lines import row_of_line
from claudetrace._ledger import _segments
from claudetrace._ledger._proof import exact_from_day
from claudetrace._ledger._schema import VERSION, connect_to_read, ledger_version
from claudetrace._ledger._store import COLUMNS
from claudetrace._places import spool_of
from claudetrace._pricing._row import with_price
from claudetrace._tags import with_own_tags

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from claudetrace._call import Row
    from claudetrace._import._into import Into

    Progress = Callable[[int], None] | None
    Lines = IO[bytes] | gzip.GzipFile

STDIN = "-"
SQLITE = b"SQLite format 3\0"
GZIP = b"\x1f\x8b"
TAKE = f"SELECT rowid, {', '.join(COLUMNS)} FROM calls WHERE rowid > ? ORDER BY rowid LIMIT {ROWS_AT_ONCE}"  # noqa: S608 - names of ours


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
        before = self._into.done.responses
        self._step(progress)
        self._into.done.files += self._into.done.responses > before

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
                (last,) = connection.execute("SELECT COALESCE(MAX(rowid), 0) FROM calls").fetchone()
                while found := connection.execute(TAKE, (after,)).fetchall():
                    self._into.take(with_own_tags(_known(row)) for _, *row in found)
                    if progress is not None:
                        progress(size * len(found) // max(1, last))
                    self._read[self.path] = after = found[-1][0]
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


def _known(values: list[object]) -> Row:
    return {name: value for name, value in zip(COLUMNS, values, strict=True) if value is not None}


def _raw(line: bytes) -> Row:
    """The row in a line of a journal, which nobody may have priced yet."""
    row = orjson.loads(line)
    if not isinstance(row, dict):
        raise ValueError("a line of a journal is no row")  # noqa: TRY004 - as one that is no JSON
    return with_price(row)


def _recorded(line: bytes) -> Row | None:
    row = row_of_line(line)
    return None if row is None else with_own_tags(row)
