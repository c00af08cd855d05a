"""Every question that the pages ask, as SQL in one place.

`QUERIES[name]` is a `Query`; `statement(name, filters)` is what to execute, and `.rows(found)` what it found as dicts;
`run(connection, name, filters)` does both. `.unheard` are the filters that are set and that the query does not honour,
`.since` and `.until` the range that it answers for, `.query.note` what a panel says about it. Money is `…_picousd`,
whole picodollars as `int`; empty text is "has none". `period` is a UTC day, or an hour `YYYY-MM-DDTHH` where the range
is 48 hours or less.

spend = calls unpriced_calls lower_bound_calls spend_picousd
cache = calls input_tokens cache_read_tokens cache_write_5m_tokens cache_write_1h_tokens cache_saved_picousd
cache_write_picousd

| query | columns |
|---|---|
| `kpi` | period (`now`, `before`) calls responses unpriced_calls lower_bound_calls errors blocked_calls retries, the
token counts, spend_picousd cache_saved_picousd cache_write_picousd; the error rate is errors / (responses -
blocked_calls) |
| `cost_by_time` | period model, spend |
| `cost_by_model` `cost_by_feature` `cost_by_platform` `cost_by_operation` | its key, spend |
| `cost_by_feature_and_model` | feature model, spend |
| `cost_by_tag` | value others, spend, too_low; `by="user"`, `"customer"`, `"prompt"` or any of `tags`; `others` is 1
for all values beyond the thousandth of their day, `too_low` for one that may have calls among those |
| `tags` | tag |
| `tag_others` | day: where sums of the filtered tag value may lack some |
| `unpriced` | model feature platform, spend; those with unpriced or lower-bound calls |
| `cache_by_time` `cache_by_model` `cache_by_feature` | period, model or feature, cache |
| `cache_by_tag` | value others, cache, too_low; `by="prompt"` |
| `cache_unread` `cache_unread_by_tag` | feature model, or value others; cache: writes that are never read |
| `cache_misses` | reason responses missed_tokens cache_lost_picousd: by the API's own word |
| `bill_by_time` `bill_by_group` | period judged, or model workspace_id service_tier speed inference_geo source scope
reconciled_at; our_requests their_requests our_picousd list_picousd billed_picousd, and what the difference is made of |
| `latest_payers` | what budgets know the latest calls by, whatever the filters |
| `latency_kpi` `latency_by_time` `latency_by_model` | period (`now`, `before`), period or model; responses p50 p95 p99;
`kind="duration_ms"`, `"time_to_first_token_ms"` or `"output_tokens_per_s"` |
| `errors_by_type` `blocked_calls` `stop_reasons` | period reason responses calls |
| `outcomes` | period outcome responses calls errors blocked_calls retries lower_bound_calls; cut streams are
`incomplete` |
| `headroom` | period rate_limit least_headroom |
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
from claudetrace_dashboards.queries._cache import CACHE_QUERIES
from claudetrace_dashboards.queries._cost import COST_QUERIES
from claudetrace_dashboards.queries._filters import Filters, hours_of_days
from claudetrace_dashboards.queries._latency import LATENCY_QUERIES
from claudetrace_dashboards.queries._query import ALL_ROWS, Query, Statement
from claudetrace_dashboards.queries._reliability import RELIABILITY_QUERIES
from claudetrace_dashboards.queries._sessions import SESSION_QUERIES
from claudetrace_dashboards.queries._sources import Source

if TYPE_CHECKING:
    import sqlite3

__all__ = [
    "ALL_ROWS",
    "QUERIES",
    "Filters",
    "Query",
    "Source",
    "Statement",
    "hours_of_days",
    "run",
    "statement",
]

QUERIES = {
    query.name: query
    for query in (
        *(*COST_QUERIES, *CACHE_QUERIES, *LATENCY_QUERIES, *RELIABILITY_QUERIES, *SESSION_QUERIES),
        *BILL_QUERIES,
        *BUDGET_QUERIES,
    )
}


def statement(name: str, filters: Filters, **extra: Any) -> Statement:
    """The query of that name with `filters`, ready to be asked."""
    return _query.statement(QUERIES[name], filters, extra)


def run(connection: sqlite3.Connection, name: str, filters: Filters, **extra: Any) -> list[dict[str, Any]]:
    """The rows of the query of that name with `filters`."""
    return _query.run(connection, QUERIES[name], filters, **extra)
