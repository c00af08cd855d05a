"""`window_of`: the span of time that a moment's spend counts in, by the calendar of a time zone or rolling."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple
from zoneinfo import ZoneInfo

from claudetrace._errors import ClaudetraceError

if TYPE_CHECKING:
    from collections.abc import Callable

CALENDAR = ("hour", "day", "week", "month", "total")
ROLLING = "rolling:"
BUCKETS = 60
"""A rolling window forgets in steps of a 60th of its length, each step later than it could, never earlier."""
SHORTEST_S, LONGEST_S = 60, 366 * 86_400
_UNIT_S = {"m": 60, "h": 3600, "d": 86_400, "w": 604_800}


class Window(NamedTuple):
    """From `start` until before `end`, in seconds since 1970 UTC; `end` is `None` for all time.

    `slot` names the counter that a call is charged to, and the counters from `since` to `until` are what the
    limit holds for: the same one by the calendar, and 60 or so of them where the window rolls.
    """

    start: int
    end: int | None
    slot: int
    since: int
    until: int

    @property
    def start_at(self) -> datetime:
        return datetime.fromtimestamp(self.start, UTC)

    @property
    def end_at(self) -> datetime | None:
        return None if self.end is None else datetime.fromtimestamp(self.end, UTC)


def window_of(per: str, timezone: str, at: float) -> Window:
    """The window of the moment `at`, in seconds since 1970. Days have 23 or 25 hours where clocks change."""
    if per == "total":
        return Window(0, None, 0, 0, 0)
    if per.startswith(ROLLING):
        return _rolling(rolling_s(per), at)
    start, end = _edges(per, timezone, at)
    return Window(start, end, start, start, start)


def _rolling(length: int, at: float) -> Window:
    """The window that ends now. Charges of a clock that ran ahead count too, or two of them could share one."""
    bucket = bucket_s(length)
    slot = int(at) // bucket * bucket
    return Window(int(at) - length, slot + bucket + length, slot, slot - length, slot + length)


def bucket_s(length: int) -> int:
    """How long one counter of a rolling window is, in seconds."""
    return length // BUCKETS


@lru_cache(maxsize=64)
def rolling_s(per: str) -> int:
    """The length of `rolling:24h` in seconds, from a minute to a year. Raises `ClaudetraceError`."""
    match = re.fullmatch(r"rolling:(\d{1,9})([mhdw])", per)
    length = int(match[1]) * _UNIT_S[match[2]] if match else 0
    if not SHORTEST_S <= length <= LONGEST_S:
        raise ClaudetraceError(f"per={per!r} cannot be used: write rolling:30m, rolling:24h or rolling:7d, to 366d")
    return length


def _hour(local: datetime, _zone: ZoneInfo) -> tuple[int, int]:
    start = int(local.replace(minute=0, second=0, microsecond=0).timestamp())
    end, now = start + 3600, local.timestamp()
    while end <= now:
        # Where clocks are set back by half an hour, one hour of the year is longer.
        end += 1800
    return start, end


def _midnight(day: date, zone: ZoneInfo) -> int:
    """The first moment of `day`: where clocks skip midnight, the moment at which they do."""
    return int(datetime(day.year, day.month, day.day, tzinfo=zone).timestamp())


def _day(local: datetime, zone: ZoneInfo) -> tuple[int, int]:
    today = local.date()
    return _midnight(today, zone), _midnight(today + timedelta(days=1), zone)


def _week(local: datetime, zone: ZoneInfo) -> tuple[int, int]:
    monday = local.date() - timedelta(days=local.weekday())
    return _midnight(monday, zone), _midnight(monday + timedelta(days=7), zone)


def _month(local: datetime, zone: ZoneInfo) -> tuple[int, int]:
    first = local.date().replace(day=1)
    return _midnight(first, zone), _midnight((first + timedelta(days=31)).replace(day=1), zone)


_EDGES: dict[str, Callable[[datetime, ZoneInfo], tuple[int, int]]] = {
    "hour": _hour,
    "day": _day,
    "week": _week,
    "month": _month,
}
_latest: dict[tuple[str, str], tuple[int, int]] = {}
"""The edges found last, since nearly every call is in the window of the one before it."""


def _edges(per: str, timezone: str, at: float) -> tuple[int, int]:
    known = _latest.get((per, timezone))
    if known is not None and known[0] <= at < known[1]:
        return known
    zone = ZoneInfo(timezone)
    found = _EDGES[per](datetime.fromtimestamp(at, zone), zone)
    _latest[per, timezone] = found
    return found
