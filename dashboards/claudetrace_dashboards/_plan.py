"""How much an answer has to read: asked before the question, so that a page can say what to narrow."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from claudetrace._ledger._answer import parts_of
from claudetrace._ledger._latencies import FEATURE_SUMS, SUMS, has_sums
from claudetrace._ledger._question import CALLS, IN_HOURS, IN_SUMS, Question, Source, tag_of
from claudetrace._ledger._times import Span, after, begin_of

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable

DAYS, HOURS = Source("rollup_days", "day"), Source("rollup_hours", "hour")
BY_INDEX = {"user": "user_id", "session": "session_id"}


class Plan(NamedTuple):
    """What an answer takes: which tables, and how many responses one by one."""

    tables: frozenset[str]
    looked_at: int = 0
    """Responses that are looked at one by one."""
    found: int = 0
    """How many of them are of what is asked, at most."""
    scanned: tuple[Span, ...] = ()
    """The time of which all responses are looked at, since no index leads to what is asked."""


def plan_spend(connection: sqlite3.Connection, question: Question) -> Plan:
    """What `read_spend` takes."""
    tables, parts = parts_of(connection, question)
    spans = [part for unit, part, _ in parts if unit is None]
    used = {tables[unit] for unit, _, _ in parts if unit is not None}
    # What has no tag is found as what is left of all.
    return _plan(connection, question, spans, used | ({HOURS.table, "rollup_days"} if used else set()))


def plan_latencies(connection: sqlite3.Connection, question: Question) -> Plan:
    """What `read_latencies` takes."""
    units = ("day",) if has_sums(question) else ()
    pieces = [*question.span.pieces(units)]
    table = (FEATURE_SUMS if "feature" in question.used else SUMS).table
    used = {table} if any(unit for unit, _ in pieces) else set()
    return _plan(connection, question, [part for unit, part in pieces if unit is None], used)


def plan_calls(connection: sqlite3.Connection, question: Question) -> Plan:
    """What it takes to look at the calls themselves."""
    return _plan(connection, question, [question.span], set())


def _plan(connection: sqlite3.Connection, question: Question, spans: Iterable[Span], tables: set[str]) -> Plan:
    looked_at, found, scanned = 0, 0, tuple[Span, ...]()
    for span in spans:
        indexed = _by_index(connection, question, span)
        of_all = _by_sums(connection, question._replace(where=()), span) if indexed is None else indexed
        looked_at += of_all
        scanned += (span,) if indexed is None and of_all else ()
        found += min(of_all, _by_sums(connection, question, span)) if indexed is None else indexed
    return Plan(frozenset(tables | {CALLS.table} if looked_at else tables), looked_at, found, scanned)


def _by_index(connection: sqlite3.Connection, question: Question, span: Span) -> int | None:
    """How many responses the index of users or of sessions leads to; `None` where neither is asked for."""
    for each in question.where:
        column = BY_INDEX.get(each.name)
        if column and not each.negated and "" not in each.values:
            places = ", ".join("?" * len(each.values))
            sql = f"SELECT COUNT(*) FROM calls WHERE {column} IN ({places}) AND started_at >= ? AND started_at < ?"  # noqa: S608 - names of ours
            return int(connection.execute(sql, (*each.values, *span.stamps())).fetchone()[0])
    return None


def _by_sums(connection: sqlite3.Connection, question: Question, span: Span) -> int:
    """How many responses the sums have of what they know of the question."""
    known = [each for each in question.where if each.name in {*IN_SUMS, *IN_HOURS}]
    of_known = question._replace(where=tuple(known))
    # Days are fewer than hours by far; what is no whole hour is counted as one.
    found = sum(
        _responses(connection, of_known, DAYS if unit == "day" else HOURS, part)
        for unit, part in span.pieces(("day", "hour"))
    )
    whole_days = Span(begin_of("day", span.since), after("day", begin_of("day", span.until)))
    for each in question.where:
        tag = tag_of(each.name)
        if tag is not None and not each.negated and "" not in each.values:
            summed = [other for other in known if other.name in IN_SUMS]
            days = Source("rollup_tag_days", "day", tag)
            found = min(found, _responses(connection, question._replace(where=(each, *summed)), days, whole_days))
    return found


def _responses(connection: sqlite3.Connection, question: Question, source: Source, span: Span) -> int:
    condition, values = question.condition(source, span)
    sql = f"SELECT COALESCE(SUM(responses), 0) FROM {source.table} WHERE {condition}"  # noqa: S608 - SQL of ours
    return int(connection.execute(sql, values).fetchone()[0])
