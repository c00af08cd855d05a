"""`Query`: one question of a page as SQL, which filters it honours, and how it is asked."""

from __future__ import annotations

import sys
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Mapping, Sequence

    from claudetrace_dashboards.queries._filters import Filters

MICRO, REST = "_microusd", "_rest_picousd"
CANDIDATES = 900
"""How many sessions are looked at where a filter asks for some of them, each in its calls."""
ALL_ROWS = -1
"""As SQLite's LIMIT has it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """One question as SQL of its own: of single rows, and of what the ledger's query layer is not about.

    `columns` are those of its answer. A pair `x_microusd`, `x_rest_picousd` becomes `x_picousd`, whole and exact.
    """

    name: str
    page: str
    sql: str
    columns: tuple[str, ...]
    of_few: str = ""
    """What is asked instead where one user or one session is asked for."""
    whole_days: bool = False
    """Whether it answers whole UTC days only."""
    defaults: Mapping[str, Any] = field(default_factory=dict)
    """What it can be asked beside the filters."""
    most: int = ALL_ROWS
    """How many rows a page asks for: the first by the query's own order. `rows=ALL_ROWS` asks for all."""
    note: str = ""
    """What a panel has to say about it."""


class Statement(NamedTuple):
    """A query that is ready to be asked: give `sql` and `parameters` to `execute`."""

    query: Query
    sql: str
    parameters: dict[str, Any]
    unheard: frozenset[str]
    """Always empty: every filter is honoured."""
    since: str
    until: str
    """The range it answers for: whole days where the sums are kept by day."""

    def rows(self, found: Sequence[Sequence[Any]]) -> list[dict[str, Any]]:
        """What was found as dicts with money in whole picodollars, as many as were asked for."""
        names = stored(self.query.columns)
        asked = found[: self.query.most] if self.has_more(found) else found
        return [_with_money(dict(zip(names, row, strict=True))) for row in asked]

    def has_more(self, found: Sequence[Sequence[Any]]) -> bool:
        """Whether there are more rows than the page asks for, of which one was found too."""
        return 0 <= self.query.most < len(found) and self.parameters.get("rows") != ALL_ROWS


def statement(query: Query, filters: Filters, extra: Mapping[str, Any]) -> Statement:
    """`query` with `filters` as SQL and parameters. Raises `TypeError` for what it cannot be asked."""
    if unknown := set(extra) - {*query.defaults, "rows"}:
        raise TypeError(f"{query.name} cannot be asked {', '.join(sorted(unknown))}")
    filters = filters.plain()
    if query.whole_days:
        filters = filters.whole_days()
    parameters = {
        **asdict(filters),
        "from": filters.since,
        "period_chars": 10,
        "filtered": int(bool(filters.given())),
        "rows": query.most if query.most == ALL_ROWS else query.most + 1,
        **query.defaults,
        **extra,
    }
    whole = parameters["rows"] == ALL_ROWS
    each_day = max(1, CANDIDATES // filters.days()) if parameters["filtered"] else parameters["rows"]
    parameters["candidates_a_day"] = sys.maxsize if whole else each_day
    is_few = query.of_few and (filters.user is not None or filters.session is not None)
    sql = query.of_few if is_few else query.sql
    return Statement(query, sql, parameters, frozenset(), filters.since, filters.until)


def run(connection: sqlite3.Connection, query: Query, filters: Filters, **extra: Any) -> list[dict[str, Any]]:
    """The rows of `query` with `filters`."""
    asked = statement(query, filters, extra)
    return asked.rows(connection.execute(asked.sql, asked.parameters).fetchall())


def stored(columns: tuple[str, ...]) -> list[str]:
    """`columns` as SQL finds them: money as its two."""
    names: list[str] = []
    for column in columns:
        stem = column.removesuffix("_picousd")
        names += [column] if stem == column else [f"{stem}{MICRO}", f"{stem}{REST}"]
    return names


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
