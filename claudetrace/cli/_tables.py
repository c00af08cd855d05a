"""Aligned tables, results of checks, and amounts of money with the digits that tell something."""

from __future__ import annotations

import shutil
import sys
import textwrap
import unicodedata
from decimal import Decimal
from itertools import accumulate
from typing import TYPE_CHECKING, NamedTuple

import click

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

GAP = "  "
NONE = "(none)"
"""The key of rows that have none."""
LONGEST_CELL, LEAST_CELL = 48, 8


class Check(NamedTuple):
    """What was looked at, what is so, and what is wrong with it, if anything."""

    name: str
    value: str
    finding: str | None = None


def plain(text: str, longest: int = LONGEST_CELL) -> str:
    """`text` on one line, without characters that would steer a terminal, cut to `longest`."""
    shown = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
    if _width(shown) <= longest:
        return shown
    ends = accumulate(map(_width, shown))
    return shown[: sum(end < longest for end in ends)] + "…"


def table(
    heads: Sequence[str],
    rows: Iterable[Sequence[str]],
    *,
    left: Collection[int] = (0,),
    least_widths: Sequence[int] = (),
    last_is_total: bool = False,
) -> str:
    """The rows under their heads, the columns `left` to the left and the others to the right."""
    cells = [list(heads), *(list(row) for row in rows)]
    least = (*least_widths, *[0] * (len(heads) - len(least_widths)))
    widths = [max([floor, *map(_width, column)]) for floor, *column in zip(least, *cells, strict=True)]
    lines = [
        GAP.join(
            _padded(cell, width, number in left) for number, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in cells
    ]
    lines = [line.rstrip() for line in lines]
    lines[0] = click.style(lines[0], bold=True)
    if last_is_total:
        lines.insert(-1, "─" * (sum(widths) + len(GAP) * (len(widths) - 1)))
    return "\n".join(lines)


class Column(NamedTuple):
    """A column of a table that is made to fit: its cells, those that say it in less, and when it is left out."""

    head: str
    cells: Sequence[str]
    short: Sequence[str] | None = None
    drop: int = 0
    """The highest goes first; 0 stays."""
    left: bool = False


def terminal_width(*, wide: bool = False) -> int | None:
    """How many characters a line may have; `None` where nobody's screen cuts it, or all is wanted."""
    return None if wide or not is_screen() else shutil.get_terminal_size().columns


def is_screen() -> bool:
    """Whether a person sees the output, and no file or program gets it."""
    return sys.stdout.isatty()


def fitted(columns: Iterable[Column], width: int | None, *, last_is_total: bool = False) -> tuple[str, str | None]:
    """The columns as a table of at most `width`, and what was done to them: counts shortened, then columns left out,
    then long values cut."""
    kept, told = list(columns), []
    if not _fits(kept, width) and any(each.short for each in kept):
        kept = [each._replace(cells=each.short or each.cells) for each in kept]
    dropped: list[str] = []
    while not _fits(kept, width) and (last := max(kept, key=lambda each: each.drop)).drop:
        kept.remove(last)
        dropped.insert(0, last.head)
    if any(each.short is not None and each.cells is each.short for each in kept):
        told.append("numbers are rounded")
    told += [f"left out: {', '.join(dropped)}"] if dropped else []
    if not _fits(kept, width):
        kept = next(
            (cut for most in range(LONGEST_CELL, LEAST_CELL, -1) if _fits(cut := _cut(kept, most), width)),
            _cut(kept, LEAST_CELL),
        )
    left = [number for number, each in enumerate(kept) if each.left]
    rows = list(zip(*(each.cells for each in kept), strict=True))
    shown = table([each.head for each in kept], rows, left=left, last_is_total=last_is_total)
    note = "; ".join(told)
    return shown, f"{note[0].upper()}{note[1:]}. --wide shows all." if note else None


def _cut(columns: Iterable[Column], most: int) -> list[Column]:
    """The columns, their names no wider than `most`."""
    return [each._replace(cells=[plain(c, most) for c in each.cells]) if each.left else each for each in columns]


def wrapped(lines: Iterable[str], width: int | None) -> list[str]:
    """The sentences, in lines of at most `width`."""
    return [part for line in lines for part in (textwrap.wrap(line, width) or [""] if width else [line])]


def _fits(columns: Sequence[Column], width: int | None) -> bool:
    return width is None or _line_width(columns) <= width


def _line_width(columns: Sequence[Column]) -> int:
    widths = [max(map(_width, (each.head, *each.cells))) for each in columns]
    return sum(widths) + len(GAP) * (len(widths) - 1)


def short_count(count: int | None) -> str:
    """`count` in at most five characters: 1234, 54.7k, 1.23M."""
    if count is None or abs(count) < 10_000:
        return "–" if count is None else str(count)
    for unit, size in (("k", 10**3), ("M", 10**6), ("G", 10**9), ("T", 10**12)):
        if abs(count) < 999.5 * size:
            return f"{count / size:.3g}{unit}"
    return f"{count:.1e}"


def _width(text: str) -> int:
    return sum(0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)


def _padded(text: str, width: int, to_left: bool) -> str:
    space = " " * (width - _width(text))
    return text + space if to_left else space + text


def usd_digits(amounts: Iterable[Decimal]) -> int:
    """How many digits after the point tell these amounts apart: cents for large ones, more for small ones."""
    largest = max((abs(amount) for amount in amounts), default=Decimal(0))
    return 2 if largest >= 1000 else 4 if largest >= Decimal("0.01") else 6


def usd_text(amount: Decimal | None, digits: int) -> str:
    """`amount` rounded to `digits`; what would be rounded to nothing is told as less than the least."""
    if amount is None:
        return "unknown"
    least, sign = Decimal(1).scaleb(-digits), "-" if amount < 0 else ""
    # A half is rounded to nothing as well.
    if 0 < abs(amount) <= least / 2:
        return f"{sign}<${least:f}"
    return f"{sign}${abs(amount):,.{digits}f}"


def count_text(count: int | None) -> str:
    """`count` with its thousands apart; `–` where it is not known."""
    return "–" if count is None else f"{count:,}"


def bytes_text(size: int) -> str:
    """`size` in the unit that fits."""
    for unit, power in (("GB", 3), ("MB", 2), ("kB", 1)):
        if size >= 1000**power:
            return f"{size / 1000**power:.1f} {unit}"
    return f"{size} bytes"
