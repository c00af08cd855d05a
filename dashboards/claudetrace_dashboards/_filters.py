"""What a page is asked for: a span of UTC hours and what calls must be, read from the URL and written to it."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import urlencode

from claudetrace_dashboards.queries._filters import NAMES

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

HOUR = timedelta(hours=1)
DAY = timedelta(days=1)
PRESETS = {"24h": "24 hours", "7d": "7 days", "30d": "30 days", "90d": "90 days", "month": "Month"}
DAYS = {"7d": 7, "30d": 30, "90d": 90}
DEFAULT = "30d"
ENDS = {"custom": ("from", "to"), "days": ("first", "last")}
"""The arguments that say where a range of one's own begins and ends; `days` is what the form sends."""
STAMP = re.compile(r"\d{4}-\d\d-\d\d(T\d\d)?", re.ASCII)
HIDDEN = ("range", "from", "to", "no_model", "no_feature")
LONGEST_DAYS = 3660
MOST_HOURLY = 2 * DAY
LONGEST_VALUE = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class Filters:
    """The hours from `since` until before `until`, and the calls that are meant; `None` means all.

    `problems` says in words what in the URL could not be read and was left out.
    """

    preset: str
    since: datetime
    until: datetime
    now: datetime
    model: str | None = None
    feature: str | None = None
    platform: str | None = None
    user: str | None = None
    session: str | None = None
    service: str | None = None
    environment: str | None = None
    instance: str | None = None
    tag: tuple[str, str] | None = None
    extra: tuple[tuple[str, str], ...] = ()
    problems: tuple[str, ...] = field(default=(), compare=False)

    @classmethod
    def read(cls, arguments: Mapping[str, str], now: datetime | None = None) -> Self:
        """The filters that the URL's `arguments` say. Never raises: what cannot be read is a problem."""
        now = now or datetime.now(UTC)
        problems: list[str] = []
        preset, since, until = _span(arguments, now, problems)
        # An empty model or feature is a value: the calls that have none.
        values = {name: "" for name in ("model", "feature") if arguments.get(f"no_{name}") == "1"}
        values |= {name: arguments[name][:LONGEST_VALUE] for name in NAMES if arguments.get(name)}
        key, colon, value = arguments.get("tag", "").partition(":")
        if arguments.get("tag") and not (key and colon):
            problems.append(f"tag={arguments['tag'][:80]} is not key:value, so no tag is asked for.")
        return cls(
            preset=preset,
            since=since,
            until=until,
            now=now,
            tag=(key[:LONGEST_VALUE], value[:LONGEST_VALUE]) if key and colon else None,
            problems=tuple(problems),
            **values,  # type: ignore[arg-type]  # each is a filter of text
        )

    @property
    def hourly(self) -> bool:
        """Whether charts over time have a bar an hour."""
        return self.until - self.since <= MOST_HOURLY

    @property
    def reached(self) -> datetime:
        """The end of the span, or of the present hour where that is earlier."""
        return max(self.since + HOUR, min(self.until, _hour(self.now) + HOUR))

    def parameters(self) -> dict[str, Any]:
        """The named parameters of the queries."""
        key, value = self.tag or (None, None)
        return {
            "since": f"{self.since:%Y-%m-%dT%H}",
            "until": f"{self.until:%Y-%m-%dT%H}",
            **{name: getattr(self, name) for name in NAMES},
            "tag_key": key,
            "tag_value": value,
        }

    def asked(self) -> frozenset[str]:
        """The names of the filters beside the span that are set; a tag is `tag`."""
        names = {name for name in NAMES if getattr(self, name) is not None}
        return frozenset(names | ({"tag"} if self.tag else set()))

    def before(self) -> Filters:
        """The same part of the period before, so that half a day is compared with half a day."""
        since = self._earlier()
        return replace(self, preset="custom", since=since, until=min(since + (self.reached - self.since), self.since))

    def earlier(self) -> Filters:
        """The whole period before."""
        return replace(self, preset="custom", since=self._earlier(), until=self.since)

    def later(self) -> Filters | None:
        """The next period, where one has begun."""
        if self.until > self.now:
            return None
        if self._is_month():
            return replace(self, preset="custom", since=self.until, until=_month_after(self.until))
        return replace(self, preset="custom", since=self.until, until=self.until + (self.until - self.since))

    def within(self, since: datetime, until: datetime) -> Filters:
        """The same calls in another span."""
        return replace(self, preset="custom", since=since, until=until)

    def but(self, **changes: str | tuple[str, str] | None) -> Filters:
        """The same with other filters."""
        return replace(self, **changes)  # type: ignore[arg-type]  # each is a field of this class

    def arguments(self) -> list[tuple[str, str]]:
        """What the URL has to say to mean these filters."""
        found = [("range", self.preset)]
        if self.preset == "custom":
            found += [("from", _stamp(self.since, self.since, self.until)), ("to", self._last_stamp())]
        for name in NAMES:
            value = getattr(self, name)
            if value:
                found.append((name, value))
            elif value == "":
                found.append((f"no_{name}", "1"))
        if self.tag:
            found.append(("tag", ":".join(self.tag)))
        return found + list(self.extra)

    def hidden(self) -> list[tuple[str, str]]:
        """What of it no field of the form shows: the range, to its hours, and that a model or a feature is none."""
        return [each for each in self.arguments() if each[0] in HIDDEN]

    def query(self, **more: str) -> str:
        """These filters as the query of a URL, with `more` arguments."""
        return urlencode(self.arguments() + list(more.items()))

    def text(self) -> str:
        """The span in words, in UTC."""
        if self.since.hour or self.until.hour:
            return f"{self.since:%Y-%m-%d %H:00} to {self.until:%Y-%m-%d %H:00} UTC"
        last = self.until - DAY
        if last.date() == self.since.date():
            return f"{last:%Y-%m-%d} UTC"
        return f"{self.since:%Y-%m-%d} to {last:%Y-%m-%d} UTC"

    def first_day(self) -> str:
        return f"{self.since:%Y-%m-%d}"

    def last_day(self) -> str:
        return f"{self.until - HOUR:%Y-%m-%d}"

    def _last_stamp(self) -> str:
        return _stamp(self.until - (HOUR if self._in_hours() else DAY), self.since, self.until)

    def _in_hours(self) -> bool:
        return bool(self.since.hour or self.until.hour)

    def _is_month(self) -> bool:
        return self.preset == "month" or (
            self.since.day == 1 and not self._in_hours() and self.until == _month_after(self.since)
        )

    def _earlier(self) -> datetime:
        if self._is_month():
            return (self.since - DAY).replace(day=1)
        return self.since - (self.until - self.since)


