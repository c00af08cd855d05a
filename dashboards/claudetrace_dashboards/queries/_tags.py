"""The question which tags there are."""

from __future__ import annotations

from claudetrace_dashboards.queries._query import Query

TAGS = Query(
    name="tags",
    page="cost",
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
