"""`Query`: one question of a page as SQL, which filters it honours, and how it is asked."""

from __future__ import annotations

import sys
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from claudetrace_dashboards.queries._sources import BASE, HONOURED, Source
from claudetrace_dashboards.queries._sums import stored

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Mapping, Sequence

    from claudetrace_dashboards.queries._filters import Filters

MICRO, REST = "_microusd", "_rest_picousd"
CANDIDATES = 900
"""How many sessions are looked at where a filter asks for some of them, each in its calls."""
ALL_ROWS = -1
"""As SQLite's LIMIT has it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """One question. `sources` are the tables that it may read, each as the SQL that stands before its own.

    `columns` are those of its answer. A pair `x_microusd`, `x_rest_picousd` becomes `x_picousd`, whole and exact.
    """

    name: str
    page: str
    sql: str
    columns: tuple[str, ...]
    sources: Mapping[Source, str] = field(default_factory=dict)
    honours: frozenset[str] = frozenset()
    """The filters that it can answer, each by itself and with model, feature and platform. With a session, a user and a
    tag are answered too; without one, a user or a tag."""
    by_itself: frozenset[str] = frozenset()
    """Of these filters, those that its own SQL answers, whatever its source can."""
    whole_days: bool = False
    """Whether it answers whole UTC days only."""
    with_before: bool = False
    """Whether it answers for the period before too."""
    defaults: Mapping[str, Any] = field(default_factory=dict)
    """What it can be asked beside the filters."""
    most: int = ALL_ROWS
    """How many rows a page asks for: the first by the query's own order. `rows=ALL_ROWS` asks for all."""
    finish: Callable[[list[dict[str, Any]]], list[dict[str, Any]]] | None = None
    """What makes the answer of the rows that SQL found, where `columns` are not the answer's."""
    note: str = ""
    """What a panel has to say about it."""


class Statement(NamedTuple):
    """A query that is ready to be asked: give `sql` and `parameters` to `execute`."""

    query: Query
    sql: str
    parameters: dict[str, Any]
    unheard: frozenset[str]
    """Filters that are set and that this does not honour: the panel says so."""
    since: str
    until: str
    """The range it answers for: whole days where the sums are kept by day."""
    source: Source | None = None

    def rows(self, found: Sequence[Sequence[Any]]) -> list[dict[str, Any]]:
        """What was found as dicts with money in whole picodollars, as many as were asked for."""
        names = stored(self.query.columns)
        asked = found[: self.query.most] if self.has_more(found) else found
        rows = [_with_money(dict(zip(names, row, strict=True))) for row in asked]
        return rows if self.query.finish is None else self.query.finish(rows)

    def has_more(self, found: Sequence[Sequence[Any]]) -> bool:
        """Whether there are more rows than the page asks for, of which one was found too."""
        return 0 <= self.query.most < len(found) and self.parameters.get("rows") != ALL_ROWS


def statement(query: Query, filters: Filters, extra: Mapping[str, Any]) -> Statement:
    """`query` with `filters` as SQL and parameters. Raises `TypeError` for what it cannot be asked."""
    if unknown := set(extra) - {*query.defaults, "rows"}:
        raise TypeError(f"{query.name} cannot be asked {', '.join(sorted(unknown))}")
    filters = filters.plain()
    source = _source(query, filters)
    if source is Source.TAG_DAYS or query.whole_days:
        filters = filters.whole_days()
    by_hour = filters.by_hour() and source is not Source.TAG_DAYS and not query.whole_days
    filtered = bool(filters.given() & query.honours)
    week_from, week_until = filters.whole_weeks()
    parameters = {
        **asdict(filters),
        "from": filters.before_since() if query.with_before else filters.since,
        "period_chars": 13 if by_hour else 10,
        "week_from": week_from,
        "week_until": week_until,
        "filtered": int(filtered),
        "rows": query.most if query.most == ALL_ROWS else query.most + 1,
        **query.defaults,
        **extra,
    }
    whole = parameters["rows"] == ALL_ROWS
    each_day = max(1, CANDIDATES // filters.days()) if filtered else parameters["rows"]
    parameters["candidates_a_day"] = sys.maxsize if whole else each_day
    sql = query.sql if source is None else f"WITH RECURSIVE {query.sources[source]}{query.sql}"
    sql = _without_idle_conditions(sql, filters)
    heard = query.honours
    if source is not None:
        heard = query.by_itself | (HONOURED[source] & (query.honours | {"user", "tag"}))
    unheard = filters.given() - heard
    if source is Source.TAG_DAYS and {"user", "tag"} <= filters.given():
        unheard |= {"user"}
    return Statement(query, sql, parameters, unheard, filters.since, filters.until, source)


def _without_idle_conditions(sql: str, filters: Filters) -> str:
    """`sql` without those of the base filters that are not set: each is asked of every row."""
    for name in BASE:
        if getattr(filters, name) is None:
            sql = sql.replace(f"\n        AND (:{name} IS NULL OR {name} = :{name})", "")
    return sql


def _source(query: Query, filters: Filters) -> Source | None:
    """The smallest source that answers what is asked, or the one that answers most of it."""
    sources = [each for each in query.sources if each is not Source.SESSION or filters.session is not None]
    if Source.HOURS in sources and (filters.by_hour() or not filters.in_days()):
        sources.remove(Source.DAYS)
    if Source.FEATURE_DAYS in sources:
        sources.remove(Source.FEATURE_DAYS if filters.feature is None else Source.DAYS)
    return max(sources, key=lambda each: len(filters.given() & HONOURED[each]), default=None)


def run(connection: sqlite3.Connection, query: Query, filters: Filters, **extra: Any) -> list[dict[str, Any]]:
    """The rows of `query` with `filters`."""
    asked = statement(query, filters, extra)
    return asked.rows(connection.execute(asked.sql, asked.parameters).fetchall())


def _with_money(row: dict[str, Any]) -> dict[str, Any]:
    merged: dict[str, Any] = {}
    for name, value in row.items():
        if name.endswith(REST):
            stem = name.removesuffix(REST)
            whole = row[f"{stem}{MICRO}"]
            merged[f"{stem}_picousd"] = None if whole is None else whole * 10**6 + value
        elif not name.endswith(MICRO):
            merged[name] = value
    return merged
