"""Which databases are ledgers, who may see them, and what to say of one that cannot be shown."""

from __future__ import annotations

import re
import sqlite3
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from claudetrace._errors import ClaudetraceError
from claudetrace._ledger._schema import APPLICATION_ID, BEGIN_ANEW, MARKS, VERSION

if TYPE_CHECKING:
    from datasette.app import Datasette
    from datasette.database import Database

READS = re.compile(r"\b(?:FROM|JOIN)\s+(\w+)", re.IGNORECASE)
OBJECTS = "SELECT name, type, sql FROM sqlite_master WHERE type IN ('table', 'view')"
_files: WeakKeyDictionary[Database, tuple[int, int]] = WeakKeyDictionary()
_known: WeakKeyDictionary[Database, bool] = WeakKeyDictionary()
REASONS = (
    (
        "unable to open database file",
        (
            "It cannot be opened. Reading a ledger needs the right to read the file and its -wal and -shm files; while "
            "no program is writing to it, also the right to make them in its folder. Open it as its owner, give this "
            "user that right, or copy the ledger with “sqlite3 ledger.db '.backup copy.db'”."
        ),
    ),
    (
        "attempt to write a readonly database",
        "It cannot be opened here: its -shm file has to be written, and this user may not. Open it as its owner.",
    ),
    ("database is locked", "Another program holds it locked. Load this page again in a moment."),
    (
        "file is not a database",
        "The file is not a SQLite database, or its first page is damaged. Restore it from a backup, or name another.",
    ),
    (
        "malformed",
        "The file is damaged. “claudetrace doctor” tells more; “sqlite3 ledger.db .recover” saves what can be saved.",
    ),
    ("disk I/O error", "The disk could not be read. “claudetrace doctor” tells more."),
    ("interrupted", "The question took longer than Datasette's limit (sql_time_limit_ms). Ask for a shorter range."),
)
"""What SQLite says, and what that means here."""


@dataclass(frozen=True, slots=True)
class Problem:
    """Why something is not shown, for a person."""

    title: str
    text: str
    status: int = 200


@dataclass(frozen=True, slots=True)
class Ledger:
    """A database that is a ledger, and the tables and views that it has, each with the names it reads."""

    name: str
    db: Database
    reads: dict[str, frozenset[str]]

    def tables_of(self, sql: str) -> frozenset[str]:
        """The tables and views that `sql` reads, through views too."""
        found: set[str] = set()
        left = set(READS.findall(sql)) & self.reads.keys()
        while left:
            name = left.pop()
            found.add(name)
            left |= self.reads[name] - found
        return frozenset(found)


def reason(error: Exception) -> str:
    """What went wrong and the way out, without the SQL."""
    said = str(error)
    return next((told for words, told in REASONS if words in said), f"SQLite says: {said[:200]}.")


async def examine(name: str, db: Database) -> Ledger | Problem | None:
    """The database as a ledger, or why it cannot be shown; `None` for one that is no ledger."""
    if (problem := _replaced(name, db)) is not None:
        return problem
    try:
        ((application_id, version, _, has_source),) = (await db.execute(MARKS)).rows
        if application_id != APPLICATION_ID:
            return None
        objects = (await db.execute(OBJECTS)).rows
    except (sqlite3.Error, OSError, ClaudetraceError) as error:
        return Problem(f"{name} cannot be read", reason(error), 503)
    except Exception as error:  # noqa: BLE001 - Datasette's own errors differ between its versions
        return Problem(f"{name} cannot be read", reason(error), 503)
    if not has_source:
        return Problem(f"{name} is an old ledger", f"It is {BEGIN_ANEW}.", 503)
    if version != VERSION:
        return _other_version(name, version)
    names = {row[0] for row in objects}
    reads = {
        row[0]: frozenset((set(READS.findall(row[2] or "")) & names) - {row[0]} if row[1] == "view" else ())
        for row in objects
    }
    return Ledger(name, db, reads)


def _replaced(name: str, db: Database) -> Problem | None:
    """That another file is where the ledger was: Datasette keeps the old one open, and would show it for ever."""
    try:
        found = Path(db.path).stat()
    except OSError:
        return Problem(f"{name} is gone", "Its file has been removed. Start Datasette again when it is back.", 503)
    if _files.setdefault(db, (found.st_dev, found.st_ino)) != (found.st_dev, found.st_ino):
        told = "Another file is in its place since it was opened. Start Datasette again to see that."
        return Problem(f"{name} was replaced", told, 503)
    return None


async def is_ledger(db: Database) -> bool:
    """Whether the database is a ledger, of any version. Asked once of each."""
    if db not in _known:
        try:
            ((application_id, *_),) = (await db.execute(MARKS)).rows
        except sqlite3.Error:
            return False
        _known[db] = application_id == APPLICATION_ID
    return _known[db]


def _other_version(name: str, version: int) -> Problem:
    if version < VERSION:
        return Problem(
            f"{name} is a ledger of version {version}",
            f"These pages read version {VERSION}. Run “claudetrace report --db” with its path once, where the file can "
            "be written: that brings it up to date and loses nothing.",
            503,
        )
    return Problem(
        f"{name} is a ledger of version {version}",
        f"These pages read version {VERSION}, so a newer claudetrace has written it. Upgrade claudetrace here.",
        503,
    )


async def may_see(datasette: Datasette, actor: dict[str, Any] | None, database: str, table: str | None = None) -> bool:
    """Whether `actor` may see the database, or the table in it, by Datasette's own permissions."""
    if hasattr(datasette, "allowed"):
        return await _allowed_by_resource(datasette, actor, database, table)
    asked: list[Any] = [("view-database", database), "view-instance"]
    if table is not None:
        asked.insert(0, ("view-table", (database, table)))
    visible, _ = await datasette.check_visibility(actor, permissions=asked)
    return bool(visible)


async def _allowed_by_resource(datasette: Any, actor: dict[str, Any] | None, database: str, table: str | None) -> bool:
    """The same for Datasette 1.0, which asks by resources."""
    from datasette.resources import DatabaseResource, TableResource

    if table is None:
        asked = {"action": "view-database", "resource": DatabaseResource(database=database)}
    else:
        asked = {"action": "view-table", "resource": TableResource(database=database, table=table)}
    return bool(await datasette.allowed(actor=actor, **asked))
