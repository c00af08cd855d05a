"""Charts as SVG that any width stretches: across in per cent, down in pixels, so that text keeps its size.

Each has its numbers in a table behind it; the picture itself is hidden from screen readers and the keyboard.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil
from typing import TYPE_CHECKING, Literal

from markupsafe import Markup, escape

from claudetrace_dashboards._colors import css
from claudetrace_dashboards._scale import Scale

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

HEIGHT = 200
BELOW = 26
ACROSS = 1000
LABELS = 5
GAP = 0.12
WIDE = 8
"""From which part of the width on, in per cent, the last label fits under its point."""
NAMES_APART = 17
"""How far apart the names beside a chart are at least."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """One colour of a chart. `color` is its number as `_colors` has them, or the name of a meaning."""

    name: str
    color: int | str
    dashed: bool = False
    area: bool = False

    def css(self) -> str:
        return css(self.color)


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """What a chart shows at one time: a number for each series, or `None` where there is none."""

    label: str
    title: str
    values: tuple[float | None, ...]
    texts: tuple[str, ...]
    href: str | None = None
    total: str | None = None
    partial: bool = False
    """Whether its time is not over, so that its numbers will grow."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Chart:
    """Points over time, as bars on top of each other or as lines."""

    kind: Literal["bars", "lines"]
    summary: str
    first_head: str
    series: tuple[Series, ...]
    points: tuple[Point, ...]
    axis: Callable[[float], str]
    total_head: str | None = None
    top: float | None = None
    height: int = HEIGHT

    def __html__(self) -> str:
        scale = Scale.of(self._highest(), self.height, self.top, self._lowest())
        return (
            Markup('<figure class="chart{}"><figcaption class="hidden">{}</figcaption>').format(
                " named" if self._is_named() else "", self.summary
            )
            + Markup('<div class="picture" aria-hidden="true">')
            + _axis(scale, self.axis)
            + Markup('<svg class="plot" width="100%" height="{}">').format(self.height + BELOW)
            + _grid(scale)
            + (self._bars(scale) if self.kind == "bars" else self._lines(scale))
            + self._labels()
            + self._targets()
            + Markup("</svg>")
            + self._names(scale)
            + Markup("</div>")
            + _legend(self.series)
            + self.table()
            + Markup("</figure>")
        )

    def table(self) -> Markup:
        """The numbers behind the picture, for the keyboard and for screen readers."""
        heads = [self.first_head, *(series.name for series in self.series)]
        if self.total_head:
            heads.append(self.total_head)
        return (
            Markup('<details class="behind"><summary>Table</summary><div class="scroll" tabindex="0" role="group"')
            + Markup(' aria-label="{}"><table><thead><tr>').format(self.summary)
            + Markup("").join(Markup('<th scope="col">{}</th>').format(head) for head in heads)
            + Markup("</tr></thead><tbody>")
            + Markup("").join(self._row(point) for point in self.points)
            + Markup("</tbody></table></div></details>")
        )

    def _row(self, point: Point) -> Markup:
        name = Markup('<a href="{}">{}</a>').format(point.href, point.title) if point.href else escape(point.title)
        texts = [*point.texts, *([point.total or ""] if self.total_head else [])]
        return (
            Markup('<tr><th scope="row">{}</th>').format(name)
            + Markup("").join(Markup('<td class="number">{}</td>').format(text) for text in texts)
            + Markup("</tr>")
        )

    def _highest(self) -> float:
        if self.kind == "bars":
            return max((sum(value or 0 for value in point.values) for point in self.points), default=0)
        return max((value for point in self.points for value in point.values if value is not None), default=0)

    def _lowest(self) -> float:
        """Zero, or less where a line goes below it."""
        if self.kind == "bars":
            return 0
        return min((value for point in self.points for value in point.values if value is not None), default=0)

    def _place(self, number: int) -> tuple[float, float]:
        """Where a point begins, and how wide it is, in per cent."""
        width = 100 / max(1, len(self.points))
        return number * width, width

    def _bars(self, scale: Scale) -> Markup:
        parts: list[str] = []
        for number, point in enumerate(self.points):
            left, width = self._place(number)
            below = 0.0
            parts.append('<g class="partial">' if point.partial else "<g>")
            for series, value in zip(self.series, point.values, strict=True):
                if not value:
                    continue
                low, high = scale.y(below), scale.y(below + value)
                below += value
                place = f'x="{left + width * GAP / 2:.3f}%" y="{high:.2f}" width="{width * (1 - GAP):.3f}%"'
                parts.append(block(series.css(), f'{place} height="{max(low - high, 0.4):.2f}"'))
            parts.append("</g>")
        return Markup('<g class="bars">{}</g>').format(Markup("".join(parts)))  # noqa: S704 - numbers and names of ours

    def _lines(self, scale: Scale) -> Markup:
        paths = []
        for place, series in enumerate(self.series):
            runs = list(_runs([point.values[place] for point in self.points]))
            for run in runs:
                spots = [(self._middle(number), scale.y(value)) for number, value in run]
                line = "M" + "L".join(f"{x:.1f} {y:.2f}" for x, y in _visible(spots))
                if series.area:
                    floor_y = scale.y(0)
                    paths.append(
                        f'<path class="area {series.css()}" d="{line}L{spots[-1][0]:.1f} {floor_y:.2f}'
                        f'L{spots[0][0]:.1f} {floor_y:.2f}Z"/>'
                    )
                dashed = " dashed" if series.dashed else ""
                paths.append(f'<path class="line {series.css()}{dashed}" d="{line}"/>')
        return Markup(  # noqa: S704 - numbers and names of ours
            f'<svg class="lines" width="100%" height="{self.height}" viewBox="0 0 {ACROSS} {self.height}" '
            f'preserveAspectRatio="none">{"".join(paths)}</svg>'
        )

    def _is_named(self) -> bool:
        """Whether the series stand beside the chart by name, where there is room."""
        return 1 < len(self.series) <= (self.height - 8) // NAMES_APART

    def _names(self, scale: Scale) -> Markup:
        """The name of each series at the height at which its last values are."""
        if not self._is_named():
            return Markup("")
        mark = Markup('<g>{}<text class="tick" x="17" y="{:.1f}">{}</text></g>')
        drawn = Markup("")
        for series, y in self._heights(scale):
            drawn += mark.format(_key(series, y), y + 4, series.name)
        return Markup('<svg class="names" height="{}">{}</svg>').format(self.height + BELOW, drawn)

    def _heights(self, scale: Scale) -> list[tuple[Series, float]]:
        """Each series with the height of its name: its own, or as near as the others let it."""
        found, below = [], 0.0
        for place, series in enumerate(self.series):
            known = [value for point in self.points if (value := point.values[place]) is not None]
            if self.kind == "bars":
                mean = sum(known) / max(1, len(self.points))
                found.append((scale.y(below + mean / 2), series))
                below += mean
            else:
                found.append((scale.y(known[-1] if known else 0), series))
        # From below upwards, then back down from the top edge where they would not fit.
        found.sort(key=lambda each: -each[0])
        heights: list[float] = []
        for y, _ in found:
            heights.append(min(y, self.height - 4, heights[-1] - NAMES_APART if heights else y))
        least = 8.0
        for number in range(len(heights) - 1, -1, -1):
            heights[number] = max(heights[number], least)
            least = heights[number] + NAMES_APART
        return [(series, y) for (_, series), y in zip(found, heights, strict=True)]

    def _middle(self, number: int) -> float:
        left, width = self._place(number)
        return (left + width / 2) * ACROSS / 100

    def _labels(self) -> Markup:
        step = max(1, ceil(len(self.points) / LABELS))
        first = (len(self.points) - 1) % step if step > 1 else 0
        mark = Markup('<text class="tick{}" x="{:.2f}%" y="{}">{}</text>')
        labels = []
        for number in range(first, len(self.points), step):
            left, width = self._place(number)
            last = number == len(self.points) - 1 and width < WIDE
            at = 100 if last else left + width / 2
            labels.append(mark.format(" last" if last else "", at, self.height + 18, self.points[number].label))
        return Markup("").join(labels)

    def _targets(self) -> Markup:
        """What the pointer finds: the whole height of each point, with its numbers and a link to its rows."""
        parts = []
        for number, point in enumerate(self.points):
            left, width = self._place(number)
            rect = Markup('<rect class="target" x="{:.3f}%" y="0" width="{:.3f}%" height="{}"/>').format(
                left, width, self.height
            )
            tip = "\n".join(self._tip(point))
            if point.href:
                mark = Markup('<a href="{}" tabindex="-1" data-tip="{}">{}<title>{}</title></a>')
                parts.append(mark.format(point.href, tip, rect, tip.replace("\t", " ")))
            else:
                mark = Markup('<g data-tip="{}">{}<title>{}</title></g>')
                parts.append(mark.format(tip, rect, tip.replace("\t", " ")))
        return Markup("").join(parts)

    def _tip(self, point: Point) -> Iterator[str]:
        yield point.title
        for series, value, text in zip(self.series, point.values, point.texts, strict=True):
            if value:
                yield f"{series.css()}\t{_one_line(series.name)}\t{text}"
        if point.total is not None:
            yield f"\t{self.total_head or 'Total'}\t{point.total}"


