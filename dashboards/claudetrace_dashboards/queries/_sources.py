"""Where the sums come from: each source answers as `measured` or `timed`, from the smallest table that can."""

from __future__ import annotations

from enum import StrEnum

from claudetrace._ledger._measures import MEASURE_NAMES


class Source(StrEnum):
    """What can answer, and with it which filters."""

    DAYS = "days"
    FEATURE_DAYS = "feature_days"
    HOURS = "hours"
    TAG_DAYS = "tag_days"
    SESSION = "session"


BASE = frozenset(("model", "feature", "platform"))
HONOURED = {
    Source.DAYS: BASE,
    Source.FEATURE_DAYS: BASE,
    Source.HOURS: BASE,
    Source.TAG_DAYS: BASE | {"user", "tag"},
    Source.SESSION: BASE | {"user", "tag", "session"},
}
"""The filters that each source can answer; of a user and a tag without a session, one at a time."""

BASE_FILTERS = """
        AND (:model IS NULL OR model = :model)
        AND (:feature IS NULL OR feature = :feature)
        AND (:platform IS NULL OR platform = :platform)"""
_NAMES = ", ".join(MEASURE_NAMES)
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
IN_DAYS = "day >= SUBSTR(:from, 1, 10) AND day < SUBSTR(:until, 1, 10)"
IN_HOURS = "started_at >= :from AND started_at < :until"
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
        )"""

MEASURED = {
    Source.DAYS: f"""measured AS (
    SELECT day AS period, *
    FROM rollup_days
    WHERE {IN_DAYS}{BASE_FILTERS}
)""",  # noqa: S608 - SQL of ours
    Source.HOURS: f"""measured AS (
    SELECT hour AS period, *
    FROM rollup_hours
    WHERE hour >= :from
        AND hour < :until{BASE_FILTERS}
)""",  # noqa: S608 - SQL of ours
    # A user who came after the thousandth of a day is among its `(other)`: read from the calls, which are few.
    Source.TAG_DAYS: f"""{DAYS},
measured AS (
    SELECT r.day AS period, platform, model, feature, {_NAMES}
    FROM days CROSS JOIN rollup_tag_days AS r
    WHERE r.tag = COALESCE(:tag_key, 'user')
        AND r.day = days.day
        AND r.value = COALESCE(:tag_value, :user)
        AND NOT r.others{BASE_FILTERS}
    UNION ALL
    SELECT days.day AS period, platform, model, feature, {_NAMES}
    FROM days CROSS JOIN measured_calls AS c
    WHERE :tag_key IS NULL
        AND EXISTS (
            SELECT 1
            FROM rollup_tag_days AS r
            WHERE r.tag = 'user' AND r.day = days.day AND r.value = '(other)' AND r.others
        )
        AND NOT EXISTS (
            SELECT 1
            FROM rollup_tag_days AS r
            WHERE r.tag = 'user' AND r.day = days.day AND r.value = :user AND NOT r.others
        )
        AND c.user_id = :user
        AND c.started_at >= days.day
        AND c.started_at < DATE(days.day, '+1 day'){BASE_FILTERS}
)""",  # noqa: S608 - SQL of ours
    Source.SESSION: f"""measured AS (
    SELECT hour AS period, *
    FROM measured_calls AS c
    WHERE session_id = :session
        AND {IN_HOURS}{BASE_FILTERS}
        AND (:user IS NULL OR user_id = :user){OF_TAG}
)""",  # noqa: S608 - SQL of ours
}
"""`measured` has a `period`, which is an hour or a day; `:from` is where it begins."""

TIMED = {
    Source.DAYS: f"""timed AS (
    SELECT day, model, bucket, responses
    FROM rollup_latencies
    WHERE kind = :kind
        AND {IN_DAYS}
        AND (:model IS NULL OR model = :model)
        AND (:platform IS NULL OR platform = :platform)
)""",  # noqa: S608 - SQL of ours
    Source.FEATURE_DAYS: f"""{DAYS},
timed AS (
    SELECT r.day, model, bucket, responses
    FROM days CROSS JOIN rollup_feature_latencies AS r
    WHERE kind = :kind
        AND r.day = days.day
        AND feature = :feature
        AND (:model IS NULL OR model = :model)
        AND (:platform IS NULL OR platform = :platform)
)""",  # noqa: S608 - SQL of ours
    Source.SESSION: f"""timed AS (
    SELECT day, model, bucket, responses
    FROM measured_latencies AS c
    WHERE session_id = :session
        AND kind = :kind
        AND {IN_HOURS}{BASE_FILTERS}
        AND (:user IS NULL OR EXISTS (SELECT 1 FROM calls AS u WHERE u.id = c.id AND u.user_id = :user)){OF_TAG}
)""",  # noqa: S608 - SQL of ours
}
"""`timed` has counts of responses by logarithmic bucket."""


OF_OTHERS = f"""
            SELECT 1
            FROM rollup_tag_days AS r
            WHERE r.tag = :by
                AND r.day = days.day
                AND r.value = '(other)'
                AND r.others{BASE_FILTERS}
