"""The questions of the cost page."""

from __future__ import annotations

from claudetrace_dashboards.queries._query import Query
from claudetrace_dashboards.queries._sources import (
    BASE,
    BY_OUTCOME,
    DAYS,
    OF_OTHERS,
    SUMS,
    TOO_LOW,
    Source,
    measured,
    tagged,
)
from claudetrace_dashboards.queries._sums import ALL, DEAREST_FIRST, PERIOD, SPEND_COLUMNS, plain, sums

KPI_COLUMNS = (
    *("calls", "responses", "unpriced_calls", "lower_bound_calls", "errors", "blocked_calls", "retries"),
    *("input_tokens", "cache_read_tokens", "cache_write_5m_tokens", "cache_write_1h_tokens", "output_tokens"),
    *("spend_picousd", "cache_saved_picousd", "cache_write_picousd"),
)
KPI = Query(
    name="kpi",
    page="cost",
    sources=measured(SUMS),
    honours=ALL,
    with_before=True,
    columns=("period", *KPI_COLUMNS),
    sql=f"""
SELECT
    CASE WHEN measured.period >= SUBSTR(:since, 1, LENGTH(measured.period)) THEN 'now' ELSE 'before' END AS which,
    {sums(KPI_COLUMNS)}
FROM measured
GROUP BY which
ORDER BY which DESC
""",  # noqa: S608 - names of ours
)
COST_BY_TIME = Query(
    name="cost_by_time",
    page="cost",
    sources=measured(SUMS),
    honours=ALL,
    columns=("period", "model", *SPEND_COLUMNS),
    sql=f"""
SELECT
    {PERIOD} AS shown_period,
    model,
    {sums(SPEND_COLUMNS)}
FROM measured
GROUP BY shown_period, model
ORDER BY shown_period, model
""",  # noqa: S608 - names of ours
)


def _grouped(name: str, column: str, sources: tuple[Source, ...] = SUMS) -> Query:
    """Spend by the values of `column`, dearest first."""
    return Query(
        name=name,
        page="cost",
        sources=measured(sources),
        honours=ALL if sources is SUMS else BASE | {"session"},
        columns=(column, *SPEND_COLUMNS),
        most=200,
        sql=f"""
SELECT
    {column},
    {sums(SPEND_COLUMNS)}
FROM measured
GROUP BY {column}
ORDER BY {DEAREST_FIRST}, {column}
LIMIT :rows
""",  # noqa: S608 - names of ours
    )


COST_BY_FEATURE_AND_MODEL = Query(
    name="cost_by_feature_and_model",
    page="cost",
    sources=measured(SUMS),
    honours=ALL,
    columns=("feature", "model", *SPEND_COLUMNS),
    most=1000,
    sql=f"""
SELECT
    feature,
    model,
    {sums(SPEND_COLUMNS)}
FROM measured
GROUP BY feature, model
ORDER BY {DEAREST_FIRST}, feature, model
LIMIT :rows
""",  # noqa: S608 - names of ours
)
COST_BY_TAG = Query(
    name="cost_by_tag",
    page="cost",
    whole_days=True,
    sources={Source.DAYS: tagged(plain(SPEND_COLUMNS), "spend_microusd")},
    honours=BASE,
    defaults={"by": "user"},
    most=50,
    columns=("value", "others", *SPEND_COLUMNS, "too_low"),
    sql=f"""
SELECT
    value,
    others,
    {sums(SPEND_COLUMNS)},
    {TOO_LOW}
FROM measured
GROUP BY value, others
ORDER BY {DEAREST_FIRST}, value
""",  # noqa: S608 - names of ours
)
TAGS = Query(
    name="tags",
    page="cost",
    honours=ALL,
    columns=("tag",),
    sql="""
WITH RECURSIVE each (tag) AS (
    SELECT MIN(tag)
    FROM rollup_tag_weeks
    UNION ALL
    SELECT (SELECT MIN(r.tag) FROM rollup_tag_weeks AS r WHERE r.tag > each.tag)
    FROM each
    WHERE each.tag IS NOT NULL
)
SELECT tag
FROM each
WHERE tag IS NOT NULL
ORDER BY tag
LIMIT 1000
""",
)
TAG_OTHERS = Query(
    name="tag_others",
    page="cost",
    whole_days=True,
    sources={Source.DAYS: DAYS},
    honours=BASE | {"tag"},
    note="Days on which calls of the value may be among the others of its tag, so that the sums for it are too low.",
    columns=("day",),
    sql=f"""
SELECT days.day
FROM days
WHERE EXISTS ({OF_OTHERS.replace(":by", ":tag_key")})
    AND NOT EXISTS (
        SELECT 1
        FROM rollup_tag_days AS r
        WHERE r.tag = :tag_key AND r.day = days.day AND r.value = :tag_value AND NOT r.others
    )
ORDER BY days.day
""",  # noqa: S608 - SQL of ours
)
UNPRICED = Query(
    name="unpriced",
    page="cost",
    sources=measured(SUMS),
    honours=ALL,
    columns=("model", "feature", "platform", *SPEND_COLUMNS),
    most=100,
    sql=f"""
SELECT
    model,
    feature,
    platform,
    {sums(SPEND_COLUMNS)}
FROM measured
GROUP BY model, feature, platform
HAVING SUM(unpriced_calls) > 0
    OR SUM(lower_bound_calls) > 0
ORDER BY SUM(unpriced_calls) DESC, SUM(lower_bound_calls) DESC, model, feature, platform
LIMIT :rows
""",  # noqa: S608 - names of ours
)

COST_QUERIES = (
    KPI,
    COST_BY_TIME,
    _grouped("cost_by_model", "model"),
    _grouped("cost_by_feature", "feature"),
    _grouped("cost_by_platform", "platform"),
    _grouped("cost_by_operation", "operation", BY_OUTCOME),
    COST_BY_FEATURE_AND_MODEL,
    COST_BY_TAG,
    TAGS,
    TAG_OTHERS,
    UNPRICED,
)
