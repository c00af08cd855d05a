"""`Filters`: what a page is asked to show, as the queries' parameters."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta

HOUR_FORMAT = "%Y-%m-%dT%H"
DAY = timedelta(days=1)
BY_HOUR = timedelta(hours=48)
"""A range up to this long is shown by hour, a longer one by day."""
TAGS_OF_THEIR_OWN = ("feature", "user", "session")
"""Tags that are filters by their own name: `tag=user:u1` is `user=u1`."""
HOSTS = ("service", "environment", "instance")
"""Where calls were made: what a ledger of many programs is narrowed by."""
NAMES = ("model", "feature", "platform", "user", "session", *HOSTS)
FIRST, LAST = datetime(1, 1, 1), datetime(9999, 12, 27)


@dataclass(frozen=True, slots=True, kw_only=True)
class Filters:
    """A range of UTC hours `YYYY-MM-DDTHH`, `until` exclusive, and what of it; `None` is all. The empty text is the
    calls without that: `feature=""` are those without a feature."""

    since: str
    until: str
    model: str | None = None
    feature: str | None = None
    platform: str | None = None
    user: str | None = None
    session: str | None = None
    service: str | None = None
    environment: str | None = None
    instance: str | None = None
    tag_key: str | None = None
    tag_value: str | None = None

    def plain(self) -> Filters:
        """The same with `tag=user:u1` and its like as the filters that they are, and half a tag as none."""
        if self.tag_key is None or self.tag_value is None:
            return replace(self, tag_key=None, tag_value=None)
        key, value = self.tag_key, self.tag_value
        if key not in TAGS_OF_THEIR_OWN or getattr(self, key) not in (None, value):
            return self
        plain = replace(self, tag_key=None, tag_value=None)
        if key == "feature":
            return replace(plain, feature=value)
        return replace(plain, user=value) if key == "user" else replace(plain, session=value)

    def given(self) -> frozenset[str]:
        """The names of the filters that are set; a tag is `tag`."""
        names = [name for name in NAMES if getattr(self, name) is not None]
        return frozenset([*names, "tag"] if self.tag_key is not None else names)

    def whole_days(self) -> Filters:
        """The same, widened to whole UTC days: what sums by tag are kept by."""
        until = _moment(self.until)
        day = until.replace(hour=0)
        end = day if day == until else day + DAY
        return replace(self, since=f"{self.since[:10]}T00", until=_hour(end))

    def in_days(self) -> bool:
        """Whether the range begins and ends with a UTC day."""
        return self.since.endswith("T00") and self.until.endswith("T00")

    def by_hour(self) -> bool:
        """Whether the range is so short that it is shown by hour."""
        return _moment(self.until) - _moment(self.since) <= BY_HOUR

    def days(self) -> int:
        """How many days the range has, at least one."""
        return max(1, (_moment(self.until) - _moment(self.since)).days)

    def before_since(self) -> str:
        """Where the period before begins: as long as this one, and ending where it begins."""
        since = _moment(self.since)
        return _hour(since - min(_moment(self.until) - since, since - FIRST))

    def whole_weeks(self) -> tuple[str, str]:
        """The Mondays on or after the range's begin and on or before its end."""
        since, until = _moment(self.since), _moment(self.until)
        first = since.replace(hour=0) + DAY * (since.hour > 0)
        return _hour(min(first + DAY * (-first.weekday() % 7), LAST))[:10], _hour(until - DAY * until.weekday())[:10]


def hours_of_days(first: date, last: date) -> tuple[str, str]:
    """`since` and `until` of the days from `first` to `last`, both in it."""
    return f"{first.isoformat()}T00", f"{(last + DAY).isoformat()}T00"


def _moment(hour: str) -> datetime:
    return datetime.strptime(hour, HOUR_FORMAT)


def _hour(at: datetime) -> str:
    # Not strftime, which writes the year 1 as such.
    return at.isoformat()[:13]
