"""Every question that the pages ask, as SQL in one place.

`QUERIES[name]` is a `Query`; `statement(name, filters)` is what to execute, and `.rows(found)` what it found as dicts;
`run(connection, name, filters)` does both. `.unheard` are the filters that are set and that the query does not honour,
`.since` and `.until` the range that it answers for. Money is `…_picousd`, whole picodollars as `int`; empty text is
"has none". `period` is a UTC day, or an hour `YYYY-MM-DDTHH` where the range is 48 hours or less.

| query | columns |
|---|---|
| `kpi` | period (`now`, `before`) calls unpriced_calls lower_bound_calls errors retries, token counts, spend_picousd
cache_saved_picousd |
| `cost_by_time` | period model calls unpriced_calls lower_bound_calls spend_picousd |
| `cost_by_model` `cost_by_feature` `cost_by_platform` `cost_by_operation` | its key, then as above |
| `cost_by_tag` | value, then as above; asked with `by="user"`, `"customer"`, `"prompt"` or any tag; whole days |
| `tags` | tag: the names that `by` can have |
| `errors_by_type` `blocked_calls` `stop_reasons` | period reason responses calls |
| `outcomes` | period outcome responses calls retries lower_bound_calls |
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from claudetrace_dashboards.queries import _query
from claudetrace_dashboards.queries._cost import COST_QUERIES
from claudetrace_dashboards.queries._filters import Filters, hours_of_days
from claudetrace_dashboards.queries._query import Query, Statement
from claudetrace_dashboards.queries._reliability import RELIABILITY_QUERIES

if TYPE_CHECKING:
    import sqlite3

__all__ = ["QUERIES", "Filters", "Query", "Statement", "hours_of_days", "run", "statement"]

QUERIES = {query.name: query for query in (*COST_QUERIES, *RELIABILITY_QUERIES)}


def statement(name: str, filters: Filters, **extra: Any) -> Statement:
    """The query of that name with `filters`, ready to be asked."""
    return _query.statement(QUERIES[name], filters, extra)


def run(connection: sqlite3.Connection, name: str, filters: Filters, **extra: Any) -> list[dict[str, Any]]:
    """The rows of the query of that name with `filters`."""
    return _query.run(connection, QUERIES[name], filters, **extra)
