"""What several queries have in them."""

from __future__ import annotations

from claudetrace._call import RESERVED_TAGS
from claudetrace_dashboards.queries._filters import HOSTS

# The days of the range that the ledger has: each is looked up by itself, where a table is not ordered by day alone.
DAYS = """days (day) AS (
    SELECT day
    FROM (SELECT MAX(SUBSTR(:from, 1, 10), MIN(day)) AS day FROM rollup_days)
    WHERE day < SUBSTR(:until, 1, 10)
    UNION ALL
    SELECT DATE(day, '+1 day')
    FROM days
    WHERE DATE(day, '+1 day') < MIN(SUBSTR(:until, 1, 10), (SELECT DATE(MAX(day), '+1 day') FROM rollup_days))
)"""
_OF_COLUMNS = "\n                ".join(f"WHEN '{tag}' THEN c.{column}" for tag, column in RESERVED_TAGS.items())
_OF_HOSTS = "".join(f"\n        AND (:{name} IS NULL OR c.{name} = :{name})" for name in HOSTS)
OF_TAG = f"""
        AND (
            :tag_key IS NULL
            OR :tag_value = CASE :tag_key
                {_OF_COLUMNS}
                ELSE (SELECT free.value FROM json_each(c.tags) AS free WHERE free.key = :tag_key)
            END
        ){_OF_HOSTS}"""  # noqa: S608 - names of ours
"""Which calls `c` have the tag that is asked for, and were made there."""
