"""What is left of the month's budget, day by day, and what the month comes to at this pace."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from markupsafe import Markup

from claudetrace._budgets._match import coverage
from claudetrace_dashboards import _format as show
from claudetrace_dashboards._budget import SETTING, Limit, monthly_limit, stored_budgets
from claudetrace_dashboards._charts import Chart, Point, Series
from claudetrace_dashboards._filters import SPANS, Filters
from claudetrace_dashboards._panel import Ask, Panel
from claudetrace_dashboards._pieces import axis_usd

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from claudetrace import Budget
    from claudetrace_dashboards._panel import Answer, Scope

DAY = timedelta(days=1)


def this_month(filters: Filters) -> Filters:
    """The present month with the same filters, whatever the page's range is."""
    since, until = SPANS["month"](filters.now)
    return replace(filters, preset="custom", since=since, until=until)


def draw(scope: Scope, answers: Mapping[str, Answer]) -> Markup | None:
    month, now = this_month(scope.filters), scope.filters.now
    days: dict[str, int] = defaultdict(int)
    for row in answers["cost"].rows:
        days[row["period"]] += row["spend_picousd"] or 0
    spent = sum(days.values())
    budgets = stored_budgets(scope)
    limit = monthly_limit(scope, budgets)
    passed = (now - month.since) / (month.until - month.since)
    forecast = round(spent / passed) if passed > 0 else spent
    words = _words(spent, forecast, limit) + _uncovered(budgets, answers["payers"].rows)
    return _chart(scope, month, days, forecast, limit).__html__() + words


def _uncovered(budgets: Sequence[Budget], calls: Sequence[Mapping[str, Any]]) -> Markup:
    """Which share of the latest calls is under no budget, and why."""
    count, why = coverage(budgets, calls)
    if not budgets or not why:
        return Markup("")
    reasons = ", ".join(f"{number:,} {reason}" for reason, number in why.most_common())
    told = Markup("{:.0%} of the last {:,} calls that cost something are under no budget: {}.")
    return Markup('<p class="words">{}</p>').format(told.format(why.total() / count, count, reasons))


def _chart(scope: Scope, month: Filters, days: Mapping[str, int], forecast: int, limit: Limit | None) -> Chart:
    """What is left of the budget; without one, what was spent."""
    today, length = scope.filters.now, (month.until - month.since).days
    points: list[Point] = []
    total = 0
    for number in range(length):
        at = month.since + number * DAY
        begun = at <= today
        total += days.get(f"{at:%Y-%m-%d}", 0) if begun else 0
        pace = forecast * (number + 1) // length
        plan = limit.picousd * (length - number - 1) // length if limit else None
        values = [_left(total, limit) if begun else None, _left(pace, limit) if at + DAY > today else None]
        values += [plan] if limit else []
        points.append(
            Point(
                label=f"{at.day} {at:%b}",
                title=f"{at:%a %Y-%m-%d}",
                values=tuple(None if value is None else value / show.PICOUSD for value in values),
                texts=tuple(show.usd_text(value) for value in values),
                href=scope.url("calls", scope.filters.within(at, at + DAY)) if begun else None,
            )
        )
    series = [
        Series(name="Left" if limit else "Spent", color=0, area=True),
        Series(name="At this pace", color=0, dashed=True),
    ]
    series += [Series(name="Even pace", color="plain", dashed=True)] if limit else []
    return Chart(
        kind="lines",
        summary="What is left of the month's budget by day" if limit else "Spent this month by day",
        first_head="Day (UTC)",
        series=tuple(series),
        points=tuple(points),
        axis=axis_usd,
        height=168,
    )


def _left(total: int, limit: Limit | None) -> int:
    return limit.picousd - total if limit else total


def _words(spent: int, forecast: int, limit: Limit | None) -> Markup:
    if limit is None:
        told = Markup(
            '{} spent. At this pace {} by the month\'s end. <span class="about">No monthly budget is set for these '
            "calls: a Budget, or the plugin's setting {}.</span>"
        ).format(show.usd(spent, 2), show.usd(forecast, 2), SETTING)
        return Markup('<p class="words">{}</p>').format(told)
    rest = limit.picousd - forecast
    css, word = ("worse", "over") if rest < 0 else ("better", "left")
    told = Markup('{} of {} spent ({}). At this pace {} by the month\'s end, <span class="{}">{} {}</span>.')
    return Markup('<p class="words">{}</p>').format(
        told.format(
            show.usd(spent, 2), show.usd(limit.picousd, 2), limit.name, show.usd(forecast, 2), css,
            show.usd(abs(rest), 2), word,
        )
    )  # fmt: skip


BURN_DOWN = Panel(
    name="budget",
    title="This month",
    about="What is left of its budget, or spent; UTC, whatever the range",
    asks={"cost": Ask("cost_by_time", this_month), "payers": Ask("latest_payers")},
    draw=draw,
)
