"""The calls themselves: where every bar of every chart leads."""

from __future__ import annotations

import sqlite3
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from markupsafe import Markup, escape

from claudetrace._call import is_lower_bound, prompt_tokens
from claudetrace_dashboards import _format as show
from claudetrace_dashboards import _rows
from claudetrace_dashboards._panel import Drawn, Panel, plain_rows
from claudetrace_dashboards._pieces import Column, link, table
from claudetrace_dashboards._reading import LATE_TIMES, LateError, TooMuchError, execute, reading
from claudetrace_dashboards._times import local_time
from claudetrace_dashboards.pages._page import Page
from claudetrace_dashboards.queries._calls import PAGE_ROWS, SORTS, Sorted, sums_of
from claudetrace_dashboards.queries._filters import NAMES

if TYPE_CHECKING:
    from collections.abc import Callable

    from claudetrace_dashboards._panel import Row, Scope

SHOWN = ("time", "model", "feature", "user", "session", "ended", "in", "out", "took", "cost")
"""The columns that are shown where none are chosen."""
LIST = Sorted(_rows.LISTED)


def ending(row: Row) -> Markup:
    """How the call ended, in a word that stands out where it should."""
    if row["outcome"] == "ok":
        css = "worse" if row["stop_reason"] in ("max_tokens", "refusal") else ""
        return Markup('<span class="{}">{}</span>').format(css, row["stop_reason"] or "ok")
    css = "worse" if row["outcome"] == "error" else ""
    return Markup('<span class="{}">{}</span>').format(css, row["error_type"] or row["outcome"])


def at_least(row: Row) -> bool:
    """Whether the call's cost is a lower bound."""
    return is_lower_bound(row["usage_is_final"], row["cost_flags"] or "")


def cost(row: Row) -> Markup:
    return show.usd(row["cost_picousd"], digits(row["cost_picousd"] or 0), at_least=at_least(row))


def digits(picousd: int) -> int:
    """How many digits of a call's dollars tell something."""
    return 6 if picousd < 10**9 else 4 if picousd < 10**15 else 2


def columns(scope: Scope) -> dict[str, Column]:
    """What a list of calls can show of each, by the name in the URL."""

    def filtered(name: str) -> Callable[[Row], Markup | str]:
        def cell(row: Row) -> Markup | str:
            value = row["user_id" if name == "user" else name]
            own = name in NAMES
            filters = scope.filters.but(**({name: value} if own else {"tag": (name, value)})) if value else None
            return link(scope.url("calls", filters), value) if filters else ""

        return cell

    def tokens(*names: str) -> Callable[[Row], Markup]:
        return lambda row: show.count(sum(row[name] or 0 for name in names))

    def number(head: str | Markup, cell: Callable[[Row], Any]) -> Column:
        return Column(head, cell, number=True, minor=True)

    return {
        "time": Column(_head(scope, "Time", ""), lambda row: link(scope.row_url(row["id"]),
                       local_time(row["started_at"])), css="time"),
        "model": Column("Model", lambda row: row["model"] or row["model_requested"] or ""),
        "feature": Column("Feature", filtered("feature"), minor=True),
        "user": Column("User", filtered("user"), minor=True),
        "session": Column("Session", lambda row: _session(scope, row), minor=True),
        "customer": Column("Customer", filtered("customer"), minor=True),
        "prompt": Column("Prompt", filtered("prompt"), minor=True),
        "platform": Column("Platform", filtered("platform"), minor=True),
        "service": Column("Service", filtered("service"), minor=True),
        "environment": Column("Environment", filtered("environment"), minor=True),
        "instance": Column("Instance", filtered("instance"), minor=True),
        "operation": Column("Operation", lambda row: row["operation"], minor=True),
        "trace": Column("Trace", lambda row: find(scope, row["trace_id"]), minor=True),
        "request": Column("Request", lambda row: find(scope, row["request_id"]), minor=True),
        "ended": Column("Ended", ending, minor=True),
        "in": number(_head(scope, "Tokens in", "tokens"), lambda row: show.count(prompt_tokens(row))),
        "cached": number("cached", tokens("cache_read_tokens")),
        "out": number("out", lambda row: show.count(row["output_tokens"])),
        "first": number("First token", lambda row: show.duration(row["time_to_first_token_ms"])),
        "took": number(_head(scope, "Took", "took"), lambda row: show.duration(row["duration_ms"])),
        "retries": number("Retries", lambda row: show.count(row["retries"])),
        "tools": number("Tools", lambda row: show.count(row["tool_calls"])),
        "cost": Column(_head(scope, "Cost", "cost"), cost, number=True),
    }  # fmt: skip


