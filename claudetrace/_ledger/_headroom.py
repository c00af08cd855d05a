"""What was left of the tightest rate limit, at the least, in each hour."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    import sqlite3

    from claudetrace._call import Row

Least: TypeAlias = "dict[tuple[str, ...], float]"

KEY = ("hour", "rate_limit", "platform", "model", "feature")
DDL = f"""CREATE TABLE rollup_headroom (
    {", ".join(f"{name} TEXT NOT NULL" for name in KEY)},
    least_headroom REAL NOT NULL,
    PRIMARY KEY ({", ".join(KEY)})
) STRICT, WITHOUT ROWID"""
UPSERT = f"""
    INSERT INTO rollup_headroom ({", ".join(KEY)}, least_headroom)
    VALUES (?, ?, ?, ?, ?, ?)
    ON CONFLICT ({", ".join(KEY)}) DO UPDATE SET least_headroom = MIN(least_headroom, excluded.least_headroom)
"""  # noqa: S608 - names of ours
OF_CALLS = """
    SELECT
        SUBSTR(started_at, 1, 13) AS hour,
        COALESCE(rate_limit, '') AS rate_limit,
        platform,
        COALESCE(model, '') AS model,
        COALESCE(feature, '') AS feature,
        MIN(rate_limit_headroom) AS least_headroom
    FROM calls
    WHERE rate_limit_headroom IS NOT NULL
        AND started_at >= :first
        AND started_at < :past
    GROUP BY 1, 2, 3, 4, 5
"""
DELETE = "DELETE FROM rollup_headroom WHERE hour >= :first AND hour < :past"
DIFFERENCES = f"""
    SELECT * FROM (SELECT * FROM rollup_headroom WHERE hour >= :first AND hour < :past EXCEPT {OF_CALLS})
    UNION ALL
    SELECT * FROM ({OF_CALLS} EXCEPT SELECT * FROM rollup_headroom WHERE hour >= :first AND hour < :past)
"""  # noqa: S608 - SQL of ours


def note(least: Least, row: Row, whose: tuple[str, ...]) -> None:
    """Keeps the headroom of `row` if it is less than what is known."""
    headroom = row.get("rate_limit_headroom")
    if headroom is None:
        return
    key = (row["started_at"][:13], row.get("rate_limit") or "", *whose)
    least[key] = min(least.get(key, headroom), headroom)


def merge(least: Least, other: Least) -> None:
    """Keeps what is less in `other`."""
    for key, headroom in other.items():
        least[key] = min(least.get(key, headroom), headroom)


def write(connection: sqlite3.Connection, least: Least) -> None:
    """Adds `least` to the ledger."""
    connection.executemany(UPSERT, [(*key, headroom) for key, headroom in least.items()])


def rebuild(connection: sqlite3.Connection, first: str, past: str) -> None:
    """Makes the hours of the days from `first` until before `past` anew, from the calls."""
    values = {"first": first, "past": past}
    connection.execute(DELETE, values)
    connection.execute(f"INSERT INTO rollup_headroom ({', '.join(KEY)}, least_headroom) {OF_CALLS}", values)
