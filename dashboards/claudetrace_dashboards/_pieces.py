"""What several pages draw: tables, cards, charts over time, the change against the period before."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from markupsafe import Markup, escape

from claudetrace_dashboards import _format as show
from claudetrace_dashboards._charts import Chart, Point, Series
from claudetrace_dashboards._times import by_period, periods, unit

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from claudetrace_dashboards._panel import Answer, Row, Scope
    from claudetrace_dashboards._times import Period

TOP = 8
LONG = 9
"""How many characters of a card's figure have room in large type."""
MOST_SERIES = 7
NONE = "(none)"


class Column:
    """A column of a table: its head, and what a row has there. A `minor` one is left out where there is little room."""

    def __init__(
        self, head: str, cell: Callable[[Row], Any], *, number: bool = False, wide: bool = False, css: str = "",
        minor: bool = False,
    ) -> None:  # fmt: skip
        self.head, self.cell = head, cell
        kinds = ("number" if number else "", "wide" if wide else "", css, "minor" if minor else "")
        self.css = " ".join(kind for kind in kinds if kind)


def table(
    caption: str, columns: Sequence[Column], rows: Iterable[Row], css: str = "", *,
    foot: Sequence[Row] = (), most: int | None = None,
) -> Markup:  # fmt: skip
    """The rows as a table that scrolls within its panel. Those after the first `most` wait behind a button."""
    heads = Markup("").join(
        Markup('<th scope="col" class="{}">{}</th>').format(column.css, column.head) for column in columns
    )
    made = [Markup("").join(_cell(each, row) for each in columns) for row in rows]
    body = Markup("").join(
        Markup("<tr{}>{}</tr>").format(Markup(' class="more"') if most is not None and number >= most else "", cells)
        for number, cells in enumerate(made)
    )
    sums = Markup("").join(
        Markup("<tr>{}</tr>").format(Markup("").join(_cell(each, row) for each in columns)) for row in foot
    )
    shown = Markup(
        '<div class="scroll" tabindex="0" role="group" aria-label="{0}"><table class="{1}">'
        '<caption class="hidden">{0}</caption><thead><tr>{2}</tr></thead><tbody>{3}</tbody>{4}</table></div>'
    ).format(caption, css, heads, body, Markup("<tfoot>{}</tfoot>").format(sums) if sums else "")
    if most is None or len(made) <= most:
        return shown
    return shown + Markup('<button type="button" class="further" data-more>{:,} more</button>').format(len(made) - most)


def _cell(column: Column, row: Row) -> Markup:
    return Markup('<td class="{}">{}</td>').format(column.css, column.cell(row))


def shortened(
    caption: str, columns: Sequence[Column], rows: Sequence[Row], css: str, most: int = TOP, foot: Sequence[Row] = ()
) -> Markup:
    """The first of the rows; the others behind “more”."""
    return table(caption, columns, rows, css, foot=foot, most=most)


def link(href: str, text: object, css: str = "") -> Markup:
    return Markup('<a href="{}" class="{}">{}</a>').format(href, css, text)


def spend(row: Row) -> Markup:
    """What the row's calls cost, marked as a lower bound where it is one."""
    return show.usd(row["spend_picousd"], at_least=is_too_low(row))


def is_too_low(row: Row) -> bool:
    """Whether the row's cost is a lower bound: some of it is unpriced, cut short, or counted elsewhere."""
    return bool(row["unpriced_calls"] or row["lower_bound_calls"] or row.get("too_low"))


def value_name(row: Row, href: Callable[[str], str] | None, key: str = "value") -> Markup:
    """The value that a row is about, with a link to what else there is of it; what stands for none or for many has
    no link."""
    if row.get("others"):
        told = "All values beyond the thousandth of their day"
        return Markup('<span class="unknown" title="{}">{}</span>').format(told, row[key])
    if not row[key]:
        return Markup('<span class="unknown">{}</span>').format(NONE)
    return link(href(row[key]), row[key]) if href else escape(row[key])


def card(title: str, figure: Any, *notes: Any, href: str = "") -> Markup:
    """A figure with its name above and what is to be known of it below; `href` is where there is more of it."""
    css = "figure long" if len(escape(figure).striptags()) > LONG else "figure"
    below = Markup("").join(Markup('<span class="note">{}</span>').format(note) for note in notes if note)
    name = link(href, title) if href else escape(title)
    return Markup('<div class="card"><h3>{}</h3><p class="{}">{}</p><p class="notes">{}</p></div>').format(
        name, css, figure, below
    )


