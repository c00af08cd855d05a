"""Which of the latest calls are under no budget."""

from __future__ import annotations

from claudetrace._ledger._state import PAYERS
from claudetrace_dashboards.queries._query import Query

BUDGET_QUERIES = (
    Query(
        name="latest_payers",
        page="cost",
        note="The latest calls that cost something, whatever the filters.",
        columns=("model_requested", "model", "user_id", "session_id", "feature", "customer", "prompt", "tags"),
        sql=PAYERS,
        defaults={"latest": 2000},
    ),
)
