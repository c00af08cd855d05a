"""The views over the calls that the rollups are the sums of."""

from __future__ import annotations

from claudetrace._call import RESERVED_TAGS
from claudetrace._ledger._latency import VIEW as MEASURED_LATENCIES
from claudetrace._ledger._measures import LOWER_BOUND, MEASURE_NAMES, MEASURES, TAG_COLUMNS

_MEASURED = ",\n    ".join(f"{sql} AS {name}" for name, sql in MEASURES.items())
AS_THEY_ARE = (
    *("model_requested", "source", "server_address", "billing", "agent", "project", "service", "environment"),
    *("instance", "workspace_id", "organization_id"),
)
"""What no sum has."""
_AS_THEY_ARE = ",\n    ".join(f"c.{name}" for name in AS_THEY_ARE)
_NAMES = ",\n    ".join(f"c.{name}" for name in MEASURE_NAMES)
_FREE = ", ".join(f"'{tag}'" for tag in RESERVED_TAGS)
_RESERVED = "\n    UNION ALL\n".join(
    f"    SELECT id, '{tag}' AS tag, {column} AS value FROM calls WHERE {column} IS NOT NULL"  # noqa: S608 - names of ours
    for tag, column in TAG_COLUMNS.items()
)


def _tagged(tag: str, value: str, source: str, condition: str) -> str:
    """The calls that have a tag, each with its value. Not a join of views: SQLite would read all tags for one day."""
    return f"""SELECT
    c.id,
    c.started_at,
    {tag} AS tag,
    c.day,
    DATE(c.day, 'weekday 0', '-6 days') AS week,
    {value} AS value,
    c.platform,
    c.model,
    c.feature,
    {_NAMES}
FROM {source}
WHERE {condition}"""  # noqa: S608 - names of ours


_TAGGED = "\nUNION ALL\n".join(
    [
        *(
            _tagged(f"'{tag}'", f"c.{column}", "measured_calls AS c", f"c.{column} IS NOT NULL")
            for tag, column in TAG_COLUMNS.items()
        ),
        _tagged(
            "free.key", "free.value", "measured_calls AS c, json_each(c.tags) AS free", f"free.key NOT IN ({_FREE})"
        ),
    ]
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
    {_AS_THEY_ARE},
    TRIM(REPLACE(REPLACE(c.cost_flags, '"', ''), ',', ', '), '[]') AS cost_flags,
    CASE
        WHEN c.cost_picousd IS NULL THEN 'unpriced'
        WHEN {LOWER_BOUND.format("c.")} THEN 'partial'
        ELSE 'priced'
    END AS cost_status,
    {_MEASURED}
FROM calls AS c""",  # noqa: S608 - names of ours
    "call_tags": f"""CREATE VIEW call_tags AS
{_RESERVED}
    UNION ALL
    SELECT calls.id, free.key AS tag, free.value AS value
    FROM calls, json_each(calls.tags) AS free
    WHERE free.key NOT IN ({_FREE})""",  # noqa: S608 - names of ours
    "measured_call_tags": f"""CREATE VIEW measured_call_tags AS
{_TAGGED}""",
    "measured_latencies": MEASURED_LATENCIES,
}
