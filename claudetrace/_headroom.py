"""How much room is left in the rate limits that a response names: told as text by the caller, read by the loader."""

from __future__ import annotations

from functools import lru_cache
from math import inf
from operator import truediv
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from claudetrace._call import Row

RATE_LIMITS = "rate_limits"
"""A row has this in the journal alone: a line for the name of each limit, then for what each is, and what remains."""


def with_headroom(row: Row) -> Row:
    """`row` with the limit that has the least room, and how much of it remains, from 0 to 1."""
    if type(told := row.pop(RATE_LIMITS, None)) is not str:
        return row
    lines = told.split("\n")
    count = len(lines) // 3
    shares = _shares(lines[2 * count :], tuple(lines[count : 2 * count]))
    least = min(shares, default=inf)
    if not 0 <= least < 1:
        shares = [inf if share < 0 else share if share == inf else min(share, 1.0) for share in shares]
        least = min(shares, default=inf)
    if least < inf:
        row["rate_limit_headroom"] = least
        row["rate_limit"] = lines[shares.index(least)]
    return row


def _shares(remaining: list[str], limits: tuple[str, ...]) -> list[float]:
    try:
        return [*map(truediv, map(int, remaining), _numbers(limits))]
    except (ValueError, ArithmeticError):
        return [*map(_share, remaining, limits)]


@lru_cache(maxsize=64)
def _numbers(limits: tuple[str, ...]) -> list[int]:
    """The limits as numbers: they are the same for every call of an organization."""
    return [*map(int, limits)]


def _share(remaining: str, limit: str) -> float:
    try:
        return int(remaining) / int(limit)
    except (ValueError, ArithmeticError):
        return inf
