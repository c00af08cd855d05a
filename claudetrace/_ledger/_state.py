"""What a ledger holds beside its sums, for who checks or follows it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from claudetrace._call import Call

if TYPE_CHECKING:
    import sqlite3

CONTENTS = "SELECT COUNT(*), MIN(started_at), MAX(started_at), (SELECT * FROM pragma_user_version) FROM calls"
QUARANTINED = "SELECT COUNT(*), (SELECT reason FROM quarantine ORDER BY id DESC LIMIT 1) FROM quarantine"
UNKNOWN_MODELS = """
    SELECT COUNT(*), GROUP_CONCAT(DISTINCT COALESCE(model, model_requested))
    FROM calls
    WHERE cost_picousd IS NULL
        AND cost_flags LIKE '%"unknown_model"%'
"""
PAYERS = """
    SELECT model_requested, model, user_id, session_id, feature, customer, prompt, tags
    FROM calls
    WHERE spend_picousd IS NOT 0
    ORDER BY started_at DESC
    LIMIT :latest
"""
HAS_PRUNED = "SELECT (SELECT COALESCE(SUM(calls), 0) FROM rollup_hours) > (SELECT COUNT(*) FROM calls)"


class Contents(NamedTuple):
    """How many rows there are, of what time, and the version of the schema."""

    rows: int
    oldest: str | None
    newest: str | None
    schema: int


def contents(connection: sqlite3.Connection) -> Contents:
    """What is in the ledger."""
    return Contents(*connection.execute(CONTENTS).fetchone())


def loaded_bytes(connection: sqlite3.Connection) -> dict[str, int]:
    """How far each segment of the journal is loaded."""
    return dict(connection.execute("SELECT name, loaded_bytes FROM segments"))


def quarantined(connection: sqlite3.Connection) -> tuple[int, str | None]:
    """How many rows were refused, and why the last one was."""
    count, reason = connection.execute(QUARANTINED).fetchone()
    return count, reason


def damage(connection: sqlite3.Connection) -> str | None:
    """What SQLite finds wrong with the file."""
    (found,) = connection.execute("PRAGMA quick_check(1)").fetchone()
    return None if found == "ok" else str(found)


def unproven(connection: sqlite3.Connection) -> list[str]:
    """The first hundred calls whose cost is not its parts."""
    return [id_ for (id_,) in connection.execute("SELECT id FROM unproven_calls LIMIT 100")]


def unknown_models(connection: sqlite3.Connection) -> tuple[int, str | None]:
    """How many calls have no rate, and of which models they are."""
    count, models = connection.execute(UNKNOWN_MODELS).fetchone()
    return count, models


def calls_of_others(connection: sqlite3.Connection, service: str) -> int:
    """How many calls are not of that service."""
    (count,) = connection.execute("SELECT COUNT(*) FROM calls WHERE service IS NOT ?", (service,)).fetchone()
    return int(count)


def has_pruned(connection: sqlite3.Connection) -> bool:
    """Whether there are sums of calls that are gone."""
    return bool(connection.execute(HAS_PRUNED).fetchone()[0])


def last_row(connection: sqlite3.Connection) -> int:
    """The number of the newest row, in the order in which they came."""
    return int(connection.execute("SELECT COALESCE(MAX(rowid), 0) FROM calls").fetchone()[0])


def latest_payers(connection: sqlite3.Connection, most: int) -> list[dict[str, Any]]:
    """Of the latest responses that are not free, the columns by which budgets know whose they are."""
    found = connection.execute(PAYERS, {"latest": most})
    names = [column[0] for column in found.description]
    return [dict(zip(names, each, strict=True)) for each in found]


def calls_after(connection: sqlite3.Connection, row: int) -> tuple[list[Call], int]:
    """The calls that came after the row of that number, in the order in which they came, and the newest number."""
    found = connection.execute("SELECT rowid, * FROM calls WHERE rowid > ? ORDER BY rowid", (row,))
    names = [column[0] for column in found.description]
    rows = [dict(zip(names, each, strict=True)) for each in found]
    # Pruning the newest rows and VACUUM number rows anew.
    return [*map(Call.from_row, rows)], rows[-1]["rowid"] if rows else min(row, last_row(connection))
