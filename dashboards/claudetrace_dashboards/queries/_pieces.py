"""What several queries have in them."""

from __future__ import annotations

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
OF_TAG = """
        AND (
            :tag_key IS NULL
            OR EXISTS (
                SELECT 1
                FROM call_tags AS t
                WHERE t.id = c.id
                    AND t.tag = :tag_key
                    AND t.value = :tag_value
            )
        )
        AND (:service IS NULL OR c.service = :service)
        AND (:environment IS NULL OR c.environment = :environment)
        AND (:instance IS NULL OR c.instance = :instance)"""
"""Which calls `c` have the tag that is asked for, and were made there."""
