"""`Panel`: one question or a few with a picture of the answer, and every state that it can be in."""

from __future__ import annotations

import asyncio
import sqlite3
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import quote

from markupsafe import Markup

from claudetrace._errors import ClaudetraceError
from claudetrace_dashboards import queries
from claudetrace_dashboards._access import may_see, reason
from claudetrace_dashboards._colors import told_apart

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from datasette.app import Datasette

    from claudetrace_dashboards._access import Ledger
    from claudetrace_dashboards._charts import Chart
    from claudetrace_dashboards._filters import Filters
    from claudetrace_dashboards.queries import Statement

BASE = "/-/claudetrace"
SLOW_S = 1.5
"""How long a page waits for its panels; the others are sent for by the page itself."""
FILTER_WORDS = {"tag": "a tag", "user": "one user", "session": "one session", "model": "a model",
                "feature": "a feature", "platform": "a platform"}  # fmt: skip

Row = dict[str, Any]


@dataclass(slots=True)
class Scope:
    """What a page is about: which ledger, for whom, with which filters."""

    datasette: Datasette
    ledger: Ledger
    actor: dict[str, Any] | None
    filters: Filters
    arguments: Mapping[str, str]
    page: str = ""
    ledgers: tuple[str, ...] = ()
    models: list[str] = field(default_factory=list)
    tags: list[str] = field(default_factory=list)
    seen: dict[str, bool] = field(default_factory=dict)
    looks: dict[str, int] = field(default_factory=dict)
    budgets: asyncio.Future[Any] | None = None
    """What the budgets' store says, once it is asked."""

    def url(self, page: str = "", filters: Filters | None = None, /, **more: str) -> str:
        """The URL of a page of ours with these filters, or with others."""
        asked = filters or self.filters
        path = f"{BASE}/{page}" if page else BASE
        return f"{self.datasette.urls.path(path)}?{asked.query(**self.named(), **more)}"

    def row_url(self, id_: str) -> str:
        """The page of one call."""
        return self.url(f"call/{quote(id_, safe='')}")

    def named(self) -> dict[str, str]:
        """The argument that names the ledger, where there are several."""
        return {"db": self.ledger.name} if len(self.ledgers) > 1 else {}

    def color(self, model: str | None) -> int | str:
        """The colour of a model: the same on every panel of every page."""
        if not model:
            return "none"
        if model not in self.looks:
            self.looks = told_apart([*self.models, *self.looks, model])
        return self.looks[model]

    async def sees(self, table: str) -> bool:
        """Whether the reader may see the table."""
        if table not in self.seen:
            self.seen[table] = await may_see(self.datasette, self.actor, self.ledger.name, table)
        return self.seen[table]


class Drawn(NamedTuple):
    """What a panel shows: `None` where there is nothing to see."""

    body: Markup | Chart | None
    notes: tuple[str, ...] = ()


class Ask(NamedTuple):
    """A question of a panel: a query by its name, and how its filters differ from the page's; or what makes a
    statement of its own."""

    query: str | Callable[[Scope], Statement]
    filters: Callable[[Filters], Filters] | None = None
    also: Callable[[Scope], Mapping[str, Any]] | None = None
    whole_range: bool = False
    """Whether it answers for all of time, so that the panel says nothing of days."""
    optional: bool = False
    """Whether the panel is shown without the answer where a filter cannot be honoured by it."""


