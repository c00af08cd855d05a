"""The statement: what each customer, or value of any dimension, cost each month; what finance sends on."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from markupsafe import Markup

from claudetrace_dashboards import _format as show
from claudetrace_dashboards._panel import Ask, Panel
from claudetrace_dashboards._pieces import NONE, Column, is_too_low, table
from claudetrace_dashboards.pages._page import Page
from claudetrace_dashboards.queries._periods import key_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from claudetrace_dashboards._filters import Filters
    from claudetrace_dashboards._panel import Answer, Row, Scope

DIMENSIONS = ("customer", "feature", "model", "user", "prompt", "platform")
SPLITS = {"": "Nothing", "feature": "Feature", "model": "Model", "feature,model": "Feature and model"}
SPANS = {"This month": (0, 1), "Last month": (1, 1), "3 months": (2, 3), "6 months": (5, 6), "12 months": (11, 12)}
"""How many months ago each begins, and how many it has."""
MOST_MONTHS = 13


def chosen(scope: Scope) -> dict[str, str]:
    """The dimension and what it is split by, as the URL says."""
    split = scope.arguments.get("split", "")
    by = scope.arguments.get("by") or ("customer" if not scope.tags or "customer" in scope.tags else "feature")
    names = [name for name in (split if split in SPLITS else "").split(",") if name and name != by]
    return {"by": by, "split": ",".join(names)}


def _draw(scope: Scope, answers: Mapping[str, Answer]) -> Markup | None:
    rows = answers["statement"].rows
    if not rows:
        return None
    by, split = chosen(scope)["by"], [name for name in chosen(scope)["split"].split(",") if name]
    months = sorted({row["month"] for row in rows})[-MOST_MONTHS:]
    lines: dict[tuple[Any, ...], dict[str, Row]] = {}
    for row in rows:
        key = ("rest",) if row.get("rest") else key_of(row)
        lines.setdefault(key, {})[row["month"]] = row
    whole = {key: _total(list(found.values())) for key, found in lines.items()}
    order = sorted(lines, key=lambda key: (key == ("rest",), -whole[key]["spend_picousd"], key))
    shown = [{"key": key, "months": lines[key], "whole": whole[key]} for key in order]
    sums = {month: _total([row for row in rows if row["month"] == month]) for month in months}
    total = {"key": None, "months": sums, "whole": _total(list(sums.values()))}
    columns = [
        Column(by.capitalize(), lambda line: _name(line, 0), css="name"),
        *(Column(name.capitalize(), _part(place), css="name") for place, name in enumerate(split, 1)),
        *(Column(_head(scope, month), _of(month), number=True, minor=True) for month in months),
        Column("Total", lambda line: _money(line["whole"]), number=True),
    ]
    caption = f"Cost by {' and '.join([by, *split])} and month"
    return _choices(scope) + table(caption, columns, shown, "statement", foot=[total])


def _total(rows: list[Row]) -> Row:
    names = ("spend_picousd", "calls", "unpriced_calls", "lower_bound_calls")
    return {**{name: sum(row[name] for row in rows) for name in names},
            "too_low": any(row.get("too_low") for row in rows)}  # fmt: skip


def _head(scope: Scope, month: str) -> str:
    return f"{month}, so far" if month == f"{scope.filters.now:%Y-%m}" else month


def _of(month: str) -> Any:
    return lambda line: _money(line["months"][month]) if month in line["months"] else show.UNKNOWN


def _money(row: Row) -> Markup:
    return show.usd(row["spend_picousd"], 2, at_least=is_too_low(row))


def _part(place: int) -> Any:
    return lambda line: _name(line, place)


def _name(line: Row, place: int) -> Markup | str:
    key = line["key"]
    if key is None:
        return "" if place else "Total"
    if key == ("rest",):
        return "" if place else Markup('<span class="unknown">{:,} others</span>').format(_rest(line))
    if not place and key[-1]:
        return Markup('<span class="unknown">{}, beyond the thousandth of a day</span>').format(key[0])
    return key[place] or Markup('<span class="unknown">{}</span>').format(NONE)


def _rest(line: Row) -> int:
    return int(max(row["rest"] for row in line["months"].values()))


def _choices(scope: Scope) -> Markup:
    """The dimension, what it is split by, and which months."""
    now = chosen(scope)
    tags = [tag for tag in scope.tags if tag not in DIMENSIONS][:10]
    by = [(name, scope.url("statement", by=name, split=now["split"]), name == now["by"])
          for name in (*DIMENSIONS, *tags)]  # fmt: skip
    split = [(words, scope.url("statement", by=now["by"], split=name), name == now["split"])
             for name, words in SPLITS.items() if now["by"] not in name.split(",")]  # fmt: skip
    months = [
        (words, scope.url("statement", of_months(scope.filters, *span), **now),
         of_months(scope.filters, *span).arguments() == scope.filters.arguments())
        for words, span in SPANS.items()
    ]  # fmt: skip
    return Markup('<div class="choices">{}{}{}</div>').format(
        _pills("Each", by), _pills("Split by", split), _pills("Months", months)
    )


def _pills(title: str, choices: list[tuple[str, str, bool]]) -> Markup:
    links = Markup("").join(
        Markup('<a href="{}"{}>{}</a>').format(url, Markup(' aria-current="true"') if here else "", words)
        for words, url, here in choices
    )
    return Markup('<div class="pills" role="group" aria-label="{0}"><span class="about">{0}</span>{1}</div>').format(
        title, links
    )


def of_months(filters: Filters, ago: int, count: int) -> Filters:
    """So many whole months, of which the first began so many months ago."""
    at = filters.now.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    for _ in range(ago):
        at = (at - timedelta(days=1)).replace(day=1)
    until = at
    for _ in range(count):
        until = (until + timedelta(days=32)).replace(day=1)
    return filters.within(at, until)


STATEMENT = Page(
    name="statement",
    title="Statement",
    about="What each cost in a month, to the total; whole UTC months that the range touches",
    panels=(
        Panel(
            name="statement",
            title="Statement",
            about="List prices at the picodollar, rounded to cents here and exact in the file",
            width="full",
            asks={"statement": Ask("statement", also=chosen, whole_range=True)},
            draw=_draw,
            empty="No calls in these months.",
        ),
    ),
)
