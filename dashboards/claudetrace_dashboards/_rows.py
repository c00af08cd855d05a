"""The questions for single calls: each reads rows of `calls` by an index, with only the conditions that are asked."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from claudetrace._call import RESERVED_TAGS
from claudetrace._ledger._measures import LOWER_BOUND
from claudetrace_dashboards.queries import Query, Statement
from claudetrace_dashboards.queries._filters import HOSTS, NAMES

if TYPE_CHECKING:
    from collections.abc import Mapping

    from claudetrace_dashboards._panel import Row, Scope

PAGE_ROWS = 50
EXPORT_ROWS = 5000
"""How many calls an export asks for at a time."""
LISTED = (
    *("id", "call_id", "started_at", "duration_ms", "time_to_first_token_ms", "operation", "platform", "streamed"),
    *("model", "model_requested", "outcome", "stop_reason", "error_type", "http_status", "retries", "tool_calls"),
    *("input_tokens", "cache_read_tokens", "cache_write_5m_tokens", "cache_write_1h_tokens", "output_tokens"),
    *("usage_is_final", "cost_picousd", "cost_flags", "user_id", "session_id", "feature", "customer", "prompt"),
    *("request_id", "trace_id", *HOSTS),
)
# `spend_picousd` bears the ending of money, and is whole already.
SQL_LISTED = ",\n    ".join(LISTED)
CUT = "outcome IN ('cancelled', 'incomplete')"
WROTE = "(cache_write_5m_tokens > 0 OR cache_write_1h_tokens > 0)"
ONLY = {
    "inexact": (f"(cost_picousd IS NULL OR {LOWER_BOUND.format('')})", "(unpriced_calls > 0 OR lower_bound_calls > 0)"),
    "unpriced": ("cost_picousd IS NULL", "unpriced_calls > 0"),
    "cut": (CUT, CUT),
    "retried": ("retries > 0", "retries > 0"),
    "cache_writes": (WROTE, WROTE),
}
"""Kinds of calls that a link can ask for: which they are, and in which hours' sums there are some."""
CONDITIONS = {
    "model": "COALESCE(model, '') = :model",
    "feature": "COALESCE(feature, '') = :feature",
    "platform": "platform = :platform",
    "user": "user_id = :user",
    "session": "session_id = :session",
    **{name: f"{name} = :{name}" for name in HOSTS},
    "customer": "customer = :customer",
    "prompt": "prompt = :prompt",
    "outcome": "outcome = :outcome",
    "error": "outcome <> 'ok' AND error_type = :error",
    "stop": "outcome = 'ok' AND stop_reason = :stop",
}
IN_HOURS = {
    "outcome": "outcome = :outcome",
    "error": "outcome <> 'ok' AND reason = :error",
    "stop": "outcome = 'ok' AND reason = :stop",
}
"""What a list of calls can be asked for beside the filters of all pages, and in which hours' sums there are some."""
KEPT = (*IN_HOURS, "only", "sort", "columns")
"""What of the URL of a list of calls stays when something else of it changes."""
STOPS = frozenset(
    ("end_turn", "tool_use", "stop_sequence", "max_tokens", "refusal", "pause_turn", "model_context_window_exceeded")
)
TAGGED = "EXISTS (SELECT 1 FROM json_each(tags) AS free WHERE free.key = :tag_key AND free.value = :tag_value)"
SUMMED = ("model", "feature", "platform")
SPANS = """
    SELECT hour AS since, SUM(responses) AS responses
    FROM rollup_hours
    WHERE hour >= :since AND hour < :until AND hour <= SUBSTR(:before_at, 1, 13) AND {conditions}
    GROUP BY hour
    ORDER BY hour DESC
    LIMIT {rows}
"""
# The newest of these hours that have enough; of the one where a list goes on only a part is left.
ENOUGH = """
    SELECT since
    FROM (
        SELECT
            since,
            SUM(responses * (since < SUBSTR(:before_at, 1, 13))) OVER (
                ORDER BY since DESC ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
            ) AS newer
        FROM ({hours})
    )
    WHERE COALESCE(newer, 0) < :rows
"""
# The newest days with enough calls; what a day has is not counted where only a part of it is asked for.
SPANS_OF_TAG = """
    SELECT day AS since
    FROM (
        SELECT
            day,
            SUM(SUM(
                responses * (NOT others AND day < SUBSTR(:before_at, 1, 10) AND day < SUBSTR(:until, 1, 10))
            )) OVER (
                ORDER BY day DESC ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
            ) AS newer
        FROM rollup_tag_days
        WHERE tag = :tag_key
            AND day >= SUBSTR(:since, 1, 10) AND day < :until AND day <= SUBSTR(:before_at, 1, 10)
            AND (value = :tag_value OR others){conditions}
        GROUP BY day
    )
    WHERE {enough}
    ORDER BY day DESC
"""
OF_DAYS = "SUBSTR(hour, 1, 10) IN (SELECT since FROM days)"
SPANNED = """{span} CROSS JOIN calls ON started_at >= {span}.since AND started_at < {span}.since || '{end}'"""


