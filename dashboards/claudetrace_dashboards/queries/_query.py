"""`Query`: one question of a page as SQL, which filters it honours, and how it is asked."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from claudetrace_dashboards.queries._sources import HONOURED, MEASURED, Source

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable, Sequence

    from claudetrace_dashboards.queries._filters import Filters

MONEY = "_microusd"


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """One question. `sql` reads `measured` where it has `sources`, the smallest first; else tables of its own.

    `columns` are those of its answer. A pair `x_microusd`, `x_rest_picousd` becomes `x_picousd`, whole and exact.
    """

    name: str
    page: str
    sql: str
    columns: tuple[str, ...]
    sources: tuple[Source, ...] = ()
    honours: frozenset[str] = frozenset()
    """The filters that it can answer, each by itself and with model, feature and platform. With a session, a user and a
    tag are answered too; without one, a user or a tag."""
    day_grained: bool = False
    """Whether it answers whole UTC days only."""


class Statement(NamedTuple):
    """A query that is ready to be asked: give both to `execute`."""

    query: Query
    sql: str
    parameters: dict[str, Any]
    unheard: frozenset[str]
    """Filters that are set and that this does not honour: the panel says so."""
    since: str
    until: str
    """The range it answers for: whole days where the sums are kept by day."""

    def rows(self, found: Iterable[Sequence[Any]]) -> list[dict[str, Any]]:
        """What was found as dicts with money in whole picodollars."""
        return [_with_money(dict(zip(_sql_columns(self.query), row, strict=True))) for row in found]


def statement(query: Query, filters: Filters, extra: dict[str, Any]) -> Statement:
    """`query` with `filters` as SQL and parameters."""
    filters = filters.plain()
    source = _source(query, filters)
    if source is Source.TAG_DAYS or query.day_grained:
        filters = filters.whole_days()
    by_hour = filters.by_hour() and source is not Source.TAG_DAYS and not query.day_grained
    parameters = {
        **asdict(filters),
        "before_since": filters.before_since(),
        "period_chars": 13 if by_hour else 10,
        **extra,
    }
    sql = query.sql if source is None else f"WITH measured AS ({MEASURED[source]}\n){query.sql}"
    heard = query.honours if source is None else HONOURED[source]
    unheard = filters.given() - heard
    if source is Source.TAG_DAYS and {"user", "tag"} <= filters.given():
        unheard |= {"user"}
    return Statement(query, sql, parameters, unheard, filters.since, filters.until)


def _source(query: Query, filters: Filters) -> Source | None:
    """The smallest source that answers what is asked, or the one that answers most of it."""
    sources = [each for each in query.sources if each is not Source.SESSION or filters.session is not None]
    return max(sources, key=lambda each: len(filters.given() & HONOURED[each]), default=None)


def run(connection: sqlite3.Connection, query: Query, filters: Filters, **extra: Any) -> list[dict[str, Any]]:
    """The rows of `query` with `filters`."""
    asked = statement(query, filters, extra)
    return asked.rows(connection.execute(asked.sql, asked.parameters))


def _sql_columns(query: Query) -> list[str]:
    names: list[str] = []
    for column in query.columns:
        stem = column.removesuffix("_picousd")
        names += [column] if stem == column else [f"{stem}_microusd", f"{stem}_rest_picousd"]
    return names


def _with_money(row: dict[str, Any]) -> dict[str, Any]:
    merged: dict[str, Any] = {}
    for name, value in row.items():
        if name.endswith(MONEY):
            merged[f"{name.removesuffix(MONEY)}_picousd"] = value
        elif name.endswith("_rest_picousd"):
            stem = name.removesuffix("_rest_picousd")
            whole = merged[f"{stem}_picousd"]
            merged[f"{stem}_picousd"] = None if whole is None else whole * 10**6 + value
        else:
            merged[name] = value
    return merged
