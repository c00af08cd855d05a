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
            OR :tag_value = CASE :tag_key
                WHEN 'customer' THEN c.customer
                WHEN 'prompt' THEN c.prompt
                WHEN 'user' THEN c.user_id
                WHEN 'session' THEN c.session_id
                WHEN 'feature' THEN c.feature
                ELSE (SELECT free.value FROM json_each(c.tags) AS free WHERE free.key = :tag_key)
            END
        )
        AND (:service IS NULL OR c.service = :service)
        AND (:environment IS NULL OR c.environment = :environment)
        AND (:instance IS NULL OR c.instance = :instance)"""
"""Which calls `c` have the tag that is asked for, and were made there."""
