"""Every question that the pages ask, in one place.

`QUESTIONS[name]` are those of the ledger's query layer, which `claudetrace report` asks too. `QUERIES[name]` is a
`Query`, SQL of its own; `statement(name, filters)` is what to execute, and `.rows(found)` what it found as dicts;
`run(connection, name, filters)` does both. Money is `…_picousd`, whole picodollars as `int`; empty text is "has none".
`period` is a UTC day, or an hour `YYYY-MM-DDTHH` where the range is 48 hours or less.

| query | columns |
|---|---|
| `tags` | tag |
| `cache_misses` | reason responses missed_tokens cache_lost_picousd: by the API's own word |
| `bill_by_time` `bill_by_group` | period judged, or model workspace_id service_tier speed inference_geo source scope
reconciled_at; our_requests their_requests our_picousd list_picousd billed_picousd, and what the difference is made of |
| `latest_payers` | what budgets know the latest calls by, whatever the filters |
| `dearest_sessions` `tool_loops` | session_id first_at last_at calls errors unpriced_calls lower_bound_calls
tool_stops least_prompt_tokens most_prompt_tokens spend_picousd user feature model |
| `session_calls` | the responses of `filters.session` in their order, with cost_picousd and running_picousd; `offset` |
| `call` `call_parts` | the row `id`; name model quantity rate part_picousd |
| `state` | name value: `exact_from_day` |

A query that has a `most` finds so many rows and tells by `has_more` whether there are further ones; `rows=ALL_ROWS`
finds all.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from claudetrace_dashboards.queries import _query
from claudetrace_dashboards.queries._bill import BILL_QUERIES
from claudetrace_dashboards.queries._budgets import BUDGET_QUERIES
from claudetrace_dashboards.queries._cache import CACHE_MISSES
from claudetrace_dashboards.queries._filters import Filters, hours_of_days
from claudetrace_dashboards.queries._query import ALL_ROWS, Query, Statement
from claudetrace_dashboards.queries._questions import QUESTIONS
from claudetrace_dashboards.queries._sessions import SESSION_QUERIES
from claudetrace_dashboards.queries._tags import TAGS

if TYPE_CHECKING:
    import sqlite3

__all__ = ["ALL_ROWS", "QUERIES", "QUESTIONS", "Filters", "Query", "Statement", "hours_of_days", "run", "statement"]

QUERIES = {query.name: query for query in (TAGS, CACHE_MISSES, *SESSION_QUERIES, *BILL_QUERIES, *BUDGET_QUERIES)}


def statement(name: str, filters: Filters, **extra: Any) -> Statement:
    """The query of that name with `filters`, ready to be asked."""
    return _query.statement(QUERIES[name], filters, extra)


def run(connection: sqlite3.Connection, name: str, filters: Filters, **extra: Any) -> list[dict[str, Any]]:
    """The rows of the query of that name with `filters`."""
    return _query.run(connection, QUERIES[name], filters, **extra)
