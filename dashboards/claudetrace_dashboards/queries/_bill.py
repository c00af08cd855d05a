"""The questions of the page on the bill: the table that `claudetrace reconcile` fills."""

from __future__ import annotations

from claudetrace._reconcile._judge import CAUSES
from claudetrace_dashboards.queries._query import Query

AMOUNTS = ("our_picousd", "list_picousd", "billed_picousd", *(f"{cause}_picousd" for cause in CAUSES))
GROUP = ("model", "workspace_id", "service_tier", "speed", "inference_geo")
_SUMS = ",\n    ".join(
    f"SUM(COALESCE({name}, 0) / 1000000) AS {name.removesuffix('picousd')}microusd,\n    "
    f"SUM(COALESCE({name}, 0) % 1000000) AS {name.removesuffix('picousd')}rest_picousd"
    for name in AMOUNTS
)
_REQUESTS = """SUM(CASE WHEN kind = 'requests' THEN our_quantity ELSE 0 END) AS our_requests,
    SUM(CASE WHEN kind = 'requests' THEN their_quantity END) AS their_requests"""
_COMPARED = """FROM bill
WHERE scope = (SELECT scope FROM bill ORDER BY reconciled_at DESC LIMIT 1)
    AND day >= SUBSTR(:since, 1, 10)
    AND day < SUBSTR(:until, 1, 10)
    AND (:model IS NULL OR model = :model)"""


def _bill(name: str, head: tuple[str, ...], sql: str, group: str, order: str) -> Query:
    return Query(
        name=name,
        page="bill",
        whole_days=True,
        columns=(*head, "our_requests", "their_requests", *AMOUNTS),
        sql=f"SELECT\n    {sql},\n    {_REQUESTS},\n    {_SUMS}\n{_COMPARED}\n{group}\nORDER BY {order}\n",
    )


BILL_QUERIES = (
    _bill("bill_by_time", ("period", "judged"), "day AS period, MIN(judged) AS judged", "GROUP BY day", "day"),
    _bill(
        "bill_by_group",
        (*GROUP, "source", "scope", "reconciled_at"),
        f"{', '.join(GROUP)}, MAX(source) AS source, MAX(scope) AS scope, MAX(reconciled_at) AS reconciled_at",
        f"    AND judged\nGROUP BY {', '.join(GROUP)}",
        "SUM(list_picousd / 1000000) DESC, " + ", ".join(GROUP),
    ),
)
