"""The questions of the reliability page."""

from __future__ import annotations

from claudetrace_dashboards.queries._cost import IN_RANGE
from claudetrace_dashboards.queries._query import Query
from claudetrace_dashboards.queries._sources import BASE, Source

BY_OUTCOME = (Source.HOURS, Source.SESSION)


def _by_reason(name: str, condition: str) -> Query:
    """How many responses of each reason, over time."""
    return Query(
        name=name,
        page="reliability",
        sources=BY_OUTCOME,
        honours=BASE | {"session"},
        columns=("period", "reason", "responses", "calls"),
        sql=f"""
SELECT
    SUBSTR(measured.period, 1, :period_chars) AS shown_period,
    reason,
    SUM(responses) AS responses,
    SUM(calls) AS calls
FROM measured
WHERE {IN_RANGE}
    AND {condition}
GROUP BY shown_period, reason
ORDER BY shown_period, reason
""",  # noqa: S608 - names of ours
    )


OUTCOMES = Query(
    name="outcomes",
    page="reliability",
    sources=BY_OUTCOME,
    honours=BASE | {"session"},
    columns=("period", "outcome", "responses", "calls", "retries", "lower_bound_calls"),
    sql=f"""
SELECT
    SUBSTR(measured.period, 1, :period_chars) AS shown_period,
    outcome,
    SUM(responses) AS responses,
    SUM(calls) AS calls,
    SUM(retries) AS retries,
    SUM(lower_bound_calls) AS lower_bound_calls
FROM measured
WHERE {IN_RANGE}
GROUP BY shown_period, outcome
ORDER BY shown_period, outcome
""",  # noqa: S608 - names of ours
)

RELIABILITY_QUERIES = (
    _by_reason("errors_by_type", "outcome = 'error' AND reason <> 'BudgetExceeded'"),
    _by_reason("blocked_calls", "outcome = 'error' AND reason = 'BudgetExceeded'"),
    _by_reason("stop_reasons", "outcome = 'ok'"),
    OUTCOMES,
)
