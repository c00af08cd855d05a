"""Ranges of time: as people say them, and as the ledger's whole hours and days with their edges."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, time, timedelta
from typing import NamedTuple, TypeAlias

from claudetrace._errors import ClaudetraceError

When: TypeAlias = str | date | datetime | None

UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
HOUR = timedelta(hours=1)
DAY = timedelta(days=1)


class Span(NamedTuple):
    """The time from `since` until just before `until`, in UTC."""

    since: datetime
    until: datetime

    def whole(self, period: timedelta) -> Span | None:
        """The whole hours or days in it, if there are any."""
        since, until = _floor(self.since, period), _floor(self.until, period)
        since += period if since < self.since else timedelta(0)
        return Span(since, until) if since < until else None

    def around(self, inner: Span) -> list[Span]:
        """What of it lies before and after `inner`."""
        return [
            edge for edge in (Span(self.since, inner.since), Span(inner.until, self.until)) if edge.since < edge.until
        ]

    def stamps(self) -> tuple[str, str]:
        """Its ends, as `started_at` spells them."""
        return stamp(self.since), stamp(self.until)


EVER = Span(datetime(1, 1, 1, tzinfo=UTC), datetime(9999, 12, 31, tzinfo=UTC))


def span(since: When, until: When, now: datetime | None = None) -> Span:
    """The range that is meant by `since` and `until`. Raises `ClaudetraceError` for what is no time."""
    now = now or datetime.now(UTC)
    return Span(_moment("since", since, now) or EVER.since, _moment("until", until, now) or EVER.until)


def moment_of(name: str, said: str) -> datetime:
    """The moment that the option `name` was told as. Raises `ClaudetraceError` for what is no time."""
    return _moment(name, said, datetime.now(UTC)) or EVER.since


def stamp(at: datetime) -> str:
    """`at` as `started_at` spells it: cut to the millisecond as that is, so that `since` a moment misses no call."""
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _moment(name: str, when: When, now: datetime) -> datetime | None:
    if when is None:
        return None
    try:
        if isinstance(when, str):
            if ago := re.fullmatch(r"(\d{1,9})([smhdw])", when.strip()):
                return now - timedelta(**{UNITS[ago[2]]: int(ago[1])})
            when = datetime.fromisoformat(when.strip())
        if not isinstance(when, datetime):
            when = datetime.combine(when, time())
        # A time without a zone is UTC, as everything in the ledger.
        return when.replace(tzinfo=UTC) if when.tzinfo is None else when.astimezone(UTC)
    except (ValueError, OverflowError, TypeError, AttributeError) as error:
        raise ClaudetraceError(
            f"{name}={when!r} is no time; give 30m, 1h, 7d, an ISO date or time, a date or a datetime"
        ) from error


def _floor(at: datetime, period: timedelta) -> datetime:
    return at - (at - EVER.since) % period
