"""Answers what was spent, exactly: from the smallest sums that can tell, or else from the calls."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from operator import add, sub
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from claudetrace._call import exact_usd
from claudetrace._ledger._question import CALENDAR, CALLS, IN_HOURS, IN_SUMS, Filter, Question, Source, tag_of
from claudetrace._ledger._rollups import OTHER, pruned_before
from claudetrace._ledger._spend import NOTHING, SUMMED, Key, Others, Spends, Totals, check_order, in_order, less
from claudetrace._ledger._times import DAY, HOUR, Span, after, begin_of

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable

Part: TypeAlias = tuple[str | None, Span, timedelta]

HOURS = {"day": "rollup_days", "hour": "rollup_hours"}
TAGS = {"month": "rollup_tag_months", "week": "rollup_tag_weeks", "day": "rollup_tag_days"}
"""Each family of sums by their unit of time, the largest first."""
WITH_WRITES = ", ".join(f"SUM({name})" for name in SUMMED)
SUMS = ", ".join(f"SUM({name})" for name in SUMMED[:-2])
KNOWN = "SELECT MIN(hour), (SELECT MAX(hour) FROM rollup_hours) FROM rollup_hours"
HAS_OTHERS = """
    SELECT 1
    FROM rollup_tag_months
    WHERE tag = ? AND month >= ? AND month <= ? AND value = ? AND others
    LIMIT 1
"""
IS_OF_OTHERS = "SELECT 1 FROM rollup_tag_days WHERE tag = ? AND day = ? AND value = ? AND others LIMIT 1"
MANY = 500
NAMED = """
    WITH asked (value) AS (VALUES {}), days (day) AS (VALUES {})
    SELECT value
    FROM asked AS a
    WHERE NOT EXISTS (
        SELECT 1
        FROM days AS d
        WHERE NOT EXISTS (
            SELECT 1 FROM rollup_tag_days WHERE tag = ? AND day = d.day AND value = a.value AND NOT others
        )
    )
"""
# The index finds the first sessions of each day, so that few rows of a day are read.
MOST_EXPENSIVE_SESSIONS = """
    WITH RECURSIVE days (day) AS (
        SELECT MIN(day)
        FROM rollup_sessions
        UNION ALL
        SELECT (SELECT MIN(s.day) FROM rollup_sessions AS s WHERE s.day > days.day)
        FROM days
        WHERE days.day IS NOT NULL
    )
    SELECT s.session_id
    FROM days CROSS JOIN rollup_sessions AS s INDEXED BY sessions_dearest
    WHERE s.day = days.day
        AND s.spend_microusd >= COALESCE(
            (
                SELECT o.spend_microusd
                FROM rollup_sessions AS o INDEXED BY sessions_dearest
                WHERE o.day = days.day
                ORDER BY o.spend_microusd DESC
                LIMIT 1 OFFSET :top - 1
            ),
            0
        )
    ORDER BY s.spend_microusd DESC, s.spend_rest_picousd DESC
    LIMIT :top
"""
MISSES = """
    SELECT
        c.cache_miss_reason,
        COUNT(*),
        SUM(COALESCE(c.cache_missed_input_tokens, 0)),
        SUM(COALESCE(c.cache_lost_picousd, 0) / 1000000) AS microusd,
        SUM(COALESCE(c.cache_lost_picousd, 0) % 1000000)
    FROM calls AS c
    WHERE c.cache_miss_reason IS NOT NULL
        AND c.started_at >= ?
        AND c.started_at < ?
        AND EXISTS (SELECT 1 FROM measured_calls AS m WHERE m.id = c.id AND {})
    GROUP BY c.cache_miss_reason
    ORDER BY microusd DESC, c.cache_miss_reason
