"""How pages ask the ledger's query layer: which calls, how much that takes, and rows of what it answers."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from claudetrace._call import RESERVED_TAGS
from claudetrace._ledger._answer import read_spend
from claudetrace._ledger._latencies import read_latencies
from claudetrace._ledger._question import IN_SUMS, Filter, Question, Source, dimension, dimensions, tag_of
from claudetrace._ledger._times import Span, after, begin_of
from claudetrace_dashboards._plan import Plan, plan_calls, plan_latencies, plan_spend
from claudetrace_dashboards.queries._filters import NAMES

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Mapping

    from claudetrace._ledger._latencies import Latency
    from claudetrace._ledger._spend import Spend
    from claudetrace_dashboards._filters import Filters

Row = dict[str, Any]
MEASURES = (
    *("calls", "responses", "errors", "blocked_calls", "unpriced_calls", "lower_bound_calls", "retries", "tool_calls"),
    *("input_tokens", "cache_read_tokens", "cache_write_5m_tokens", "cache_write_1h_tokens", "output_tokens"),
    *("spend_picousd", "cache_saved_picousd"),
)
PERCENTS = (50, 95, 99)
LATE_CALLS, LATE_LOOKED_AT = 20_000, 100_000
"""From how many single calls on, found or looked at, a page does not wait for an answer."""
MOST_CALLS, MOST_LOOKED_AT = 200_000, 2_500_000
"""How many a panel reads."""


class Found(NamedTuple):
    """An answer: its rows, the sum of them all, and that of those which are cut."""

    rows: list[Row]
    total: Row | None = None
    rest: Row | None = None
    notes: tuple[str, ...] = ()


class Reader(Protocol):
    """A question of the pages: what it asks, how much that takes, and the answer.

    Those that are equal read the same, so that it is read once.
    """

    @property
    def note(self) -> str: ...
    def question(self, filters: Filters, **more: Any) -> Question: ...
    def plan(self, connection: sqlite3.Connection, question: Question, **more: Any) -> Plan: ...
    def read(self, connection: sqlite3.Connection, question: Question, *, whole: bool, **more: Any) -> Found: ...


def question_of(filters: Filters, by: tuple[str, ...], where: tuple[tuple[str, str], ...] = ()) -> Question:
    """Sums by these dimensions, of which `period` is the hour or the day, of the calls that the filters leave."""
    names = tuple(("hour" if filters.hourly else "day") if name == "period" else name for name in by)
    asked = [(name, getattr(filters, name)) for name in NAMES]
    if filters.tag:
        asked.append((tag_name(filters.tag[0]), filters.tag[1]))
    kept = [(dimension(name), value) for name, value in asked if value is not None]
    found = [Filter(each, (value,), False) for each, value in kept]
    found += [Filter(dimension(name.removesuffix("!")), (value,), name.endswith("!")) for name, value in where]
    return Question(dimensions(names), tuple(found), Span(filters.since, filters.until))


def tag_name(tag: str) -> str:
    """The dimension of a tag."""
    return tag if tag in RESERVED_TAGS else f"tag:{tag}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Sums:
    """Sums of spend by some dimensions; `tag` is the one that is asked for as `by`. `named` are those that the rows
    call otherwise."""

    by: tuple[str, ...] = ()
    where: tuple[tuple[str, str], ...] = ()
    most: int | None = None
    sort: str | None = None
    with_writes: bool = False
    named: Mapping[str, str] = field(default_factory=dict, hash=False)
    keep: Callable[[Row], bool] | None = field(default=None, compare=False)
    note: str = ""

    def question(self, filters: Filters, **more: Any) -> Question:
        by = tuple(tag_name(more["by"]) if name == "tag" else name for name in self.by)
        return question_of(filters, by, self.where)._replace(with_writes=self.with_writes)

    def plan(self, connection: sqlite3.Connection, question: Question, **_: Any) -> Plan:
        return plan_spend(connection, question)

    def read(self, connection: sqlite3.Connection, question: Question, *, whole: bool, **_: Any) -> Found:
        top = None if whole or self.keep else self.most
        found = read_spend(connection, question, top=top, sort=self.sort)
        rows = [self._row(each) for each in found]
        rest = rows.pop() if found and found[-1].rest else None
        notes = [f"Calls before {found.pruned_before} are pruned: what is older is not whole."]
        return Found(rows, self._row(found.total), rest, tuple(notes if found.pruned_before else ()))

    def shown(self, read: Found, *, whole: bool, **_: Any) -> Found:
        """The rows to keep, where there are others too."""
        if self.keep is None:
            return read
        rows, notes = [*filter(self.keep, read.rows)], read.notes
        if not whole and self.most is not None and len(rows) > self.most:
            rows, notes = rows[: self.most], (*notes, f"The first {self.most:,}; CSV and JSON have all.")
        return read._replace(rows=rows, notes=notes)

    def _row(self, spend: Spend) -> Row:
        names = {name: self._column(name) for name in spend.dimensions}
        row: Row = {column: spend.dimensions[name] or "" for name, column in names.items()}
        row |= {name: getattr(spend, name) for name in MEASURES}
        if self.with_writes:
            row["cache_write_picousd"] = spend.cache_write_picousd or 0
        return {**row, "others": int(spend.others), "too_low": int(spend.too_low), "rest": spend.rest}

    def _column(self, name: str) -> str:
        if name in self.named:
            return self.named[name]
        if name in ("hour", "day") and "period" in self.by:
            return "period"
        return "value" if "tag" in self.by and tag_of(dimension(name)) is not None else name


@dataclass(frozen=True, slots=True)
class Times:
    """Percentiles by one dimension or of all, of the kind that is asked for; all kinds are read together."""

    by: tuple[str, ...] = ()
    note: str = ""

    def question(self, filters: Filters, **_: Any) -> Question:
        by = ("day",) if self.by == ("period",) else self.by
        return question_of(filters, by)

    def plan(self, connection: sqlite3.Connection, question: Question, **_: Any) -> Plan:
        return plan_latencies(connection, question)

    def read(self, connection: sqlite3.Connection, question: Question, **_: Any) -> Found:
        found = read_latencies(connection, question)
        return Found([{"latency": each} for each in found.rows], {"latency": found.total})

    def shown(self, read: Found, *, kind: str, **_: Any) -> Found:
        """The rows of one kind."""
        rows = [_times_of(row["latency"], kind) for row in read.rows]
        total = _times_of((read.total or {})["latency"], kind)
        rows = [row for row in rows if row["responses"]]
        if self.by == ("period",):
            rows.sort(key=lambda row: str(row["period"]))
        whole = total if total["responses"] else None
        return Found(rows if self.by else [{"period": "now", **total}] if whole else [], whole)


def _times_of(latency: Latency, kind: str) -> Row:
    names = {"period" if name == "day" else name: value or "" for name, value in latency.dimensions.items()}
    percents = {f"p{percent}": latency.at(kind, percent) for percent in PERCENTS}
    return {**names, "responses": latency.counts.get(kind, 0), **percents}


@dataclass(frozen=True, slots=True)
class Headroom:
    """What was left of each rate limit at its tightest moment, 0 to 1, by hour or day."""

    note: str = "What was left of each limit at its tightest moment, 0 to 1."

    def question(self, filters: Filters, **_: Any) -> Question:
        return question_of(filters, ("period",))

    def plan(self, connection: sqlite3.Connection, question: Question, **_: Any) -> Plan:
        return Plan(frozenset({"rollup_headroom"})) if self._has_sums(question) else plan_calls(connection, question)

    def read(self, connection: sqlite3.Connection, question: Question, **_: Any) -> Found:
        if not self._has_sums(question):
            condition, values = question.of_rows()
            period, rest = "started_at", f"FROM calls WHERE rate_limit_headroom IS NOT NULL AND {condition}"
            least, limit = "rate_limit_headroom", "COALESCE(rate_limit, '')"
        else:
            condition, values = question.condition(Source("rollup_headroom", "hour"), question.span)
            period, rest = "hour", f"FROM rollup_headroom WHERE {condition}"
            least, limit = "least_headroom", "rate_limit"
        chars = 13 if question.by == ("hour",) else 10
        sql = f"SELECT SUBSTR({period}, 1, {chars}) AS at, {limit} AS lim, MIN({least}) {rest} GROUP BY at, lim"
        names = ("period", "rate_limit", "least_headroom")
        return Found([dict(zip(names, row, strict=True)) for row in connection.execute(sql, values)])

    @staticmethod
    def _has_sums(question: Question) -> bool:
        return question.used <= {*IN_SUMS, "hour", "day"}


def in_whole_days(question: Question) -> Question:
    """The same of whole UTC days, from that in which it begins to that in which it ends."""
    since, until = question.span
    end = begin_of("day", until)
    span = Span(begin_of("day", since), end if end == until else after("day", end))
    return question._replace(span=span)


def is_late(plan: Plan) -> bool:
    """Whether a page does not wait for it."""
    return plan.found > LATE_CALLS or plan.looked_at > LATE_LOOKED_AT


def is_too_much(plan: Plan) -> bool:
    """Whether a panel does not ask for it."""
    return plan.found > MOST_CALLS or plan.looked_at > MOST_LOOKED_AT
