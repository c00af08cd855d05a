"""The views over the calls that the rollups are the sums of."""

from __future__ import annotations

from claudetrace._call import RESERVED_TAGS
from claudetrace._ledger._latency import VIEW as MEASURED_LATENCIES
from claudetrace._ledger._measures import MEASURE_NAMES, MEASURES, TAG_COLUMNS

_MEASURED = ",\n    ".join(f"{measure.sql} AS {measure.name}" for measure in MEASURES)
_NAMES = ",\n        ".join(f"c.{name}" for name in MEASURE_NAMES)
_FREE = ", ".join(f"'{tag}'" for tag in RESERVED_TAGS)
_RESERVED = "\n    UNION ALL\n".join(
    f"    SELECT id, '{tag}' AS tag, {column} AS value FROM calls WHERE {column} IS NOT NULL"  # noqa: S608 - names of ours
    for tag, column in TAG_COLUMNS.items()
)
VIEWS = {
    "measured_calls": f"""CREATE VIEW measured_calls AS
SELECT
    c.id,
    c.started_at,
    SUBSTR(c.started_at, 1, 13) AS hour,
    SUBSTR(c.started_at, 1, 10) AS day,
    c.platform,
    COALESCE(c.model, '') AS model,
    COALESCE(c.feature, '') AS feature,
    c.operation,
    c.outcome,
    COALESCE(CASE WHEN c.outcome = 'ok' THEN c.stop_reason ELSE c.error_type END, '') AS reason,
    c.user_id,
    c.session_id,
    c.customer,
    c.prompt,
    c.tags,
    c.service,
    c.environment,
    {_MEASURED}
FROM calls AS c""",  # noqa: S608 - names of ours
    "call_tags": f"""CREATE VIEW call_tags AS
{_RESERVED}
    UNION ALL
    SELECT calls.id, free.key AS tag, free.value AS value
    FROM calls, json_each(calls.tags) AS free
    WHERE free.key NOT IN ({_FREE})""",  # noqa: S608 - names of ours
    "measured_call_tags": f"""CREATE VIEW measured_call_tags AS
SELECT
    c.id,
    c.started_at,
    t.tag,
    c.day,
    DATE(c.day, 'weekday 0', '-6 days') AS week,
    t.value,
    c.platform,
    c.model,
    c.feature,
    {_NAMES}
FROM measured_calls AS c JOIN call_tags AS t ON t.id = c.id""",  # noqa: S608 - names of ours
    "measured_latencies": MEASURED_LATENCIES,
}