def _axis(scale: Scale, text: Callable[[float], str]) -> Markup:
    return Markup('<svg class="axis" height="{}">{}</svg>').format(
        scale.height + BELOW,
        Markup("").join(
            Markup('<text class="tick" x="100%" y="{:.1f}">{}</text>').format(scale.y(tick) + 4, text(tick))
            for tick in scale.ticks()
        ),
    )


def _grid(scale: Scale) -> Markup:
    return Markup("").join(
        Markup('<line class="{0}" x1="0" x2="100%" y1="{1:.1f}" y2="{1:.1f}"/>').format(
            "grid" if tick else "base", scale.y(tick)
        )
        for tick in scale.ticks()
    )


def block(classes: str, place: str) -> Markup:
    """A rectangle in a colour; one with stripes has those on top, as the page defines them."""
    color, _, stripes = classes.partition(" ")
    over = f'<rect class="stripes" fill="url(#{stripes})" {place}/>' if stripes else ""
    return Markup(f'<rect class="{color}" {place}/>{over}')  # noqa: S704 - numbers and names of ours


def _key(series: Series, y: float) -> Markup:
    """What a series looks like, at the height `y`."""
    if series.dashed:
        mark = Markup('<line class="line {0} dashed" x1="0" x2="12" y1="{1:.1f}" y2="{1:.1f}"/>')
        return mark.format(series.css(), y)
    return block(series.css(), f'width="10" height="10" y="{y - 5:.1f}" rx="2"')


