"""Ranges of time: in people's words, and split into whole hours, days, weeks and months with the ends beside them."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from typing import TYPE_CHECKING, NamedTuple, TypeAlias
from zoneinfo import ZoneInfo

from claudetrace._errors import ClaudetraceError

if TYPE_CHECKING:
    from collections.abc import Iterator

When: TypeAlias = str | date | datetime | None

AGES = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
FORMS = "30m, 1h, 7d, 2w, 1y, today, yesterday, this month, last week, 2026-11, an ISO date or time, or all"
DAY, HOUR = timedelta(days=1), timedelta(hours=1)
LENGTHS = {"quarter": HOUR / 4, "hour": HOUR, "day": DAY, "week": 7 * DAY}
FIRST, LAST = datetime(1, 1, 1, tzinfo=UTC), datetime(9999, 12, 31, tzinfo=UTC)


class Span(NamedTuple):
    """The time from `since` until just before `until`."""

    since: datetime
    until: datetime

    def pieces(self, units: tuple[str, ...]) -> Iterator[tuple[str | None, Span]]:
        """Its parts: whole units, the largest first as in `units`; and with `None` what is left at the ends."""
        if self.since >= self.until:
            return
        if not units:
            yield None, self
            return
        inner = Span(*(begin_of(units[0], end) for end in self))
        if inner.since < self.since:
            inner = inner._replace(since=after(units[0], inner.since))
        if inner.since > inner.until:
            yield from self.pieces(units[1:])
            return
        yield from Span(self.since, inner.since).pieces(units[1:])
        if inner.since < inner.until:
            yield units[0], inner
        yield from Span(inner.until, self.until).pieces(units[1:])

    def utc(self) -> Span:
        """The same in UTC."""
        return Span(self.since.astimezone(UTC), self.until.astimezone(UTC))

    def stamps(self) -> tuple[str, str]:
        """Its ends, as `started_at` spells them."""
        return stamp(self.since), stamp(self.until)

    def before(self, since: When, until: When) -> Span:
        """The time to compare it with, given the words for it: just as long, right before it. For a calendar unit that
        is not over, the same part of the unit before."""
        named = NAMED.get(_plain(since))
        unit = named[0] if named and named[1] == 0 else None
        if unit is None and until is not None and all(end == begin_of("month", end) for end in self):
            unit = "month"
            months = self.until.year * 12 + self.until.month - self.since.year * 12 - self.since.month
            return Span(after("month", self.since, -months), self.since)
        length = self.until - self.since
        begin = self.since - length if unit is None else after(unit, self.since, -1)
        return Span(begin, min(begin + length, self.since))


EVER = Span(FIRST, LAST)


def zone_of(name: str) -> tzinfo:
    """The time zone of that name. Raises `ClaudetraceError`."""
    if name.upper() in {"UTC", "Z"}:
        return UTC
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError) as error:
        raise ClaudetraceError(f"timezone={name!r} is no time zone; give one as Europe/Berlin, or UTC") from error


def span(since: When, until: When, now: datetime | None = None, zone: tzinfo = UTC) -> Span:
    """The range from `since` until `until`, in days of `zone`. Raises `ClaudetraceError`."""
    now = (now or datetime.now(UTC)).astimezone(zone)
    return Span(_moment("since", since, now) or FIRST, _moment("until", until, now) or LAST)


def period(name: str, said: str, zone: tzinfo = UTC) -> Span:
    """The period that `said` names: `last month`, `yesterday`, `2026-10`, a day. Raises `ClaudetraceError`."""
    now = datetime.now(UTC).astimezone(zone)
    begin, words = _moment(name, said, now), _plain(said)
    if words in NAMED:
        unit = NAMED[words][0]
    elif found := re.fullmatch(r"\d{4}(-\d\d)?(-\d\d)?", words):
        unit = "day" if found[2] else "month" if found[1] else "year"
    else:
        raise ClaudetraceError(f"{name} {said!r} is no period; give last month, last week, yesterday, 2026-10 or a day")
    assert begin is not None
    return Span(begin, after(unit, begin))


def moment_of(name: str, said: str) -> datetime:
    """The moment that `said`, the value of the option `name`, means. Raises `ClaudetraceError` if it is no time."""
    return _moment(name, said, datetime.now(UTC)) or FIRST


def stamp(at: datetime) -> str:
    """`at` in the form of `started_at`: cut to the millisecond like that, so that `since` a moment misses no call."""
    return at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def begin_of(unit: str, at: datetime) -> datetime:
    """The beginning of the unit that `at` is in."""
    if unit == "quarter":
        return at.replace(minute=at.minute // 15 * 15, second=0, microsecond=0)
    at = at.replace(minute=0, second=0, microsecond=0)
    if unit == "hour":
        return at
    at = at.replace(hour=0)
    days = {"day": 0, "week": at.weekday(), "month": at.day - 1, "year": at.timetuple().tm_yday - 1}[unit]
    return at - timedelta(days=days)


def after(unit: str, at: datetime, count: int = 1) -> datetime:
    """The beginning of the unit that is `count` units after the one at `at`, within what a datetime can hold."""
    try:
        if unit not in MONTHS:
            return at + count * LENGTHS[unit]
        months = at.year * 12 + at.month - 1 + count * MONTHS[unit]
        return at.replace(year=months // 12, month=months % 12 + 1)
    except (ValueError, OverflowError):
        return LAST if count > 0 else FIRST


MONTHS = {"month": 1, "year": 12}
NAMED = {
    "today": ("day", 0),
    "yesterday": ("day", -1),
    **{
        f"{which} {unit}": (unit, ago)
        for which, ago in (("this", 0), ("last", -1))
        for unit in ("week", "month", "year")
    },
}
"""Each name of a period with its unit, and how many units it is from the current one."""


def _plain(said: When) -> str:
    return re.sub(r"[\s_-]+(?=[a-z])", " ", said.strip().lower()) if isinstance(said, str) else ""


def _moment(name: str, when: When, now: datetime) -> datetime | None:
    """The beginning of what `when` names, in the zone of `now`."""
    if when is None or _plain(when) == "all":
        return None
    try:
        if isinstance(when, str):
            words = _plain(when)
            if words in NAMED:
                unit, count = NAMED[words]
                return after(unit, begin_of(unit, now), count)
            if ago := re.fullmatch(r"(\d{1,9})([smhdwy])", words):
                count = int(ago[1])
                return _years_before(now, count) if ago[2] == "y" else now - timedelta(**{AGES[ago[2]]: count})
            month = re.fullmatch(r"(\d{4})(-\d\d)?", words)
            when = datetime.fromisoformat(f"{month[1]}{month[2] or '-01'}-01" if month else when.strip())
        if not isinstance(when, datetime):
            when = datetime.combine(when, time())
        # A time without a zone is in the zone of the days.
        return when.replace(tzinfo=now.tzinfo) if when.tzinfo is None else when.astimezone(now.tzinfo)
    except (ValueError, OverflowError, TypeError, AttributeError) as error:
        raise ClaudetraceError(f"{name}={when!r} is no time; give {FORMS}") from error


def _years_before(now: datetime, count: int) -> datetime:
    day = min(now.day, 28) if now.month == 2 else now.day
    return now.replace(year=now.year - count, day=day)
