"""One row for each session that has calls: what it cost, and how far its tool calls went.

A session is kept under the day on which it began, so that the dearest of a range are found day by day, and goes with
its calls: unlike the sums by day it says who it was.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

import orjson

from claudetrace._ledger._measures import MEASURE_NAMES

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable

    from claudetrace._call import Row

Sums: TypeAlias = "dict[str, list[Any]]"

SUMMED = ("responses", "calls", "errors", "unpriced_calls", "lower_bound_calls")
COLUMNS = (
    *("day", "session_id", "first_at", "last_at", *SUMMED, "tool_stops"),
    *("least_prompt_tokens", "most_prompt_tokens", "spend_microusd", "spend_rest_picousd"),
)
DDL = (
    f"""CREATE TABLE rollup_sessions (
    day TEXT NOT NULL,
    session_id TEXT NOT NULL,
    first_at TEXT NOT NULL,
    last_at TEXT NOT NULL,
    {", ".join(f"{name} INTEGER NOT NULL" for name in SUMMED)},
    tool_stops INTEGER NOT NULL,
    least_prompt_tokens INTEGER,
    most_prompt_tokens INTEGER,
    spend_microusd INTEGER NOT NULL,
    spend_rest_picousd INTEGER NOT NULL,
    PRIMARY KEY (day, session_id)
) STRICT, WITHOUT ROWID""",
    "CREATE INDEX sessions_dearest ON rollup_sessions (day, spend_microusd)",
    # Not `>= 10`, which would be taken for the range to look up in place of the one that a query asks for.
    "CREATE INDEX sessions_tool_loops ON rollup_sessions (day, tool_stops) WHERE tool_stops / 10 > 0",
)
UPSERT = f"""
    INSERT INTO rollup_sessions ({", ".join(COLUMNS)})
    VALUES ({", ".join("?" * len(COLUMNS))})
    ON CONFLICT (day, session_id) DO UPDATE SET
        first_at = MIN(first_at, excluded.first_at),
        last_at = MAX(last_at, excluded.last_at),
        {", ".join(f"{name} = {name} + excluded.{name}" for name in (*SUMMED, "tool_stops"))},
        least_prompt_tokens = MIN(
            COALESCE(least_prompt_tokens, excluded.least_prompt_tokens),
            COALESCE(excluded.least_prompt_tokens, least_prompt_tokens)
        ),
        most_prompt_tokens = MAX(
            COALESCE(most_prompt_tokens, excluded.most_prompt_tokens),
            COALESCE(excluded.most_prompt_tokens, most_prompt_tokens)
        ),
        spend_microusd = spend_microusd + excluded.spend_microusd
            + (spend_rest_picousd + excluded.spend_rest_picousd) / 1000000,
        spend_rest_picousd = (spend_rest_picousd + excluded.spend_rest_picousd) % 1000000
"""  # noqa: S608 - names of ours
PROMPT_TOKENS = ("input_tokens", "cache_read_tokens", "cache_write_5m_tokens", "cache_write_1h_tokens")
_PROMPT = " + ".join(f"v.{name}" for name in PROMPT_TOKENS)
# A prompt of no tokens is one of which nothing is known.
OF_CALLS = f"""
    SELECT
        MIN(v.day) AS day,
        v.session_id,
        MIN(v.started_at) AS first_at,
        MAX(v.started_at) AS last_at,
        {", ".join(f"SUM(v.{name}) AS {name}" for name in SUMMED)},
        SUM(v.outcome = 'ok' AND v.reason = 'tool_use') AS tool_stops,
        MIN(NULLIF({_PROMPT}, 0)) AS least_prompt_tokens,
        MAX(NULLIF({_PROMPT}, 0)) AS most_prompt_tokens,
        SUM(v.spend_microusd) + SUM(v.spend_rest_picousd) / 1000000 AS spend_microusd,
        SUM(v.spend_rest_picousd) % 1000000 AS spend_rest_picousd
    FROM measured_calls AS v
"""  # noqa: S608 - names of ours
OF_IDS = f"{OF_CALLS} WHERE v.session_id IN (SELECT value FROM json_each(:ids)) GROUP BY v.session_id"  # noqa: S608 - SQL of ours
OF_DAYS = f"""
    {OF_CALLS}
    WHERE v.session_id IN (
        SELECT session_id
        FROM calls
        WHERE session_id IS NOT NULL
            AND started_at >= :first
            AND started_at < :past
    )
    GROUP BY v.session_id
    HAVING MIN(v.day) >= :first