"""  # noqa: S608 - SQL of ours
TOO_LOW = """NOT others AND EXISTS (
        SELECT 1
        FROM days_of_others AS d
        WHERE NOT EXISTS (
            SELECT 1
            FROM rollup_tag_days AS r
            WHERE r.tag = :by AND r.day = d.day AND r.value = measured.value AND NOT r.others
        )
    ) AS too_low"""
"""Whether calls of a value may be among the others of a day that does not name it."""


def tagged(columns: str, rank: str, keep: str = "1") -> str:
    """`measured` with the first values of the tag `:by` by the sum of `rank`, of those whose sum of `keep` is above
    zero: from whole weeks, and the days before and after them. Ranked by as little as can be, because all values are
    sorted; only then are the `columns` of the first looked up."""
    return f"""{DAYS},
days_of_others (day) AS MATERIALIZED (
    SELECT days.day
    FROM days
    WHERE EXISTS ({OF_OTHERS})
),
ends (week_until) AS MATERIALIZED (
    SELECT
        CASE
            WHEN (SELECT MAX(day) FROM rollup_tag_days WHERE tag = :by) < SUBSTR(:until, 1, 10) THEN '9999'
            ELSE MAX(:week_until, :week_from)
        END
),
weeks (week) AS (
    SELECT week
    FROM (SELECT MAX(:week_from, MIN(week)) AS week FROM rollup_tag_weeks WHERE tag = :by)
    WHERE week < MIN((SELECT week_until FROM ends), SUBSTR(:until, 1, 10))
    UNION ALL
    SELECT DATE(week, '+7 days')
    FROM weeks
    WHERE DATE(week, '+7 days') < MIN((SELECT week_until FROM ends), SUBSTR(:until, 1, 10))
),
before_weeks (day) AS (
    SELECT SUBSTR(:since, 1, 10)
    WHERE SUBSTR(:since, 1, 10) < MIN(:week_from, SUBSTR(:until, 1, 10))
    UNION ALL
    SELECT DATE(day, '+1 day')
    FROM before_weeks
    WHERE DATE(day, '+1 day') < MIN(:week_from, SUBSTR(:until, 1, 10))
),
after_weeks (day) AS (
    SELECT week_until
    FROM ends
    WHERE week_until < SUBSTR(:until, 1, 10)
    UNION ALL
    SELECT DATE(day, '+1 day')
    FROM after_weeks
    WHERE DATE(day, '+1 day') < SUBSTR(:until, 1, 10)
),
edges (day) AS (
    SELECT day FROM before_weeks
    UNION ALL
    SELECT day FROM after_weeks
),
ranks AS (
    SELECT r.value, r.others, {rank} AS amount, {keep} AS kept
    FROM weeks CROSS JOIN rollup_tag_weeks AS r
    WHERE r.tag = :by
        AND r.week = weeks.week{BASE_FILTERS}
    UNION ALL
    SELECT r.value, r.others, {rank} AS amount, {keep} AS kept
    FROM edges CROSS JOIN rollup_tag_days AS r
    WHERE r.tag = :by
        AND r.day = edges.day{BASE_FILTERS}
),
ranked AS MATERIALIZED (
    SELECT value, others
    FROM ranks
    GROUP BY value, others
    HAVING SUM(kept) > 0
    ORDER BY SUM(amount) DESC, value
    LIMIT :rows
),
measured AS (
    SELECT ranked.value, ranked.others, {columns}
    FROM weeks CROSS JOIN ranked CROSS JOIN rollup_tag_weeks AS r
    WHERE r.tag = :by
        AND r.week = weeks.week
        AND r.value = ranked.value
        AND r.others = ranked.others{BASE_FILTERS}
    UNION ALL
    SELECT ranked.value, ranked.others, {columns}
    FROM edges CROSS JOIN ranked CROSS JOIN rollup_tag_days AS r
    WHERE r.tag = :by
        AND r.day = edges.day
        AND r.value = ranked.value
        AND r.others = ranked.others{BASE_FILTERS}
)"""  # noqa: S608 - SQL of ours


SUMS = (Source.DAYS, Source.HOURS, Source.TAG_DAYS, Source.SESSION)
BY_OUTCOME = (Source.DAYS, Source.HOURS, Source.SESSION)
"""What knows of operations, outcomes and reasons too."""


def measured(sources: tuple[Source, ...]) -> dict[Source, str]:
    """What stands before a query of `measured`, for each of `sources`."""
    return {source: MEASURED[source] for source in sources}
