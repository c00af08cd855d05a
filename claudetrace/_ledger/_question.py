"""`Question`: which calls to sum up and by what, and the SQL of it for each table that can answer."""

from __future__ import annotations

from datetime import UTC, timedelta, tzinfo
from difflib import get_close_matches
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from claudetrace._call import RESERVED_TAGS
from claudetrace._errors import ClaudetraceError
from claudetrace._ledger._measures import AS_THEY_ARE, TAG_COLUMNS
from claudetrace._ledger._times import EVER, Span, When, after, begin_of, span, zone_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from datetime import datetime

By: TypeAlias = "str | Iterable[str] | None"
Where: TypeAlias = "Mapping[str, str | Iterable[str | None] | None]"

MOST = 3
"""How many dimensions a question can have."""
IN_SUMS = {name: name for name in ("model", "platform", "feature")}
IN_HOURS = {
    "operation": "operation",
    "outcome": "outcome",
    "stop_reason": "CASE WHEN outcome = 'ok' THEN reason END",
    "error_type": "CASE WHEN outcome <> 'ok' THEN reason END",
}
IN_CALLS = {
    "session": "session_id",
    **{name.removesuffix("_id"): name for name in AS_THEY_ARE},
    "flags": "cost_flags",
    "cost_status": "cost_status",
}
COLUMNS = {**IN_SUMS, **TAG_COLUMNS, **IN_HOURS, **IN_CALLS}
"""Each dimension that is neither a tag of the user's own nor a unit of time, in SQL over `measured_calls` and over the
sums that have it."""
CALENDAR = ("hour", "day", "week", "month")
"""The units of time, the smallest first."""
NAMES = (*COLUMNS, *CALENDAR)
FREE_TAG = "tag:"
VALUE_OF_FREE_TAG = "(SELECT free.value FROM json_each(tags) AS free WHERE free.key = ?)"
STAMP_CHARS = {"month": 7, "week": 10, "day": 10, "hour": 13}
NO_SHIFT = timedelta(0)


class Filter(NamedTuple):
    """The values of a dimension to keep, or with `negated` to leave out. Empty text stands for no value."""

    name: str
    values: tuple[str, ...]
    negated: bool

    def sql(self, value: str, parameters: list[str]) -> tuple[str, list[str]]:
        """The condition on `value`, which is SQL with these parameters, and all its parameters."""
        places = ", ".join("?" * len(self.values))
        # An index can answer a plain comparison alone.
        asked = f"COALESCE({value}, '')" if self.negated or "" in self.values else value
        return f"{asked} {'NOT ' * self.negated}IN ({places})", [*parameters, *self.values]


class Source(NamedTuple):
    """A table of sums by `unit` of time; without a unit, the calls."""

    table: str
    unit: str | None
    tag: str | None = None
    """The tag by whose values it has sums."""


CALLS = Source("measured_calls", None)


