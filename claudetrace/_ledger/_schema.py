"""Opens the ledger to read, load or change it: makes, migrates or refuses it, and never damages it."""

from __future__ import annotations

import sqlite3
from contextlib import closing, contextmanager
from importlib.resources import files
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from claudetrace import _sqlite
from claudetrace._errors import ClaudetraceError
from claudetrace._files import make_database, make_folder, refuse_foreign_database, require_writable
from claudetrace._ledger._rollups import create_rollups
from claudetrace._version import __version__

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

Pace: TypeAlias = "Callable[[Iterable[Any]], Iterable[Any]]"
"""Gives each of what it takes when it is its turn."""

APPLICATION_ID = 0x636C7472
"""`cltr`: how a ledger of ours is known."""
BUSY_S = 0.1
PATIENCE_MS = 10_000
"""How long who changes the ledger by hand waits for others."""
CHUNK_ROWS = 200
NAP_S = 0.01
"""What changes many rows writes so many at a time, and pauses for others to write."""
WAL_BYTES = 16 * 1024 * 1024
ROWS_A_STEP = 8
"""Of a statement that inserts many: opening the table and its indexes takes SQLite as long as a third of a row. More
would keep callers waiting while their values are told."""


def _first_version(connection: sqlite3.Connection) -> None:
    schema = files(__package__).joinpath("schema.sql").read_text(encoding="utf-8")
    for statement in _statements(schema):
        connection.execute(statement)
    create_rollups(connection)


def _statements(script: str) -> Iterator[str]:
    """The statements of `script`, one by one: `executescript` would end the transaction."""
    statement = ""
    for line in script.splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""


MIGRATIONS: tuple[Callable[[sqlite3.Connection], None], ...] = (_first_version,)
"""The n-th migrates a ledger from version n to n + 1. All that are due run in one transaction."""
VERSION = len(MIGRATIONS)
MARKS = """
    SELECT
        (SELECT application_id FROM pragma_application_id) AS application_id,
        (SELECT user_version FROM pragma_user_version) AS version,
        (SELECT COUNT(*) FROM sqlite_master) AS tables,
        (SELECT COUNT(*) FROM pragma_table_info('calls') WHERE name = 'source') AS has_source
"""
"""What a file says of itself. One statement, since another process may make the ledger between two."""
BEGIN_ANEW = "of a version before claudetrace's first release; move it away, and a new one is begun"


def open_ledger(path: Path, *, make: bool = True) -> sqlite3.Connection:
    """A connection to the ledger at `path`, which is migrated to the current version if need be.

    With `make` it is made where there is no file, or an empty one. Raises `ClaudetraceError` for a file that is no
    ledger, or one of a newer version, and leaves that as it is.
    """
    _sqlite.refuse_old_sqlite()
    if path.is_dir():
        raise ClaudetraceError(f"{path} is a folder; name a file in it as the ledger")
    refuse_foreign_database(path)
    require_writable(path)
    version = 0
    if _size(path):
        version = _sqlite.first_look(path, BUSY_S, ledger_version)
    if not (version or make):
        raise ClaudetraceError(
            f"{path} is empty, so there is no ledger in it; call claudetrace.instrument() in the program whose calls "
            "it is to hold, or name another with db= or CLAUDETRACE_DB"
        )
    if version != VERSION:
        make_folder(path.parent)
        with _sqlite.creation_lock(path):
            _sqlite.part_from_log(path)
            _migrate(path)
    connection = connect(path, "rw")
    try:
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute(f"PRAGMA journal_size_limit = {WAL_BYTES}")
    except sqlite3.Error:
        connection.close()
        raise
    return connection


def connect(path: Path, mode: str) -> sqlite3.Connection:
    """A connection in autocommit. It waits so briefly for locks that it holds up no fork and no flush."""
    return _sqlite.connect(path, mode, BUSY_S)


def connect_to_read(path: Path) -> sqlite3.Connection:
    """A connection that also those can open who may only read the file. Raises `ClaudetraceError`."""
    return _sqlite.connect_to_read(path, BUSY_S)


def ledger_version(connection: sqlite3.Connection, path: Path) -> int:
    """The version of the ledger at `path`, 0 for an empty file. Raises `ClaudetraceError` for what is none."""
    try:
        application_id, version, tables, has_source = connection.execute(MARKS).fetchone()
    except sqlite3.DatabaseError as error:
        if error.sqlite_errorname == "SQLITE_NOTADB":
            raise ClaudetraceError(f"{path} is not a SQLite file; name another as the ledger") from error
        raise
    if application_id != APPLICATION_ID and (tables or application_id or version):
        raise ClaudetraceError(
            f"{path} is a SQLite file of something else, so nothing is written to it; name another as the ledger"
        )
    if (version or tables) and not (has_source and version > 0):
        raise ClaudetraceError(f"{path} is a ledger {BEGIN_ANEW}")
    if version > VERSION:
        raise ClaudetraceError(
            f"{path} is a ledger of version {version}, and claudetrace {__version__} knows version {VERSION}; "
            "upgrade claudetrace, or name another ledger"
        )
    return int(version)


def begin(connection: sqlite3.Connection) -> None:
    """Begins to write. Raises `ClaudetraceError` where a newer version has migrated the ledger since it was opened."""
    connection.execute("BEGIN IMMEDIATE")
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version != VERSION:
        connection.rollback()
        (_, _, name), *_ = connection.execute("PRAGMA database_list")
        ledger_version(connection, Path(name))
        raise ClaudetraceError(f"{name} is a ledger of version {version} now; it is opened again")


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def _migrate(path: Path) -> None:
    make_database(path)
    with closing(connect(path, "rwc")) as connection:
        if ledger_version(connection, path) == VERSION:
            return
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("BEGIN IMMEDIATE")
        try:
            # Another process may have been first, also one that knows no lock of ours.
            for migration in MIGRATIONS[ledger_version(connection, path) :]:
                migration(connection)
            connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            connection.execute(f"PRAGMA user_version = {VERSION}")
            connection.execute("COMMIT")
        except BaseException:
            connection.rollback()
            raise


@contextmanager
def opened_ledger(db: Path) -> Iterator[sqlite3.Connection]:
    """A connection for a command that changes the ledger at `db`, which may wait. Raises `ClaudetraceError`."""
    if not db.is_file():
        raise ClaudetraceError(f"there is no ledger at {db}; name another with --db or CLAUDETRACE_DB")
    require_writable(db)
    try:
        with closing(open_ledger(db, make=False)) as connection:
            connection.execute(f"PRAGMA busy_timeout = {PATIENCE_MS}")
            yield connection
    except sqlite3.Error as error:
        raise ClaudetraceError(f"the ledger {db} cannot be changed now: {error}") from error


@contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """Commits what the block writes, or nothing of it."""
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


def insert_rows(connection: sqlite3.Connection, insert: str, rows: Sequence[tuple[Any, ...]], pace: Pace = iter) -> int:
    """How many rows `insert`, a statement that has the places of one, has added or changed with the values `rows`."""
    changed, at_once = 0, len(rows) - len(rows) % ROWS_A_STEP
    if at_once:
        places = f"({', '.join('?' * insert.count('?'))})"
        steps = pace(zip(*[iter(rows[:at_once])] * ROWS_A_STEP, strict=True))
        insert_step = insert.replace(places, ", ".join([places] * ROWS_A_STEP))
        changed += connection.executemany(insert_step, map(tuple, map(chain.from_iterable, steps))).rowcount
    if at_once < len(rows):
        changed += connection.executemany(insert, pace(rows[at_once:])).rowcount
    return changed