def _span(arguments: Mapping[str, str], now: datetime, problems: list[str]) -> tuple[str, datetime, datetime]:
    wanted = arguments.get("range") or ("custom" if arguments.get("from") else DEFAULT)
    if wanted in ENDS:
        first, last = ENDS[wanted]
        try:
            return "custom", *_custom(arguments.get(first, ""), arguments.get(last, ""), now)
        except ValueError as error:
            problems.append(f"{error} The last 30 days are shown.")
            wanted = DEFAULT
    if wanted not in PRESETS:
        problems.append(f"range={wanted[:40]} is none of {', '.join(PRESETS)} and custom. The last 30 days are shown.")
        wanted = DEFAULT
    return wanted, *SPANS[wanted](now)


def _custom(first: str, last: str, now: datetime) -> tuple[datetime, datetime]:
    last = last or f"{now:%Y-%m-%d}"
    for stamp in (first, last):
        if not STAMP.fullmatch(stamp):
            raise ValueError(f"“{stamp[:40]}” is not a day as 2026-11-20.")
    try:
        since, until = (datetime.fromisoformat(f"{s}:00" if "T" in s else s).replace(tzinfo=UTC) for s in (first, last))
        until += HOUR if "T" in last else DAY
    except (ValueError, OverflowError):
        raise ValueError(f"There is no such day as {first} or {last}.") from None
    if until <= since:
        raise ValueError(f"{last} is before {first}.")
    if until - since > timedelta(days=LONGEST_DAYS):
        raise ValueError(f"From {first} to {last} is longer than ten years.")
    if since.year < 1000:
        raise ValueError(f"There are no calls of {first}.")
    return since, until


def _stamp(at: datetime, since: datetime, until: datetime) -> str:
    return f"{at:%Y-%m-%dT%H}" if since.hour or until.hour else f"{at:%Y-%m-%d}"


def _hour(at: datetime) -> datetime:
    return at.replace(minute=0, second=0, microsecond=0)


def _day(at: datetime) -> datetime:
    return at.replace(hour=0, minute=0, second=0, microsecond=0)


def _month_after(first: datetime) -> datetime:
    return (first + 31 * DAY).replace(day=1)


def _last_days(days: int) -> Callable[[datetime], tuple[datetime, datetime]]:
    return lambda now: (_day(now) - (days - 1) * DAY, _day(now) + DAY)


SPANS: Mapping[str, Callable[[datetime], tuple[datetime, datetime]]] = {
    "24h": lambda now: (_hour(now) - 23 * HOUR, _hour(now) + HOUR),
    **{name: _last_days(days) for name, days in DAYS.items()},
    "month": lambda now: (_day(now).replace(day=1), _month_after(_day(now).replace(day=1))),
}
