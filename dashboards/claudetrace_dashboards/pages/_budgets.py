"""The budgets page: how each budget stands, who is stopped, what was granted, and where alerts go."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from markupsafe import Markup

from claudetrace_dashboards import _format as show
from claudetrace_dashboards._budget import report_of
from claudetrace_dashboards._burn import burn
from claudetrace_dashboards._panel import Drawn, Panel
from claudetrace_dashboards._pieces import Column, card, cards, link, table
from claudetrace_dashboards._times import local_time
from claudetrace_dashboards.pages._page import Page
from claudetrace_dashboards.queries._filters import NAMES

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from datetime import datetime
    from decimal import Decimal

    from claudetrace._budgets._records import ChannelState, Grant, Raised
    from claudetrace._budgets._report import Report, Shown
    from claudetrace._budgets._status import BudgetState
    from claudetrace_dashboards._filters import Filters
    from claudetrace_dashboards._panel import Row, Scope

HOUR = timedelta(hours=1)
EMPTY = (
    "No program has set a budget on this ledger's store. Budget(“all”, usd=100) in instrument(budgets=[…]), "
    "or [[budgets]] in claudetrace.toml, makes one."
)
TAG_FILTERS = ("user", "session", "feature")
"""Tags that are filters by their own name."""


def _of_store(draw: Callable[[Scope, Report], Drawn]) -> Callable[[Scope], Awaitable[Drawn]]:
    """A panel of what the store says; nothing where there is none."""

    async def own(scope: Scope) -> Drawn:
        report = await report_of(scope)
        return Drawn(None) if report is None else draw(scope, report)

    return own


def picousd(usd: Decimal) -> int:
    return int(usd.scaleb(12))


def _money(usd: Decimal | None) -> Markup | str:
    return "" if usd is None else show.usd(picousd(usd), 2 if usd >= 1 or not usd else None)


def _cards(_: Scope, report: Report) -> Drawn:
    shown = [each for each in report.budgets if not each.idle(report.now)]
    if not shown:
        return Drawn(None)
    reached, blocked = sum(each.reached for each in shown), sum(each.blocked_calls for each in shown)
    over = sum(any(_is_over(state) for state in each.states) for each in shown)
    failing = [each for each in report.channels if each.error is not None]
    waiting = sum(each.waiting for each in report.channels)
    return Drawn(
        cards(
            card("Budgets", show.count(len(shown)), _idle(len(report.budgets) - len(shown))),
            card("All spent", show.count(reached), "of one value at least" if reached else "none is at its limit"),
            card("Heading over", show.count(over), "at the pace of their window"),
            card("Stopped calls", show.count(blocked), "in the windows of now"),
            card("Alerts waiting", show.count(waiting), f"{len(failing)} of {len(report.channels)} channels fail"),
        )
    )


def _idle(number: int) -> str:
    return f"{number:,} more, not set for 35 days and with nothing in their window" if number else ""


def _is_over(state: BudgetState) -> bool:
    """Whether the window comes to more than its limit at this pace."""
    usd, calls = state.forecast_usd, state.forecast_calls
    over = usd is not None and state.limit_usd is not None and usd > state.limit_usd + state.granted_usd
    return over or (calls is not None and state.max_calls is not None and calls > state.max_calls + state.granted_calls)


def _budgets(scope: Scope, report: Report) -> Drawn:
    shown = [each for each in report.budgets if not each.idle(report.now)]
    rows = [row for each in shown for row in _rows_of(each)]
    notes = [_spread_note(each) for each in shown if each.spread is not None]
    notes += [f"{name} cannot be shown: {why}." for name, why in report.unusable.items()]
    if not rows:
        return Drawn(None, tuple(notes))
    aside = any(row["state"].held_usd or row["state"].reserved_usd or row["state"].reserved_calls for row in rows)
    columns = [
        Column("Budget", lambda row: _name(scope, row), css="budget"),
        Column("Window, and then", lambda row: _window(row["state"]), minor=True),
        Column("Burn", lambda row: burn(row["state"], of_calls=row["of_calls"]), css="burn"),
        Column("", _share, number=True),
        Column("Spent", _spent, number=True),
        *([Column("Set aside", _aside, number=True, minor=True)] if aside else []),
        Column("Left", lambda row: _amount(row, "left"), number=True, minor=True),
        Column("Limit", _limit, number=True, minor=True),
        Column("Forecast", _forecast, number=True, minor=True),
        Column("Stopped", lambda row: _stopped(scope, row), number=True, minor=True),
    ]
    return Drawn(table("Budgets", columns, rows, "budgets"), tuple(notes))


def _rows_of(each: Shown) -> list[Row]:
    """A row for each limit of each state: dollars, calls or both."""
    rows: list[Row] = []
    for state in each.states:
        if state.limit_usd is not None:
            rows.append({"state": state, "of_calls": False})
        if state.max_calls is not None:
            rows.append({"state": state, "of_calls": True})
    return rows


def window(scope: Scope, state: BudgetState) -> Filters:
    """The calls that the budget is about, in its window, as far as a page can ask for them."""
    since = state.window_start.replace(minute=0, second=0, microsecond=0)
    until = scope.filters.now.replace(minute=0, second=0, microsecond=0) + HOUR
    filters = scope.filters.within(max(since, until - timedelta(days=3650)), until)
    changes: dict[str, Any] = dict.fromkeys((*NAMES, "tag"))
    changes["model"] = state.budget.model
    for tag, value in (state.budget.tags or {}).items():
        told = state.key if tag == state.budget.each_tag else value
        if told is not None:
            changes |= {tag: told} if tag in TAG_FILTERS else {"tag": (tag, told)}
    return filters.but(**changes)


def _name(scope: Scope, row: Row) -> Markup:
    state: BudgetState = row["state"]
    name = state.key if state.key is not None else str(state.budget.name)
    told = [str(state.budget.name)] if state.key is not None else []
    told += [f"{tag}={value}" for tag, value in (state.budget.tags or {}).items() if tag != state.budget.each_tag]
    told += [f"each {state.budget.each_tag}"] if state.budget.each_tag and state.key is None else []
    told += [state.budget.model] if state.budget.model else []
    return link(scope.url("calls", window(scope, state)), name) + Markup('<span class="under">{}</span>').format(
        " · ".join(told) or "all calls"
    )


def _window(state: BudgetState) -> Markup:
    per, end = state.budget.per, state.window_end
    ends = end is not None and not per.startswith("rolling")
    until = Markup("ends {}").format(local_time(_stamp(end))) if end is not None and ends else Markup("")
    then = "stops calls" if state.budget.blocks else "alerts"
    return Markup('{}, {}<span class="under">{}</span>').format(per.replace(":", " "), then, until)


def _stamp(at: datetime) -> str:
    return f"{at:%Y-%m-%dT%H:%M:%S}Z"


def share(state: BudgetState, *, of_calls: bool) -> float:
    """Which part of the limit is spent."""
    if of_calls:
        return state.spent_calls / ((state.max_calls or 0) + state.granted_calls)
    return float(state.spent_usd / ((state.limit_usd or 0) + state.granted_usd))


def _share(row: Row) -> Markup:
    part = share(row["state"], of_calls=row["of_calls"])
    # A hundred only where it is reached.
    text = "<1 %" if 0 < part < 0.01 else f"{int(part * 100):,} %"
    return Markup('<span class="{}">{}</span>').format("worse" if part >= 1 else "", text)


def _amount(row: Row, name: str) -> Markup | str:
    state = row["state"]
    if row["of_calls"]:
        return show.count(getattr(state, f"{name}_calls"))
    return _money(getattr(state, f"{name}_usd"))


def _spent(row: Row) -> Markup:
    """What is spent; where there is little room with the limit and the stopped calls below."""
    stopped = f"{row['state'].blocked_calls:,} stopped" if row["state"].blocked_calls else ""
    below = Markup('<span class="under narrow">of {}</span><span class="under narrow worse">{}</span>')
    return Markup("{}{}").format(_amount(row, "spent"), below.format(_whole(row), stopped))


def _aside(row: Row) -> Markup | str:
    state: BudgetState = row["state"]
    if row["of_calls"]:
        return show.count(state.reserved_calls) if state.reserved_calls else ""
    held = Markup('<span class="under">{} for cut streams</span>').format(_money(state.held_usd))
    return (_money(state.reserved_usd) if state.reserved_usd else Markup("")) + (held if state.held_usd else "")


def _limit(row: Row) -> Markup | str:
    state: BudgetState = row["state"]
    granted = state.granted_calls if row["of_calls"] else state.granted_usd
    told = show.count(state.granted_calls) if row["of_calls"] else _money(state.granted_usd)
    more = Markup('<span class="under">with {} granted</span>').format(told) if granted else ""
    return Markup("{}{}").format(_whole(row), more)


def _whole(row: Row) -> Markup | str:
    """The limit with what was granted."""
    state: BudgetState = row["state"]
    if row["of_calls"]:
        return show.count((state.max_calls or 0) + state.granted_calls) + " calls"
    return _money((state.limit_usd or 0) + state.granted_usd)


def _forecast(row: Row) -> Markup | str:
    state: BudgetState = row["state"]
    css = "worse" if _is_over(state) else ""
    forecast = state.forecast_calls if row["of_calls"] else state.forecast_usd
    told = show.count(state.forecast_calls) if row["of_calls"] else _money(state.forecast_usd)
    return show.UNKNOWN if forecast is None else Markup('<span class="{}">{}</span>').format(css, told)


def _stopped(scope: Scope, row: Row) -> Markup | str:
    state: BudgetState = row["state"]
    if not state.blocked_calls:
        return "0" if state.budget.blocks else ""
    return link(scope.url("calls", window(scope, state), reason="BudgetExceeded"), f"{state.blocked_calls:,}", "worse")


def _spread_note(each: Shown) -> str:
    assert each.spread is not None
    spread, tag = each.spread, each.stored.budget.each_tag
    more = f"; the {len(each.states)} that spent most are shown" if spread.keys > len(each.states) else ""
    return (
        f"{each.stored.budget.name}: {spread.keys:,} values of the tag {tag}, {spread.reached:,} at the limit, "
        f"{spread.blocked_calls:,} calls stopped{more}."
    )


def _alerts(_: Scope, report: Report) -> Drawn:
    def delivered(row: Row) -> Markup | str:
        each: Raised = row["raised"]
        if not each.channels:
            return "no channel"
        css = "worse" if each.delivered < each.channels else ""
        return Markup('<span class="{}">{} of {}</span>').format(css, each.delivered, each.channels)

    columns = (
        Column("Time", lambda row: local_time(_stamp(row["raised"].alert.at)), css="time"),
        Column("Kind", lambda row: Markup('<span class="kind">{}</span>').format(row["raised"].alert.kind)),
        Column("What", lambda row: row["raised"].alert.message, css="wrap"),
        Column("Delivered", delivered, number=True, minor=True),
    )
    rows = [{"raised": each} for each in report.alerts]
    return Drawn(table("Last alerts", columns, rows, "log") if rows else None)


def _grants(_: Scope, report: Report) -> Drawn:
    def amount(row: Row) -> Markup:
        each: Grant = row["grant"]
        told = [show.usd(each.picousd)] if each.picousd else []
        told += [Markup("{} calls").format(f"{each.calls:,}")] if each.calls else []
        return Markup(" and ").join(told)

    def until(row: Row) -> Markup | str:
        each: Grant = row["grant"]
        if each.ended_at is not None:
            return Markup("ended {}{}").format(
                local_time(_stamp(each.ended_at)), f", by {each.ended_by}" if each.ended_by else ""
            )
        return local_time(_stamp(each.until)) if each.until else "the window's end"

    columns = (
        Column("Time", lambda row: local_time(_stamp(row["grant"].made_at)), css="time"),
        Column("Budget", lambda row: row["grant"].budget + (f" for {row['grant'].key}" if row["grant"].key else "")),
        Column("More", amount, number=True),
        Column("Until", until, minor=True),
        Column("By, and why", lambda row: f"{row['grant'].made_by}: {row['grant'].why}", css="wrap"),
    )
    rows = [{"grant": each} for each in report.grants]
    return Drawn(table("Last grants", columns, rows, "log") if rows else None)


def _channels(_: Scope, report: Report) -> Drawn:
    def last(row: Row) -> Markup | str:
        each: ChannelState = row["channel"]
        return local_time(_stamp(each.delivered_at)) if each.delivered_at else "nothing yet"

    def state(row: Row) -> Markup | str:
        each: ChannelState = row["channel"]
        waits = f"{each.waiting:,} waiting" if each.waiting else "nothing waits"
        if each.error is None:
            return waits
        return Markup('<span class="worse">fails: {}</span><span class="under">{} tries, {}</span>').format(
            each.error, each.tries, waits
        )

    columns = (
        Column("Channel", lambda row: row["channel"].name, css="wrap"),
        Column("Last delivered", last, css="time"),
        Column("State", state, css="wrap"),
    )
    rows = [{"channel": each} for each in report.channels]
    return Drawn(table("Channels", columns, rows, "log") if rows else None)


BUDGETS = Page(
    name="budgets",
    title="Budgets",
    about="What may be spent, what is left, and who was told",
    ranged=False,
    panels=(
        Panel(name="budget_figures", title="Key figures", about="", width="full", bare=True, own=_of_store(_cards),
              empty=EMPTY),
        Panel(name="budgets", title="Budgets", about="In their windows of now; a mark for each threshold, a dot for "
              "what the window comes to at its pace", width="full", own=_of_store(_budgets), empty=EMPTY),
        Panel(name="alerts", title="Last alerts", about="The newest first", width="half", own=_of_store(_alerts),
              empty="Nothing has been told yet."),
        Panel(name="channels", title="Channels", about="Where alerts go on the wire", width="half",
              own=_of_store(_channels), empty="No program on this store has a channel: alert_to=[…] names them."),
        Panel(name="grants", title="Grants", about="Room on top of a limit, by claudetrace budgets grant",
              width="full", own=_of_store(_grants), empty="Nothing was granted."),
    ),
)  # fmt: skip