class Question(NamedTuple):
    """What to sum up by, which filters to apply, and over which time. Days are those of `zone`; `span` is UTC."""

    by: tuple[str, ...] = ()
    where: tuple[Filter, ...] = ()
    span: Span = EVER
    zone: tzinfo = UTC
    with_writes: bool = False
    """Whether what writing to the cache cost is asked for too."""

    @classmethod
    def of(
        cls,
        by: By = None,
        since: When = None,
        until: When = None,
        where: Where | None = None,
        timezone: str = "UTC",
    ) -> Question:
        """The question in a person's words. Raises `ClaudetraceError` for one that cannot be asked."""
        zone = zone_of(timezone)
        return cls(dimensions(by), filters(where or {}), span(since, until, zone=zone).utc(), zone)

    @property
    def used(self) -> set[str]:
        """Every dimension it needs."""
        return {*self.by, *(each.name for each in self.where)}

    @property
    def calendar(self) -> set[str]:
        """The units of time among them."""
        return self.used & {*CALENDAR}

    @property
    def is_shifted(self) -> bool:
        """Whether its hours, days, weeks or months are not those of UTC."""
        return self.zone is not UTC and bool(self.calendar)

    def keys(self, source: Source, shift: timedelta = NO_SHIFT) -> tuple[list[str], list[str]]:
        """The SQL of each of `by`, and all parameters."""
        found = [self._sql(each, source, shift) for each in self.by]
        return [sql for sql, _ in found], [value for _, values in found for value in values]

    def condition(self, source: Source, span: Span, shift: timedelta = NO_SHIFT) -> tuple[str, list[str]]:
        """The condition on the rows of `source` in `span`, and its parameters."""
        ends = span.stamps()
        column = "started_at"
        if source.unit is not None:
            column, ends = source.unit, (ends[0][: STAMP_CHARS[source.unit]], ends[1][: STAMP_CHARS[source.unit]])
        asked = [(f"{column} >= ? AND {column} < ?", [*ends])]
        if source.tag is not None:
            asked.insert(0, ("tag = ?", [source.tag]))
        for each in self.where:
            condition, values = each.sql(*self._sql(each.name, source, shift))
            named = f"{condition} AND NOT others" if source.tag and source.tag == tag_of(each.name) else condition
            asked.append((named, values))
        return " AND ".join(sql for sql, _ in asked), [value for _, values in asked for value in values]

    def of_rows(self) -> tuple[str, list[str]]:
        """The condition on the rows of the table `calls`, and its parameters."""
        condition, values = self.condition(CALLS, self.span)
        if self.where:
            condition = f"id IN (SELECT id FROM measured_calls WHERE {condition})"  # noqa: S608 - SQL of ours
        return condition, values

    def _sql(self, name: str, source: Source, shift: timedelta) -> tuple[str, list[str]]:
        if name in CALENDAR:
            return self._period(name, source, shift), []
        if source.tag is not None and source.tag == tag_of(name):
            return "value", []
        if name.startswith(FREE_TAG):
            return VALUE_OF_FREE_TAG, [name.removeprefix(FREE_TAG)]
        return COLUMNS[name], []

    def _period(self, name: str, source: Source, shift: timedelta) -> str:
        """The SQL of a row's hour, day, week or month, as text."""
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
        # The hour that repeats when clocks go back is two rows.
        hours, minutes = divmod(abs(seconds) // 60, 60)
        return f"{text} || '{'-' if seconds < 0 else '+'}{hours:02d}:{minutes:02d}'"

    def shifts(self, known: Span | None) -> Iterator[tuple[timedelta, Span]]:
        """Its time in parts that each have one offset from UTC, within `known`, the time that has calls."""
        if not self.is_shifted:
            yield NO_SHIFT, self.span
            return
        if known is None:
            return
        at, until = max(self.span.since, known.since), min(self.span.until, known.until)
        while at < until:
            # Clocks change at a quarter of an hour, and stay for more than a day.
            shift, end = _shift(at, self.zone), begin_of("quarter", at)
            for unit in ("day", "quarter"):
                while end < until and _shift(after(unit, end), self.zone) == shift:
                    end = after(unit, end)
            end = min(after("quarter", end), until)
            yield shift, Span(at, end)
            at = end


def _shift(at: datetime, zone: tzinfo) -> timedelta:
    return at.astimezone(zone).utcoffset() or NO_SHIFT


def dimensions(by: By) -> tuple[str, ...]:
    """The dimensions that `by` names. Raises `ClaudetraceError` with the nearest right name."""
    named = () if by is None else (by,) if isinstance(by, str) else tuple(by)
    found = tuple(dict.fromkeys(map(dimension, named)))
    if len(found) > MOST:
        raise ClaudetraceError(f"by names {len(found)} dimensions; give {MOST} at most, and filters for the others")
    return found


def filters(where: Where) -> tuple[Filter, ...]:
    """The filters of `where`: a name with one value, with several, or with `None` for calls that have no value. A name
    that ends in `!` leaves these calls out. Raises `ClaudetraceError`."""
    found = []
    for said, value in where.items():
        negated = said.endswith("!")
        values = (value,) if value is None or isinstance(value, str) else tuple(value)
        named = dimension(said.removesuffix("!"))
        found.append(Filter(named, tuple("" if each is None else str(each) for each in values), negated))
    return tuple(found)


def tag_of(name: str) -> str | None:
    """The tag, where the ledger keeps sums by its values."""
    return name.removeprefix(FREE_TAG) if name.startswith(FREE_TAG) else name if name in TAG_COLUMNS else None


def dimension(name: str) -> str:
    """The dimension that `name` means. Raises `ClaudetraceError` with the nearest right name."""
    tag = name.removeprefix(FREE_TAG)
    if tag in RESERVED_TAGS:
        return tag
    if name in NAMES or (tag and tag != name):
        return name
    near = get_close_matches(name.strip().lower().replace(" ", "_").replace("-", "_"), NAMES, n=1, cutoff=0.75)
    if near:
        raise ClaudetraceError(f"{name}: did you mean {near[0]}? Tags of your own are tag:KEY, as tag:workflow")
    raise ClaudetraceError(f"{name!r} is none of {', '.join(NAMES)}; did you mean tag:{tag or 'workflow'}?")