def stacked(
    scope: Scope,
    answer: Answer,
    key: str,
    value: str,
    *,
    summary: str,
    text: Callable[[Any], str],
    axis: Callable[[float], str],
    colors: Callable[[str], int | str] | None = None,
    none: str = NONE,
    scale: float = 1,
    rows: Mapping[str, str] | None = None,
    page: str = "calls",
) -> Chart | None:
    """The values of `key` on top of each other, hour by hour or day by day."""
    names, found = by_period(answer, key, value)
    # What comes to nothing would only lengthen the legend.
    names = [name for name in names if any(sums.get(name) for sums in found.values())] or names[:1]
    if not names:
        return None
    shown, others = (names, []) if len(names) <= MOST_SERIES + 1 else (names[:MOST_SERIES], names[MOST_SERIES:])
    series = [Series(name=each or none, color=colors(each) if colors else number) for number, each in enumerate(shown)]
    if others:
        series.append(Series(name=f"{len(others)} others", color="rest"))

    def point(period: Period) -> Point:
        sums = found.get(period.key, {})
        amounts = [sums.get(name, 0) for name in shown]
        amounts += [sum(sums.get(name, 0) for name in others)] if others else []
        values, texts = tuple(amount / scale for amount in amounts), tuple(map(text, amounts))
        total = text(sum(amounts))
        return Point(
            label=period.label,
            title=period.title,
            values=values,
            texts=texts,
            href=period.href,
            total=total,
            partial=period.partial,
        )

    points = tuple(point(period) for period in periods(scope, answer, rows, page))
    return _chart("bars", answer, summary, tuple(series), points, axis, total_head="Total")


def _chart(
    kind: Literal["bars", "lines"],
    answer: Answer,
    summary: str,
    series: tuple[Series, ...],
    points: tuple[Point, ...],
    axis: Callable[[float], str],
    **more: Any,
) -> Chart:
    return Chart(
        kind=kind,
        summary=f"{summary} by {unit(answer)}",
        first_head="Hour (UTC)" if unit(answer) == "hour" else "Day (UTC)",
        series=series,
        points=points,
        axis=axis,
        **more,
    )


def lines(
    scope: Scope,
    answer: Answer,
    series: Sequence[tuple[Series, Callable[[Row], float | None]]],
    *,
    summary: str,
    text: Callable[[float | None], str],
    axis: Callable[[float], str],
    top: float | None = None,
    rows: Mapping[str, str] | None = None,
    page: str = "calls",
) -> Chart | None:
    """A line for each of `series`, hour by hour or day by day; a gap where there is nothing."""
    if not answer.rows:
        return None
    found = {row["period"]: row for row in answer.rows}
    points = []
    for period in periods(scope, answer, rows, page):
        row = found.get(period.key)
        values = tuple(of(row) if row else None for _, of in series)
        points.append(
            Point(
                label=period.label,
                title=period.title,
                values=values,
                texts=tuple(map(text, values)),
                href=period.href,
                partial=period.partial,
            )
        )
    return _chart("lines", answer, summary, tuple(each for each, _ in series), tuple(points), axis, top=top)


def cards(*made: Markup) -> Markup:
    """Figures in a row."""
    return Markup('<div class="cards">{}</div>').format(Markup("").join(made))


def change(now: float | None, before: float | None, *, good: str = "") -> Markup:
    """How much more or less it is than in the period before; `good` is `up` or `down` where either is."""
    text = show.change_text(now, before)
    if text is None:
        return Markup('<span class="change">{}</span>').format("nothing in the period before" if not before else "")
    up = text.startswith(("+", "×"))
    flat = text.startswith("±")
    css = "" if flat or not good else "better" if (good == "up") == up else "worse"
    return Markup(
        '<span class="change {}" title="Against the same part of the period before">{} vs before</span>'
    ).format(css, text)


def points_change(now: float | None, before: float | None, *, good: str) -> Markup:
    """The change of a share, in percentage points."""
    if now is None or before is None:
        return Markup("")
    points = 100 * (now - before)
    if abs(points) < 0.05:
        return Markup('<span class="change">±0 points vs before</span>')
    css = "better" if (good == "up") == (points > 0) else "worse"
    return Markup('<span class="change {}">{}{:.1f} points vs before</span>').format(
        css, "+" if points > 0 else "−", abs(points)
    )


def axis_usd(value: float) -> str:
    """Dollars on an axis, from dollars."""
    if value < 0:
        return f"−{axis_usd(-value)}"
    if value >= 10_000:
        return f"${show.count_text(value)}"
    return f"${value:,.0f}" if value >= 100 or value == 0 else f"${value:.2f}" if value >= 0.05 else f"${value:.4f}"


def axis_count(value: float) -> str:
    return show.count_text(value) if value >= 1 or value == 0 else f"{value:.1f}"


def axis_share(value: float) -> str:
    return f"{100 * value:.0f} %"
