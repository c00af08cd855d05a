"""What `claudetrace budgets` shows, as text and as JSON."""

from __future__ import annotations

import json
from dataclasses import asdict
from decimal import Decimal
from shlex import quote
from typing import TYPE_CHECKING, Any

import click

from claudetrace._budgets._report import IDLE, Report, Shown
from claudetrace._call import exact_usd
from claudetrace._errors import dollars
from claudetrace.cli._calls import json_value
from claudetrace.cli._text import (
    calls_text,
    columns,
    count_text,
    counted,
    plain,
    table,
    terminal_width,
    usd_digits,
    usd_text,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from claudetrace._budgets._records import ChannelState, Grant, Raised
    from claudetrace._budgets._status import BudgetState

HEADS = {
    "budget": 0,
    "per": 1,
    "used": 0,
    "spent": 0,
    "reserved": 5,
    "left": 4,
    "limit": 0,
    "blocked": 0,
    "forecast": 2,
    "ends (UTC)": 3,
    "at the limit": 6,
}
"""Each head, with its turn to be left out: the highest goes first."""
BAR = 10
LONGEST_MESSAGE = 400


def as_text(report: Report) -> str:
    """A table of the budgets, then alerts, grants and channels."""
    shown = [each for each in report.budgets if not each.idle(report.now)]
    parts = [f"Budgets at {report.now:%Y-%m-%d %H:%M} (UTC)", "", _table(shown) if shown else "No budgets."]
    notes = [*(_each_note(each) for each in shown if each.spread), *_idle_note(len(report.budgets) - len(shown))]
    notes += [_held_note(state) for each in shown for state in each.states if state.held_usd]
    notes += [f"{plain(name)} is not shown: {plain(why, 200)}." for name, why in report.unusable.items()]
    if notes:
        parts += ["", *notes]
    if report.alerts:
        parts += ["", click.style("Last alerts", bold=True), *(_alert_line(each) for each in report.alerts)]
    if report.grants:
        parts += ["", click.style("Last grants", bold=True), *(f"  {granted_text(each)}" for each in report.grants)]
    if report.channels:
        width = max(len(each.name) for each in report.channels)
        lines = [f"  {each.name:<{width}}  {channel_text(each)}" for each in report.channels]
        parts += ["", click.style("Channels", bold=True), *lines]
    return "\n".join([*parts, "", f"Store: {report.store}"])


def _table(shown: list[Shown]) -> str:
    digits = usd_digits(
        amount for each in shown for state in each.states for amount in (state.spent_usd, state.limit_usd or Decimal(0))
    )
    rows = [row for each in shown for row in _rows(each, digits)]
    made = columns(HEADS, [cells for cells, _ in rows], left=(0, 1, 2, 10))
    return table(made, terminal_width(), colors=[color for _, color in rows], more="--json")


def _rows(each: Shown, digits: int) -> Iterator[tuple[list[str], str | None]]:
    if each.spread is not None:
        yield [plain(str(each.stored.budget.name)), each.stored.budget.per, *[""] * (len(HEADS) - 2)], None
    for state in each.states:
        yield from _limits(state, digits)


def _limits(state: BudgetState, digits: int) -> Iterator[tuple[list[str], str | None]]:
    """A row for each limit, with its color."""
    budget = state.budget
    name, per = plain(str(budget.name)) if state.key is None else f"  {plain(state.key)}", budget.per
    end = "never" if per == "total" else "rolling" if per.startswith("rolling") else ""
    if not end and state.window_end is not None:
        end = f"{state.window_end:%m-%d %H:%M}"
    blocked = count_text(state.blocked_calls) if budget.blocks or state.blocked_calls else ""
    limits: list[tuple[Any, Any, list[str], str]] = []
    if state.limit_usd is not None:
        limit = state.limit_usd + state.granted_usd
        texts = [usd_text(each, digits) for each in (state.spent_usd, state.reserved_usd, state.left_usd, limit)]
        forecast = "–" if state.forecast_usd is None else usd_text(state.forecast_usd, digits)
        limits.append((state.spent_usd / limit, (state.forecast_usd or 0) > limit, texts, forecast))
    if state.max_calls is not None:
        most = state.max_calls + state.granted_calls
        texts = [*map(count_text, (state.spent_calls, state.reserved_calls, state.left_calls)), calls_text(most)]
        over = (state.forecast_calls or 0) > most
        limits.append((Decimal(state.spent_calls) / most, over, texts, count_text(state.forecast_calls)))
    for number, (share, over, texts, forecast) in enumerate(limits):
        named = ["", ""] if number else [name, per]
        color = "red" if share >= 1 or state.blocked_calls else "yellow" if over else None
        then = "stops calls" if budget.blocks else "alerts"
        yield [*named, _bar(share), *texts, blocked, forecast, end, then], color


def _bar(share: Decimal) -> str:
    full = min(BAR, int(share * BAR))
    # Rounded down, so that 100 % means all.
    percent = int(share * 100)
    told = "<1" if share > 0 and percent == 0 else f"{min(percent, 999_999):,}"
    return f"{'█' * full}{'░' * (BAR - full)} {told:>3} %"


def _each_note(each: Shown) -> str:
    assert each.spread is not None
    tag, spread = each.stored.budget.each_tag, each.spread
    blocked = f", {calls_text(spread.blocked_calls)} stopped" if spread.blocked_calls else ""
    values = f"{counted(spread.keys, 'value')} of the tag {tag}"
    more = f"; the {len(each.states)} that spent most are shown" if spread.keys > len(each.states) else ""
    return f"{plain(str(each.stored.budget.name))}: {values}, {spread.reached:,} at the limit{blocked}{more}."


def _held_note(state: BudgetState) -> str:
    name = str(state.budget.name)
    whose = plain(name if state.key is None else f"{name} for {state.key}")
    command = f"claudetrace budgets release {quote(name)}" + ("" if state.key is None else f" --key {quote(state.key)}")
    return f"{whose}: {dollars(state.held_usd)} held for cut streams; {plain(command, 600)} releases it."


def _idle_note(idle: int) -> list[str]:
    if not idle:
        return []
    are = "budget is" if idle == 1 else "budgets are"
    return [f"{idle} {are} not shown: set by no program for {IDLE.days} days, and with nothing in its window."]


def _alert_line(each: Raised) -> str:
    late = each.channels - each.delivered
    waits = f" (not delivered yet to {late} of {each.channels} channels)" if late > 0 else ""
    if late == each.channels == 1:
        waits = " (not delivered yet)"
    alert = each.alert
    return f"  {alert.at:%m-%d %H:%M}  {alert.kind:<9}  {plain(alert.message, LONGEST_MESSAGE)}{waits}"


def amounts_text(usd: Decimal | None, calls: int | None) -> str:
    """`$5.00 and 10 calls`, or the one that is not `None`."""
    return " and ".join([*([] if usd is None else [dollars(usd)]), *([] if calls is None else [calls_text(calls)])])


def granted_text(each: Grant) -> str:
    """What was granted, by whom and why, on one line."""
    amounts = amounts_text(exact_usd(each.picousd) or None, each.calls or None)
    whose = plain(each.budget if not each.key else f"{each.budget} for {each.key}")
    until = "" if each.until is None else f", until {each.until:%m-%d %H:%M}"
    by = "" if each.ended_by is None else f" by {plain(each.ended_by)}"
    ended = "" if each.ended_at is None else f"; ended {each.ended_at:%m-%d %H:%M}{by}"
    made = f"{each.made_at:%m-%d %H:%M}  {whose}: {amounts} by {plain(each.made_by)}{until}{ended}"
    return f"{made}: {plain(each.why, LONGEST_MESSAGE)}"


def channel_text(each: ChannelState) -> str:
    """The state of a channel, on one line."""
    had = "nothing sent yet" if each.delivered_at is None else f"last delivered {each.delivered_at:%m-%d %H:%M}"
    waiting = f"; {each.waiting:,} alert{' waits' if each.waiting == 1 else 's wait'}" if each.waiting else ""
    if each.error is None:
        return f"{had}{waiting}"
    again = "" if each.again_at is None else f", next from {each.again_at:%H:%M:%S}"
    tries = f"{each.tries} tr{'y' if each.tries == 1 else 'ies'}"
    return click.style(f"fails: {plain(each.error, 200)} ({tries}{again})", fg="red") + f"; {had}{waiting}"


def in_json(report: Report) -> str:
    """The same for programs: exact dollars as text, times in ISO 8601."""
    told = {
        "store": str(report.store),
        "at": report.now,
        "budgets": [_plain_budget(each) for each in report.budgets],
        "alerts": [
            {**asdict(each.alert), "delivered": each.delivered, "channels": each.channels} for each in report.alerts
        ],
        "grants": [each._asdict() for each in report.grants],
        "channels": [each._asdict() for each in report.channels],
        "unusable": report.unusable,
    }
    return json.dumps(told, indent=2, ensure_ascii=False, default=lambda value: str(json_value(value)))


def _plain_budget(each: Shown) -> dict[str, Any]:
    budget = each.stored.budget
    return {
        **{name: getattr(budget, name) for name in ("name", "per", "timezone", "tags", "model", "on_exceeded")},
        "set_at": each.stored.used_at,
        "reached": each.reached,
        "blocked_calls": each.blocked_calls,
        **({} if each.spread is None else {"values": each.spread._asdict()}),
        "states": [{name: value for name, value in asdict(state).items() if name != "budget"} for state in each.states],
    }
