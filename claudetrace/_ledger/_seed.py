"""What was spent before a budget began, from the ledger: the seed of its counters."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

from claudetrace._call import RESERVED_TAGS
from claudetrace._ids import utc_text
from claudetrace._ledger._schema import connect_to_read
from claudetrace._operations import BATCHES_RESULT, FREE_SQL

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

SPENT = """
    SELECT
        {key} AS key,
        COALESCE(SUM(picousd / 1000000), 0) AS microusd,
        COALESCE(SUM(picousd % 1000000), 0) AS rest_picousd,
        COUNT(*) FILTER (
            WHERE operation = '{result}'
                OR (id = call_id AND operation NOT IN ({free}))
        ) AS calls
    FROM (
        SELECT
            *,
            -- What the budgets are still to be told of pricing again comes to the new store as well.
            COALESCE(spend_picousd, 0)
                - COALESCE((SELECT SUM(r.picousd) FROM respent AS r WHERE r.id = calls.id), 0) AS picousd
        FROM calls
    )
    WHERE started_at >= :since
        AND started_at < :until
        AND error_type IS NOT 'BudgetExceeded'
        {conditions}
    GROUP BY 1
"""
END = "9999"


def spent_before(
    path: Path, *, start_s: int, end_s: int | None, model: str | None, tags: Mapping[str, str], each: str
) -> dict[str, tuple[int, int]]:
    """Picodollars and calls from `start_s` until before `end_s`, of one model and with these tags where they are said.

    By the value of the tag whose value in `tags` is `each`; else all under "". Nothing where there is no ledger yet.
    """
    if not path.is_file():
        return {}
    values: dict[str, object] = {
        "since": utc_text(start_s * 10**9),
        "until": END if end_s is None else utc_text(end_s * 10**9),
    }
    conditions, key = [], "''"
    if model is not None:
        values["model"] = model
        conditions.append("AND :model IN (model_requested, model)")
    for number, (tag, wanted) in enumerate(tags.items()):
        column = RESERVED_TAGS.get(tag)
        if column is None:
            values[f"path_{number}"] = f'$."{tag}"'
            column = f"json_extract(tags, :path_{number})"
        if wanted == each:
            key = column
            conditions.append(f"AND {column} IS NOT NULL")
        else:
            values[f"tag_{number}"] = wanted
            conditions.append(f"AND {column} = :tag_{number}")
    sql = SPENT.format(key=key, conditions=" ".join(conditions), result=BATCHES_RESULT.name, free=FREE_SQL)
    with closing(connect_to_read(path)) as connection:
        try:
            found = connection.execute(sql, values).fetchall()
        except sqlite3.OperationalError as error:
            if "no such table" in str(error):
                return {}
            raise
    return {str(key): (microusd * 10**6 + rest, calls) for key, microusd, rest, calls in found}
