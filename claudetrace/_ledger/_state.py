"""Questions on what a ledger holds beside its sums: for `doctor`, the demo and the coverage of budgets."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import sqlite3

CONTENTS = "SELECT COUNT(*), MIN(started_at), MAX(started_at), (SELECT * FROM pragma_user_version) FROM calls"
"""How many rows there are, when the first and the last began, and the version of the schema."""
LOADED = "SELECT name, loaded_bytes FROM segments"
"""How far each segment of the journal is loaded."""
QUARANTINED = "SELECT COUNT(*), (SELECT reason FROM quarantine ORDER BY id DESC LIMIT 1) FROM quarantine"
"""How many rows were refused, and the reason for the last one."""
DAMAGE = "PRAGMA quick_check(1)"
"""The first damage that SQLite finds in the file, or `ok`."""
UNPROVEN = "SELECT id FROM unproven_calls LIMIT 100"
"""The first hundred calls whose cost is not the sum of its parts."""
UNKNOWN_MODELS = """
    SELECT COUNT(*), GROUP_CONCAT(DISTINCT COALESCE(model, model_requested))
    FROM calls
    WHERE cost_picousd IS NULL
        AND cost_flags LIKE '%"unknown_model"%'
"""
"""How many calls have no rate, and the names of their models."""
PAYERS = """
    SELECT model_requested, model, user_id, session_id, feature, customer, prompt, tags
    FROM calls
    WHERE spend_picousd IS NOT 0
    ORDER BY started_at DESC
    LIMIT :latest
"""
"""The columns that tell which budgets count a response, of the latest responses that are not free."""
HAS_PRUNED = "SELECT (SELECT COALESCE(SUM(calls), 0) FROM rollup_hours) > (SELECT COUNT(*) FROM calls)"
"""Whether there are sums of calls that are gone."""
OF_OTHERS = "SELECT COUNT(*) FROM calls WHERE service IS NOT ?"
"""How many calls are not of that service."""
BILLED_HOSTS = """
    SELECT server_address, COUNT(*), TOTAL(spend_picousd) / 1e12 AS spend_usd
    FROM calls
    WHERE spend_picousd > 0 AND server_address <> ''
    GROUP BY server_address
    ORDER BY spend_usd DESC
"""
"""Each host with billed calls, how many, and their dollars; the most expensive first."""
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
"""Each host that billed the id of one message more than once, and how many responses since then were too many."""
HAS_IMPORTED = "SELECT COUNT(*) FROM sqlite_master WHERE name = 'transcripts'"
"""Whether sessions of Claude Code were imported."""
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


def agent_mismatches(connection: sqlite3.Connection) -> tuple[int, int | None, int | None]:
    """In how many rows Claude Code's own total differs from that of its rows, and both totals of the latest."""
    rows, terms = connection.execute(MISMATCHES).fetchone()
    with suppress(TypeError, ValueError, KeyError):
        told = json.loads(terms or "")
        return rows, int(told["agent_total_picousd"]), int(told["agent_rows_picousd"])
    return rows, None, None
