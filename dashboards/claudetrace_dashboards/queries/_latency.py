"""The questions of the latency page: percentiles of summed histograms, each within 2.2 % of the exact one."""

from __future__ import annotations

from typing import Any

import orjson

from claudetrace._ledger._latency import percentile
from claudetrace_dashboards.queries._query import Query
from claudetrace_dashboards.queries._sources import BASE, TIMED

PERCENTS = (50, 95, 99)


def with_percentiles(column: str, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows with percentiles for their counts."""
    return [{column: row[column], **_percentiles(row["buckets"], row["counts"])} for row in rows]


def _percentiles(buckets: str, counts: str) -> dict[str, Any]:
    by_bucket: dict[int, int] = {}
    for bucket, count in zip(orjson.loads(buckets), orjson.loads(counts), strict=True):
        by_bucket[bucket] = by_bucket.get(bucket, 0) + count
    ordered = sorted(by_bucket.items())
    percents = {f"p{percent}": percentile(ordered, percent) for percent in PERCENTS}
    return {"responses": sum(by_bucket.values()), **percents}


_ARRAYS = "JSON_GROUP_ARRAY(bucket), JSON_GROUP_ARRAY(responses)"


def _query(name: str, column: str, sql: str, *, with_before: bool = False) -> Query:
    """The histograms of the `:kind`, by `column`. Added up and cut at the ranks here: in SQL, windows over a quarter's
    buckets take three times as long."""
    return Query(
        name=name,
        page="latency",
        sources=TIMED,
        honours=BASE | {"session"},
        whole_days=True,
        with_before=with_before,
        defaults={"kind": "duration_ms"},
        note="Answers without an error, by whole UTC days. Percentiles are within 2.2 %.",
        columns=(column, "buckets", "counts"),
        finish=lambda rows: with_percentiles(column, rows),
        sql=sql,
    )


def _by(column: str) -> str:
    return f"""
SELECT {column}, {_ARRAYS}
FROM timed
GROUP BY {column}
ORDER BY {column}
"""  # noqa: S608 - names of ours


_NOW_AND_BEFORE = f"""
SELECT 'now', {_ARRAYS}
FROM timed
WHERE day >= SUBSTR(:since, 1, 10)
HAVING COUNT(*) > 0
UNION ALL
SELECT 'before', {_ARRAYS}
FROM timed
WHERE day < SUBSTR(:since, 1, 10)
HAVING COUNT(*) > 0
"""  # noqa: S608 - names of ours
LATENCY_QUERIES = (
    _query("latency_kpi", "period", _NOW_AND_BEFORE, with_before=True),
    _query("latency_by_time", "period", _by("day")),
    _query("latency_by_model", "model", _by("model")),
)
