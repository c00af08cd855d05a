"""`Question`: what is asked of the calls, and how SQL says it of them and of each sum."""

from __future__ import annotations

from datetime import UTC, timedelta, tzinfo
from typing import TYPE_CHECKING, NamedTuple

from claudetrace._ledger._dimensions import By, Dimension, Filter, Where, dimensions, filters
from claudetrace._ledger._times import EVER, QUARTER, Span, When, after, begin_of, span, zone_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

STAMP_CHARS = {"month": 7, "week": 10, "day": 10, "hour": 13}
NO_SHIFT = timedelta(0)


class Source(NamedTuple):
    """A table of sums by `unit`, or without one the calls."""

    table: str
    unit: str | None
    tag: str | None = None
    """The tag of which it has the sums by value."""


CALLS = Source("measured_calls", None)


class Question(NamedTuple):
    """Sums by some dimensions, of the calls in a time that pass filters. Days are of `zone`, `span` is UTC."""

    by: tuple[Dimension, ...] = ()
    where: tuple[Filter, ...] = ()
    span: Span = EVER
    zone: tzinfo = UTC

    @classmethod
    def of(
        cls,
        by: By = None,
        since: When = None,
        until: When = None,
        where: Where | None = None,
        timezone: str = "UTC",
    ) -> Question:
        """As a person says it. Raises `ClaudetraceError` for what cannot be asked."""
        zone = zone_of(timezone)
        return cls(dimensions(by), filters(where or {}), span(since, until, zone=zone).utc(), zone)

    @property
    def names(self) -> tuple[str, ...]:
        """What it asks for sums by."""
        return tuple(each.name for each in self.by)

    @property
    def used(self) -> list[Dimension]:
        """The dimensions that it needs."""
        return [*self.by, *(each.dimension for each in self.where)]

    @property
    def calendar(self) -> set[str]:
        """The units of time among them."""
        return {each.name for each in self.used if each.is_calendar}

    @property
    def is_shifted(self) -> bool:
        """Whether it asks for days that are not those of UTC."""
        return self.zone is not UTC and bool(self.calendar)

    def keys(self, source: Source, shift: timedelta = NO_SHIFT) -> tuple[list[str], list[str]]:
        """The value of each of `by` in SQL, and all their parameters."""
        found = [self._sql(each, source, shift) for each in self.by]
        return [sql for sql, _ in found], [value for _, values in found for value in values]

    def condition(self, source: Source, span: Span, shift: timedelta = NO_SHIFT) -> tuple[str, list[str]]:
        """Which rows of the source are asked for, of those in `span`, and the parameters."""
        ends = span.stamps()
        column = "started_at"
        if source.unit is not None:
            column, ends = source.unit, (ends[0][: STAMP_CHARS[source.unit]], ends[1][: STAMP_CHARS[source.unit]])
        asked = [(f"{column} >= ? AND {column} < ?", [*ends])]
        if source.tag is not None:
            asked.insert(0, ("tag = ?", [source.tag]))
        for each in self.where:
            condition, values = each.sql(*self._sql(each.dimension, source, shift))
            named = f"{condition} AND NOT others" if source.tag and source.tag == each.dimension.tag else condition
            asked.append((named, values))
        return " AND ".join(sql for sql, _ in asked), [value for _, values in asked for value in values]

    def of_rows(self) -> tuple[str, list[str]]:
        """Which rows of the table `calls` are asked for, and the parameters."""
        condition, values = self.condition(CALLS, self.span)
        if self.where:
            condition = f"id IN (SELECT id FROM measured_calls WHERE {condition})"  # noqa: S608 - SQL of ours
        return condition, values

    def _sql(self, each: Dimension, source: Source, shift: timedelta) -> tuple[str, list[str]]:
        if each.is_calendar:
            return self._period(each.name, source, shift), []
        return ("value", []) if source.tag is not None and source.tag == each.tag else each.sql()

    def _period(self, name: str, source: Source, shift: timedelta) -> str:
        """The hour, day, week or month of a row, as text."""
        column = source.unit or "started_at"
        if name == source.unit and not self.is_shifted:
            return column
        seconds = int(shift.total_seconds())
        if seconds:
            moment = "SUBSTR(started_at, 1, 19)" if source.unit is None else "hour || ':00:00'"
            column = f"REPLACE(DATETIME({moment}, '{seconds:+d} seconds'), ' ', 'T')"
        if name == "week":
            return f"DATE(SUBSTR({column}, 1, 10), 'weekday 0', '-6 days')"
        text = f"SUBSTR({column}, 1, {STAMP_CHARS[name]})"
        if name != "hour" or self.zone is UTC:
            return text
        # An hour that a change of the clocks repeats is two.
        hours, minutes = divmod(abs(seconds) // 60, 60)
        return f"{text} || '{'-' if seconds < 0 else '+'}{hours:02d}:{minutes:02d}'"

    def shifts(self, known: Span | None) -> Iterator[tuple[timedelta, Span]]:
        """Its time in parts of one offset from UTC each, as far as there are calls: those of `known`."""
        if not self.is_shifted:
            yield NO_SHIFT, self.span
            return
        if known is None:
            return
        since, until = max(self.span.since, known.since), min(self.span.until, known.until)
        at, begun, shift = begin_of("hour", since), since, _shift(since, self.zone)
        while at < until:
            after_it = after("day", at)
            if _shift(after_it, self.zone) != shift:
                # Clocks change at a quarter of an hour.
                after_it = at + QUARTER
                while _shift(after_it, self.zone) == shift:
                    after_it += QUARTER
                if begun < min(after_it, until):
                    yield shift, Span(begun, min(after_it, until))
                begun, shift = max(after_it, since), _shift(after_it, self.zone)
            at = after_it
        if begun < until:
            yield shift, Span(begun, until)


def _shift(at: datetime, zone: tzinfo) -> timedelta:
    return at.astimezone(zone).utcoffset() or NO_SHIFT
