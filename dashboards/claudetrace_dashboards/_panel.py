"""`Panel`: one question or a few with a picture of the answer, and every state that it can be in."""

from __future__ import annotations

import asyncio
import sqlite3
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import quote

from markupsafe import Markup

from claudetrace._errors import ClaudetraceError
from claudetrace_dashboards import queries
from claudetrace_dashboards._access import may_see, reason
from claudetrace_dashboards._colors import told_apart
from claudetrace_dashboards._filters import DAY, HOUR
from claudetrace_dashboards._reading import DeniedError, LateError, TooMuchError, reading
from claudetrace_dashboards.queries import Query, Statement
from claudetrace_dashboards.queries._questions import QUESTIONS
from claudetrace_dashboards.queries._readers import MOST_CALLS, MOST_LOOKED_AT, Sums, Times

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from datasette.app import Datasette

    from claudetrace_dashboards._access import Ledger
    from claudetrace_dashboards._charts import Chart
    from claudetrace_dashboards._filters import Filters
    from claudetrace_dashboards._plan import Plan
    from claudetrace_dashboards.queries._readers import Reader

BASE = "/-/claudetrace"
OF_PANELS = ("panel/", "data/")
OF_CALLS = ("calls", "panel/calls", "data/calls.csv", "data/calls.json")
"""Where links keep what is asked of the list of calls alone."""
SLOW_S = 1.5
"""How long a page waits for its panels; the others are sent for by the page itself."""

Row = dict[str, Any]
OF_PAGES = {"cost": ("by",), "statement": ("by", "split"), "changed": ("against", "vs_from", "vs_to")}
"""What the URL of a page says beside the filters, and keeps when they change."""


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
    features: list[str] = field(default_factory=list)
    tags: list[str] = field(default_factory=list)
    seen: dict[str, bool] = field(default_factory=dict)
    looks: dict[str, int] = field(default_factory=dict)
    budgets: asyncio.Future[Any] | None = None
    """What the budgets' store says, once it is asked."""
    marks: tuple[Any, ...] = ()
    patient: bool = True
    """Whether single calls are read for it as well; a page is shown before."""

    def url(self, page: str = "", filters: Filters | None = None, /, **more: str) -> str:
        """The URL of a page of ours with these filters, or with others."""
        asked = filters or self.filters
        kept = tuple(each for each in asked.extra if page in OF_CALLS and each[0] not in more)
        asked = replace(asked, extra=kept)
        if page == self.page or page.startswith(OF_PANELS):
            own = OF_PAGES.get(self.page, ())
            more = {**{name: self.arguments[name] for name in own if self.arguments.get(name)}, **more}
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
    """A question of a panel: one by its name, and how its filters differ from the page's; or what makes a statement of
    its own."""

    query: str | Callable[[Scope], Statement]
    filters: Callable[[Filters], Filters] | None = None
    also: Callable[[Scope], Mapping[str, Any]] | None = None
    whole_range: bool = False
    """Whether it answers for all of time, so that the panel says nothing of days."""


class Answer(NamedTuple):
    """The rows of an `Ask`, the statement that found them, and in words what they leave out."""

    rows: list[Row]
    statement: Statement
    notes: tuple[str, ...] = ()
    cut: bool = False
    """Whether these are the first rows and there are more."""
    total: Row | None = None
    """The sum of all."""
    rest: Row | None = None
    """The sum of those that are cut; its `rest` is how many."""


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
    leads: str = ""
    """The page that has more of it."""
    leads_with: Mapping[str, str] = field(default_factory=dict)
    """What that page is asked beside the filters."""
    bare: bool = False
    exported: Callable[[Scope, Row | None], Statement] | None = None
    """What CSV and JSON have instead of the first question, piece by piece: the rows that come after a row."""
    counted: Callable[[Scope], Awaitable[int]] | None = None
    """How many rows those pieces have together."""


class Shown(NamedTuple):
    """A panel in one of its states: `ok empty narrow denied failed loading`."""

    panel: Panel
    state: str
    body: Markup | Chart
    notes: tuple[str, ...] = ()


