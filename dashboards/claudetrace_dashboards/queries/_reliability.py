"""The questions of the reliability page."""

from __future__ import annotations

from claudetrace_dashboards.queries._query import Query
from claudetrace_dashboards.queries._sources import BASE, BASE_FILTERS, BY_OUTCOME, OF_TAG, Source, measured
from claudetrace_dashboards.queries._sums import PERIOD, sums


def _by(name: str, column: str, columns: tuple[str, ...], condition: str = "TRUE") -> Query:
    """Sums by `column`, over time."""
    return Query(
        name=name,
        page="reliability",
        sources=measured(BY_OUTCOME),
        honours=BASE | {"session"},
        columns=("period", column, *columns),
        sql=f"""
SELECT
    {PERIOD} AS shown_period,
    {column},
    {sums(columns)}
FROM measured
WHERE {condition}
GROUP BY shown_period, {column}
ORDER BY shown_period, {column}
""",  # noqa: S608 - names of ours
    )


_HEADROOM = """
SELECT
    SUBSTR(hour, 1, :period_chars) AS shown_period,
    rate_limit,
    MIN(least_headroom) AS least_headroom
FROM lowest
GROUP BY shown_period, rate_limit
ORDER BY shown_period, rate_limit
"""
_LOWEST = f"""lowest AS MATERIALIZED (
    SELECT hour, rate_limit, MIN(least_headroom) AS least_headroom
    FROM rollup_headroom
    WHERE hour >= :from
        AND hour < :until{BASE_FILTERS}
    GROUP BY hour, rate_limit
)"""  # noqa: S608 - SQL of ours
_LOWEST_OF_SESSION = f"""lowest AS (
    SELECT
        SUBSTR(started_at, 1, 13) AS hour,
        COALESCE(rate_limit, '') AS rate_limit,
        rate_limit_headroom AS least_headroom
    FROM calls AS c
    WHERE session_id = :session
        AND started_at >= :from
        AND started_at < :until
        AND rate_limit_headroom IS NOT NULL
        AND (:model IS NULL OR COALESCE(model, '') = :model)
        AND (:feature IS NULL OR COALESCE(feature, '') = :feature)
        AND (:platform IS NULL OR platform = :platform)
        AND (:user IS NULL OR user_id = :user){OF_TAG}
)"""  # noqa: S608 - SQL of ours
HEADROOM = Query(
    name="headroom",
    page="reliability",
    sources={Source.DAYS: _LOWEST, Source.SESSION: _LOWEST_OF_SESSION},
    honours=BASE | {"session"},
    note="What was left of each limit at its tightest moment, 0 to 1.",
    columns=("period", "rate_limit", "least_headroom"),
    sql=_HEADROOM,
)
_RESPONSES = ("responses", "calls")
RELIABILITY_QUERIES = (
    _by("errors_by_type", "reason", _RESPONSES, "outcome = 'error' AND reason <> 'BudgetExceeded'"),
    _by("blocked_calls", "reason", _RESPONSES, "outcome = 'error' AND reason = 'BudgetExceeded'"),
    _by("stop_reasons", "reason", _RESPONSES, "outcome = 'ok'"),
    _by("outcomes", "outcome", (*_RESPONSES, "errors", "blocked_calls", "retries", "lower_bound_calls")),
    HEADROOM,
)
