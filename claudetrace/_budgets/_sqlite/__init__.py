"""The budgets' store in a SQLite file, for the processes of one host."""

from __future__ import annotations

import time
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from claudetrace._budgets._records import Fact
from claudetrace._budgets._sqlite._counters import Work
from claudetrace._budgets._sqlite._file import OPENING_S, VERSION, begin, check_version, connect
from claudetrace._budgets._sqlite._look import LOOKS
from claudetrace._budgets._sqlite._store import STEPS, SqliteStore, owners_of
from claudetrace._budgets._view import View
from claudetrace._errors import ClaudetraceError
from claudetrace._sqlite import check_unchanged, connect_to_read, limit_time

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterator, Mapping

    from claudetrace._budgets._records import Opening

PATIENCE_S = 10.0
"""How long a command waits for others."""


def open_store(name: str | Path, opening: Opening) -> SqliteStore:
    """As `_connect.open_store`."""
    return SqliteStore(Path(name), opening)


def exists(name: str | Path) -> bool:
    """As `_connect.exists`."""
    return Path(name).exists()


class Asking:
    """What is asked of a file on one connection, of one moment."""

    def __init__(self, path: Path, connection: sqlite3.Connection) -> None:
        self._path, self._work = path, Work(connection, time.time(), str)

    def look(self, what: str, **said: Any) -> Any:
        """What the store says."""
        return LOOKS[what](self._work, {**said, "owners": owners_of(self._path)})

    def do(self, said: Mapping[str, Any]) -> Any:
        """What the step is answered."""
        return STEPS[said["do"]](self._work, said)

    def facts(self) -> Iterator[Fact]:
        """How the file is."""
        yield Fact("size", f"{self._path.stat().st_size / 2**20:,.1f} MB")
        ((found,),) = self._work.run("PRAGMA quick_check(1)")
        way_out = f"{found}; move it away: the next program begins anew from the ledger"
        yield Fact("SQLite's own check", "ok") if found == "ok" else Fact("SQLite's own check", "failed", way_out)


@contextmanager
def view(name: str | Path) -> Iterator[View]:
    """As `_connect.view`, by a connection that cannot write. What it reads is of one moment."""
    path = Path(name)
    if not path.is_file():
        raise ClaudetraceError(
            f"there is no budgets' store at {path}; it is made by the first program that calls "
            "claudetrace.instrument(budgets=[…]); name another with --store or --db"
        )
    with closing(connect_to_read(path, OPENING_S)) as connection:
        limit_time(connection, path)
        if check_version(connection, path) != VERSION:
            raise ClaudetraceError(f"{path} is not a budgets' store yet; name another with --store")
        connection.execute("BEGIN")
        asking = Asking(path, connection)
        yield View(asking.look, asking.facts)
        check_unchanged(connection)


@contextmanager
def changing(name: str | Path, *, wholly: bool = False) -> Iterator[Asking]:
    """Lets a command change the store, all or nothing; `wholly`: nothing stays of what was there before. Raises
    `ClaudetraceError` for what is no store, or cannot be rid of it, and `sqlite3.Error` for a broken one."""
    path = Path(name)
    with closing(connect(path, "rw")) as connection:
        if check_version(connection, path) != VERSION:
            raise ClaudetraceError(f"{path} is no budgets' store")
        if wholly:
            connection.execute("PRAGMA secure_delete = ON")
        begin(connection, PATIENCE_S)
        yield Asking(path, connection)
        connection.execute("COMMIT")
        if not wholly:
            return
        # What was removed before is in free pages still.
        connection.execute("VACUUM")
        ((busy, _, _),) = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    if busy:
        raise ClaudetraceError(f"{path}-wal may still name them: a program reads an older state; run this again")
