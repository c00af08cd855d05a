"""Counts, amounts and names as people read them, and tables of them that fit the screen."""

from __future__ import annotations

import shutil
import sys
import textwrap
import unicodedata
from collections.abc import Mapping
from decimal import Decimal
from itertools import accumulate
from typing import TYPE_CHECKING, NamedTuple

import click

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

NONE = "(none)"
"""The key of rows that have none."""
LONGEST_CELL = 48
GAP = "  "
SHORTEST_CELL = 8


def width_of(text: str) -> int:
    """How many columns of a terminal it takes."""
    return sum(0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)


def plain(text: str, longest: int = LONGEST_CELL) -> str:
    """`text` on one line of at most `longest`, without characters that control a terminal."""
    shown = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
    if width_of(shown) <= longest:
        return shown
    ends = accumulate(map(width_of, shown))
    return shown[: sum(end < longest for end in ends)] + "…"


def wrapped(lines: Iterable[str], width: int | None) -> list[str]:
    """The sentences, in lines of at most `width`."""
    return [part for line in lines for part in (textwrap.wrap(line, width) or [""] if width else [line])]


def counted(count: int, noun: str) -> str:
    """`1 call`, `1,234 calls`."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def calls_text(count: int) -> str:
    """The same of calls, which most counts are of."""
    return counted(count, "call")


def count_text(count: int | None) -> str:
    """`count` with thousands separators; `–` where it is not known."""
    return "–" if count is None else f"{count:,}"


def short_count(count: int) -> str:
    """`count` in at most five characters: 1234, 54.7k, 1.23M."""
    if abs(count) < 10_000:
        return str(count)
    for unit, size in (("k", 10**3), ("M", 10**6), ("G", 10**9), ("T", 10**12)):
        if abs(count) < 999.5 * size:
            return f"{count / size:.3g}{unit}"
    return f"{count:.1e}"


def usd_digits(amounts: Iterable[Decimal]) -> int:
    """How many decimals tell these amounts apart: two for large ones, more for small ones."""
    largest = max((abs(amount) for amount in amounts), default=Decimal(0))
    return 2 if largest >= 1000 else 4 if largest >= Decimal("0.01") else 6


def usd_text(amount: Decimal | None, digits: int) -> str:
    """`amount` rounded to `digits` decimals. One that rounds to zero is shown as below the smallest: `<$0.01`."""
    if amount is None:
        return "unknown"
    smallest, sign = Decimal(1).scaleb(-digits), "-" if amount < 0 else ""
    # Exactly half of it rounds to zero too.
    if 0 < abs(amount) <= smallest / 2:
        return f"{sign}<${smallest:f}"
    return f"{sign}${abs(amount):,.{digits}f}"


def bytes_text(size: int) -> str:
    """`size` in the unit that fits."""
    for unit, power in (("GB", 3), ("MB", 2), ("kB", 1)):
        if size >= 1000**power:
            return f"{size / 1000**power:.1f} {unit}"
    return f"{size} bytes"


class Column(NamedTuple):
    """One column of a table, and how it gives way on a narrow screen."""

    head: str
    cells: Sequence[str]
    short: Sequence[str] | None = None
    """The same cells in fewer characters."""
    drop: int = 0
    """The column with the highest number is left out first; 0 always stays."""
    left: bool = False
    least: int = 0
    """The smallest width."""


def columns(
    heads: Mapping[str, int] | Sequence[str], rows: Iterable[Sequence[str]], *, left: Collection[int] = (0,)
) -> list[Column]:
    """The columns of `rows` under `heads`, which may say their `drop`; those in `left` are aligned to the left."""
    cells = [*zip(*rows, strict=True)] or [()] * len(heads)
    drops = heads.values() if isinstance(heads, Mapping) else [0] * len(heads)
    return [
        Column(head, column, None, drop, left=number in left)
        for number, (head, column, drop) in enumerate(zip(heads, cells, drops, strict=True))
    ]


def table(
    made: Iterable[Column],
    width: int | None = None,
    *,
    total: bool = False,
    colors: Sequence[str | None] = (),
    more: str = "--wide",
) -> str:
    """The columns as text of at most `width`, with a line that says what did not fit and that `more` shows it.

    First counts are shortened, then columns are left out, then long values are cut. With `total`, the last row is
    the sum of the others.
    """
    kept, dropped = list(made), list[str]()
    if is_rounded := not _fits(kept, width) and any(each.short for each in kept):
        kept = [each._replace(cells=each.short or each.cells) for each in kept]
    while not _fits(kept, width) and (last := max(kept, key=lambda each: each.drop)).drop:
        kept.remove(last)
        dropped.insert(0, last.head)
    for longest in range(LONGEST_CELL, SHORTEST_CELL - 1, -1):
        if _fits(kept, width):
            break
        kept = [each._replace(cells=[plain(c, longest) for c in each.cells]) if each.left else each for each in kept]
    head, *lines = _lines(kept)
    for number, color in enumerate(colors):
        lines[number] = click.style(lines[number], fg=color) if color else lines[number]
    if total:
        lines.insert(-1, "─" * _line_width(kept))
    told = ["numbers are rounded"] if is_rounded and any(each.short for each in kept) else []
    told += [f"left out: {', '.join(dropped)}"] if dropped else []
    note = "; ".join(told)
    notes = wrapped([f"{note[0].upper()}{note[1:]}. {more} shows all."] if note else [], width)
    return "\n".join([click.style(head, bold=True), *lines, *notes])


def _lines(made: Sequence[Column]) -> list[str]:
    widths = _widths(made)
    rows = zip(*((each.head, *each.cells) for each in made), strict=True)
    return [
        GAP.join(_padded(cell, width, each.left) for cell, width, each in zip(row, widths, made, strict=True)).rstrip()
        for row in rows
    ]


def _widths(made: Iterable[Column]) -> list[int]:
    return [max([each.least, *map(width_of, (each.head, *each.cells))]) for each in made]


def _line_width(made: Sequence[Column]) -> int:
    return sum(_widths(made)) + len(GAP) * (len(made) - 1)


def _fits(made: Sequence[Column], width: int | None) -> bool:
    return width is None or _line_width(made) <= width


def _padded(text: str, width: int, left: bool) -> str:
    space = " " * (width - width_of(text))
    return text + space if left else space + text


def terminal_width(*, wide: bool = False) -> int | None:
    """How many characters fit a line; `None` for a file, a pipe or a `wide` table, which are never cut."""
    return None if wide or not is_screen() else shutil.get_terminal_size().columns


def is_screen() -> bool:
    """Whether a person reads the output."""
    return sys.stdout.isatty()
