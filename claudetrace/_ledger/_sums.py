"""What rows add up to: added to the rollups, or put there in place of what they were."""

from __future__ import annotations

from collections import Counter
from functools import lru_cache
from itertools import chain
from operator import add
from typing import TYPE_CHECKING, Any, TypeAlias

import orjson

from claudetrace._call import PROMPT_TOKENS, RESERVED_TAGS
from claudetrace._ledger import _rollups
from claudetrace._ledger._latency import KINDS, buckets_of
from claudetrace._ledger._measures import FIRST_OF_CALL, MEASURE_NAMES, ROLLED_UP_COLUMNS, TAG_COLUMNS, amounts_of
from claudetrace._ledger._rollups import (
    BY_TABLE,
    FEATURE_LATENCIES,
    HEADROOM,
    HOURS,
    OTHER,
    ROLLUPS,
    SESSIONS,
    TAG_DAYS,
    Key,
    Rollup,
)
from claudetrace._ledger._schema import insert_rows

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Collection, Iterable, Sequence

    from claudetrace._call import Row
    from claudetrace._ledger._latency import Columns
    from claudetrace._ledger._schema import Pace

Totals: TypeAlias = dict[Key, list[Any]]

VALUES = "SELECT DISTINCT value, others FROM rollup_tag_days WHERE tag = ? AND day = ?"
UPSERTS = {rollup: rollup.upsert() for rollup in ROLLUPS}
REMOVE_EMPTY = {
    rollup: f"DELETE FROM {rollup.table} WHERE {' AND '.join(f'{name} = ?' for name in rollup.key)} AND responses = 0"  # noqa: S608 - names of ours
    for rollup in ROLLUPS
}
FIRST_OF_FURTHER = f"SELECT c.id FROM calls AS c WHERE c.id IN (SELECT value FROM json_each(?)) AND {FIRST_OF_CALL}"  # noqa: S608 - SQL of ours
OF_SESSIONS = "v.session_id IN (SELECT value FROM json_each(?))"
REMOVE_SESSIONS = f"DELETE FROM rollup_sessions AS v WHERE {OF_SESSIONS}"  # noqa: S608 - SQL of ours
MAKE_SESSIONS = f"INSERT INTO rollup_sessions ({SESSIONS.columns}) {SESSIONS.rows(OF_SESSIONS)}"
DIMENSIONS = (
    *("platform", "model", "feature", "operation", "outcome", "stop_reason", "error_type", "rate_limit"),
    *(*ROLLED_UP_COLUMNS, "tags"),
)
"""What decides, beside the hour, to which sums a row is added, but for that of its session."""
TEXTS = ("id", "call_id", "started_at", "session_id", *DIMENSIONS)
_TEXT_OR_NONE = frozenset((str, type(None)))
PROMPT = tuple(MEASURE_NAMES.index(name) for name in PROMPT_TOKENS)
IN_SESSION = {name: MEASURE_NAMES.index(name) for name in SESSIONS.measures if name in MEASURE_NAMES}
COUNTS = tuple(place for name, place in IN_SESSION.items() if not name.startswith("spend"))
SPEND = (IN_SESSION["spend_microusd"], IN_SESSION["spend_rest_picousd"])
SESSION_WAYS = tuple(measure.of_batch for measure in SESSIONS.measures.values())


def columns_of(rows: Sequence[Row]) -> dict[str, Sequence[Any]]:
    """The columns that any of `rows` has."""
    if not rows:
        return {}
    if not all(map(tuple(rows[0]).__eq__, map(tuple, rows))):
        empty = dict.fromkeys(chain.from_iterable(rows))
        rows = [empty | row for row in rows]
    told = zip(rows[0], zip(*map(dict.values, rows), strict=True), strict=True)
    return {name: column for name, column in told if column[0] is not None or column.count(None) < len(rows)}


