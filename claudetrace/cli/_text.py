"""Counts, amounts and names as people read them."""

from __future__ import annotations

import textwrap
import unicodedata
from decimal import Decimal
from itertools import accumulate
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

NONE = "(none)"
"""The key of rows that have none."""
LONGEST_CELL = 48


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
