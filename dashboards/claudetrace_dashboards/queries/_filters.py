"""`Filters`: what a page is asked to show, as the queries' parameters."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta

HOUR_FORMAT = "%Y-%m-%dT%H"
PREVIOUS_DAYS = timedelta(days=1)
BY_HOUR = timedelta(hours=48)
"""A range up to this long is shown by hour, a longer one by day."""
COLUMN_TAGS = {"model": "model", "feature": "feature", "user": "user", "session": "session"}
"""Tags that are filters of their own: a filter `tag=user:u1` is `user=u1`."""


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
    tag_key: str | None = None
    tag_value: str | None = None

    def plain(self) -> Filters:
        """The same with `tag=user:u1` and its like as the filters that they are, and half a tag as none."""
        name = COLUMN_TAGS.get(self.tag_key or "")
        if name in ("user", "session", "feature") and getattr(self, name) in (None, self.tag_value):
            return replace(self, tag_key=None, tag_value=None, **{name: self.tag_value})
        if self.tag_key is None or self.tag_value is None:
            return replace(self, tag_key=None, tag_value=None)
        return self

    def given(self) -> frozenset[str]:
        """The names of the filters that are set; a tag is `tag`."""
        names = [
            name for name in ("model", "feature", "platform", "user", "session") if getattr(self, name) is not None
        ]
        return frozenset([*names, "tag"] if self.tag_key is not None else names)

    def whole_days(self) -> Filters:
        """The same, widened to whole UTC days: what sums by tag are kept by."""
        until = _moment(self.until)
        day = until.replace(hour=0)
        end = day if day == until else day + PREVIOUS_DAYS
        return replace(self, since=f"{self.since[:10]}T00", until=end.strftime(HOUR_FORMAT))

    def in_days(self) -> bool:
        """Whether the range begins and ends with a UTC day."""
        return self.since.endswith("T00") and self.until.endswith("T00")

    def by_hour(self) -> bool:
        """Whether the range is so short that it is shown by hour."""
        return _moment(self.until) - _moment(self.since) <= BY_HOUR

    def before_since(self) -> str:
        """Where the period before begins: as long as this one, and ending where it begins."""
        since = _moment(self.since)
        return (since - (_moment(self.until) - since)).strftime(HOUR_FORMAT)


def hours_of_days(first: date, last: date) -> tuple[str, str]:
    """`since` and `until` of the days from `first` to `last`, both in it."""
    return f"{first.isoformat()}T00", f"{(last + PREVIOUS_DAYS).isoformat()}T00"


def _moment(hour: str) -> datetime:
    return datetime.strptime(hour, HOUR_FORMAT)