"""  # noqa: S608 - SQL of ours
IN_DAYS = "SELECT * FROM rollup_sessions WHERE day >= :first AND day < :past"
DIFFERENCES = f"""
    SELECT * FROM ({IN_DAYS} EXCEPT {OF_DAYS})
    UNION ALL
    SELECT * FROM ({OF_DAYS} EXCEPT {IN_DAYS})
"""  # noqa: S608 - SQL of ours
INSERT = f"INSERT INTO rollup_sessions ({', '.join(COLUMNS)})"
FIRST_AT = """
    SELECT value, (SELECT MIN(c.started_at) FROM calls AS c WHERE c.session_id = ids.value)
    FROM json_each(?) AS ids
"""
MOVE = "UPDATE rollup_sessions SET day = ? WHERE day = ? AND session_id = ?"
PLACES = {name: MEASURE_NAMES.index(name) for name in (*SUMMED, *PROMPT_TOKENS, "spend_microusd", "spend_rest_picousd")}
SUMMED_PLACES = tuple(PLACES[name] for name in SUMMED)
PROMPT_PLACES = tuple(PLACES[name] for name in PROMPT_TOKENS)


def note(sums: Sums, row: Row, amounts: list[int]) -> None:
    """Adds `row`, whose measures are `amounts`, to its session."""
    if (session := row.get("session_id")) is None:
        return
    started_at = row["started_at"]
    prompt = sum(amounts[place] for place in PROMPT_PLACES) or None
    new = [started_at, started_at, *(amounts[place] for place in SUMMED_PLACES)]
    new.append(int(row["outcome"] == "ok" and row.get("stop_reason") == "tool_use"))
    new += [prompt, prompt, amounts[PLACES["spend_microusd"]], amounts[PLACES["spend_rest_picousd"]]]
    known = sums.get(session)
    sums[session] = new if known is None else _sum(known, new)


def merge(sums: Sums, other: Sums) -> None:
    """Adds `other`."""
    for session, new in other.items():
        known = sums.get(session)
        sums[session] = new if known is None else _sum(known, new)


def _sum(one: list[Any], two: list[Any]) -> list[Any]:
    prompts = [tokens for tokens in (one[8], one[9], two[8], two[9]) if tokens is not None]
    return [
        min(one[0], two[0]),
        max(one[1], two[1]),
        *(a + b for a, b in zip(one[2:8], two[2:8], strict=True)),
        min(prompts, default=None),
        max(prompts, default=None),
        one[10] + two[10],
        one[11] + two[11],
    ]


def first_at(connection: sqlite3.Connection, sessions: Iterable[str]) -> dict[str, str]:
    """When each of `sessions` began, of those that the ledger has."""
    found = connection.execute(FIRST_AT, (_json(sessions),))
    return {session: at for session, at in found if at is not None}


def write(connection: sqlite3.Connection, sums: Sums, first_before: dict[str, str]) -> None:
    """Adds `sums` to the ledger, in which the sessions began at `first_before` until now."""
    rows = []
    for session, (first, last, *amounts, micro, rest) in sums.items():
        before: str = first_before.get(session) or first
        day: str = min(before, first)[:10]
        if day != before[:10]:
            connection.execute(MOVE, (day, before[:10], session))
        rows.append((day, session, first, last, *amounts, micro + rest // 10**6, rest % 10**6))
    connection.executemany(UPSERT, rows)


def refresh(connection: sqlite3.Connection, first_before: dict[str, str]) -> None:
    """Makes sessions anew from their calls; `first_before` says where their rows were."""
    rows = [(at[:10], session) for session, at in first_before.items()]
    connection.executemany("DELETE FROM rollup_sessions WHERE day = ? AND session_id = ?", rows)
    connection.execute(f"{INSERT} {OF_IDS}", {"ids": _json(first_before)})


def rebuild(connection: sqlite3.Connection, first: str, past: str) -> None:
    """Makes the sessions that began on the days from `first` until before `past` anew, from their calls."""
    values = {"first": first, "past": past}
    connection.execute("DELETE FROM rollup_sessions WHERE day >= :first AND day < :past", values)
    connection.execute(f"{INSERT} {OF_DAYS}", values)


def _json(sessions: Iterable[str]) -> str:
    return orjson.dumps([*sessions]).decode()
