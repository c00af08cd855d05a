"""`StoreFile`: the one connection of a process to the budgets' store, made anew where the file is gone or broken."""

from __future__ import annotations

import os
import random
import sqlite3
import time
from contextlib import closing, suppress
from importlib.resources import files
from typing import TYPE_CHECKING

from claudetrace import _sqlite, _usable
from claudetrace._clock import monotonic
from claudetrace._errors import ClaudetraceError
from claudetrace._files import make_database, make_folder, refuse_foreign_database, require_writable
from claudetrace._sqlite import Held, creation_lock
from claudetrace._version import __version__

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

APPLICATION_ID = 0x636C7462
"""`cltb`: how a store of ours is known."""
VERSION = 1
OURS = 2
MARKS = """
    SELECT
        (SELECT application_id FROM pragma_application_id),
        (SELECT user_version FROM pragma_user_version),
        COUNT(*),
        COUNT(*) FILTER (WHERE name IN ('charges', 'grants'))
    FROM sqlite_master
"""
"""What a file says of itself, in one statement: between two another process may make the store."""
OPENING_S = 2.0
CHECKPOINT_BYTES = 1024 * 1024
LOOK_S = 0.1
"""How often the room on the disk is looked at, which takes as long as half a transaction's own checks."""
CACHE_KB = 16_000
"""Room for the counters of a hundred thousand users, each with a budget; taken as it is needed."""
WAL_BYTES = 4 * 1024 * 1024
PASSING = ("SQLITE_BUSY", "SQLITE_LOCKED", "SQLITE_FULL", "SQLITE_CONSTRAINT")
BROKEN = ("SQLITE_CORRUPT", "SQLITE_NOTADB")


class StoreFile:
    """The store at `path`, open while it can be. One thread at a time may use it.

    `on_new` is called inside a transaction with each connection that this process opens: what must be in there.
    """

    def __init__(self, path: Path, on_new: Callable[[sqlite3.Connection], None]) -> None:
        self.path = path
        self._on_new = on_new
        self._held: Held | None = None
        self._name = os.fspath(path)
        self._last: Held | None = None
        """The last that was open and good."""
        self._look_at = 0.0

    def connection(self, patience_s: float = 1.0) -> sqlite3.Connection:
        """The open connection, after a look whether the file is still the one that was opened: SQLite would go
        on writing to a deleted one without a word. Raises `UnusableError` where SQLite may not be used now."""
        self._check()
        if self._held is not None and not self._held.is_in_place():
            self.close()
        if self._held is None:
            self._held = self._open(patience_s)
        return self._held.connection

    def _check(self) -> None:
        if self._held is not None:
            self._held.check()
        now = monotonic()
        if now >= self._look_at or _usable.is_forbidden():
            _usable.check(self.path)
            self._look_at = now + LOOK_S

    def _open(self, patience_s: float) -> Held:
        connection = open_store(self.path)
        try:
            begin(connection, patience_s)
            self._on_new(connection)
            connection.execute("COMMIT")
        except BaseException:
            connection.close()
            raise
        self._last = Held(self.path, connection)
        return self._last

    def set_aside(self, error: sqlite3.Error) -> Path | None:
        """Where the broken file now is, so that the next use makes a new one; `None` if it is not known to be ours,
        or if another process was first."""
        held, name = self._last, getattr(error, "sqlite_errorname", "")
        if name.startswith(PASSING):
            return None
        if held is None or not name.startswith(BROKEN):
            # Whatever else it is may be over with another connection.
            self.close()
            return None
        self._held = None
        with creation_lock(self.path):
            aside = self.path.with_name(f"{self.path.name}.broken-{time.time_ns()}")
            if is_ours := held.is_same_file():
                self.path.rename(aside)
            held.leave()
        return aside if is_ours else None

    def checkpoint(self) -> None:
        """Brings the log into the file once it has grown, without holding up who writes."""
        with suppress(OSError):
            if os.stat(f"{self._name}-wal").st_size < CHECKPOINT_BYTES:  # noqa: PTH116 - every second
                return
            with closing(connect(self.path, "rw")) as connection:
                connection.execute("PRAGMA synchronous = NORMAL")
                connection.execute("PRAGMA wal_checkpoint(PASSIVE)")

    def close(self) -> None:
        """Closes the file. The next use opens it again."""
        held, self._held = self._held, None
        if held is not None:
            held.close()

    def abandon(self) -> None:
        """Forgets the connection without closing it, in a child forked while it was in use."""
        if self._held is not None:
            self._held.abandon()
        self._held = None

    @property
    def is_open(self) -> bool:
        """Whether there is a connection."""
        return self._held is not None