def _query(name: str, columns: tuple[str, ...]) -> Query:
    return Query(name=name, page="calls", sql="", columns=columns)


def kept(arguments: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    """What of the URL is of the list alone; `reason` is a stop reason or a type of error, as the outcome says."""
    found = {name: arguments[name] for name in KEPT if arguments.get(name)}
    if reason := arguments.get("reason"):
        found["stop" if found.get("outcome") == "ok" or reason in STOPS else "error"] = reason
    return tuple(found.items())


def calls(scope: Scope) -> Statement:
    """The newest calls of the filters, with one more than a page has where there are more."""
    return _calls(scope, PAGE_ROWS + 1, scope.arguments.get("before", ""))


def calls_after(scope: Scope, last: Row | None) -> Statement:
    """The calls of the filters that an export has after the call `last`."""
    return _calls(scope, EXPORT_ROWS, mark_of(last) if last else "")


def mark_of(row: Row) -> str:
    """What names the place of a call in the list."""
    return f"{row['started_at']}|{row['id']}"


def _calls(scope: Scope, limit: int, before: str) -> Statement:
    asked = {name: value for name, value in _asked(scope).items() if value is not None}
    # After every moment where no place is named.
    at, _, id_ = (before if "|" in before else "~|").partition("|")
    parameters: dict[str, Any] = {
        **scope.filters.parameters(),
        **asked,
        "rows": limit,
        "before_at": at,
        "before_id": id_,
    }
    only = ONLY.get(scope.arguments.get("only", ""))
    conditions = [
        *("started_at >= :since", "started_at < :until", "(started_at, id) < (:before_at, :before_id)"),
        *(CONDITIONS[name] for name in asked),
        *([TAGGED] if scope.filters.tag and scope.filters.tag[0] not in RESERVED_TAGS else []),
        *([only[0]] if only else []),
    ]
    spans, source = _spans(scope, asked, only[1] if only else None)
    if spans:
        # `+`: else SQLite looks up the whole range in the index, once for each span.
        conditions[:3] = (
            "+started_at >= :since",
            "+started_at < :until",
            "(+started_at, id) < (:before_at, :before_id)",
        )
    sql = f"""{spans}
SELECT
    {SQL_LISTED}
FROM {source}
WHERE {" AND ".join(conditions)}
ORDER BY started_at DESC, id DESC
LIMIT :rows
"""  # noqa: S608 - conditions of ours; all that comes from outside is a parameter
    query = _query("calls", LISTED)
    return Statement(query, sql, parameters, frozenset(), str(parameters["since"]), str(parameters["until"]))


def _spans(scope: Scope, asked: dict[str, str], only: str | None) -> tuple[str, str]:
    """What stands before the question and where it looks: in the hours or days of which the sums say that they have
    such calls, because few of a million would be looked for in all of them."""
    if "user" in asked or "session" in asked:
        return "", "calls"
    in_sums = [f"{name} = :{name}" for name in SUMMED if name in asked]
    in_hours = [*in_sums, *(condition for name, condition in IN_HOURS.items() if name in asked)]
    in_hours += [only] if only else []
    if scope.filters.tag and scope.filters.tag[0] != "feature":
        # A day of the tag may have none that is also of an hour's kind, so that no number of days is enough.
        enough = "COALESCE(newer, 0) < :rows" if in_hours == in_sums else "TRUE"
        days = SPANS_OF_TAG.format(conditions="".join(f"\n        AND {each}" for each in in_sums), enough=enough)
        if in_hours == in_sums:
            return f"WITH days AS ({days})", SPANNED.format(span="days", end="~")
        hours = SPANS.format(conditions=" AND ".join([*in_hours, OF_DAYS]), rows="-1")
        return f"WITH days AS ({days}), hours AS ({hours})", SPANNED.format(span="hours", end=";")
    if not in_hours:
        return "", "calls"
    hours = SPANS.format(conditions=" AND ".join(in_hours), rows=":rows + 1")
    if only is None:
        hours = ENOUGH.format(hours=hours)
    return f"WITH hours AS ({hours})", SPANNED.format(span="hours", end=";")


def _asked(scope: Scope) -> dict[str, str | None]:
    filters = scope.filters
    asked = {name: getattr(filters, name) for name in NAMES}
    asked |= {name: value for name, value in kept(scope.arguments) if name in IN_HOURS}
    if filters.tag and filters.tag[0] in RESERVED_TAGS:
        asked[filters.tag[0]] = filters.tag[1]
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
LIMIT 102
"""
    return Statement(_query("siblings", ()), sql, {"call_id": call_id}, frozenset(), "", "")