class Answer(NamedTuple):
    """The rows of an `Ask`, the statement that found them, and in words what they leave out."""

    rows: list[Row]
    statement: Statement
    notes: tuple[str, ...] = ()
    cut: bool = False
    """Whether these are the first rows and there are more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Panel:
    """A part of a page. `draw` makes the picture of the answers, or `None` where there is nothing to see."""

    name: str
    title: str
    about: str
    asks: Mapping[str, Ask] = field(default_factory=dict)
    draw: Callable[[Scope, Mapping[str, Answer]], Markup | Chart | None] = lambda _scope, _answers: None
    own: Callable[[Scope], Awaitable[Drawn]] | None = None
    """What makes the picture and its notes where that takes more than questions to the ledger."""
    width: str = "third"
    empty: str = "No calls in this range."
    bare: bool = False
    exported: Callable[[Scope, Row | None], Statement] | None = None
    """What CSV and JSON have instead of the first question, piece by piece: the rows that come after a row."""


class Shown(NamedTuple):
    """A panel in one of its states: `ok empty unheard denied failed loading`."""

    panel: Panel
    state: str
    body: Markup | Chart
    notes: tuple[str, ...] = ()


class UnheardError(Exception):
    """A filter that is set is not one that the panel can answer."""


class DeniedError(Exception):
    """The reader may not see a table that the panel needs."""


async def answer(scope: Scope, ask: Ask, *, whole: bool = False) -> Answer:
    """What the ledger answers: as much as a page shows, or the `whole` of it.

    Raises `UnheardError`, `DeniedError`, or what Datasette and SQLite raise.
    """
    statement = _statement(scope, ask, whole=whole)
    if statement.unheard and ask.optional:
        return Answer([], statement)
    if statement.unheard:
        raise UnheardError(statement.unheard)
    found = await fetch(scope, statement, whole=whole)
    if callable(ask.query):
        return Answer([dict(row) for row in found], statement)
    rows, notes = statement.rows(found), [statement.query.note]
    if statement.has_more(found):
        notes.append(f"The first {statement.query.most:,}; CSV and JSON have all.")
    if others := await _days_with_others(scope, statement):
        rows = [{**row, "too_low": 1} for row in rows]
        notes.append(_lacking(others))
    elif any(row.get("too_low") for row in rows):
        notes.append("≥: " + MANY_VALUES)
    return Answer(rows, statement, tuple(note for note in notes if note), statement.has_more(found))


MANY_VALUES = (
    "on days with more than 1,000 values of the tag the further ones are counted together, as (other), and what is "
    "marked may have calls among them."
)


def _lacking(days: int) -> str:
    when = "1 day" if days == 1 else f"{days:,} days"
    return f"≥: on {when} the tag had more than 1,000 values, and this one may have calls among the others."


async def _days_with_others(scope: Scope, statement: Statement) -> int:
    """On how many days sums of the filtered tag value may lack some of it."""
    if statement.source is not queries.Source.TAG_DAYS or statement.parameters["tag_key"] is None:
        return 0
    names = queries.Filters.__slots__
    filters = queries.Filters(**{name: statement.parameters[name] for name in names})
    return len(await fetch(scope, queries.statement("tag_others", filters)))


def _statement(scope: Scope, ask: Ask, *, whole: bool) -> Statement:
    if callable(ask.query):
        return ask.query(scope)
    asked = ask.filters(scope.filters) if ask.filters else scope.filters
    more = dict(ask.also(scope)) if ask.also else {}
    if whole:
        more["rows"] = queries.ALL_ROWS
    return queries.statement(ask.query, queries.Filters(**asked.parameters()), **more)


async def fetch(scope: Scope, statement: Statement, *, whole: bool = False) -> list[Any]:
    """The rows as SQLite has them. Raises `DeniedError` where the reader may not see what they are from.

    The `whole` of a ledger may take longer than a page waits for.
    """
    for table in sorted(scope.ledger.tables_of(statement.sql)):
        if not await scope.sees(table):
            raise DeniedError(table)
    if whole:
        rows: list[Any] = await scope.ledger.db.execute_fn(
            lambda connection: connection.execute(statement.sql, statement.parameters).fetchall()
        )
        return rows
    try:
        results = await scope.ledger.db.execute(statement.sql, statement.parameters, log_sql_errors=False)
    except Exception as error:
        # Datasette's own exception for an interrupted query has moved between its versions.
        if type(error).__name__ == "QueryInterrupted":
            raise sqlite3.OperationalError("interrupted") from error
        raise
    return list(results.rows)


async def plain_rows(scope: Scope, statement: Statement, *, whole: bool = False) -> list[Row]:
    """The rows of a statement of ours as dicts, money as it is stored."""
    return [dict(row) for row in await fetch(scope, statement, whole=whole)]


async def show(scope: Scope, panel: Panel) -> Shown:
    """The panel in the state that it is in. Never raises for what a ledger or a reader's rights can cause."""
    try:
        if panel.own is not None:
            drawn, notes = await panel.own(scope)
        else:
            answers = {name: await answer(scope, ask) for name, ask in panel.asks.items()}
            drawn, notes = panel.draw(scope, answers), _notes(scope, panel, answers)
    except UnheardError as error:
        return _unheard(scope, panel, error.args[0])
    except DeniedError as error:
        return Shown(panel, "denied", _message(f"You may not see the table {error}, which this is taken from."))
    except ClaudetraceError as error:
        return Shown(panel, "failed", _message(str(error)))
    except (sqlite3.Error, OSError) as error:
        return Shown(panel, "failed", _message(reason(error)))
    if drawn is None:
        return Shown(panel, "empty", _message(panel.empty))
    return Shown(panel, "ok", drawn, notes)


async def show_all(scope: Scope, panels: tuple[Panel, ...]) -> list[Shown]:
    """The panels in their order; those that take long are `loading`."""
    tasks = [asyncio.ensure_future(show(scope, panel)) for panel in panels]
    _, late = await asyncio.wait(tasks, timeout=SLOW_S)
    for task in late:
        task.cancel()
    return [
        Shown(panel, "loading", _message("Loading …")) if task in late else task.result()
        for panel, task in zip(panels, tasks, strict=True)
    ]


def _unheard(scope: Scope, panel: Panel, names: frozenset[str]) -> Shown:
    """That the panel cannot answer for a filter, with a link that takes the filter away."""
    words = " and ".join(FILTER_WORDS.get(name, name) for name in sorted(names))
    without = scope.filters.but(**dict.fromkeys(names))
    link = Markup(' <a href="{}">Show it without.</a>').format(scope.url(scope.page, without))
    return Shown(panel, "unheard", _message(f"This is not kept for {words}, so it is not shown.", link))


def _notes(scope: Scope, panel: Panel, answers: Mapping[str, Answer]) -> tuple[str, ...]:
    """What is to be known of the panel's figures, each once."""
    told = [_widened(scope, panel, answers), *(note for answer in answers.values() for note in answer.notes)]
    return tuple(dict.fromkeys(note for note in told if note))


def _widened(scope: Scope, panel: Panel, answers: Mapping[str, Answer]) -> str:
    """That sums kept by day are shown for whole days, where the range begins or ends within one."""
    for name, found in answers.items():
        statement = found.statement
        ask = panel.asks[name]
        if callable(ask.query) or ask.optional or ask.whole_range:
            continue
        asked = ask.filters(scope.filters) if ask.filters else scope.filters
        parameters = asked.parameters()
        if (statement.since, statement.until) != (parameters["since"], parameters["until"]):
            return f"Whole days, from {statement.since[:10]} on."
    return ""


def _message(text: str, link: Markup | str = "") -> Markup:
    return Markup('<p class="message">{}{}</p>').format(text, link)
