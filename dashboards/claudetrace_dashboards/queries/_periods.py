"""Questions of two periods, and of each month."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from claudetrace._ledger._answer import read_spend
from claudetrace._ledger._compare import CAUSES, changes
from claudetrace._ledger._question import dimension, tag_of
from claudetrace._ledger._times import Span, after, begin_of
from claudetrace_dashboards._plan import Plan, plan_spend
from claudetrace_dashboards.queries._readers import MEASURES, Found, question_of, tag_name

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterator, Mapping

    from claudetrace._ledger._compare import Change
    from claudetrace._ledger._question import Question
    from claudetrace._ledger._spend import Spend
    from claudetrace_dashboards._filters import Filters
    from claudetrace_dashboards.queries._readers import Row

MOST_CHANGES, MOST_LINES = 50, 50
PLAIN = ("model", "feature", "platform")
NO_KEY = frozenset({"month", *MEASURES, "others", "too_low", "rest"})


def _name(by: str) -> str:
    return by if by in PLAIN else tag_name(by)


def _sum(plans: list[Plan]) -> Plan:
    tables: frozenset[str] = frozenset().union(*(each.tables for each in plans))
    scanned = tuple(span for each in plans for span in each.scanned)
    return Plan(tables, sum(each.looked_at for each in plans), sum(each.found for each in plans), scanned)


@dataclass(frozen=True, slots=True)
class Changes:
    """What changed between `before` and the range, by one dimension, with its causes: as `report --compare` has it."""

    note: str = ""

    def question(self, filters: Filters, **more: Any) -> Question:
        return question_of(filters, (_name(more["by"]),) if more.get("by") else ())

    def plan(self, connection: sqlite3.Connection, question: Question, **more: Any) -> Plan:
        return _sum([plan_spend(connection, each) for each in _both(question, more)])

    def read(self, connection: sqlite3.Connection, question: Question, *, whole: bool, **more: Any) -> Found:
        now, earlier = (read_spend(connection, each) for each in _both(question, more))
        found, total = changes(now, earlier, None if whole else MOST_CHANGES)
        rows = [_changed(each) for each in found if each.now.responses or each.before.responses]
        rest = rows.pop() if found and found[-1].rest else None
        return Found(rows, _changed(total), rest)


def _both(question: Question, more: Mapping[str, Any]) -> tuple[Question, Question]:
    """The question, and the same of the period `before`, which is as long where nobody says."""
    since, until = question.span
    return question, question._replace(span=more.get("before") or Span(since - (until - since), since))


def _changed(change: Change) -> Row:
    names = {"value": next(iter(change.dimensions.values())) or ""} if change.dimensions else {}
    return {
        **names,
        "calls": change.now.calls,
        "calls_before": change.before.calls,
        "spend_picousd": change.now.spend_picousd,
        "before_picousd": change.before.spend_picousd,
        "change_picousd": change.change_picousd,
        **{f"{cause}_picousd": change.causes[cause] for cause in CAUSES},
        "others": int(change.others),
        "rest": change.rest,
    }


@dataclass(frozen=True, slots=True)
class Statements:
    """What each value of a dimension cost each month, split by further ones where they are asked for."""

    note: str = ""

    def question(self, filters: Filters, **more: Any) -> Question:
        split = str(more.get("split") or "")
        names = [_name(str(more.get("by") or "customer")), *(name for name in split.split(",") if name)]
        question = question_of(filters, tuple(dict.fromkeys(names)))
        since, until = question.span
        begin, end = begin_of("month", since), begin_of("month", until)
        return question._replace(span=Span(begin, end if end == until else after("month", end)))

    def plan(self, connection: sqlite3.Connection, question: Question, **_: Any) -> Plan:
        return _sum([plan_spend(connection, each) for each in _months(question)])

    def read(self, connection: sqlite3.Connection, question: Question, *, whole: bool, **_: Any) -> Found:
        rows: list[Row] = []
        for each in _months(question):
            found = read_spend(connection, each, sort="name" if whole else None)
            rows += [_line(f"{each.span.since:%Y-%m}", spend) for spend in found]
        return Found(rows if whole else _first(rows))


def _months(question: Question) -> Iterator[Question]:
    since, until = question.span
    while since < until:
        end = after("month", since)
        yield question._replace(span=Span(since, end))
        since = end


def _line(month: str, spend: Spend) -> Row:
    names = [name if name in PLAIN else tag_of(dimension(name)) or name for name in spend.dimensions]
    values = (value or "" for value in spend.dimensions.values())
    row = {"month": month, **dict(zip(names, values, strict=True)), **{name: getattr(spend, name) for name in MEASURES}}
    return {**row, "others": int(spend.others), "too_low": int(spend.too_low)}


def key_of(row: Row) -> tuple[Any, ...]:
    """Whose line it is: the values between the month and the first sum."""
    return (*(value for name, value in row.items() if name not in NO_KEY), row["others"])


def _first(rows: list[Row]) -> list[Row]:
    """The lines that cost most, and what is left of each month as one."""
    totals: dict[tuple[Any, ...], int] = {}
    for row in rows:
        totals[key_of(row)] = totals.get(key_of(row), 0) + row["spend_picousd"]
    if len(totals) <= MOST_LINES + 1:
        return rows
    kept = set(sorted(totals, key=lambda key: (-totals[key], key))[:MOST_LINES])
    rest: dict[str, Row] = {}
    for row in rows:
        if key_of(row) not in kept:
            known = rest.get(row["month"])
            summed = {name: row[name] + (known[name] if known else 0) for name in MEASURES}
            rest[row["month"]] = {**row, **summed, "others": 0, "too_low": 0, "rest": len(totals) - len(kept)}
    return [row for row in rows if key_of(row) in kept] + list(rest.values())
