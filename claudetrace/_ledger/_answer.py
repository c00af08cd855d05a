"""Answers a question of spend exactly: from the smallest sums that have what it asks for, and else from the calls."""

from __future__ import annotations

from datetime import datetime, timedelta
from operator import add, sub
from typing import TYPE_CHECKING

from claudetrace._ledger._dimensions import IN_HOURS, IN_SUMS
from claudetrace._ledger._proof import pruned_before
from claudetrace._ledger._question import CALLS, Question, Source
from claudetrace._ledger._rollups import OTHER
from claudetrace._ledger._spend import NOTHING, SUMMED, Key, Others, Spend, Spends, Totals, check_order, spends
from claudetrace._ledger._times import DAY, HOUR, Span, after, begin_of

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable

HOURS = {"day": "rollup_days", "hour": "rollup_hours"}
TAGS = {"month": "rollup_tag_months", "week": "rollup_tag_weeks", "day": "rollup_tag_days"}
"""Each family of sums by their unit of time, the largest first."""
FINE_ENOUGH = {
    "month": {"month", "week", "day", "hour"},
    "week": {"week", "day", "hour"},
    "day": {"day", "hour"},
    "hour": {"hour"},
}
SUMS = ", ".join(f"SUM({name})" for name in SUMMED)
KNOWN = "SELECT MIN(hour), (SELECT MAX(hour) FROM rollup_hours) FROM rollup_hours"
HAS_OTHERS = """
    SELECT 1
    FROM rollup_tag_months
    WHERE tag = ? AND month >= ? AND month <= ? AND value = ? AND others
    LIMIT 1
"""
IS_OF_OTHERS = "SELECT 1 FROM rollup_tag_days WHERE tag = ? AND day = ? AND value = ? AND others LIMIT 1"
IS_NAMED = "SELECT 1 FROM rollup_tag_days WHERE tag = ? AND day = ? AND value = ? AND NOT others LIMIT 1"


def read_spend(
    connection: sqlite3.Connection,
    question: Question,
    *,
    top: int | None = None,
    sort: str | None = None,
    progress: Callable[[int], None] | None = None,
) -> Spends:
    """The answer, with its total. `progress` is told how many calls were read one by one."""
    check_order(sort)
    answer = _Answer(connection, question, progress)
    answer.read()
    pruned = answer.pruned_before
    return spends(
        answer.totals, question.names, answer.answered_from, pruned, is_named=answer.is_named, top=top, sort=sort
    )


def known_span(connection: sqlite3.Connection) -> Span | None:
    """The whole hours that have calls, now or before they were pruned."""
    first, last = connection.execute(KNOWN).fetchone()
    if first is None:
        return None
    since, until = (datetime.fromisoformat(f"{hour}:00+00:00") for hour in (first, last))
    return Span(since, until + HOUR)


