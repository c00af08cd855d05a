"""The questions for single calls: each reads rows of `calls` by an index, with only the conditions that are asked."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from claudetrace._ledger._measures import LOWER_BOUND
from claudetrace_dashboards.queries import Query, Statement

if TYPE_CHECKING:
    from claudetrace_dashboards._panel import Scope

PAGE_ROWS = 50
EXPORT_ROWS = 10_000
LISTED = (
    *("id", "call_id", "started_at", "duration_ms", "time_to_first_token_ms", "operation", "platform", "streamed"),
    *("model", "model_requested", "outcome", "stop_reason", "error_type", "http_status", "retries", "tool_calls"),
    *("input_tokens", "cache_read_tokens", "cache_write_5m_tokens", "cache_write_1h_tokens", "output_tokens"),
    *("usage_is_final", "cost_picousd", "cost_flags", "user_id", "session_id", "feature", "customer", "prompt"),
)
# `spend_picousd` bears the ending of money, and is whole already.
SQL_LISTED = ",\n    ".join(LISTED)
REASON = "CASE WHEN outcome = 'ok' THEN stop_reason ELSE error_type END"
ONLY = {
    "inexact": (
        "Unpriced and lower bounds",
        f"(cost_picousd IS NULL OR {LOWER_BOUND.format('')})",
    ),
    "unpriced": ("Unpriced", "cost_picousd IS NULL"),
    "cut": ("Cut short", "outcome IN ('cancelled', 'incomplete')"),
    "retried": ("Tried again", "retries > 0"),
    "cache_writes": ("Wrote to the cache", "(cache_write_5m_tokens > 0 OR cache_write_1h_tokens > 0)"),
}
"""Kinds of calls that a link can ask for, with their names."""
CONDITIONS = {
    "model": "COALESCE(model, '') = :model",
    "feature": "COALESCE(feature, '') = :feature",
    "platform": "platform = :platform",
    "user": "user_id = :user",
    "session": "session_id = :session",
    "customer": "customer = :customer",
    "prompt": "prompt = :prompt",
    "outcome": "outcome = :outcome",
    "reason": f"COALESCE({REASON}, '') = :reason",
}
TAGGED = "EXISTS (SELECT 1 FROM json_each(tags) AS free WHERE free.key = :tag_key AND free.value = :tag_value)"
RESERVED = {"user": "user", "session": "session", "feature": "feature", "customer": "customer", "prompt": "prompt"}


def _query(name: str, columns: tuple[str, ...]) -> Query:
    return Query(name=name, page="calls", sql="", columns=columns)


def calls(scope: Scope, limit: int = PAGE_ROWS + 1) -> Statement:
    """The newest calls of the filters, with one more than a page has where there are more."""
    parameters: dict[str, Any] = {**scope.filters.parameters(), "rows": limit}
    asked = {name: value for name, value in _asked(scope).items() if value is not None}
    conditions = ["started_at >= :since", "started_at < :until", *(CONDITIONS[name] for name in asked)]
    parameters |= asked
    if scope.filters.tag and scope.filters.tag[0] not in RESERVED:
        conditions.append(TAGGED)
    if (only := scope.arguments.get("only")) in ONLY:
        conditions.append(ONLY[only][1])
    at, bar, id_ = scope.arguments.get("before", "").partition("|")
    if bar:
        conditions.append("(started_at, id) < (:before_at, :before_id)")
        parameters |= {"before_at": at, "before_id": id_}
    sql = f"""
SELECT
    {SQL_LISTED}
FROM calls
WHERE {" AND ".join(conditions)}
ORDER BY started_at DESC, id DESC
LIMIT :rows
"""  # noqa: S608 - conditions of ours; all that comes from outside is a parameter
    query = _query("calls", LISTED)
    return Statement(query, sql, parameters, frozenset(), str(parameters["since"]), str(parameters["until"]))


def _asked(scope: Scope) -> dict[str, str | None]:
    filters = scope.filters
    asked = {name: getattr(filters, name) for name in ("model", "feature", "platform", "user", "session")}
    asked |= {name: scope.arguments.get(name) for name in ("outcome", "reason") if scope.arguments.get(name)}
    if filters.tag and filters.tag[0] in RESERVED:
        asked[RESERVED[filters.tag[0]]] = filters.tag[1]
    return asked


def siblings(call_id: str) -> Statement:
    """The rows of the same call of the SDK, oldest first."""
    sql = """
SELECT id, started_at, model, outcome, cost_picousd
FROM calls
WHERE id = :call_id
UNION
SELECT id, started_at, model, outcome, cost_picousd
FROM calls
WHERE call_id = :call_id AND id <> call_id
ORDER BY id
LIMIT 100
"""
    return Statement(_query("siblings", ()), sql, {"call_id": call_id}, frozenset(), "", "")
