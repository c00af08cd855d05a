"""What all that changes the ledger beside the loader shares: small steps, so that nobody who writes waits long."""

from __future__ import annotations

import sqlite3
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING

from claudetrace._errors import ClaudetraceError
from claudetrace._files import require_writable
from claudetrace._ledger._schema import begin, open_ledger

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

CHUNK_ROWS = 200
NAP_S = 0.01
BUSY_MS = 10_000


@contextmanager
def opened_ledger(db: Path) -> Iterator[sqlite3.Connection]:
    """The ledger at `db`, to be changed by a person, who may wait. Raises `ClaudetraceError`."""
    if not db.is_file():
        raise ClaudetraceError(f"there is no ledger at {db}; name another with --db or CLAUDETRACE_DB")
    require_writable(db)
    try:
        with closing(open_ledger(db, make=False)) as connection:
            connection.execute(f"PRAGMA busy_timeout = {BUSY_MS}")
            yield connection
    except sqlite3.Error as error:
        raise ClaudetraceError(f"the ledger {db} cannot be changed now: {error}") from error


@contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """All or nothing of what the block writes."""
    begin(connection)
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        connection.rollback()
        raise


def truncate_log(connection: sqlite3.Connection) -> bool:
    """Whether the write-ahead log is emptied into the file: not while somebody keeps reading an older state."""
    ((busy, _, _),) = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    return not busy
