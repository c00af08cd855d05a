"""Where the sums come from: each source answers the same columns as `measured`, from the smallest table that can."""

from __future__ import annotations

from enum import StrEnum


class Source(StrEnum):
    """A table that can answer, and with it which filters."""

    HOURS = "hours"
    TAG_DAYS = "tag_days"
    SESSION = "session"


BASE = frozenset(("model", "feature", "platform"))
HONOURED = {
    Source.HOURS: BASE,
    Source.TAG_DAYS: BASE | {"user", "tag"},
    Source.SESSION: BASE | {"user", "tag", "session"},
}
"""The filters that each source can answer; of a user and a tag without a session, one at a time."""

_BASE_FILTERS = """
        AND (:model IS NULL OR model = :model)
        AND (:feature IS NULL OR feature = :feature)
        AND (:platform IS NULL OR platform = :platform)"""

MEASURED = {
    Source.HOURS: f"""
    SELECT hour AS period, *
    FROM rollup_hours
    WHERE hour >= :before_since
        AND hour < :until{_BASE_FILTERS}""",  # noqa: S608 - SQL of ours
    Source.TAG_DAYS: f"""
    SELECT day AS period, *
    FROM rollup_tag_days
    WHERE tag = COALESCE(:tag_key, 'user')
        AND day >= SUBSTR(:before_since, 1, 10)
        AND day < SUBSTR(:until, 1, 10)
        AND value = COALESCE(:tag_value, :user){_BASE_FILTERS}""",  # noqa: S608 - SQL of ours
    Source.SESSION: f"""
    SELECT hour AS period, *
    FROM measured_calls AS c
    WHERE session_id = :session
        AND hour >= :before_since
        AND hour < :until{_BASE_FILTERS}
        AND (:user IS NULL OR user_id = :user)
        AND (
            :tag_key IS NULL
            OR EXISTS (
                SELECT 1
                FROM call_tags AS t
                WHERE t.id = c.id
                    AND t.tag = :tag_key
                    AND t.value = :tag_value
            )
        )""",  # noqa: S608 - SQL of ours
}
"""What `measured` is for each source. Its `period` is an hour or a day, and starts with the period before."""
