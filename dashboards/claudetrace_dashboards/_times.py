"""The hours or days of a range, each with its label, its rows' link and what was found for it."""

from __future__ import annotations

from collections import defaultdict
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, NamedTuple

from markupsafe import Markup

if TYPE_CHECKING:
    from collections.abc import Mapping

    from claudetrace_dashboards._panel import Answer, Scope

MOST_POINTS = 4000


class Period(NamedTuple):
    """An hour or a day of the range."""

    key: str
    label: str
    title: str
    href: str
    partial: bool = False
    """Whether it is not over."""


def periods(scope: Scope, answer: Answer, rows: Mapping[str, str] | None = None, page: str = "calls") -> list[Period]:
    """Every hour or day that `answer` is about, up to now, whether anything was found in it or not.

    `rows` narrows what their links lead to, on `page`.
    """
    hourly = unit(answer) == "hour"
    at, until = _moment(answer.statement.since), _moment(answer.statement.until)
    step = timedelta(hours=1) if hourly else timedelta(days=1)
    until = min(until, scope.filters.now.replace(minute=0, second=0, microsecond=0) + timedelta(hours=1))
    found: list[Period] = []
    while at < until and len(found) < MOST_POINTS:
        within = scope.filters.within(at, at + step)
        partial = at + step > scope.filters.now
        so_far = ", so far" if partial else ""
        found.append(
            Period(
                f"{at:%Y-%m-%dT%H}" if hourly else f"{at:%Y-%m-%d}",
                f"{at:%H:00}" if hourly else f"{at.day} {at:%b}",
                (f"{at:%a %Y-%m-%d %H:00} UTC" if hourly else f"{at:%a %Y-%m-%d}") + so_far,
                scope.url(page, within, **(rows or {})),
                partial,
            )
        )
        at += step
    return found


def by_period(answer: Answer, key: str, value: str) -> tuple[list[str], dict[str, dict[str, Any]]]:
    """The values of the column `key`, most first, and for each period what each of them has as `value`."""
    totals: dict[str, Any] = defaultdict(int)
    found: dict[str, dict[str, Any]] = defaultdict(dict)
    for row in answer.rows:
        totals[row[key]] += row[value] or 0
        found[row["period"]][row[key]] = (found[row["period"]].get(row[key]) or 0) + (row[value] or 0)
    return sorted(totals, key=lambda name: (-totals[name], name)), found


def unit(answer: Answer) -> str:
    """`hour` or `day`: what a point of a chart is."""
    return "hour" if answer.statement.parameters["period_chars"] == 13 else "day"


def local_time(stamp: str) -> Markup:
    """A moment that the browser shows by its own clock; without a script it is UTC and says so."""
    utc = f"{stamp[:10]} {stamp[11:19]} UTC"
    return Markup('<time datetime="{}" title="{}">{}</time>').format(stamp, utc, utc)


def _moment(hour: str) -> datetime:
    return datetime.strptime(hour, "%Y-%m-%dT%H").replace(tzinfo=UTC)
