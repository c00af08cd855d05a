"""The read side answers exactly, from the rollups where they can and from the calls at the edges."""

from __future__ import annotations

import os
import sqlite3
from collections import Counter
from contextlib import closing
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest
from rows import row

from claudetrace._errors import ClaudetraceError
from claudetrace._files import fragile_filesystem
from claudetrace._guard import Guard
from claudetrace._ledger._journal import Journal
from claudetrace._ledger._loader import LedgerWriter
from claudetrace._ledger._read import Ledger
from claudetrace._ledger._store import Store
from claudetrace._ledger._times import span, zone_of

MOMENTS = [
    f"2026-06-{day}T{hour}:{minute}:00.500Z"
    for day in (13, 14, 15)
    for hour in ("00", "11", "23")
    for minute in ("00", "30")
]
ALL = [
    row(
        id=f"{number:04d}",
        started_at=moment,
        model=f"m{number % 3}",
        feature=("rerank", "chat", None)[number % 3],
        user_id=(f"u{number % 4}", None)[number % 5 == 0],
        session_id=f"s{number % 7}",
        customer=("acme", None)[number % 2],
        tags=('{"team":"a"}', '{"team":"b"}', None)[number % 3],
        outcome=("ok", "error")[number % 6 == 0],
        error_type=(None, "overloaded_error")[number % 6 == 0],
        cost_picousd=10**9 + number,
    )
    for number, moment in enumerate(MOMENTS * 4)
]


@pytest.fixture(scope="module")
def ledger(tmp_path_factory: pytest.TempPathFactory) -> Ledger:
    db = tmp_path_factory.mktemp("read") / "ledger.db"
    store = Store(db, Guard())
    store.write(ALL)
    store.close()
    return Ledger(db)


def test_spend(ledger: Ledger) -> None:
    """The sums have the dearest first, in exact dollars."""
    models = ledger.spend(by="model", since=None)
    expected = Counter[str]()
    for each in ALL:
        expected[each["model"]] += each["cost_picousd"]

    assert [(spend.key, spend.spend_picousd) for spend in models] == expected.most_common()
    assert models[0].cost_usd.as_tuple().exponent == -12
    assert [spend.key for spend in ledger.spend(by="day", since=None)] == ["2026-06-13", "2026-06-14", "2026-06-15"]
    assert ledger.spend(since="7d", until="2026-06-01") == []


def test_calls(ledger: Ledger) -> None:
    """Calls come newest first, filtered, as many as asked for."""
    found = ledger.calls(limit=3, where={"user": "u1", "tag:team": "b"}, until=datetime(2026, 6, 15, tzinfo=UTC))

    assert len(found) == 3
    assert [call.started_at for call in found] == sorted((call.started_at for call in found), reverse=True)
    assert {(call.user_id, call.tags["team"]) for call in found} == {("u1", "b")}
    assert len(ledger.calls(limit=None)) == len(ALL)
    assert ledger.calls(trace_id="none") == []
    assert ledger.db["calls"].count == len(ALL)


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"by": "workflow"}, "'workflow' is none of model, .*; did you mean tag:workflow?"),
        ({"by": "costumer"}, "costumer: did you mean customer\\? Tags of your own are tag:KEY"),
        ({"by": ("model", "day", "user", "feature")}, "by names 4 dimensions; give 3 at most"),
        ({"where": {"Error type": "x"}}, "Error type: did you mean error_type"),
        ({"timezone": "Mars/Phobos"}, "timezone='Mars/Phobos' is no time zone"),
        ({"sort": "luck"}, "sort='luck' is none of cost"),
        ({"since": "soon"}, "since='soon' is no time; give 30m"),
        ({"until": 5}, "until=5 is no time"),
        ({"by": "tag:"}, "'tag:' is none of"),
    ],
)
def test_unusable_questions(ledger: Ledger, asked: dict[str, Any], said: str) -> None:
    """A question that cannot be answered is refused with what can be asked."""
    with pytest.raises(ClaudetraceError, match=said):
        ledger.spend(**asked)