def _head(scope: Scope, text: str, sort: str) -> Markup:
    """A head that sorts by its column, the most or the newest first."""
    current = scope.arguments.get("sort", "")
    if sort == (current if current in SORTS else ""):
        return Markup('<span class="sorted">{} <span aria-hidden="true">↓</span></span>').format(text)
    kept = tuple(each for each in scope.filters.extra if each[0] != "sort")
    filters = replace(scope.filters, extra=(*kept, ("sort", sort)) if sort else kept)
    words = "the newest first" if not sort else "the most first"
    return Markup('<a href="{}" title="{}">{}</a>').format(scope.url("calls", filters), words, text)


def find(scope: Scope, id_: str | None) -> Markup | str:
    """A link to all that has this id."""
    return link(scope.url("find", None, id=id_), id_) if id_ else ""


def _session(scope: Scope, row: Row) -> Markup | str:
    if not row["session_id"]:
        return ""
    return link(scope.url("session", scope.filters.but(session=row["session_id"])), row["session_id"])


def _chosen(scope: Scope) -> list[str]:
    known = columns(scope)
    wanted = [name for name in scope.arguments.get("columns", "").split(",") if name in known]
    # Without a time there would be no way to a call.
    return [*dict.fromkeys(["time", *wanted])] if wanted else [*SHOWN]


def _chooser(scope: Scope) -> Markup:
    """Which columns are shown: a form that keeps all that is asked for."""
    chosen = _chosen(scope)
    kept = [*scope.filters.arguments(), *scope.named().items()]
    hidden = Markup("").join(
        Markup('<input type="hidden" name="{}" value="{}">').format(name, value)
        for name, value in kept
        if name != "columns"
    )
    boxes = Markup("").join(
        Markup('<label><input type="checkbox" name="columns" value="{}"{}> {}</label>').format(
            name, Markup(" checked") if name in chosen else "", escape(column.head).striptags().removesuffix(" ↓")
        )
        for name, column in columns(scope).items()
    )
    return Markup(
        '<details class="custom choose"><summary>Columns</summary><form class="drop" action="{}">{}'
        '<fieldset><legend class="hidden">Columns</legend>{}</fieldset><button>Show these</button></form></details>'
    ).format(scope.url("calls").partition("?")[0], hidden, boxes)


async def _matching(scope: Scope, asked: tuple[tuple[str, str], ...]) -> Markup:
    """How many calls match, and what they cost; or why that is not known."""
    sums = sums_of(asked)
    try:
        found = await reading(scope, sums, sums.question(scope.filters, asked=asked), {"asked": asked}, whole=False)
    except TooMuchError:
        return Markup('<span class="unknown">Too many to be counted here: a shorter range, or the file, has it.</span>')
    (row,) = found.found.rows
    bounds = [f"{row['unpriced_calls']:,} unpriced"] if row["unpriced_calls"] else []
    bounds += [f"{row['lower_bound_calls']:,} lower bounds"] if row["lower_bound_calls"] else []
    of_calls = "" if row["calls"] == row["responses"] else f" of {row['calls']:,} calls"
    return Markup('<b data-responses="{0}">{0:,}</b> {1}{2} · <b>{3}</b>{4}').format(
        row["responses"], "response" if row["responses"] == 1 else "responses", of_calls,
        show.usd(row["spend_picousd"], at_least=bool(bounds)), f" · {', '.join(bounds)}" if bounds else "",
    )  # fmt: skip


