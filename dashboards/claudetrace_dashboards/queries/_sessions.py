"""The questions about sessions and single calls."""

from __future__ import annotations

from claudetrace._call import CALL_FIELDS
from claudetrace_dashboards.queries._pieces import DAYS, OF_TAG
from claudetrace_dashboards.queries._query import Query

_SUMMED = (
    *("session_id", "first_at", "last_at", "calls", "errors", "unpriced_calls", "lower_bound_calls", "tool_stops"),
    *("least_prompt_tokens", "most_prompt_tokens"),
)
_NOTE = (
    "Sessions that began on the days of the range, each as a whole. With a filter: those with such a call; without a "
    "user, among the first 900 of all days."
)


_IS_SUCH = f"""(:model IS NULL OR COALESCE(c.model, '') = :model)
                    AND (:feature IS NULL OR COALESCE(c.feature, '') = :feature)
                    AND (:platform IS NULL OR c.platform = :platform)
                    AND (:user IS NULL OR c.user_id = :user){OF_TAG}"""
_OF_CALLS = f"""EXISTS (
                SELECT 1
                FROM calls AS c
                WHERE c.session_id = s.session_id
                    AND {_IS_SUCH}
            )"""  # noqa: S608 - SQL of ours
# Each day's first are found by the index, so that the days are few rows each.
_OF_ALL = """WITH RECURSIVE {days},
least (day, {measure}) AS MATERIALIZED (
    SELECT
        days.day,
        COALESCE(
            (
                SELECT s.{measure}
                FROM rollup_sessions AS s INDEXED BY {index}
                WHERE s.day = days.day
                    AND {condition}
                ORDER BY s.{measure} DESC
                LIMIT 1 OFFSET :candidates_a_day - 1
            ),
            0
        )
    FROM days
),
top AS (
    SELECT s.*
    FROM least CROSS JOIN rollup_sessions AS s INDEXED BY {index}
    WHERE s.day = least.day
        AND {condition}
        AND s.{measure} >= least.{measure}
        AND (NOT :filtered OR {of_calls})
    ORDER BY {order}
    LIMIT :rows
)"""
# A user's calls are looked at once: those of such a kind name the sessions.
_OF_FEW = """WITH few (session_id) AS (
    SELECT :session
    WHERE :session IS NOT NULL
    UNION
    SELECT c.session_id
    FROM calls AS c
    WHERE :session IS NULL
        AND c.user_id = :user
        AND c.session_id IS NOT NULL
        AND c.started_at >= :from
        AND {is_such}
),
top AS (
    SELECT s.*
    FROM few CROSS JOIN rollup_sessions AS s
    WHERE s.session_id = few.session_id
        AND s.day >= SUBSTR(:from, 1, 10)
        AND s.day < SUBSTR(:until, 1, 10)
        AND {condition}
        AND (:session IS NULL OR {of_calls})
    ORDER BY {order}
    LIMIT :rows
)"""
_SHOWN = f"""
SELECT
    {", ".join(f"s.{name}" for name in _SUMMED)},
    s.spend_microusd,
    s.spend_rest_picousd,
    c.user_id,
    c.feature,
    c.model
FROM top AS s
LEFT JOIN calls AS c ON c.rowid = (
    SELECT o.rowid FROM calls AS o WHERE o.session_id = s.session_id ORDER BY o.started_at LIMIT 1
)
ORDER BY """  # noqa: S608 - names of ours


def _top(name: str, page: str, measure: str, index: str, condition: str, order: str) -> Query:
    """The first sessions by `measure`."""
    of = {"days": DAYS, "measure": measure, "index": index, "condition": condition, "order": order}
    return Query(
        name=name,
        page=page,
        whole_days=True,
        note=_NOTE,
        columns=(*_SUMMED, "spend_picousd", "user", "feature", "model"),
        most=20,
        sql=f"{_OF_ALL.format(of_calls=_OF_CALLS, **of)}{_SHOWN}{order}\n",
        of_few=f"{_OF_FEW.format(of_calls=_OF_CALLS, is_such=_IS_SUCH, **of)}{_SHOWN}{order}\n",
    )


_TIMELINE = (
    *("id", "call_id", "started_at", "duration_ms", "time_to_first_token_ms", "operation", "model", "feature"),
    *("outcome", "stop_reason", "error_type", "retries", "tool_calls", "input_tokens", "cache_read_tokens"),
    *("cache_write_5m_tokens", "cache_write_1h_tokens", "output_tokens", "usage_is_final"),
    "cost_flags",
)
SESSION_CALLS = Query(
    name="session_calls",
    page="session",
    defaults={"offset": 0},
    most=1000,
    columns=(*_TIMELINE, "cost_picousd", "running_picousd"),
    sql=f"""
SELECT
    {", ".join(_TIMELINE)},
    cost_picousd / 1000000 AS cost_microusd,
    cost_picousd % 1000000 AS cost_rest_picousd,
    SUM(COALESCE(spend_picousd, 0) / 1000000) OVER (ORDER BY started_at, id) AS running_microusd,
    SUM(COALESCE(spend_picousd, 0) % 1000000) OVER (ORDER BY started_at, id) AS running_rest_picousd
FROM calls
WHERE session_id = :session
    AND (:model IS NULL OR COALESCE(model, '') = :model)
    AND (:feature IS NULL OR COALESCE(feature, '') = :feature)
    AND (:platform IS NULL OR platform = :platform)
ORDER BY started_at, id
LIMIT :rows OFFSET :offset
""",  # noqa: S608 - names of ours
)
_PLAIN = tuple(name for name in CALL_FIELDS if not name.endswith("_picousd"))
CALL = Query(
    name="call",
    page="call",
    defaults={"id": None},
    columns=(*_PLAIN, "cost_picousd", "spend_picousd", "cache_saved_picousd"),
    sql=f"""
SELECT
    {", ".join(_PLAIN)},
    cost_picousd / 1000000 AS cost_microusd,
    cost_picousd % 1000000 AS cost_rest_picousd,
    spend_picousd / 1000000 AS spend_microusd,
    spend_picousd % 1000000 AS spend_rest_picousd,
    (cache_saved_picousd - ((cache_saved_picousd % 1000000) + 1000000) % 1000000) / 1000000 AS cache_saved_microusd,
    ((cache_saved_picousd % 1000000) + 1000000) % 1000000 AS cache_saved_rest_picousd
FROM calls
WHERE id = :id
""",  # noqa: S608 - names of ours
)
CALL_PARTS = Query(
    name="call_parts",
    page="call",
    defaults={"id": None},
    columns=("name", "model", "quantity", "rate", "part_picousd"),
    sql="""
SELECT
    name,
    model,
    quantity,
    rate,
    picousd / 1000000 AS part_microusd,
    picousd % 1000000 AS part_rest_picousd
FROM cost_parts
WHERE id = :id
ORDER BY number
""",
)
STATE = Query(
    name="state",
    page="",
    note="exact_from_day: calls before it are pruned.",
    columns=("name", "value"),
    sql="SELECT name, value FROM facts WHERE name = 'exact_from_day'",
)
SESSION_QUERIES = (
    _top(
        "dearest_sessions",
        "cost",
        "spend_microusd",
        "sessions_dearest",
        "TRUE",
        "s.spend_microusd DESC, s.spend_rest_picousd DESC, s.session_id",
    ),
    _top(
        "tool_loops",
        "reliability",
        "tool_stops",
        "sessions_tool_loops",
        "s.tool_stops / 10 > 0",
        "s.tool_stops DESC, s.session_id",
    ),
    SESSION_CALLS,
    CALL,
    CALL_PARTS,
    STATE,
)