"""


def read_spend(
    connection: sqlite3.Connection,
    question: Question,
    *,
    top: int | None = None,
    sort: str | None = None,
    progress: Callable[[int], None] | None = None,
) -> Spends:
    """The answer with its total. `progress` hears how many calls were read one by one."""
    check_order(sort)
    if top is not None and sort in (None, "cost") and (found := _top_sessions(connection, question, top)):
        return found
    answer = _Answer(connection, question, progress)
    answer.read()
    rows, total = in_order(answer.totals, question.by, answer.are_named, top, sort)
    return Spends(rows, total, answer.answered_from, answer.pruned_before)


def _top_sessions(connection: sqlite3.Connection, question: Question, top: int) -> Spends | None:
    """The most expensive sessions of all time, which are too many to add up: found by the sum that the ledger keeps of
    each. All other calls are the rest, with or without a session. `None` for any other question."""
    known = known_span(connection)
    if known is None or question.by != ("session",) or question.where:
        return None
    if question.span.since > known.since or question.span.until < known.until:
        return None
    found = [session for (session,) in connection.execute(MOST_EXPENSIVE_SESSIONS, {"top": top})]
    ((sessions,),) = connection.execute("SELECT COUNT(*) FROM rollup_sessions")
    if sessions <= top + 1:
        return None
    rows = read_spend(connection, question._replace(where=(Filter(question.by[0], tuple(found), False),)))
    total = read_spend(connection, question._replace(by=())).total
    rest = replace(less(total, rows.total), dimensions={"session": None}, rest=sessions - len(rows))
    return Spends([*rows, rest], total, "sums and calls", rows.pruned_before)


def parts_of(connection: sqlite3.Connection, question: Question) -> tuple[dict[str, str], list[Part]]:
    """Where the answer would be read: the sums by their unit of time, and the parts of the time with their unit."""
    return _Answer(connection, question, None).parts()


def known_span(connection: sqlite3.Connection) -> Span | None:
    """The hours from the first to the last that has calls, pruned ones included."""
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
        self._tag = next(filter(None, map(tag_of, question.used)), None)
        """The tag whose sums may answer."""
        self._summed: list[Span] = []
        self._calls_read = 0
        self.pruned_before: str | None = None
        """The day before which calls are pruned, where pruned ones would have to be read."""
        self._from: set[str] = set()

    @property
    def _place(self) -> int:
        """Where in a key the value of the tag is."""
        return [*map(tag_of, self._question.by)].index(self._tag)

    @property
    def answered_from(self) -> str:
        """Whether sums, calls or both gave the answer."""
        return " and ".join(sorted(self._from, reverse=True)) or "sums"

    def parts(self) -> tuple[dict[str, str], list[Part]]:
        """The sums that are asked, by their unit of time, and which part of the time is asked of which of them; `None`
        is of the calls."""
        known, tables, parts = known_span(self._connection), self._tables(), []
        for shift, span in self._question.shifts(known):
            for unit, part in span.pieces(self._units(tables, shift)):
                if unit is None and known is not None:
                    part = Span(max(part.since, known.since), min(part.until, known.until))
                if unit is not None or (known is not None and part.since < part.until):
                    parts.append((unit, part, shift))
        return tables, parts

    def read(self) -> None:
        """Reads everything into `totals`."""
        tables, parts = self.parts()
        for unit, part, shift in parts:
            if unit is not None:
                self._add(Source(tables[unit], unit, self._tag), part, shift)
                self._summed.append(part)
        if self._tag and self._summed and all(tag_of(each.name) is None for each in self._question.where):
            self._add_untagged()
        for unit, part, shift in parts:
            if unit is None:
                self._add_calls(part, shift)

    def _tables(self) -> dict[str, str]:
        """The sums that have every dimension, by unit of time; none where only the calls do."""
        used = self._question.used
        others = {each for each in used if tag_of(each) is None} - {*CALENDAR}
        tags = {tag_of(each) for each in used} - {None}
        if not tags:
            return HOURS if others <= {*IN_SUMS, *IN_HOURS} else {}
        asked = [each for each in self._question.where if tag_of(each.name) is not None]
        if len(tags) > 1 or not others <= IN_SUMS.keys() or any(each.negated or "" in each.values for each in asked):
            return {}
        # On a day with others, a value in a filter may be one of them.
        return {} if asked and self._has_others(asked) else TAGS

    def _units(self, tables: dict[str, str], shift: timedelta) -> tuple[str, ...]:
        """The units of the sums that are fine enough, the largest first."""
        if self._question.is_shifted:
            return ("hour",) if tables is HOURS and not shift % HOUR else ()
        calendar = self._question.calendar
        largest = min(map(CALENDAR.index, calendar), default=len(CALENDAR))
        units = [unit for unit in tables if CALENDAR.index(unit) <= largest]
        # A week may lie in two months: sums by week serve months only where whole months are taken first.
        return tuple(unit for unit in units if unit != "week" or "month" not in calendar or "month" in units)

    def _add(self, source: Source, span: Span, shift: timedelta) -> int:
        """Adds what `source` has of `span`, and returns how many responses that is."""
        keys, key_values = self._question.keys(source, shift)
        condition, values = self._question.condition(source, span, shift)
        others = "others" if source.tag and source.tag in map(tag_of, self._question.by) else "0"
        groups = ", ".join(str(number) for number in range(1, len(keys) + 2))
        # Names and conditions come from this package; everything from outside is a parameter.
        sums = WITH_WRITES if self._question.with_writes else SUMS
        sql = f"SELECT {', '.join((others, *keys))}, {sums} FROM {source.table} WHERE {condition} GROUP BY {groups}"  # noqa: S608
        responses = 0
        for of_others, *found in self._connection.execute(sql, (*key_values, *values)):
            key: Key = tuple(value or None for value in found[: len(keys)])
            if of_others:
                key = (*key[: self._place], Others.ALL, *key[self._place + 1 :])
            amounts = found[len(keys) :]
            responses += amounts[0]
            known = self.totals.get(key)
            self.totals[key] = amounts if known is None else list(map(add, known, amounts))
        self._from.add("sums" if source.unit else "calls")
        return responses

    def _add_calls(self, span: Span, shift: timedelta) -> None:
        """Adds from the calls, a day at a time: SQLite sorts what it groups, and progress can be shown."""
        at = span.since
        self.pruned_before = self.pruned_before or pruned_before(self._connection, at)
        while at < span.until:
            end = min(after("day", begin_of("day", at)), span.until)
            self._calls_read += self._add(CALLS, Span(at, end), shift)
            if self._progress is not None:
                self._progress(self._calls_read)
            at = end

    def _add_untagged(self) -> None:
        """Adds the calls without the tag: all calls of the time less those that have it."""
        place, whole = self._place, Span(self._summed[0].since, self._summed[-1].until)
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

    def _has_others(self, asked: list[Filter]) -> bool:
        """Whether calls of a value that is asked for may be among the others of a day."""
        since, until = (end[:7] for end in self._question.span.stamps())
        if self._connection.execute(HAS_OTHERS, (self._tag, since, until, OTHER)).fetchone() is None:
            return False
        values = {value for each in asked for value in each.values}
        return not values <= self._named(values, self._question.span)

    def are_named(self, keys: list[Key]) -> list[bool]:
        """Whether each key's value of the tag has a sum of its own on every day that has others."""
        of_keys = [key[self._place] for key in keys]
        values = {value for value in of_keys if isinstance(value, str)}
        unnamed = values - self._named(values, Span(self._summed[0].since, self._summed[-1].until))
        return [value not in unnamed for value in of_keys]

    def _named(self, values: set[Any], span: Span) -> set[Any]:
        """Those that have sums of their own on each day with others: many are asked at once, since there are many."""
        known = known_span(self._connection)
        assert known is not None
        since, until = begin_of("day", max(span.since, known.since)), min(span.until, known.until)
        every = (f"{since + number * DAY:%Y-%m-%d}" for number in range(-((since - until) // DAY)))
        days = [day for day in every if self._connection.execute(IS_OF_OTHERS, (self._tag, day, OTHER)).fetchone()]
        if not days:
            return values
        asked, found = [*values], set[Any]()
        for some in (asked[start : start + MANY] for start in range(0, len(asked), MANY)):
            sql = NAMED.format(", ".join(["(?)"] * len(some)), ", ".join(["(?)"] * len(days)))
            found.update(value for (value,) in self._connection.execute(sql, (*some, *days, self._tag)))
        return found


class Miss(NamedTuple):
    """The responses that missed the cache for one reason, which is the API's own word."""

    reason: str
    responses: int
    tokens: int
    """Prompt tokens that were not read from the cache, as far as the API says."""
    lost_picousd: int
    """How much more they cost than if they had been read."""

    def plain(self) -> dict[str, Any]:
        """Its fields for JSON: whole counts, and exact dollars as text."""
        counts = {"reason": self.reason, "responses": self.responses, "missed_tokens": self.tokens}
        return {**counts, "lost_usd": f"{exact_usd(self.lost_picousd):f}"}


def cache_misses(connection: sqlite3.Connection, question: Question) -> list[Miss]:
    """The misses by reason, the most expensive first. Only calls with `diagnostics` in their request have a reason."""
    condition, values = question.condition(CALLS, question.span)
    found = connection.execute(MISSES.format(condition), (*question.span.stamps(), *values))
    return [Miss(reason, count, tokens, whole * 10**6 + rest) for reason, count, tokens, whole, rest in found]