def _asked(scope: Scope) -> tuple[tuple[str, str], ...]:
    """Which kinds of calls the URL asks for."""
    return tuple(each for each in _rows.kept(scope.arguments) if each[0] not in ("sort", "columns"))


async def _count(scope: Scope) -> int:
    """How many responses match: what the file has."""
    asked = _asked(scope)
    sums = sums_of(asked)
    found = await reading(scope, sums, sums.question(scope.filters, asked=asked), {"asked": asked}, whole=True)
    return int(found.found.rows[0]["responses"])


async def _own(scope: Scope) -> Drawn:
    asked = _asked(scope)
    sort = scope.arguments.get("sort", "")
    if sort in SORTS and not scope.patient:
        # It reads every call that matches, unlike the newest.
        raise LateError
    matching = await _matching(scope, asked)
    rows = await (_most(scope, asked, sort) if sort in SORTS else _newest(scope))
    if not rows:
        return Drawn(None)
    shown = rows[:PAGE_ROWS]
    known = columns(scope)
    head = Markup('<div class="listed"><p class="matching">{}</p>{}</div>').format(matching, _chooser(scope))
    caption = f"Calls, by {sort}" if sort in SORTS else "Calls, newest first"
    css = "calls chosen" if scope.arguments.get("columns") else "calls"
    listed = table(caption, [known[name] for name in _chosen(scope)], shown, css)
    more = len(rows) > len(shown)
    return Drawn(head + listed + Markup('<p class="pages">{}</p>').format(_pages(scope, sort, shown, more=more)))


async def _newest(scope: Scope) -> list[Row]:
    """The newest that match. Few of many are looked for in many hours, which a page does not wait for."""
    statement = _rows.calls(scope)
    try:
        return await plain_rows(scope, statement)
    except sqlite3.OperationalError as error:
        if "interrupted" not in str(error):
            raise
    if not scope.patient:
        raise LateError

    def read(connection: sqlite3.Connection) -> list[Row]:
        found = connection.execute(statement.sql, statement.parameters)
        return [dict(zip(_rows.LISTED, row, strict=True)) for row in found]

    rows: list[Row] = await execute(scope, read, LATE_TIMES)
    return rows


async def _most(scope: Scope, asked: tuple[tuple[str, str], ...], sort: str) -> list[Row]:
    more = {"asked": asked, "sort": sort, "offset": _offset(scope)}
    found = await reading(scope, LIST, LIST.question(scope.filters, asked=asked), more, whole=False)
    return found.found.rows


def _offset(scope: Scope) -> int:
    said = scope.arguments.get("offset", "")
    return int(said) if said.isascii() and said.isdigit() and len(said) < 7 else 0


def _pages(scope: Scope, sort: str, shown: list[Row], *, more: bool) -> Markup:
    """The links to the rows before and after."""
    pages = Markup("")
    if sort in SORTS:
        at = _offset(scope)
        if at:
            pages += link(scope.url("calls", offset=str(max(0, at - PAGE_ROWS))), "Before")
        return pages + (link(scope.url("calls", offset=str(at + PAGE_ROWS)), "More") if more else "")
    if scope.arguments.get("before"):
        pages += link(scope.url("calls"), "Newest")
    return pages + (link(scope.url("calls", before=_rows.mark_of(shown[-1])), "Older") if more else "")


CALLS = Page(
    name="calls",
    title="Calls",
    about="Each call, and what is asked for added up",
    panels=(
        Panel(
            name="calls",
            title="Calls",
            about="A line for each response, of a batch for each result. Times are your browser's, the range is UTC",
            width="full",
            own=_own,
            exported=_rows.calls_after,
            counted=_count,
            empty="No such call in this range.",
        ),
    ),
)
