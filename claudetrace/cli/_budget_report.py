"""What `claudetrace budgets` shows, as text and as JSON."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from shlex import quote
from typing import TYPE_CHECKING, Any, Self

import click

from claudetrace._budgets import _connect
from claudetrace._budgets._status import states
from claudetrace._budgets._windows import window_of
from claudetrace._call import exact_usd
from claudetrace._errors import dollars
from claudetrace.cli._options import calls_text
from claudetrace.cli._tables import Column, count_text, fitted, plain, terminal_width, usd_digits, usd_text

if TYPE_CHECKING:
    from claudetrace._budgets._connect import StoreName
    from claudetrace._budgets._status import BudgetState
    from claudetrace._budgets._store import ChannelState, Grant, Raised, Spread, Stored, View

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
"""Each head, and how soon its column is left out where the screen is narrow: the highest first."""
BAR = 10
IDLE = timedelta(days=35)
"""A budget that no program has set for so long, and that has nothing in its window, is only counted."""
LONGEST_MESSAGE = 400
MOST_GRANTS = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """A budget with its states: one, or those of the values of its tag that spent most."""

    stored: Stored
    states: list[BudgetState]
    spread: Spread | None

    @classmethod
    def read(cls, view: View, each: Stored, now: float, top: int) -> Self:
        """The budget in its window of now."""
        window = window_of(each.budget.per, each.budget.timezone, now)
        spread = view.spread(each, window) if each.budget.each_tag else None
        return cls(stored=each, states=states(view, each, now, top), spread=spread)

    @property
    def reached(self) -> bool:
        """Whether all of it is spent, by one value of its tag at least."""
        return self.spread.reached > 0 if self.spread is not None else any(each.reached for each in self.states)

    @property
    def blocked_calls(self) -> int:
        """How many calls it has stopped in its window."""
        return self.spread.blocked_calls if self.spread is not None else sum(s.blocked_calls for s in self.states)

    def idle(self, now: datetime) -> bool:
        """Whether it is history: set long ago, and nothing is in its window."""
        used = self.spread.keys > 0 if self.spread else any(s.spent_calls or s.reserved_calls for s in self.states)
        used |= self.blocked_calls > 0
        return not used and self.stored.used_at < now - IDLE


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """All that is shown of a store, of one moment."""

    store: StoreName
    now: datetime
    budgets: list[Shown]
    alerts: list[Raised]
    grants: list[Grant]
    channels: list[ChannelState]
    unusable: dict[str, str]
    """Budgets that cannot be shown, each with the reason."""

    @classmethod
    def read(cls, store: StoreName, now: float, *, top: int, alerts: int) -> Self:
        """Raises `ClaudetraceError` where there is no store."""
        with _connect.view(store) as view:
            return cls(
                store=store,
                now=datetime.fromtimestamp(now, UTC),
                budgets=[Shown.read(view, each, now, top) for each in view.budgets()],
                alerts=view.alerts(alerts),
                grants=view.grants(MOST_GRANTS),
                channels=view.channels(now),
                unusable=view.unusable(),
            )

    @property
    def needs_a_look(self) -> bool:
        """Whether all of some budget is spent, or a call was stopped."""
        return any(each.reached or each.blocked_calls for each in self.budgets)


def as_text(report: Report) -> str:
    """A table of the budgets, then alerts and channels."""
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
        parts += ["", click.style("Channels", bold=True), *_channel_lines(report.channels)]
    return "\n".join([*parts, "", f"Store: {report.store}"])


def _table(shown: list[Shown]) -> str:
    digits = usd_digits(
        amount for each in shown for state in each.states for amount in (state.spent_usd, state.limit_usd or Decimal(0))
    )
    rows: list[list[str]] = []
    colors: list[str | None] = []
    for each in shown:
        if each.spread is not None:
            rows.append([plain(str(each.stored.budget.name)), each.stored.budget.per, *[""] * (len(HEADS) - 2)])
            colors.append(None)
        for state in each.states:
            for row, color in _lines(state, digits):
                rows.append(row)
                colors.append(color)
    columns = [
        Column(head, [row[number] for row in rows], None, drop, left=number in (0, 1, 2, 10))
        for number, (head, drop) in enumerate(HEADS.items())
    ]
    text, note = fitted(columns, terminal_width())
    head, *lines = text.splitlines()
    colored = (click.style(line, fg=fg) if fg else line for line, fg in zip(lines, colors, strict=True))
    return "\n".join([head, *colored, *([note.replace("--wide", "--json")] if note else [])])


def _lines(state: BudgetState, digits: int) -> list[tuple[list[str], str | None]]:
    """A line for each limit, and its color."""
    budget = state.budget
    name = plain(str(budget.name)) if state.key is None else f"  {plain(state.key)}"
    end = "never" if budget.per == "total" else "rolling" if budget.per.startswith("rolling") else None
    if end is None and state.window_end is not None:
        end = f"{state.window_end:%m-%d %H:%M}"
    then = "stops calls" if budget.blocks else "alerts"
    lines, blocked = [], count_text(state.blocked_calls) if budget.blocks or state.blocked_calls else ""
    if state.limit_usd is not None:
        limit = state.limit_usd + state.granted_usd
        amounts = (state.spent_usd, state.reserved_usd, state.left_usd, limit)
        over = state.forecast_usd is not None and state.forecast_usd > limit
        forecast = "–" if state.forecast_usd is None else usd_text(state.forecast_usd, digits)
        texts = [usd_text(amount, digits) for amount in amounts]
        share = state.spent_usd / limit
        lines.append((name, share, texts, forecast, over))
    if state.max_calls is not None:
        most = state.max_calls + state.granted_calls
        counts = (state.spent_calls, state.reserved_calls, state.left_calls, most)
        over = state.forecast_calls is not None and state.forecast_calls > most
        texts = [count_text(count) for count in counts]
        texts[-1] = calls_text(most)
        share = Decimal(state.spent_calls) / most
        lines.append(("" if lines else name, share, texts, count_text(state.forecast_calls), over))
    return [
        (
            [called, budget.per if called == name else "", _bar(share), *texts, blocked, forecast, end or "", then],
            "red" if share >= 1 or state.blocked_calls else "yellow" if over else None,
        )
        for called, share, texts, forecast, over in lines
    ]


def _bar(share: Decimal) -> str:
    full = min(BAR, int(share * BAR))
    # A hundred only where it is reached.
    percent = int(share * 100)
    told = "<1" if share > 0 and percent == 0 else f"{min(percent, 999_999):,}"
    return f"{'█' * full}{'░' * (BAR - full)} {told:>3} %"


def _each_note(each: Shown) -> str:
    assert each.spread is not None
    tag, spread = each.stored.budget.each_tag, each.spread
    blocked = f", {calls_text(spread.blocked_calls)} stopped" if spread.blocked_calls else ""
    values = f"{spread.keys:,} value{'' if spread.keys == 1 else 's'} of the tag {tag}"
    more = f"; the {len(each.states)} that spent most are shown" if spread.keys > len(each.states) else ""
    return f"{plain(str(each.stored.budget.name))}: {values}, {spread.reached:,} at the limit{blocked}{more}."


def _held_note(state: BudgetState) -> str:
    name = str(state.budget.name)
    whose = plain(name if state.key is None else f"{name} for {state.key}")
    command = f"claudetrace budgets release {quote(name)}" + ("" if state.key is None else f" --key {quote(state.key)}")
    return f"{whose}: {dollars(state.held_usd)} held for cut streams; {plain(command, 600)} lets go of it."


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


def granted_text(each: Grant) -> str:
    """What was granted, by whom and why, on one line."""
    amounts = [dollars(exact_usd(each.picousd))] if each.picousd else []
    amounts += [calls_text(each.calls)] if each.calls else []
    whose = plain(each.budget if not each.key else f"{each.budget} for {each.key}")
    until = "" if each.until is None else f", until {each.until:%m-%d %H:%M}"
    by = "" if each.ended_by is None else f" by {plain(each.ended_by)}"
    ended = "" if each.ended_at is None else f"; ended {each.ended_at:%m-%d %H:%M}{by}"
    made = f"{each.made_at:%m-%d %H:%M}  {whose}: {' and '.join(amounts)} by {plain(each.made_by)}{until}{ended}"
    return f"{made}: {plain(each.why, LONGEST_MESSAGE)}"


def _channel_lines(channels: list[ChannelState]) -> list[str]:
    width = max(len(each.name) for each in channels)
    return [f"  {each.name:<{width}}  {channel_text(each)}" for each in channels]


def channel_text(each: ChannelState) -> str:
    """How a channel fares, on one line."""
    had = "nothing sent yet" if each.delivered_at is None else f"last delivered {each.delivered_at:%m-%d %H:%M}"
    waiting = f"; {each.waiting:,} alert{' waits' if each.waiting == 1 else 's wait'}" if each.waiting else ""
    if each.error is None:
        return f"{had}{waiting}"
    again = "" if each.again_at is None else f", next from {each.again_at:%H:%M:%S}"
    tries = f"{each.tries} tr{'y' if each.tries == 1 else 'ies'}"
    return click.style(f"fails: {plain(each.error, 200)} ({tries}{again})", fg="red") + f"; {had}{waiting}"


def as_json(report: Report) -> str:
    """All of it, for programs: dollars exact as text, times as ISO 8601."""
    told = {
        "store": str(report.store),
        "at": report.now,
        "budgets": [_plain_budget(each) for each in report.budgets],
        "alerts": [
            {**asdict(each.alert), "delivered": each.delivered, "channels": each.channels} for each in report.alerts
        ],
        "grants": [each._asdict() for each in report.grants],
        "channels": [asdict(each) for each in report.channels],
        "unusable": report.unusable,
    }
    return json.dumps(told, indent=2, ensure_ascii=False, default=_text)


def _plain_budget(each: Shown) -> dict[str, Any]:
    budget = each.stored.budget
    told = {
        "name": budget.name,
        "per": budget.per,
        "timezone": budget.timezone,
        "tags": budget.tags,
        "model": budget.model,
        "on_exceeded": budget.on_exceeded,
        "set_at": each.stored.used_at,
        "reached": each.reached,
        "blocked_calls": each.blocked_calls,
    }
    if each.spread is not None:
        told["values"] = asdict(each.spread)
    return {**told, "states": [_plain_state(state) for state in each.states]}


def _plain_state(state: BudgetState) -> dict[str, Any]:
    return {name: value for name, value in asdict(state).items() if name != "budget"}


def _text(value: object) -> str:
    if isinstance(value, datetime):
        return value.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return f"{value:f}" if isinstance(value, Decimal) else str(value)
