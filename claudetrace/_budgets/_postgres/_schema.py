"""What an administrator does in a database: makes the schema, and sets limits that no program can change."""

from __future__ import annotations

import json
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from claudetrace._budgets._budget import Budget, definition_of, shape_of
from claudetrace._budgets._postgres._link import linked
from claudetrace._errors import ClaudetraceError
from claudetrace._version import __version__

if TYPE_CHECKING:
    from collections.abc import Sequence

    from claudetrace._budgets._postgres._url import ServerUrl

VERSION = 1
OLDEST_SERVER = 14
PARTS = ("tables", "charges", "rows", "commands", "steps", "look")
ENTRIES = ("exchange_v1(jsonb)", "look_v1(jsonb)")
"""What programs may call."""
LONGEST_S = 60.0
SERVER = "SELECT current_setting('server_version_num')::integer / 10000"
KNOWN = "SELECT to_json(to_regclass('claudetrace.meta') IS NOT NULL)"
MADE = "SELECT max(version) FROM claudetrace.meta"
BEGIN = """
BEGIN;
SELECT pg_advisory_xact_lock(hashtext('claudetrace.init'));
CREATE SCHEMA IF NOT EXISTS claudetrace;
SET LOCAL search_path = pg_catalog, claudetrace, pg_temp;
"""
END = """
INSERT INTO claudetrace.meta (version, durable) VALUES (1, false) ON CONFLICT DO NOTHING;
REVOKE ALL ON SCHEMA claudetrace FROM PUBLIC;
REVOKE ALL ON ALL TABLES IN SCHEMA claudetrace FROM PUBLIC;
REVOKE ALL ON ALL FUNCTIONS IN SCHEMA claudetrace FROM PUBLIC;
COMMIT;
"""
DURABLE = "UPDATE claudetrace.meta SET version = $1::integer, durable = $2::boolean RETURNING version"
APPLY = """
    WITH given AS (
        SELECT *
        FROM jsonb_to_recordset($1::jsonb) AS q (
            name text, shape text, definition text, limit_picousd numeric, max_calls bigint
        )
    ), lifted AS (
        UPDATE claudetrace.budgets AS b
        SET applied = false, limit_picousd = NULL, max_calls = NULL
        WHERE b.applied AND NOT EXISTS (SELECT FROM given AS g WHERE g.name = b.name AND g.shape = b.shape)
        RETURNING b.name
    ), set AS (
        INSERT INTO claudetrace.budgets (name, shape, definition, since, used_at, applied, limit_picousd, max_calls)
        SELECT name, shape, definition, now.s, now.s, true, limit_picousd, max_calls
        FROM given, (SELECT extract(epoch FROM now())::bigint) AS now (s)
        ON CONFLICT (name, shape) DO UPDATE SET
            definition = excluded.definition,
            used_at = excluded.used_at,
            applied = true,
            limit_picousd = excluded.limit_picousd,
            max_calls = excluded.max_calls
        RETURNING name
    )
    SELECT jsonb_build_array((SELECT jsonb_agg(name) FROM set), (SELECT jsonb_agg(name) FROM lifted))
"""


def init(url: ServerUrl, *, durable: bool = False) -> list[str]:
    """Makes the schema or brings it up to date, in one transaction, and gives the statements that let a role use it.
    Raises `ClaudetraceError`."""
    with linked(url) as link:
        server = link.execute(SERVER, None, LONGEST_S)
        if server < OLDEST_SERVER:
            raise ClaudetraceError(f"{url} is PostgreSQL {server}; budgets need {OLDEST_SERVER} or later")
        made = link.execute(MADE, None, LONGEST_S) if link.execute(KNOWN, None, LONGEST_S) else None
        if made is not None and made > VERSION:
            raise ClaudetraceError(
                f"the schema in {url} is of version {made}, and claudetrace {__version__} makes version {VERSION}: "
                "run this with the newest release that your programs have"
            )
        parts = (files(__package__).joinpath(f"{part}.sql").read_text(encoding="utf-8") for part in PARTS)
        link.execute(f"{BEGIN}{''.join(parts)}{END}", None, LONGEST_S)
        link.execute(DURABLE, [str(VERSION), str(durable)], LONGEST_S)
    return [
        "GRANT USAGE ON SCHEMA claudetrace TO your_role;",
        *(f"GRANT EXECUTE ON FUNCTION claudetrace.{each} TO your_role;" for each in ENTRIES),
    ]


def apply(url: ServerUrl, budgets: Sequence[Budget]) -> tuple[list[str], list[str]]:
    """Sets these budgets, and lifts those that were set before and are not among them: the names of both. Raises
    `ClaudetraceError`."""
    given: list[dict[str, Any]] = [
        {
            "name": each.name,
            "shape": shape_of(each),
            "definition": definition_of(each),
            "limit_picousd": each.limit_picousd,
            "max_calls": each.max_calls,
        }
        for each in budgets
    ]
    with linked(url) as link:
        set_, lifted = link.execute(APPLY, [json.dumps(given)], LONGEST_S)
    return sorted(set_ or []), sorted(lifted or [])