class _Answer:
    def __init__(
        self, connection: sqlite3.Connection, question: Question, progress: Callable[[int], None] | None
    ) -> None:
        self.totals: Totals = {} if question.by else {(): NOTHING}
        self._connection, self._question, self._progress = connection, question, progress
        self._tag = next((each.tag for each in question.used if each.tag is not None), None)
        """The tag whose sums can answer, if any can."""
        self._summed: list[Span] = []
        self._calls_read = 0
        self.pruned_before: str | None = None
        """The day before which calls are pruned, where some of them would have to be read."""
        self._from: set[str] = set()
        self._named: dict[str | None, bool] = {None: True}
        self._days_of_others: list[str] | None = None

    @property
    def answered_from(self) -> str:
        """How the answer was found."""
        return " and ".join(sorted(self._from, reverse=True)) or "sums"

    def read(self) -> None:
        """Adds all up."""
        known = known_span(self._connection)
        tables = self._tables()
        parts = [
            (unit, part, shift)
            for shift, span in self._question.shifts(known)
            for unit, part in span.pieces(self._units(tables, shift))
        ]
        for unit, part, shift in parts:
            if unit is not None:
                self._add(Source(tables[unit], unit, self._tag), part, shift)
                self._summed.append(part)
        if self._tag and self._summed and all(each.dimension.tag is None for each in self._question.where):
            self._add_untagged()
        for unit, part, shift in parts:
            if unit is None and known is not None:
                self._add_calls(Span(max(part.since, known.since), min(part.until, known.until)), shift)

    def _tables(self) -> dict[str, str]:
        """The sums that have every dimension, by their unit of time; nothing where none do."""
        used = self._question.used
        others = {each.name for each in used if each.tag is None and not each.is_calendar}
        tags = {each.tag for each in used} - {None}
        if not tags:
            return HOURS if others <= {*IN_SUMS, *IN_HOURS} else {}
        asked = [each for each in self._question.where if each.dimension.tag is not None]
        if len(tags) > 1 or not others <= IN_SUMS.keys() or any(each.negated or "" in each.values for each in asked):
            return {}
        # A value that is asked for may be among the others of a day.
        return {} if asked and self._has_others() else TAGS

    def _units(self, tables: dict[str, str], shift: timedelta) -> tuple[str, ...]:
        """Those units of the sums that are fine enough, the largest first."""
        if self._question.is_shifted:
            return ("hour",) if tables is HOURS and not shift % HOUR else ()
        calendar = self._question.calendar
        units = [unit for unit in tables if all(unit in FINE_ENOUGH[each] for each in calendar)]
        # Weeks that lie in one month are all that is left where whole months are taken first.
        return tuple(unit for unit in units if unit != "week" or "month" not in calendar or "month" in units)

    def _add(self, source: Source, span: Span, shift: timedelta) -> int:
        """Adds what a source has of `span`. Answers of how many responses that is."""
        keys, key_values = self._question.keys(source, shift)
        condition, values = self._question.condition(source, span, shift)
        others = "others" if source.tag and any(each.tag == source.tag for each in self._question.by) else "0"
        groups = ", ".join(str(number) for number in range(1, len(keys) + 2))
        # The names and conditions are of this package; all that comes from outside is a parameter.
        sql = f"SELECT {', '.join((others, *keys))}, {SUMS} FROM {source.table} WHERE {condition} GROUP BY {groups}"  # noqa: S608
        places = {number for number, each in enumerate(self._question.by) if each.tag is not None}
        responses = 0
        for of_others, *found in self._connection.execute(sql, (*key_values, *values)):
            key: Key = tuple(value or None for value in found[: len(keys)])
            if of_others:
                key = tuple(Others.ALL if number in places else value for number, value in enumerate(key))
            amounts = found[len(keys) :]
            responses += amounts[0]
            known = self.totals.get(key)
            self.totals[key] = amounts if known is None else list(map(add, known, amounts))
        self._from.add("sums" if source.unit else "calls")
        return responses

    def _add_calls(self, span: Span, shift: timedelta) -> None:
        """The same from the calls, a day at a time: SQLite sorts what it groups, and a person wants to see it go on."""
        at = span.since
        if at < span.until:
            self.pruned_before = self.pruned_before or pruned_before(self._connection, at)
        while at < span.until:
            end = min(after("day", begin_of("day", at)), span.until)
            self._calls_read += self._add(CALLS, Span(at, end), shift)
            if self._progress is not None:
                self._progress(self._calls_read)
            at = end

    def _add_untagged(self) -> None:
        """What calls without the tag add up to: all calls of the time less those that have it."""
        place = next(number for number, each in enumerate(self._question.by) if each.tag is not None)
        whole = Span(self._summed[0].since, self._summed[-1].until)
        others = self._question.by[:place] + self._question.by[place + 1 :]
        everything = _Answer(self._connection, self._question._replace(by=others, span=whole), None)
        everything.read()
        left = dict(everything.totals)
        for key, amounts in self.totals.items():
            rest = key[:place] + key[place + 1 :]
            left[rest] = list(map(sub, left.get(rest, NOTHING), amounts))
        for rest, amounts in left.items():
            if any(amounts):
                self.totals[(*rest[:place], None, *rest[place:])] = amounts

    def _has_others(self) -> bool:
        since, until = (end[:7] for end in self._question.span.stamps())
        return self._connection.execute(HAS_OTHERS, (self._tag, since, until, OTHER)).fetchone() is not None

    def is_named(self, row: Spend) -> bool:
        """Whether the tag's value of the row has a sum of its own on each day that has others."""
        if self._days_of_others is None:
            known = known_span(self._connection)
            assert known is not None
            since, until = max(self._summed[0].since, known.since), min(self._summed[-1].until, known.until)
            days = (f"{since + number * DAY:%Y-%m-%d}" for number in range(-((since - until) // DAY)))
            asked = ((self._tag, day, OTHER) for day in days)
            self._days_of_others = [
                each[1] for each in asked if self._connection.execute(IS_OF_OTHERS, each).fetchone()
            ]
        value = None if row.others else next(row[each.name] for each in self._question.by if each.tag is not None)
        if value not in self._named:
            named = ((self._tag, day, value) for day in self._days_of_others)
            self._named[value] = all(self._connection.execute(IS_NAMED, each).fetchone() for each in named)
        return self._named[value]
