"""The question why prompts were not read from the cache."""

from __future__ import annotations

from claudetrace_dashboards.queries._pieces import OF_TAG
from claudetrace_dashboards.queries._query import Query

CACHE_MISSES = Query(
    name="cache_misses",
    page="cache",
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
