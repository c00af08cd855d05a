"""`Deltas`: what a batch of rows adds to the rollups, worked out before the ledger is asked to add it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson

from claudetrace._call import RESERVED_TAGS
from claudetrace._ledger import _headroom, _rollups, _sessions
from claudetrace._ledger._latency import buckets_of
from claudetrace._ledger._measures import CALLS, FORMULAS, TAG_COLUMNS, TEXTS, Totals
from claudetrace._ledger._rollups import OTHER, accumulate, folded, week_of
from claudetrace._usage import LARGEST_IN_A_ROW

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Collection, Iterable

    from claudetrace._call import Row

NAMED = "SELECT DISTINCT value, others FROM rollup_tag_days WHERE tag = ? AND day = ?"
UPSERTS = {table: rollup.upsert() for table, rollup in _rollups.BY_TABLE.items()}


class Deltas:
    """What a batch of rows adds to the rollups."""

    def __init__(self) -> None:
        self.hours: Totals = {}
        self.tag_days: Totals = {}
        self.latencies: Totals = {}
        self.headroom: _headroom.Least = {}
        self.sessions: _sessions.Sums = {}

    def add(self, rows: Iterable[Row], further_firsts: Collection[str]) -> None:
        """Adds `rows`, or raises at the first that cannot be. `further_firsts` are the ids of those that are
        the first of their call without bearing its id."""
        for row in rows:
            _require_texts(row)
            amounts = [formula(row) for formula in FORMULAS]
            amounts[CALLS] = int(row["id"] == row["call_id"] or row["id"] in further_firsts)
            if max(amounts) > LARGEST_IN_A_ROW or min(amounts) < -LARGEST_IN_A_ROW:
                raise ValueError("a count is too large to be true")
            started_at, platform = row["started_at"], row["platform"]
            day, whose = started_at[:10], (platform, row.get("model") or "", row.get("feature") or "")
            outcome = row["outcome"]
            reason = row.get("stop_reason" if outcome == "ok" else "error_type") or ""
            accumulate(self.hours, (started_at[:13], *whose, row["operation"], outcome, reason), amounts)
            for tag, value in _tags(row).items():
                accumulate(self.tag_days, (tag, day, value, *whose), amounts)
            platform, model, feature = whose
            for kind, bucket in buckets_of(row):
                accumulate(self.latencies, (kind, day, feature, bucket, platform, model), [1])
            _headroom.note(self.headroom, row, whose)
            _sessions.note(self.sessions, row, amounts)

    def merge(self, other: Deltas) -> None:
        """Adds all that `other` holds."""
        for mine, more in (
            (self.hours, other.hours),
            (self.tag_days, other.tag_days),
            (self.latencies, other.latencies),
        ):
            for key, amounts in more.items():
                accumulate(mine, key, amounts)
        _headroom.merge(self.headroom, other.headroom)
        _sessions.merge(self.sessions, other.sessions)

    def write(self, connection: sqlite3.Connection, tag_values: TagValues, first_before: dict[str, str]) -> None:
        """Adds all to the ledger. `first_before` says when each session began before these rows came."""
        tag_days = tag_values.limited(connection, self.tag_days)
        for table, totals in (
            ("rollup_hours", self.hours),
            ("rollup_days", folded(self.hours, 0, _day_of)),
            ("rollup_tag_days", tag_days),
            ("rollup_tag_weeks", folded(tag_days, 1, week_of)),
            ("rollup_feature_latencies", self.latencies),
            ("rollup_latencies", folded(self.latencies, 2, None)),
        ):
            connection.executemany(UPSERTS[table], [(*key, *amounts) for key, amounts in totals.items()])
        _headroom.write(connection, self.headroom)
        _sessions.write(connection, self.sessions, first_before)


def _day_of(hour: str) -> str:
    return hour[:10]


def _require_texts(row: Row) -> None:
    for name in TEXTS:
        value = row.get(name)
        if value is not None and value.__class__ is not str:
            raise TypeError(f"{name} is not text")


def _tags(row: Row) -> dict[str, str]:
    """Each tag of the row that `rollup_tag_days` has, with its value."""
    free: dict[str, Any] = orjson.loads(row["tags"]) if row.get("tags") else {}
    tags = {tag: value for tag, value in free.items() if tag not in RESERVED_TAGS}
    if any(value.__class__ is not str for value in tags.values()):
        raise TypeError("a tag is not text")
    for tag, column in TAG_COLUMNS.items():
        if (value := row.get(column)) is not None:
            tags[tag] = value
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
                found = connection.execute(NAMED, (tag, day))
                known = known | {None if others else stored for stored, others in found}
                self._known[tag, day] = known
            if value not in known:
                # Once there are others, nothing more is let in: an earlier row of the value may be among them.
                fits = None not in known and len(known) < _rollups.MAX_VALUES_A_DAY
                known.add(value if fits else None)
            others = value not in known
            accumulate(limited, (tag, day, OTHER if others else value, int(others), *rest), amounts)
        return limited
