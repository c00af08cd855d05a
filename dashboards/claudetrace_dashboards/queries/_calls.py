"""What the list of calls asks the query layer: how many match and what they cost, and those that cost or took most."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from claudetrace._ledger._answer import read_spend
from claudetrace._ledger._question import CALLS, Filter, Question, dimension
from claudetrace_dashboards._plan import Plan, plan_calls, plan_spend
from claudetrace_dashboards.queries._readers import Found, question_of

if TYPE_CHECKING:
    import sqlite3

    from claudetrace_dashboards._filters import Filters

Asked = tuple[tuple[str, str], ...]
PAGE_ROWS = 50
DIMENSIONS = {"outcome": "outcome", "error": "error_type", "stop": "stop_reason"}
KINDS = {
    "inexact": ("cost_status", ("unpriced", "partial")),
    "unpriced": ("cost_status", ("unpriced",)),
    "cut": ("outcome", ("cancelled", "incomplete")),
}
"""Kinds of calls by dimensions of the query layer."""
COLUMNS = {
    "retried": "retries > 0",
    "cache_writes": "cache_write_5m_tokens + cache_write_1h_tokens > 0",
}
"""Kinds of calls by columns that no sum has."""
TOKENS = " + ".join(
    f"COALESCE({name}, 0)"
    for name in (
        "input_tokens", "cache_read_tokens", "cache_write_5m_tokens", "cache_write_1h_tokens", "output_tokens",
    )
)  # fmt: skip
SORTS = {"cost": "cost_picousd", "tokens": TOKENS, "took": "duration_ms"}
"""What a list can be sorted by beside time: the most first."""


def question(filters: Filters, asked: Asked) -> Question:
    """The calls that the filters leave, and that are of these kinds."""
    found = question_of(filters, ())
    more = []
    for name, value in asked:
        if name in DIMENSIONS:
            more.append(Filter(dimension(DIMENSIONS[name]), (value,), False))
        elif name == "only" and value in KINDS:
            of, values = KINDS[value]
            more.append(Filter(dimension(of), values, False))
    return found._replace(where=(*found.where, *more))


def _by_column(asked: Asked) -> str:
    """The condition that no dimension has; nothing where there is none."""
    return COLUMNS.get(dict(asked).get("only", ""), "")


def _matching(question: Question, asked: Asked) -> tuple[str, list[str]]:
    """Which rows of `measured_calls` are asked for, and the parameters."""
    condition, values = question.condition(CALLS, question.span)
    column = _by_column(asked)
    return (f"{condition} AND {column}" if column else condition), values


@dataclass(frozen=True, slots=True)
class CallSums:
    """How many responses and calls match, and what they cost: a row."""

    note: str = ""

    def question(self, filters: Filters, **more: Any) -> Question:
        return question(filters, more["asked"])

    def plan(self, connection: sqlite3.Connection, question: Question, **_: Any) -> Plan:
        return plan_spend(connection, question)

    def read(self, connection: sqlite3.Connection, question: Question, **_: Any) -> Found:
        total = read_spend(connection, question).total
        return Found(
            [
                {
                    "responses": total.responses,
                    "calls": total.calls,
                    "spend_picousd": total.spend_picousd,
                    "unpriced_calls": total.unpriced_calls,
                    "lower_bound_calls": total.lower_bound_calls,
                }
            ]
        )


@dataclass(frozen=True, slots=True)
class ColumnSums(CallSums):
    """The same of a kind that is told by a column, from the calls."""

    def plan(self, connection: sqlite3.Connection, question: Question, **_: Any) -> Plan:
        return plan_calls(connection, question)

    def read(self, connection: sqlite3.Connection, question: Question, **more: Any) -> Found:
        condition, values = _matching(question, more["asked"])
        sql = f"""
            SELECT SUM(responses), SUM(calls), SUM(spend_microusd), SUM(spend_rest_picousd), SUM(unpriced_calls),
                SUM(lower_bound_calls)
            FROM measured_calls
            WHERE {condition}
        """  # noqa: S608 - SQL of ours
        responses, calls, micro, rest, unpriced, bounds = (n or 0 for n in connection.execute(sql, values).fetchone())
        names = ("responses", "calls", "spend_picousd", "unpriced_calls", "lower_bound_calls")
        return Found([dict(zip(names, (responses, calls, micro * 10**6 + rest, unpriced, bounds), strict=True))])


@dataclass(frozen=True, slots=True)
class Sorted:
    """The calls that have most of something, a page of them and one more where there are."""

    columns: tuple[str, ...]
    note: str = ""

    def question(self, filters: Filters, **more: Any) -> Question:
        return question(filters, more["asked"])

    def plan(self, connection: sqlite3.Connection, question: Question, **_: Any) -> Plan:
        return plan_calls(connection, question)

    def read(self, connection: sqlite3.Connection, question: Question, **more: Any) -> Found:
        condition, values = _matching(question, more["asked"])
        sql = f"""
            SELECT {", ".join(self.columns)}
            FROM calls
            WHERE id IN (SELECT id FROM measured_calls WHERE {condition})
            ORDER BY {SORTS[more["sort"]]} DESC NULLS LAST, started_at DESC, id DESC
            LIMIT {PAGE_ROWS + 1} OFFSET ?
        """  # noqa: S608 - SQL of ours
        found = connection.execute(sql, (*values, more["offset"]))
        return Found([dict(zip(self.columns, row, strict=True)) for row in found])


def sums_of(asked: Asked) -> CallSums:
    """What counts the calls that are asked for."""
    return ColumnSums() if _by_column(asked) else CallSums()
