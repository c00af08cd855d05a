"""`LedgerFile`: the connection through which a process writes its ledger, opened anew where the file has changed."""

from __future__ import annotations

import sqlite3
import time
from contextlib import closing, suppress
from typing import TYPE_CHECKING

from claudetrace import _usable
from claudetrace._errors import ClaudetraceError
from claudetrace._ledger._schema import APPLICATION_ID, connect, open_ledger
from claudetrace._sqlite import Held, creation_lock

if TYPE_CHECKING:
    from pathlib import Path

    from claudetrace._guard import Guard

MARK = """
    SELECT
        (SELECT value FROM facts WHERE name = 'ledger_id') AS ledger_id,
        (SELECT CAST(value AS INTEGER) FROM facts WHERE name = 'writes') AS writes
"""
COUNT = "UPDATE facts SET value = CAST(CAST(value AS INTEGER) + 1 AS TEXT) WHERE name = 'writes'"
NONE = ("", 0)


class LedgerFile:
    """The ledger at `path`, open while it can be. Only one thread at a time may use it."""

    def __init__(self, path: Path, guard: Guard) -> None:
        self.path = path
        self._guard = guard
        self._held: Held | None = None
        self._mark: tuple[str, int] | None = None
        self._written: tuple[int, int] | None = None

    def connection(self) -> sqlite3.Connection:
        """The open connection, to the file that is at the path now. Raises what opening it raises, `UnusableError`
        where SQLite may not be used now."""
        _usable.check(self.path)
        self.look()
        if self._held is None:
            self._forget()
            self._held = Held(self.path, open_ledger(self.path))
            self._written, self._mark = _written(self.path), _mark_of(self.path)
        return self._held.connection

    def _forget(self) -> None:
        """Forgets what was known of the file that was open before."""

    def committed(self) -> None:
        """To be called after each commit."""
        if self._held is not None:
            self._held.committed()

    def look(self) -> None:
        """Closes the file if it was moved, deleted, replaced or overwritten, and logs that."""
        if self._held is None:
            return
        self._held.check()
        if self._held.is_same_file() and self._is_overwritten():
            self._set_aside(self._held)
        elif not self._held.is_in_place():
            self._close()
            told = "it was moved, deleted or replaced; its rows went with it, and the next ones go where it was"
            self._guard.caught(f"find the ledger {self.path} in its place", ClaudetraceError(told))

    def close(self) -> None:
        """Closes the file. The next use opens it again."""
        with suppress(_usable.UnusableError):
            self.look()
        self._close()

    def abandon(self) -> None:
        """Forgets the connection without closing it, in a child forked while it was in use."""
        if self._held is not None:
            self._held.abandon()
        self._held = None

    def _close(self) -> None:
        held, self._held = self._held, None
        if held is not None:
            held.close()

    def _is_overwritten(self) -> bool:
        """Whether somebody wrote another ledger, an older copy of this one or anything else into the open file. Reads
        it only where it was written to, which a checkpoint does too."""
        before, now = self._written, _written(self.path)
        if now == before:
            return False
        known, found = self._mark or NONE, _mark_of(self.path)
        if found is None:
            # It cannot be read without its log while a VACUUM is checkpointed. But that does not make it shorter.
            return None not in (before, now, self._mark) and now[1] < before[1]  # type: ignore[index]  # none is None
        self._written, self._mark = now, found
        return known is not NONE and (found[0] != known[0] or found[1] < known[1])

    def _set_aside(self, held: Held) -> None:
        self._held = None
        with creation_lock(self.path):
            aside = self.path.with_name(f"{self.path.name}.overwritten-{time.time_ns()}")
            if held.is_same_file():
                self.path.rename(aside)
            held.leave()
        told = f"it was overwritten or truncated in use; what is there now is kept as {aside.name}, and a new one begun"
        self._guard.caught(f"find the ledger {self.path} as it was", ClaudetraceError(told))


def _written(path: Path) -> tuple[int, int] | None:
    """When the file was written to, and its size."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size


def _mark_of(path: Path) -> tuple[str, int] | None:
    """The id of the ledger in the file, and how often it was written to, both without its log; `NONE` for a file that
    is no ledger, `None` where that cannot be told.

    Reads it by SQLite: closing a descriptor of ours would drop the locks that SQLite has on the file.
    """
    try:
        with closing(connect(path, "ro&immutable=1")) as connection:
            if connection.execute("PRAGMA application_id").fetchone() != (APPLICATION_ID,):
                return NONE
            ledger_id, writes = connection.execute(MARK).fetchone()
    except _usable.UnusableError:
        return None
    except sqlite3.Error as error:
        return NONE if error.sqlite_errorname == "SQLITE_NOTADB" else None
    return (ledger_id, writes) if ledger_id and writes is not None else None
