"""That the rollups equal the calls, in SQL; and how to make them so again."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from claudetrace._ledger._rollups import MAX_VALUES_A_DAY, MEASURE_NAMES, OTHER, ROLLUPS, TAG_DAYS, Rollup

if TYPE_CHECKING:
    import sqlite3

EXACT_FROM = "SELECT value FROM facts WHERE name = 'exact_from_day'"
EXACT_FROM_DAY = """
    INSERT INTO facts (name, value)
    VALUES ('exact_from_day', ?)
    ON CONFLICT (name) DO UPDATE SET value = MAX(value, excluded.value)
"""


class Difference(NamedTuple):
    """A row of a rollup that is not the sum of its calls: each measure that differs, rollup less calls."""

    table: str
    key: tuple[str, ...]
    measures: dict[str, int]


def exact_from_day(connection: sqlite3.Connection) -> str:
    """The UTC day from which on no call is pruned; empty where none ever was."""
    found = connection.execute(EXACT_FROM).fetchone()
    return str(found[0]) if found else ""


def rollup_differences(connection: sqlite3.Connection) -> list[Difference]:
    """Where the rollups differ from the calls, from the first day on that is not pruned. Empty when all is well."""
    first_day = exact_from_day(connection)
    return [difference for rollup in ROLLUPS for difference in _differences(connection, rollup, first_day)]


def _differences(connection: sqlite3.Connection, rollup: Rollup, first_day: str) -> list[Difference]:
    keys, names = ", ".join(rollup.key), ", ".join(MEASURE_NAMES)
    view_keys = ", ".join(keys_of_view(rollup))
    minus = ", ".join(f"-{name}" for name in MEASURE_NAMES)
    sums = ", ".join(f"SUM({name})" for name in MEASURE_NAMES)
    differs = " OR ".join(f"SUM({name}) <> 0" for name in MEASURE_NAMES)
    sql = f"""
        SELECT {keys}, {sums}
        FROM (
            SELECT {keys}, {names} FROM {rollup.table} WHERE {rollup.period} >= :first_day
            UNION ALL
            SELECT {view_keys}, {minus} FROM {rollup.view} AS v WHERE {rollup.period} >= :first_day
        )
        GROUP BY {keys}
        HAVING {differs}
    """  # noqa: S608 - names of ours
    values = {"first_day": first_day, "other": OTHER}
    found = []
    for row in connection.execute(sql, values):
        measures = dict(zip(MEASURE_NAMES, row[len(rollup.key) :], strict=True))
        nonzero = {name: value for name, value in measures.items() if value}
        found.append(Difference(rollup.table, row[: len(rollup.key)], nonzero))
    return found


def keys_of_view(rollup: Rollup) -> list[str]:
    """The keys of a row `v` of the view as the rollup has them: a value that it does not name is `:other`."""
    named = """
        CASE
            WHEN EXISTS (
                SELECT 1 FROM rollup_tag_days AS r WHERE r.tag = v.tag AND r.day = v.day AND r.value = v.value
            ) THEN v.value
            ELSE :other
        END
    """
    return [named if rollup is TAG_DAYS and name == "value" else f"v.{name}" for name in rollup.key]


def rebuild(connection: sqlite3.Connection, first_day: str, past_day: str = "9999") -> None:
    """Makes the rollups of the days from `first_day` until before `past_day` anew, from the calls. Inside the
    caller's transaction, and only for days of which no call is pruned."""
    values = {"first": first_day, "past": past_day, "other": OTHER, "most": MAX_VALUES_A_DAY}
    for rollup in ROLLUPS:
        period = rollup.period
        connection.execute(
            f"DELETE FROM {rollup.table} WHERE {period} >= :first AND {period} < :past",  # noqa: S608 - names of ours
            values,
        )
        connection.execute(_REBUILD_TAG_DAYS if rollup is TAG_DAYS else _rebuild(rollup), values)


def _rebuild(rollup: Rollup) -> str:
    keys, names = ", ".join(rollup.key), ", ".join(MEASURE_NAMES)
    sums = ", ".join(f"SUM({name})" for name in MEASURE_NAMES)
    return f"""
        INSERT INTO {rollup.table} ({keys}, {names})
        SELECT {keys}, {sums}
        FROM {rollup.view}
        WHERE {rollup.period} >= :first AND {rollup.period} < :past
        GROUP BY {keys}
    """  # noqa: S608 - names of ours


_REBUILD_TAG_DAYS = f"""
    INSERT INTO rollup_tag_days ({", ".join(TAG_DAYS.key)}, {", ".join(MEASURE_NAMES)})
    WITH arrivals AS (
        SELECT v.tag, v.day, v.value, MIN(c.rowid) AS first_rowid
        FROM measured_call_tags AS v JOIN calls AS c ON c.id = v.id
        WHERE v.day >= :first AND v.day < :past
        GROUP BY v.tag, v.day, v.value
    ),
    ranked AS (
        SELECT tag, day, value, ROW_NUMBER() OVER (PARTITION BY tag, day ORDER BY first_rowid) AS place
        FROM arrivals
    )
    SELECT
        v.tag,
        v.day,
        CASE WHEN ranked.place <= :most THEN v.value ELSE :other END AS counted_as,
        v.platform,
        v.model,
        v.feature,
        {", ".join(f"SUM(v.{name})" for name in MEASURE_NAMES)}
    FROM measured_call_tags AS v
    JOIN ranked ON ranked.tag = v.tag AND ranked.day = v.day AND ranked.value = v.value
    WHERE v.day >= :first AND v.day < :past
    GROUP BY v.tag, v.day, counted_as, v.platform, v.model, v.feature
"""  # noqa: S608 - names of ours
