"""Connections to SQLite files of ours: opened whoever may write them, and closed well where the file has moved."""

from __future__ import annotations

import errno
import logging
import os
import sqlite3
import stat
import time
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Self
from urllib.parse import quote

from claudetrace import _usable
from claudetrace._clock import monotonic
from claudetrace._descriptors import Descriptor, identity, lock
from claudetrace._errors import ClaudetraceError
from claudetrace._files import is_writable, open_file

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

log = logging.getLogger("claudetrace")

# These may neither be used nor closed: connections that another thread was using when this process was forked, and
# those whose descriptors are the host's by now.
_untouchable: list[sqlite3.Connection] = []

OLDEST_SQLITE = (3, 37, 0)
"""The first that has STRICT tables."""
CREATION_S = 10.0
QUESTION_S = 10.0
BYTES_A_SECOND = 2e6
TOO_LONG = "it takes longer than its size explains; a view or a trigger in it may have been made to never end"
STEPS = 20_000
PAUSE_S = 0.5
"""Less than this passes between two looks of one question, so after more another one has begun."""


def refuse_old_sqlite() -> None:
    """Raises `ClaudetraceError` where this Python's SQLite is too old for our files."""
    if sqlite3.sqlite_version_info < OLDEST_SQLITE:
        raise ClaudetraceError(
            f"SQLite 3.37 or newer is needed, for STRICT tables; this Python has {sqlite3.sqlite_version}"
        )


class NamedPath(str):
    """The whole path of a file, quoted wherever it is put into a longer text, such as the URI that Datasette opens."""

    __slots__ = ()

    def __new__(cls, path: str | Path) -> Self:
        return super().__new__(cls, Path(path).absolute())

    def __format__(self, _: str) -> str:
        return quote(os.fsencode(self))


def connect(
    path: Path, mode: str, timeout_s: float, factory: type[sqlite3.Connection] = sqlite3.Connection
) -> sqlite3.Connection:
    """A connection in autocommit to the file of exactly that name, whatever characters it has. Raises `UnusableError`
    where this process may not open it now."""
    _usable.check(path)
    connection = sqlite3.connect(
        f"file:{NamedPath(path)}?mode={mode}",
        uri=True,
        timeout=timeout_s,
        isolation_level=None,
        check_same_thread=False,
        factory=factory,
    )
    if factory is sqlite3.Connection:
        _share(connection, path)
    return connection


def _share(connection: sqlite3.Connection, path: Path) -> None:
    """Gives SQLite's files beside one that is for a group to that group. SQLite itself only gives them its mode."""
    try:
        found = path.stat()
    except OSError:
        return
    if not found.st_mode & stat.S_IWGRP or found.st_gid == os.getegid():
        return
    with suppress(sqlite3.Error):
        # The first who reads makes them.
        connection.execute("PRAGMA schema_version").fetchall()
    for suffix in ("-wal", "-shm"):
        with suppress(OSError):
            beside = os.lstat(f"{path}{suffix}")
            if beside.st_uid == os.geteuid() and beside.st_gid != found.st_gid:
                os.chown(f"{path}{suffix}", -1, found.st_gid, follow_symlinks=False)


def first_look(path: Path, timeout_s: float, question: Callable[[sqlite3.Connection, Path], int]) -> int:
    """What `question` finds out about the file, which stays as it is unless a process was killed while it made it:
    only a connection that may write undoes what that one began."""
    try:
        with closing(connect(path, "ro", timeout_s)) as connection:
            return question(connection, path)
    except sqlite3.OperationalError as error:
        if error.sqlite_errorname != "SQLITE_READONLY_ROLLBACK":
            raise
    with closing(connect(path, "rw", timeout_s)) as connection:
        return question(connection, path)


def connect_to_read(path: Path, timeout_s: float) -> sqlite3.Connection:
    """A connection to read, which leaves nothing beside the file that shuts out its owner.

    A user who may not write the file would make a log of their own where there is none. So it is read without a log,
    and `check_unchanged` says whether it stayed the same. Raises `ClaudetraceError`.
    """
    if is_writable(path) or not os.path.lexists(path):
        return connect(path, "ro", timeout_s)
    if not os.access(path, os.R_OK):
        raise ClaudetraceError(f"{path} cannot be read by this user")
    before = _state(path)
    if os.path.lexists(f"{path}-wal") and os.path.lexists(f"{path}-shm"):
        return connect(path, "ro", timeout_s)
    if before[-1]:
        raise ClaudetraceError(
            f"{path} has rows in {path.name}-wal that its owner has to take in first: have them read it"
        )
    connection = connect(path, "ro&immutable=1", timeout_s, Unlogged)
    assert isinstance(connection, Unlogged)
    connection.path, connection.state = path, before
    return connection


class Unlogged(sqlite3.Connection):
    """A connection to a file that is read without a log."""

    path: Path
    state: tuple[int, ...]


def is_changed(connection: object) -> bool:
    """Whether a file that is read without a log has changed since, so that what was read may be wrong."""
    return isinstance(connection, Unlogged) and _state(connection.path) != connection.state


def check_unchanged(connection: object) -> None:
    """Raises `ClaudetraceError` where `is_changed`."""
    if is_changed(connection):
        raise ClaudetraceError("the file was written to while it was read by one who may not write it: ask again")