def begin(connection: sqlite3.Connection, patience_s: float) -> None:
    """Begins to write, as soon as no other process does. SQLite's own waiting sleeps for up to 100 ms a time, where
    a transaction of ours takes a twentieth of one."""
    deadline, pause_s = 0.0, 0.0001
    while True:
        try:
            connection.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError as error:
            if not error.sqlite_errorname.startswith("SQLITE_BUSY"):
                raise
            now = monotonic()
            deadline = deadline or now + patience_s
            if now > deadline:
                raise
            time.sleep(random.uniform(0, pause_s))  # noqa: S311 - no secret
            pause_s = min(pause_s * 1.5, 0.002)
        else:
            break
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version != VERSION:
        connection.rollback()
        raise sqlite3.OperationalError(f"the budgets' store is of version {version} now")


def open_store(path: Path) -> sqlite3.Connection:
    """A connection to the store at `path`, made if need be. Raises `ClaudetraceError` for what is none of ours."""
    _sqlite.refuse_old_sqlite()
    if path.is_dir():
        raise ClaudetraceError(f"{path} is a folder; name a file in it as budget_store")
    make_folder(path.parent)
    refuse_foreign_database(path)
    require_writable(path)
    if not _is_current(path):
        with creation_lock(path):
            _sqlite.part_from_log(path)
            _create(path)
    connection = connect(path, "rw")
    try:
        # A process that dies loses nothing. What a power cut takes is the last moments, never the file: then a call
        # may be missing from the budget, where waiting for the disk would cost each call milliseconds.
        connection.execute("PRAGMA synchronous = NORMAL")
        # Left to housekeeping: a checkpoint waits for the disk, and a caller must not. This is for when there is none.
        connection.execute("PRAGMA wal_autocheckpoint = 16000")
        connection.execute(f"PRAGMA cache_size = -{CACHE_KB}")
        connection.execute(f"PRAGMA journal_size_limit = {WAL_BYTES}")
        connection.execute("PRAGMA busy_timeout = 0")
    except BaseException:
        connection.close()
        raise
    return connection


def connect(path: Path, mode: str) -> sqlite3.Connection:
    """A connection in autocommit, which for now waits for locks: opening takes some of its own."""
    return _sqlite.connect(path, mode, OPENING_S)


def _is_current(path: Path) -> bool:
    """Whether the file is a store of this version. Raises `ClaudetraceError` for what is none of ours."""
    if not path.exists() or not path.stat().st_size:
        return False
    return _sqlite.first_look(path, OPENING_S, check_version) == VERSION


def check_version(connection: sqlite3.Connection, path: Path) -> int:
    """The version of the store, 0 for an empty file. Raises `ClaudetraceError` for what is none of ours."""
    try:
        application_id, version, tables, ours = connection.execute(MARKS).fetchone()
    except sqlite3.DatabaseError as error:
        if error.sqlite_errorname == "SQLITE_NOTADB":
            raise ClaudetraceError(
                f"{path} is not a SQLite file; move it away, or name another budget_store"
            ) from error
        raise
    if application_id != APPLICATION_ID and (tables or application_id or version):
        raise ClaudetraceError(f"{path} is a SQLite file of something else; name another as budget_store")
    if version and ours < OURS:
        raise ClaudetraceError(
            f"{path} is a budget store of a version before claudetrace's first release; move it away, and a new one is "
            "begun"
        )
    if version > VERSION:
        raise ClaudetraceError(
            f"{path} is a budget store of version {version}, and claudetrace {__version__} knows version {VERSION}; "
            "upgrade claudetrace, or name another budget_store"
        )
    return int(version)


def _create(path: Path) -> None:
    make_database(path)
    with closing(connect(path, "rwc")) as connection:
        if check_version(connection, path) == VERSION:
            return
        # A transaction writes whole pages, and touches a row or two of each.
        connection.execute("PRAGMA page_size = 1024")
        connection.execute("PRAGMA journal_mode = WAL")
        schema = files(__package__).joinpath("schema.sql").read_text(encoding="utf-8")
        # One transaction: nobody sees half a store.
        connection.executescript(
            f"BEGIN IMMEDIATE; {schema}; PRAGMA application_id = {APPLICATION_ID}; "
            f"PRAGMA user_version = {VERSION}; COMMIT;"
        )


def is_broken(error: sqlite3.Error) -> bool:
    """Whether the file is no database any more."""
    return getattr(error, "sqlite_errorname", "").startswith(BROKEN)