class Sums:
    """What rows add up to, for each rollup of calls."""

    def __init__(
        self, rows: Sequence[Row], columns: Columns, further_firsts: Collection[str] = (), pace: Pace = iter
    ) -> None:
        """Raises where one cannot be added. `columns` are those of `rows`; `further_firsts` are the ids of those that
        are the first of their call without bearing its id."""
        self.hours: Totals = {}
        self.tag_days: Totals = {}
        self.latencies: Totals = {}
        self.headroom: Totals = {}
        self.sessions: Totals = {}
        if not rows:
            return
        _require_texts(columns)
        nones = (None,) * len(rows)
        hours = [started_at[:13] for started_at in columns["started_at"]]
        keys = zip(hours, *[columns.get(name, nones) for name in DIMENSIONS], strict=True)
        amounts = [*zip(*pace(amounts_of(columns, further_firsts)), strict=True)]
        each = zip(rows, amounts, columns.get("rate_limit_headroom", nones), strict=True)
        alike: dict[Key, list[Any]] = {}
        for key, row in zip(keys, each, strict=True):
            alike.setdefault(key, []).append(row)
        for group in pace(alike.values()):
            self._add(*zip(*group, strict=True))
        for session, row, of_row in pace(zip(columns.get("session_id", ()), rows, amounts, strict=False)):
            if session is not None:
                self._add_to_session((session,), row, of_row)
        whose = [columns.get(name, nones) for name in ("feature", "platform", "model")]
        for kind, buckets in zip(KINDS, pace(buckets_of(columns)), strict=True):
            counted = Counter(zip(hours, *whose, buckets, strict=True))
            for (at, feature, platform, model, bucket), responses in counted.items():
                if bucket is not None:
                    key = (kind, at[:10], feature or "", bucket, platform, model or "")
                    _accumulate(self.latencies, key, [responses])

    def _add(self, rows: Sequence[Row], each: Sequence[Any], headrooms: Sequence[Any]) -> None:
        """Adds rows that are alike, with the amounts of each."""
        row, amounts = rows[0], [*map(sum, zip(*each, strict=True))] if len(each) > 1 else [*each[0]]
        hour, day, outcome = row["started_at"][:13], row["started_at"][:10], row["outcome"]
        whose = (row["platform"], row.get("model") or "", row.get("feature") or "")
        reason = row.get("stop_reason" if outcome == "ok" else "error_type") or ""
        _accumulate(self.hours, (hour, *whose, row["operation"], outcome, reason), amounts)
        for tag, value in _tags(row):
            _accumulate(self.tag_days, (tag, day, value, *whose), amounts)
        if told := [headroom for headroom in headrooms if headroom is not None]:
            key = (hour, row.get("rate_limit") or "", *whose)
            self.headroom[key] = min(self.headroom.get(key, told[:1]), [min(told)])

    def _add_to_session(self, key: Key, row: Row, amounts: Sequence[int]) -> None:
        at = row["started_at"]
        prompt = sum([amounts[place] for place in PROMPT]) or None
        tool_stop = int(row["outcome"] == "ok" and row.get("stop_reason") == "tool_use")
        new = [at[:10], at, at, *[amounts[place] for place in COUNTS], tool_stop, prompt, prompt]
        new += [amounts[place] for place in SPEND]
        if known := self.sessions.get(key):
            new = [way(one, two) for way, one, two in zip(SESSION_WAYS, known, new, strict=True)]
        self.sessions[key] = new

    def write(self, connection: sqlite3.Connection, tag_values: TagValues, pace: Pace = iter) -> dict[Rollup, Totals]:
        """Adds all to the ledger. Answers what was added to each rollup."""
        written = {
            HOURS: self.hours,
            TAG_DAYS: tag_values.limited(connection, self.tag_days),
            FEATURE_LATENCIES: self.latencies,
            HEADROOM: self.headroom,
            SESSIONS: {
                key: [*amounts, micro + rest // 10**6, rest % 10**6]
                for key, (*amounts, micro, rest) in self.sessions.items()
            },
        }
        for rollup in pace(ROLLUPS):
            if rollup.folded is not None:
                totals: Totals = {}
                for key, amounts in written[BY_TABLE[rollup.source]].items():
                    _accumulate(totals, rollup.folded(key), amounts)
                written[rollup] = totals
            if totals := written[rollup]:
                insert_rows(connection, UPSERTS[rollup], [(*key, *amounts) for key, amounts in totals.items()], pace)
        return written


def exchange(
    connection: sqlite3.Connection,
    before: list[Row],
    after: list[Row],
    tag_values: TagValues,
    new_firsts: Collection[str] = (),
) -> None:
    """Makes the sums right after the rows `before` have become `after` in the table `calls`. `new_firsts` are the ids
    of those that have become the first of their call."""
    firsts = further_firsts(connection, after)
    sums = Sums(after, columns_of(after), firsts)
    old = Sums(before, columns_of(before), firsts.difference(new_firsts))
    sums.hours = _less(sums.hours, old.hours)
    sums.tag_days = _less(sums.tag_days, old.tag_days)
    sums.latencies = _less(sums.latencies, old.latencies)
    # No row has another headroom, and what is least cannot be taken away: sessions are made anew.
    sums.headroom, sums.sessions = {}, {}
    for rollup, totals in sums.write(connection, tag_values).items():
        emptied = [key for key, amounts in totals.items() if amounts[0] < 0]
        if emptied:
            connection.executemany(REMOVE_EMPTY[rollup], emptied)
    remake_sessions(connection, {row["session_id"] for row in before})


def remake_sessions(connection: sqlite3.Connection, sessions: Iterable[str | None]) -> None:
    """Makes the rows of `sessions` anew from the calls that are left of them."""
    names = (orjson.dumps([*sessions]).decode(),)
    connection.execute(REMOVE_SESSIONS, names)
    connection.execute(MAKE_SESSIONS, names)


def further_firsts(connection: sqlite3.Connection, rows: list[Row]) -> frozenset[str]:
    """The ids among `rows` that do not bear their call's id, and yet are its first row in the ledger."""
    further = [row["id"] for row in rows if row["id"] != row["call_id"]]
    if not further:
        return frozenset()
    return frozenset(id_ for (id_,) in connection.execute(FIRST_OF_FURTHER, (orjson.dumps(further).decode(),)))


def _accumulate(totals: Totals, key: Key, amounts: list[Any]) -> None:
    known = totals.get(key)
    totals[key] = amounts if known is None else list(map(add, known, amounts))


def _less(totals: Totals, taken: Totals) -> Totals:
    """What is in `totals` and not in `taken`, less what is there and not here."""
    left = dict(totals)
    for key, amounts in taken.items():
        _accumulate(left, key, [-amount for amount in amounts])
    return {key: amounts for key, amounts in left.items() if any(amounts)}


def _require_texts(columns: Columns) -> None:
    if wrong := [name for name in TEXTS if not _TEXT_OR_NONE.issuperset(map(type, columns.get(name, ())))]:
        raise TypeError(f"{', '.join(wrong)} is not text")


def _tags(row: Row) -> list[tuple[str, str]]:
    """Each tag of the row that `rollup_tag_days` has, with its value."""
    own = [(tag, value) for tag, column in TAG_COLUMNS.items() if (value := row.get(column)) is not None]
    return own + _free_tags(text) if (text := row.get("tags")) else own


@lru_cache(maxsize=1024)
def _free_tags(text: str) -> list[tuple[str, str]]:
    tags = [(tag, value) for tag, value in orjson.loads(text).items() if tag not in RESERVED_TAGS]
    if any(value.__class__ is not str for _, value in tags):
        raise TypeError("a tag is not text")
    return tags


class TagValues:
    """Which values of a tag a day's rollup counts by name: the first 1,000. Knows them between batches, so
    that a batch without new values asks nothing."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, str], set[str | None]] = {}
        """The values that a tag's day names; `None` among them where it counts further ones as others."""

    def clear(self) -> None:
        """Forgets all, as after a transaction that was rolled back."""
        self._known.clear()

    def limited(self, connection: sqlite3.Connection, tag_days: Totals) -> Totals:
        """`tag_days` as the rollup has them: values beyond a day's limit are its others."""
        if len(self._known) > 10_000:
            self._known.clear()
        read: set[tuple[str, str]] = set()
        limited: Totals = {}
        for key, amounts in tag_days.items():
            tag, day, value, *rest = key
            known = self._known.get((tag, day), set())
            if value not in known and None not in known and (tag, day) not in read:
                # Another process may have added values, or the last that fit.
                read.add((tag, day))
                found = connection.execute(VALUES, (tag, day))
                known = known | {None if others else stored for stored, others in found}
                self._known[tag, day] = known
            if value not in known:
                # Once there are others, nothing more is let in: an earlier row of the value may be among them.
                fits = None not in known and len(known) < _rollups.MAX_VALUES_A_DAY
                known.add(value if fits else None)
            others = value not in known
            _accumulate(limited, (tag, day, OTHER if others else value, int(others), *rest), amounts)
        return limited