def _legend(series: Sequence[Series]) -> Markup:
    if len(series) < 2:
        return Markup("")
    return Markup('<ul class="legend">{}</ul>').format(
        Markup("").join(
            Markup('<li><svg class="key" width="12" height="12" aria-hidden="true">')
            + _key(each, 6)
            + Markup("</svg>{}</li>").format(each.name)
            for each in series
        )
    )


def _runs(values: Sequence[float | None]) -> Iterator[list[tuple[int, float]]]:
    """The stretches of `values` without a gap, each value with its place."""
    run: list[tuple[int, float]] = []
    for number, value in enumerate([*values, None]):
        if value is not None:
            run.append((number, value))
        elif run:
            yield run
            run = []


def _visible(spots: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """The spots of a line; a lone one is drawn as a short dash."""
    return spots if len(spots) > 1 else [(spots[0][0] - 4, spots[0][1]), (spots[0][0] + 4, spots[0][1])]


def _one_line(text: str) -> str:
    return " ".join(text.split())


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """A piece of a row's bar."""

    name: str
    color: int | str
    value: float
    text: str


def row_bar(parts: Sequence[Part], longest: float, *, start: float = 0) -> Markup:
    """A bar inside a table's row, of `longest` at full width, which begins at `start`."""
    left, drawn = (100 * start / longest if longest > 0 else 0.0), Markup("")
    for part in parts:
        width = 100 * part.value / longest if longest > 0 else 0
        if width > 0:
            place = f'x="{min(left, 99.5):.3f}%" width="{max(width, 0.4):.3f}%" height="14"'
            drawn += block(css(part.color), place)
            left += width
    tip = "\n".join(f"{css(part.color)}\t{_one_line(part.name)}\t{part.text}" for part in parts if part.value)
    return Markup('<svg class="bar" width="100%" height="14" aria-hidden="true" data-tip="\n{}">{}</svg>').format(
        tip, drawn
    )
