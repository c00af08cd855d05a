"""The questions of the cost page."""

from __future__ import annotations

from claudetrace_dashboards.queries._query import Query
from claudetrace_dashboards.queries._sources import BASE, Source

ALL = BASE | {"user", "tag", "session"}
EVERY_SOURCE = (Source.HOURS, Source.TAG_DAYS, Source.SESSION)
COUNTS = ("calls", "unpriced_calls", "lower_bound_calls")
_SPEND = """
    SUM(calls) AS calls,
    SUM(unpriced_calls) AS unpriced_calls,
    SUM(lower_bound_calls) AS lower_bound_calls,
    SUM(spend_microusd) AS spend_microusd,
    SUM(spend_rest_picousd) AS spend_rest_picousd"""
_DEAREST_FIRST = "spend_microusd + spend_rest_picousd / 1000000 DESC"

KPI_COLUMNS = (
    *COUNTS,
    "errors",
    "retries",
    "input_tokens",
    "cache_read_tokens",
    "cache_write_5m_tokens",
    "cache_write_1h_tokens",
    "output_tokens",
    "spend_picousd",
    "cache_saved_picousd",
)

KPI = Query(
    name="kpi",
    page="cost",
    sources=EVERY_SOURCE,
    honours=ALL,
    columns=("period", *KPI_COLUMNS),
    sql="""
SELECT
    CASE WHEN measured.period >= SUBSTR(:since, 1, LENGTH(measured.period)) THEN 'now' ELSE 'before' END AS which,
    SUM(calls) AS calls,
    SUM(unpriced_calls) AS unpriced_calls,
    SUM(lower_bound_calls) AS lower_bound_calls,
    SUM(errors) AS errors,
    SUM(retries) AS retries,
    SUM(input_tokens) AS input_tokens,
    SUM(cache_read_tokens) AS cache_read_tokens,
    SUM(cache_write_5m_tokens) AS cache_write_5m_tokens,
    SUM(cache_write_1h_tokens) AS cache_write_1h_tokens,
    SUM(output_tokens) AS output_tokens,
    SUM(spend_microusd) AS spend_microusd,
    SUM(spend_rest_picousd) AS spend_rest_picousd,
    SUM(cache_saved_microusd) AS cache_saved_microusd,
    SUM(cache_saved_rest_picousd) AS cache_saved_rest_picousd
FROM measured
GROUP BY which
ORDER BY which DESC
""",
)

IN_RANGE = "measured.period >= SUBSTR(:since, 1, LENGTH(measured.period))"
"""Leaves out the period before."""


def _grouped(name: str, column: str, *, sources: tuple[Source, ...] = EVERY_SOURCE, limit: bool = True) -> Query:
    """Spend by the values of `column`, dearest first."""
    return Query(
        name=name,
        page="cost",
        sources=sources,
        honours=ALL if Source.TAG_DAYS in sources else BASE | {"session"},
        columns=(column, *COUNTS, "spend_picousd"),
        sql=f"""
SELECT
    {column},{_SPEND}
FROM measured
WHERE {IN_RANGE}
GROUP BY {column}
HAVING SUM(responses) > 0
ORDER BY {_DEAREST_FIRST}, {column}
{"LIMIT 100" if limit else ""}
""",  # noqa: S608 - names of ours
    )


COST_BY_TIME = Query(
    name="cost_by_time",
    page="cost",
    sources=EVERY_SOURCE,
    honours=ALL,
    columns=("period", "model", *COUNTS, "spend_picousd"),
    sql=f"""
SELECT
    SUBSTR(measured.period, 1, :period_chars) AS shown_period,
    model,{_SPEND}
FROM measured
WHERE {IN_RANGE}
GROUP BY shown_period, model
ORDER BY shown_period, model
""",  # noqa: S608 - names of ours
)

COST_BY_TAG = Query(
    name="cost_by_tag",
    page="cost",
    day_grained=True,
    honours=BASE,
    columns=("value", *COUNTS, "spend_picousd"),
    sql=f"""
SELECT
    value,{_SPEND}
FROM rollup_tag_days
WHERE tag = :by
    AND day >= SUBSTR(:since, 1, 10)
    AND day < SUBSTR(:until, 1, 10)
    AND (:model IS NULL OR model = :model)
    AND (:feature IS NULL OR feature = :feature)
    AND (:platform IS NULL OR platform = :platform)
GROUP BY value
ORDER BY {_DEAREST_FIRST}, value
LIMIT 100
""",  # noqa: S608 - names of ours
)

TAGS = Query(
    name="tags",
    page="cost",
    day_grained=True,
    columns=("tag",),
    sql="""
WITH RECURSIVE each AS (
    SELECT MIN(tag) AS tag FROM rollup_tag_days
    UNION ALL
    SELECT (SELECT MIN(r.tag) FROM rollup_tag_days AS r WHERE r.tag > each.tag) FROM each WHERE each.tag IS NOT NULL
)
SELECT tag FROM each WHERE tag IS NOT NULL ORDER BY tag
""",
)

COST_QUERIES = (
    KPI,
    COST_BY_TIME,
    _grouped("cost_by_model", "model"),
    _grouped("cost_by_feature", "feature"),
    _grouped("cost_by_platform", "platform"),
    _grouped("cost_by_operation", "operation", sources=(Source.HOURS, Source.SESSION)),
    COST_BY_TAG,
    TAGS,
)