def _state(path: Path) -> tuple[int, ...]:
    """Which file it is, when it was written to, and how much it and its log hold."""
    found = path.stat()
    try:
        log = os.stat(f"{path}-wal").st_size  # noqa: PTH116 - beside the others
    except OSError:
        log = 0
    return found.st_dev, found.st_ino, found.st_mtime_ns, found.st_size, log


def limit_time(connection: sqlite3.Connection, path: Path) -> None:
    """Interrupts questions on `connection` that take longer than the size of the file explains: a view can be made to
    never end."""
    longest_s = QUESTION_S + path.stat().st_size / BYTES_A_SECOND
    began = last = 0.0

    def is_too_long() -> bool:
        nonlocal began, last
        now = monotonic()
        if now - last > PAUSE_S:
            began = now
        last = now
        return now - began > longest_s

    connection.set_progress_handler(is_too_long, STEPS)


class Held:
    """A connection and its files. SQLite says nothing of one that was moved or deleted, and goes on with it."""

    __slots__ = ("_descriptors", "_file", "_log", "_name", "_path", "connection")

    def __init__(self, path: Path, connection: sqlite3.Connection) -> None:
        """`connection` to `path` has read: from then on it holds the file and its log."""
        self.connection = connection
        self._path, self._name = path, os.fspath(path)
        self._descriptors = _usable.opened(path)
        self._file = identity(self._name)
        self.committed()

    def check(self) -> None:
        """Raises `UnusableError` where a descriptor of the connection's is the host's by now."""
        _usable.check_descriptors(self._descriptors, self._path)

    def abandon(self) -> None:
        """Leaves the connection as it is: from now on it is neither used nor closed."""
        _untouchable.append(self.connection)

    def committed(self) -> None:
        """Notes which log is its own. To be called after each commit, of which the first makes the log."""
        self._log = identity(f"{self._name}-wal")

    def is_same_file(self) -> bool:
        """Whether the file at the path is the one that is open."""
        return identity(self._name) == self._file

    def is_in_place(self) -> bool:
        """Whether the file and its log are both where they were."""
        return self.is_same_file() and (self._log is None or self._has_its_log())

    def close(self) -> None:
        """Closes the file. Where it was moved, its log is written into it first: SQLite would leave the log behind, and
        a new file of that name would take it for its own."""
        if self.is_in_place():
            return self._close()
        # Before the old log is closed, so that no new file can have its inode.
        whole, is_left = self._write_log(), self._has_its_log()
        self._close()
        if is_left and whole:
            _remove_log(self._name)
        elif is_left:
            set_log_aside(self._name)
        return None

    def leave(self) -> None:
        """Closes a file that was renamed since somebody overwrote it. Its log must not be written into it."""
        is_left = self._has_its_log()
        self._close()
        if is_left:
            set_log_aside(self._name)

    def _has_its_log(self) -> bool:
        return self._log is not None and identity(f"{self._name}-wal") == self._log

    def _write_log(self) -> bool:
        with suppress(sqlite3.Error):
            busy, frames, written = self.connection.execute("PRAGMA wal_checkpoint(FULL)").fetchone()
            return not busy and frames == written
        return False

    def _close(self) -> None:
        try:
            self.check()
        except _usable.UnusableError:
            self.abandon()
            return
        # Their numbers are free for the program from here on.
        self._descriptors = []
        with suppress(sqlite3.Error):
            self.connection.close()


@contextmanager
def creation_lock(path: Path) -> Iterator[None]:
    """Lets one process at a time make the file, migrate it or set it aside: turning a fresh one to WAL fails in a
    race."""
    held = Descriptor(open_file(path.with_name(f"{path.name}.lock"), os.O_RDWR | os.O_CREAT))
    try:
        deadline = monotonic() + CREATION_S
        while not lock(held.fd):
            if monotonic() > deadline:
                raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))
            time.sleep(0.01)
        yield
    finally:
        held.close()


def part_from_log(path: Path) -> None:
    """Sets aside the log of a file that was moved or deleted when its program was killed: SQLite would delete it, or
    take it for the new file's. To be called right before a new file is made."""
    if not os.path.lexists(f"{path}-wal") or (path.exists() and path.stat().st_size):
        return
    # An empty file was truncated. Who has that open must not take the new one for it.
    path.unlink(missing_ok=True)
    if (aside := set_log_aside(path)) is not None:
        whole = str(aside).removesuffix("-wal")
        words = "claudetrace found the last rows of a file that is no longer at %s, and keeps them: move it to %s"
        log.warning(words, path, whole)


def set_log_aside(name: str | Path) -> Path | None:
    """Renames the log of `name`, whose file is gone. Returns its path; `None` where there was none, or an empty one."""
    aside = None
    with suppress(OSError):
        if os.stat(f"{name}-wal").st_size:  # noqa: PTH116 - beside the others
            aside = Path(f"{name}.left-{time.time_ns()}-wal")
            os.rename(f"{name}-wal", aside)  # noqa: PTH104 - beside the others
    _remove_log(name)
    return aside


def _remove_log(name: str | Path) -> None:
    for suffix in ("-wal", "-shm"):
        with suppress(OSError):
            os.unlink(f"{name}{suffix}")  # noqa: PTH108 - beside the others
