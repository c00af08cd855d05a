"""`window_of`: the span of time that a moment's spend counts in, by the calendar of a time zone or rolling."""

from __future__ import annotations

import re
from bisect import bisect_left
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

    @property
    def rolls(self) -> bool:
        return self.since != self.until

    @property
    def length_s(self) -> int:
        """How long one that rolls is."""
        return (self.until - self.since) // 2

    @property
    def step_s(self) -> int:
        """How long one counter of it is where it rolls."""
        return bucket_s(self.length_s)


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


def period_of(per: str, slot: int) -> int:
    """Names the span in which a thing is told once: the window by the calendar, a span of its length where it
    rolls."""
    return slot // rolling_s(per) if per.startswith(ROLLING) else slot


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


def _hour(at: int, zone: ZoneInfo) -> tuple[int, int]:
    """The hour that the zone's clock shows. Where clocks change in it by less than an hour it is as long as it is, and
    a change from one hour into another ends it."""
    offset = _offset_s(at, zone)
    start = at - (at + offset) % 3600
    end = start + 3600
    if (before := _offset_s(start, zone)) != offset:
        change = _change(start, at, zone)
        start = change if _ends_hour(change, before, offset) else change - 1 - (change - 1 + before) % 3600
    if (after := _offset_s(end, zone)) != offset:
        change = _change(at, end, zone)
        end = change if _ends_hour(change, offset, after) else change + 3600 - (change + after) % 3600
    return start, end


def _ends_hour(change: int, before: int, after: int) -> bool:
    """Whether another hour begins where the offset changes."""
    return (change - 1 + before) // 3600 != (change + after) // 3600 or (change + after) % 3600 == 0


def _offset_s(at: int, zone: ZoneInfo) -> int:
    shown = datetime.fromtimestamp(at, zone).replace(tzinfo=UTC)
    return int(shown.timestamp()) - at


def _change(early: int, late: int, zone: ZoneInfo) -> int:
    """The moment after `early`, and at `late` at the latest, from which the offset is that at `late`."""
    offset, moments = _offset_s(late, zone), range(early + 1, late)
    return early + 1 + bisect_left(moments, True, key=lambda at: _offset_s(at, zone) == offset)


def _midnight(day: date, zone: ZoneInfo) -> int:
    """The first moment of `day`: where clocks skip midnight, the moment at which they do."""
    shown = datetime(day.year, day.month, day.day, tzinfo=zone)
    late, early = int(shown.timestamp()), int(shown.replace(fold=1).timestamp())
    return late if early >= late else _change(early, late, zone)


def _dates(begin: Callable[[date], date], longest: timedelta) -> Callable[[int, ZoneInfo], tuple[int, int]]:
    """The span of dates that have the same `begin`."""

    def edges(at: int, zone: ZoneInfo) -> tuple[int, int]:
        first = begin(datetime.fromtimestamp(at, zone).date())
        following = begin(first + longest)
        if (end := _midnight(following, zone)) <= at:
            # Clocks were set back over midnight: what has begun goes on.
            first, following = following, begin(following + longest)
            end = _midnight(following, zone)
        return _midnight(first, zone), end

    return edges


_EDGES: dict[str, Callable[[int, ZoneInfo], tuple[int, int]]] = {
    "hour": _hour,
    "day": _dates(lambda day: day, timedelta(days=1)),
    "week": _dates(lambda day: day - timedelta(days=day.weekday()), timedelta(days=7)),
    "month": _dates(lambda day: day.replace(day=1), timedelta(days=31)),
}
_latest: dict[tuple[str, str], tuple[int, int]] = {}
"""The edges found last, since nearly every call is in the window of the one before it."""


def _edges(per: str, timezone: str, at: float) -> tuple[int, int]:
    known = _latest.get((per, timezone))
    if known is not None and known[0] <= at < known[1]:
        return known
    zone = ZoneInfo(timezone)
    found = _EDGES[per](int(at), zone)
    _latest[per, timezone] = found
    return found