NOW = datetime(2026, 6, 17, 12, 30, tzinfo=UTC)


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        ("7d", "2026-06-10T12:30"),
        ("2w", "2026-06-03T12:30"),
        ("1y", "2025-06-17T12:30"),
        ("today", "2026-06-17T00:00"),
        ("Yesterday", "2026-06-16T00:00"),
        ("this week", "2026-06-15T00:00"),
        ("last-week", "2026-06-08T00:00"),
        ("this month", "2026-06-01T00:00"),
        ("last month", "2026-05-01T00:00"),
        ("last_year", "2025-01-01T00:00"),
        ("2026-11", "2026-11-01T00:00"),
        ("2024", "2024-01-01T00:00"),
        ("2026-06-15T12:00:00+02:00", "2026-06-15T10:00"),
        (date(2026, 1, 2), "2026-01-02T00:00"),
        (datetime(2026, 1, 1, 0, 0, 0, 1), "2026-01-01T00:00"),
    ],
)
def test_times(said: Any, meant: str) -> None:
    """A time is an age, a name, a month, a day or a moment; without a zone it is UTC."""
    assert span(said, None, NOW).stamps()[0] == f"{meant}:00.000Z"


def test_days_of_a_zone() -> None:
    """Names and dates are of the zone that is asked for, whose days are 23 to 25 hours long."""
    berlin = zone_of("Europe/Berlin")

    assert span("2026-03-29", "2026-03-30", NOW, berlin).stamps() == (
        "2026-03-28T23:00:00.000Z",
        "2026-03-29T22:00:00.000Z",
    )
    assert span("today", None, datetime(2026, 6, 16, 23, tzinfo=UTC), berlin).stamps()[0] == "2026-06-16T22:00:00.000Z"


@pytest.mark.parametrize(
    ("since", "until", "before"),
    [
        ("2026-06-10", "2026-06-12", ("2026-06-08", "2026-06-10")),
        ("2026-06", "2026-07", ("2026-05-01", "2026-06-01")),
        ("2026-04", "2026-07", ("2026-01-01", "2026-04-01")),
        ("today", "2026-06-17T12:00", ("2026-06-16", "2026-06-16T12:00")),
        ("this month", "2026-06-17", ("2026-05-01", "2026-05-17")),
    ],
)
def test_the_time_before(since: str, until: str, before: tuple[str, str]) -> None:
    """It is as long; whole months are compared with whole months, and a part of one with the same part."""
    assert span(since, until, NOW).before(since, until) == span(*before, NOW)


def test_the_month_before_may_be_shorter() -> None:
    """It ends where this one begins, also where as many days are not in it."""
    now = datetime(2026, 3, 31, tzinfo=UTC)

    assert span("this month", "2026-03-31", now).before("this month", "2026-03-31") == span(
        "2026-02-01", "2026-03-01", now
    )


def test_missing_ledger(tmp_path: Path) -> None:
    """Where there is none, the way to one is said."""
    with pytest.raises(ClaudetraceError, match="instrument"):
        Ledger(tmp_path / "none.db")


def test_opening_takes_in_what_was_left(db: Path, guard: Guard) -> None:
    """The calls of a killed process are seen without a further step, also when it never made a ledger."""
    left = Journal(db.with_name("ledger.db.spool"), guard)
    left.append(row())
    del left

    assert Ledger(db).spend(by=None, since=None)[0].calls == 1


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_read_only(db: Path, writer: LedgerWriter) -> None:
    """A ledger in a folder that cannot be written is read while its log files are there, else the reason is said."""
    writer.append(row())
    writer.flush(5)
    db.parent.chmod(0o555)
    try:
        assert Ledger(db).spend(by=None, since=None)[0].calls == 1
    finally:
        db.parent.chmod(0o755)


def test_another_files_ledger_is_refused(db: Path) -> None:
    """Reading refuses a file of something else, and leaves it as it is."""
    with closing(sqlite3.connect(db)) as connection, connection:
        connection.execute("CREATE TABLE theirs (x)")
    with pytest.raises(ClaudetraceError, match="something else"):
        Ledger(db)


def test_fragile_filesystem() -> None:
    """A path in memory is told, with the kind of its file system."""
    assert "tmpfs" in (fragile_filesystem("/dev/shm/ledger.db") or "tmpfs" * (not Path("/dev/shm").exists()))
    assert "proc" not in (fragile_filesystem("/proc/x") or "")