async def answer(scope: Scope, ask: Ask, *, whole: bool = False) -> Answer:
    """What the ledger answers: as much as a page shows, or the `whole` of it.

    Raises `LateError`, `TooMuchError`, `DeniedError`, or what Datasette and SQLite raise.
    """
    if not callable(ask.query) and ask.query in QUESTIONS:
        return await _answer(scope, ask, QUESTIONS[ask.query], whole=whole)
    statement = _statement(scope, ask, whole=whole)
    found = await fetch(scope, statement, whole=whole)
    if callable(ask.query):
        return Answer([dict(row) for row in found], statement)
    rows, notes = statement.rows(found), [statement.query.note]
    if statement.has_more(found):
        notes.append(f"The first {statement.query.most:,}; CSV and JSON have all.")
    return Answer(rows, statement, tuple(note for note in notes if note), statement.has_more(found))


async def _answer(scope: Scope, ask: Ask, reader: Reader, *, whole: bool) -> Answer:
    """The same from the query layer that the command line asks too."""
    filters = ask.filters(scope.filters) if ask.filters else scope.filters
    more = dict(ask.also(scope)) if ask.also else {}
    kind = more.pop("kind", "duration_ms")
    found, question = await reading(scope, reader, reader.question(filters, **more), more, whole=whole)
    if isinstance(reader, Times | Sums):
        found = reader.shown(found, whole=whole, kind=kind)
    notes = [reader.note, *found.notes]
    if found.rest:
        notes.append(f"The first {len(found.rows):,}; CSV and JSON have all.")
    if any(row.get("too_low") for row in found.rows):
        notes.append("≥: " + MANY_VALUES)
    columns = (*(found.rows[0] if found.rows else ()),)
    query = Query(name=str(ask.query), page="", sql="", columns=columns)
    since, until = (f"{end:%Y-%m-%dT%H}" for end in question.span)
    by_hour = question.by[:1] == ("hour",)
    statement = Statement(query, "", {"period_chars": 13 if by_hour else 10}, frozenset(), since, until)
    return Answer(
        found.rows, statement, tuple(note for note in notes if note), bool(found.rest), found.total, found.rest
    )


MANY_VALUES = (
    "on days with more than 1,000 values of the tag the further ones are counted together, as (other), and what is "
    "marked may have calls among them."
)


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
            found = await asyncio.gather(*(answer(scope, ask) for ask in panel.asks.values()))
            answers = dict(zip(panel.asks, found, strict=True))
            drawn, notes = panel.draw(scope, answers), _notes(scope, panel, answers)
    except LateError:
        return Shown(panel, "loading", _message("Loading …"))
    except TooMuchError as error:
        return Shown(panel, "narrow", _narrow(scope, panel, error.args[0]))
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


def _narrow(scope: Scope, panel: Panel, plan: Plan) -> Markup:
    """What to narrow, with a link to as many of the last days as the panel reads, and to the file that has all."""
    filters = scope.filters
    until = min(filters.until, filters.reached)
    days = max(1, int((until - filters.since) / DAY * min(MOST_CALLS / plan.found, MOST_LOOKED_AT / plan.looked_at)))
    last = (until - HOUR).replace(hour=0)
    fewer = scope.url(scope.page, filters.within(last - (days - 1) * DAY, last + DAY))
    told = Markup(
        "No sum has this for the filters, and the range has {:,} such calls: a page reads {:,} at most. "
        '<a href="{}">Show the last {}</a>, take a filter away, or have the whole <a href="{}">as CSV</a>.'
    )
    words = "day" if days == 1 else f"{days} days"
    return _message(told.format(plan.found, MOST_CALLS, fewer, words, scope.url(f"data/{panel.name}.csv")))


def _notes(scope: Scope, panel: Panel, answers: Mapping[str, Answer]) -> tuple[str, ...]:
    """What is to be known of the panel's figures, each once."""
    told = [_widened(scope, panel, answers), *(note for answer in answers.values() for note in answer.notes)]
    # What leads on to a page of its own says in its last rows that it has not all.
    return tuple(dict.fromkeys(note for note in told if note and not (panel.leads and note.startswith("The first"))))


def _widened(scope: Scope, panel: Panel, answers: Mapping[str, Answer]) -> str:
    """That sums kept by day are shown for whole days, where the range begins or ends within one."""
    for name, found in answers.items():
        statement = found.statement
        ask = panel.asks[name]
        if callable(ask.query) or ask.whole_range:
            continue
        asked = ask.filters(scope.filters) if ask.filters else scope.filters
        parameters = asked.parameters()
        if (statement.since, statement.until) != (parameters["since"], parameters["until"]):
            return f"Whole days, from {statement.since[:10]} on."
    return ""


def _message(text: str) -> Markup:
    return Markup('<p class="message">{}</p>').format(text)
