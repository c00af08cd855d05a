"""The questions of the cache page."""

from __future__ import annotations

from claudetrace_dashboards.queries._query import ALL_ROWS, Query
from claudetrace_dashboards.queries._sources import BASE, OF_TAG, SUMS, TOO_LOW, Source, measured, tagged
from claudetrace_dashboards.queries._sums import ALL, CACHE_COLUMNS, PERIOD, plain, sums

_PROMPT = "input_tokens + cache_read_tokens + cache_write_5m_tokens + cache_write_1h_tokens"
_MOST_READ = "SUM(input_tokens) + SUM(cache_read_tokens) + SUM(cache_write_5m_tokens) + SUM(cache_write_1h_tokens) DESC"


def _grouped(name: str, column: str, expression: str, order: str) -> Query:
    """What was read and written, by `column`."""
    return Query(
        name=name,
        page="cache",
        sources=measured(SUMS),
        honours=ALL,
        columns=(column, *CACHE_COLUMNS),
        most=ALL_ROWS if column == "period" else 200,
        sql=f"""
SELECT
    {expression} AS shown,
    {sums(CACHE_COLUMNS)}
FROM measured
GROUP BY shown
ORDER BY {order}
LIMIT :rows
""",  # noqa: S608 - names of ours
    )


CACHE_BY_TAG = Query(
    name="cache_by_tag",
    page="cache",
    whole_days=True,
    sources={
        Source.DAYS: tagged(
            plain(CACHE_COLUMNS), "input_tokens + cache_read_tokens + cache_write_5m_tokens + cache_write_1h_tokens"
        )
    },
    honours=BASE,
    defaults={"by": "prompt"},
    most=50,
    columns=("value", "others", *CACHE_COLUMNS, "too_low"),
    sql=f"""
SELECT
    value,
    others,
    {sums(CACHE_COLUMNS)},
    {TOO_LOW}
FROM measured
GROUP BY value, others
ORDER BY {_MOST_READ}, value
""",  # noqa: S608 - names of ours
)
# A write that is read once gives as many tokens read as written: less means that some are never read.
_UNREAD = "SUM(cache_write_5m_tokens) + SUM(cache_write_1h_tokens) > SUM(cache_read_tokens)"
_WASTE = "SUM(cache_saved_microusd) + SUM(cache_saved_rest_picousd) / 1000000"
_UNREAD_NOTE = (
    "Where fewer tokens were read from the cache than written to it: some writes were never read; all of them where "
    "nothing was."
)
CACHE_UNREAD = Query(
    name="cache_unread",
    page="cache",
    sources=measured(SUMS),
    honours=ALL,
    note=_UNREAD_NOTE,
    columns=("feature", "model", *CACHE_COLUMNS),
    most=100,
    sql=f"""
SELECT
    feature,
    model,
    {sums(CACHE_COLUMNS)}
FROM measured
GROUP BY feature, model
HAVING {_UNREAD}
ORDER BY {_WASTE}, feature, model
LIMIT :rows
""",  # noqa: S608 - names of ours
)
CACHE_UNREAD_BY_TAG = Query(
    name="cache_unread_by_tag",
    page="cache",
    whole_days=True,
    sources={
        Source.DAYS: tagged(
            plain(CACHE_COLUMNS),
            "-cache_saved_microusd",
            "cache_write_5m_tokens + cache_write_1h_tokens - cache_read_tokens",
        )
    },
    honours=BASE,
    defaults={"by": "prompt"},
    note=_UNREAD_NOTE,
    most=50,
    columns=("value", "others", *CACHE_COLUMNS, "too_low"),
    sql=f"""
SELECT
    value,
    others,
    {sums(CACHE_COLUMNS)},
    {TOO_LOW}
FROM measured
GROUP BY value, others
HAVING {_UNREAD}
ORDER BY {_WASTE}, value
""",  # noqa: S608 - names of ours
)
CACHE_MISSES = Query(
    name="cache_misses",
    page="cache",
    honours=ALL,
    columns=("reason", "responses", "missed_tokens", "cache_lost_picousd"),
    sql=f"""
SELECT
    cache_miss_reason AS reason,
    COUNT(*) AS responses,
    SUM(COALESCE(cache_missed_input_tokens, 0)) AS missed_tokens,
    SUM(COALESCE(cache_lost_picousd, 0) / 1000000) AS cache_lost_microusd,
    SUM(COALESCE(cache_lost_picousd, 0) % 1000000) AS cache_lost_rest_picousd
FROM calls AS c
WHERE cache_miss_reason IS NOT NULL
    AND started_at >= :since
    AND started_at < :until
    AND (:model IS NULL OR COALESCE(model, '') = :model)
    AND (:feature IS NULL OR COALESCE(feature, '') = :feature)
    AND (:platform IS NULL OR platform = :platform)
    AND (:user IS NULL OR user_id = :user)
    AND (:session IS NULL OR session_id = :session){OF_TAG}
GROUP BY reason
ORDER BY SUM(cache_lost_picousd / 1000000) DESC, missed_tokens DESC, reason
""",  # noqa: S608 - SQL of ours
)
CACHE_QUERIES = (
    _grouped("cache_by_time", "period", PERIOD, "shown"),
    _grouped("cache_by_model", "model", "model", f"{_MOST_READ}, shown"),
    _grouped("cache_by_feature", "feature", "feature", f"{_MOST_READ}, shown"),
    CACHE_BY_TAG,
    CACHE_UNREAD,
    CACHE_UNREAD_BY_TAG,
    CACHE_MISSES,
)
