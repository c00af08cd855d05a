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
from hypothesis import given, settings
from hypothesis import strategies as st
from rows import row

from claudetrace._errors import ClaudetraceError
from claudetrace._files import fragile_filesystem
from claudetrace._guard import Guard
from claudetrace._ledger import _spend
from claudetrace._ledger._journal import Journal
from claudetrace._ledger._loader import LedgerWriter
from claudetrace._ledger._read import Ledger
from claudetrace._ledger._spend import GROUPS, read_spend
from claudetrace._ledger._store import Store
from claudetrace._ledger._times import span

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


ENDS = (
    st.none()
    | st.datetimes(datetime(2026, 6, 12), datetime(2026, 6, 17))
    | st.dates(date(2026, 6, 12), date(2026, 6, 17))
)
WHERE = st.dictionaries(
    st.sampled_from(["model", "feature", "user", "session", "customer", "tag:team", "outcome", "stop_reason"]),
    st.sampled_from(["m1", "rerank", "u1", "s2", "acme", "a", "ok", "end_turn", None]),
    max_size=2,
)


@settings(max_examples=300, deadline=None)
@given(by=st.sampled_from([None, *GROUPS, "tag:team", "tag:none"]), since=ENDS, until=ENDS, where=WHERE)
def test_spend_equals_the_calls(ledger: Ledger, by: str | None, since: Any, until: Any, where: dict[str, Any]) -> None:
    """Whatever is asked, the rollups and their edges answer what the calls alone do."""
    with ledger._reading() as connection:
        found = read_spend(connection, by, span(since, until), where)
        totals: dict[str | None, list[int]] = {} if by else {None: _spend.NOTHING}
        for key, amounts in _spend._from_calls(connection, by, span(since, until), where):
            totals[key] = [a + b for a, b in zip(totals.get(key, _spend.NOTHING), amounts, strict=True)]

    assert {spend.key: spend for spend in found} == {key: _spend._spend(key, each) for key, each in totals.items()}


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
        ({"by": "colour"}, "by='colour' is none of model, day"),
        ({"where": {"colour": "red"}}, "'colour' in where is none of model, platform"),
        ({"since": "soon"}, "since='soon' is no time; give 30m"),
        ({"until": 5}, "until=5 is no time"),
        ({"by": "tag:"}, "by='tag:' is none of"),
    ],
)
def test_unusable_questions(ledger: Ledger, asked: dict[str, Any], said: str) -> None:
    """A question that cannot be answered is refused with what can be asked."""
    with pytest.raises(ClaudetraceError, match=said):
        ledger.spend(**asked)


def test_times() -> None:
    """Ages count back from now; times without a zone are UTC; ends are cut to the millisecond."""
    now = datetime(2026, 6, 15, 12, tzinfo=UTC)

    assert [
        span(since, None, now).stamps()[0] for since in ("7d", "1h", "2026-06-15T12:00:00+02:00", date(2026, 1, 2))
    ] == [
        "2026-06-08T12:00:00.000Z",
        "2026-06-15T11:00:00.000Z",
        "2026-06-15T10:00:00.000Z",
        "2026-01-02T00:00:00.000Z",
    ]
    assert span(datetime(2026, 1, 1, 0, 0, 0, 1), None).stamps()[0] == "2026-01-01T00:00:00.000Z"


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
