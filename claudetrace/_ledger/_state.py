"""What a ledger holds beside its sums: for `doctor`, the demo and the coverage of budgets."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import TYPE_CHECKING, Any, NamedTuple

from claudetrace._ledger._calls import rows_of

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
BILLED_HOSTS = """
    SELECT server_address, COUNT(*), TOTAL(spend_picousd) / 1e12 AS spend_usd
    FROM calls
    WHERE spend_picousd > 0 AND server_address <> ''
    GROUP BY server_address
    ORDER BY spend_usd DESC
"""
BILLED_TWICE = """
    SELECT server_address, SUM(answers - 1)
    FROM (
        SELECT MAX(server_address) AS server_address, COUNT(*) AS answers
        FROM calls
        WHERE message_id IS NOT NULL AND spend_picousd > 0 AND started_at >= ?
        GROUP BY message_id
        HAVING COUNT(*) > 1
    )
    GROUP BY server_address
    ORDER BY 2 DESC
"""
HAS_IMPORTED = "SELECT COUNT(*) FROM sqlite_master WHERE name = 'transcripts'"
MISMATCHES = """
    SELECT
        (SELECT COUNT(*) FROM calls WHERE INSTR(cost_flags, '"agent_mismatch"') > 0),
        (
            SELECT pricing_terms
            FROM calls
            WHERE INSTR(pricing_terms, '"agent_total_picousd"') > 0
            ORDER BY started_at DESC
            LIMIT 1
        )
"""


class Mismatches(NamedTuple):
    """Rows where Claude Code's own total differs from its rows: how many, and both amounts of the latest."""

    rows: int
    total_picousd: int | None = None
    rows_picousd: int | None = None


def contents(connection: sqlite3.Connection) -> tuple[int, str | None, str | None, int]:
    """How many rows there are, when the first and the last began, and the version of the schema."""
    rows, oldest, newest, schema = connection.execute(CONTENTS).fetchone()
    return rows, oldest, newest, schema


def loaded_bytes(connection: sqlite3.Connection) -> dict[str, int]:
    """How far each segment of the journal is loaded."""
    return dict(connection.execute("SELECT name, loaded_bytes FROM segments"))


def quarantined(connection: sqlite3.Connection) -> tuple[int, str | None]:
    """How many rows were refused, and the reason for the last one."""
    count, reason = connection.execute(QUARANTINED).fetchone()
    return count, reason


def damage(connection: sqlite3.Connection) -> str | None:
    """The first damage that SQLite finds in the file, if there is any."""
    (found,) = connection.execute("PRAGMA quick_check(1)").fetchone()
    return None if found == "ok" else str(found)


def unproven(connection: sqlite3.Connection) -> list[str]:
    """The first hundred calls whose cost is not the sum of its parts."""
    return [id_ for (id_,) in connection.execute("SELECT id FROM unproven_calls LIMIT 100")]


def unknown_models(connection: sqlite3.Connection) -> tuple[int, str | None]:
    """How many calls have no rate, and the names of their models."""
    count, models = connection.execute(UNKNOWN_MODELS).fetchone()
    return count, models


def billed_hosts(connection: sqlite3.Connection) -> list[tuple[str, int, float]]:
    """Each host with billed calls, how many, and their dollars; the most expensive first."""
    return connection.execute(BILLED_HOSTS).fetchall()


def billed_twice(connection: sqlite3.Connection, since: str) -> list[tuple[str, int]]:
    """Each host that billed the id of one message more than once, and how many responses that were too many."""
    return connection.execute(BILLED_TWICE, (since,)).fetchall()


def has_imported(connection: sqlite3.Connection) -> bool:
    """Whether sessions of Claude Code were imported."""
    return bool(connection.execute(HAS_IMPORTED).fetchone()[0])


def agent_mismatches(connection: sqlite3.Connection) -> Mismatches:
    """Where Claude Code counted otherwise than its rows."""
    rows, terms = connection.execute(MISMATCHES).fetchone()
    with suppress(TypeError, ValueError, KeyError):
        told = json.loads(terms or "")
        return Mismatches(rows, int(told["agent_total_picousd"]), int(told["agent_rows_picousd"]))
    return Mismatches(rows)


def calls_of_others(connection: sqlite3.Connection, service: str) -> int:
    """How many calls are not of that service."""
    (count,) = connection.execute("SELECT COUNT(*) FROM calls WHERE service IS NOT ?", (service,)).fetchone()
    return int(count)


def has_pruned(connection: sqlite3.Connection) -> bool:
    """Whether there are sums of calls that are gone."""
    return bool(connection.execute(HAS_PRUNED).fetchone()[0])


def latest_payers(connection: sqlite3.Connection, most: int) -> list[dict[str, Any]]:
    """The columns that tell which budgets count a response, of the latest responses that are not free."""
    return [*rows_of(connection, PAYERS, {"latest": most})]
