"""The questions of the latency page: percentiles of summed histograms, each within 2.2 % of the exact one."""

from __future__ import annotations

from claudetrace_dashboards.queries._query import Query
from claudetrace_dashboards.queries._sources import BASE, TIMED

_NOTE = "Answers without an error, by whole UTC days. Percentiles are within 2.2 %."


def _percentiles(name: str, column: str, expression: str, *, with_before: bool = False) -> Query:
    """p50, p95 and p99 of the `:kind`, by `expression`. The crossing bucket holds the value of that rank."""
    return Query(
        name=name,
        page="latency",
        sources=TIMED,
        honours=BASE | {"session"},
        whole_days=True,
        with_before=with_before,
        defaults={"kind": "duration_ms"},
        note=_NOTE,
        columns=(column, "responses", "p50", "p95", "p99"),
        sql=f""",
counted AS (
    SELECT {expression} AS shown, bucket, SUM(responses) AS n
    FROM timed
    GROUP BY shown, bucket
),
running AS (
    SELECT
        shown,
        bucket,
        n,
        SUM(n) OVER (PARTITION BY shown ORDER BY bucket) AS up_to,
        SUM(n) OVER (PARTITION BY shown) AS total
    FROM counted
),
ranks (percent) AS (
    VALUES (50), (95), (99)
),
crossed AS (
    SELECT
        r.shown,
        r.total,
        p.percent,
        b.from_value + (b.to_value - b.from_value) * (p.percent * r.total / 100.0 - (r.up_to - r.n)) / r.n AS value
    FROM running AS r
    CROSS JOIN ranks AS p
    JOIN latency_buckets AS b ON b.bucket = r.bucket
    WHERE r.up_to * 100 >= p.percent * r.total
        AND (r.up_to - r.n) * 100 < p.percent * r.total
)
SELECT
    shown,
    total,
    MAX(CASE WHEN percent = 50 THEN value END) AS p50,
    MAX(CASE WHEN percent = 95 THEN value END) AS p95,
    MAX(CASE WHEN percent = 99 THEN value END) AS p99
FROM crossed
GROUP BY shown, total
ORDER BY shown
""",  # noqa: S608 - names of ours
    )


LATENCY_QUERIES = (
    _percentiles(
        "latency_kpi",
        "period",
        "CASE WHEN timed.day >= SUBSTR(:since, 1, 10) THEN 'now' ELSE 'before' END",
        with_before=True,
    ),
    _percentiles("latency_by_time", "period", "timed.day"),
    _percentiles("latency_by_model", "model", "timed.model"),
)
