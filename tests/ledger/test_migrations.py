"""Ledgers of older versions are led to the current one, with all their rows, and their new sums are filled in."""

from __future__ import annotations

import json
import sqlite3
import time
from contextlib import closing
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from rows import row

from claudetrace._guard import Guard
from claudetrace._ledger import _fill
from claudetrace._ledger._loader import LedgerWriter
from claudetrace._ledger._proof import filled_from_day, rollup_differences
from claudetrace._ledger._prune import prune
from claudetrace._ledger._schema import APPLICATION_ID, open_ledger
from claudetrace._ledger._store import Store

if TYPE_CHECKING:
    from collections.abc import Callable

    Query = Callable[..., list[Any]]

SCHEMA = (Path(__file__).parent / "versions" / "version_2.sql").read_text(encoding="utf-8")
WRITES = json.dumps([{"name": "cache_write_5m", "model": "m", "quantity": 7, "rate_picousd": 1, "picousd": 7}])


def old_rows() -> list[dict[str, Any]]:
    return [
        row(
            started_at=f"2026-06-{day:02d}T{hour:02d}:00:00.000Z",
            session_id=f"s{(day + hour) % 5}",
            user_id=f"u{hour % 3}",
            response_ms=100.0 * hour,
            rate_limit="tokens",
            rate_limit_headroom=hour / 24,
            **({"cache_write_5m_tokens": 7, "cache_write_1h_tokens": 0, "cost_parts": WRITES} if hour % 2 else {}),
            **({"outcome": "error", "error_type": "BudgetExceeded", "stop_reason": None} if hour == 5 else {}),
        )
        for day in range(1, 11)
        for hour in range(24)
    ]


@pytest.fixture(params=[1, 2])
def old(db: Path, request: pytest.FixtureRequest) -> Path:
    """A ledger of an older version with rows and the rollups that it had. The first had no table of what is unsent."""
    version = request.param
    with closing(sqlite3.connect(db)) as connection:
        connection.executescript(SCHEMA)
        for made in old_rows():
            names = ", ".join(made)
            places = ", ".join("?" * len(made))
            connection.execute(f"INSERT INTO calls ({names}) VALUES ({places})", tuple(made.values()))
        for table, view, keys in (
            ("rollup_hours", "measured_calls", "hour, platform, model, feature, operation, outcome, reason"),
            ("rollup_tag_days", "measured_call_tags", "tag, day, value, platform, model, feature"),
        ):
            columns = [name for (name,) in connection.execute("SELECT name FROM pragma_table_info(?)", (table,))]
            sums = ", ".join(name if name in keys.split(", ") else f"SUM({name})" for name in columns)
            connection.execute(f"INSERT INTO {table} SELECT {sums} FROM {view} GROUP BY {keys}")
        if version == 1:
            connection.execute("DROP TABLE unsent")
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        connection.execute(f"PRAGMA user_version = {version}")
        connection.commit()
    return db


def test_an_older_ledger_is_filled_day_by_day(old: Path) -> None:
    """After the migration all that was is there; each step fills a day, and at no moment is a sum wrong."""
    with closing(open_ledger(old)) as connection:
        assert filled_from_day(connection) == "2026-06-11"
        found = [rollup_differences(connection)]
        while _fill.fill_day(connection):
            found.append(rollup_differences(connection))
        (calls, spend), (blocked, writes) = (
            connection.execute(sql).fetchone()
            for sql in (
                "SELECT COUNT(*), SUM(cost_picousd) FROM calls",
                "SELECT SUM(blocked_calls), SUM(cache_write_rest_picousd) FROM rollup_tag_weeks WHERE tag = 'user'",
            )
        )

        assert found == [[]] * 11
        assert (calls, spend, filled_from_day(connection)) == (240, 240 * 6_000_000_000, "")
        assert (blocked, writes) == (10, 10 * 12 * 7)


def test_rows_that_come_while_an_older_ledger_is_filled(old: Path) -> None:
    """Rows of days that are filled, of days that are not and of new ones are summed up once each."""
    store = Store(old, Guard())
    _fill.fill_day(store.connection())
    store.write([*old_rows(), row(started_at="2026-07-01T00:00:00.000Z", session_id="s1")])
    found = [rollup_differences(store.connection())]
    while _fill.fill_day(store.connection()):
        found.append(rollup_differences(store.connection()))
    store.close()

    assert found == [[]] * 10


def test_an_older_ledger_with_pruned_days_is_filled_as_far_as_its_calls(old: Path) -> None:
    """Days of which calls are pruned keep what they had."""
    prune(old, date(2026, 6, 8))
    with closing(open_ledger(old)) as connection:
        while _fill.fill_day(connection):
            pass

        assert (rollup_differences(connection), filled_from_day(connection)) == ([], "")
        assert connection.execute("SELECT SUM(responses) FROM rollup_days").fetchone() == (240,)
        assert connection.execute("SELECT MIN(day) FROM rollup_latencies").fetchone() == ("2026-06-08",)


def test_the_loader_fills_an_older_ledger(old: Path) -> None:
    """A process that writes fills what is missing beside its work."""
    writer = LedgerWriter(old, guard=Guard())
    writer.append(row(started_at="2026-07-01T00:00:00.000Z"))
    deadline = time.monotonic() + 60
    with closing(sqlite3.connect(old, timeout=10)) as connection:
        while not writer.flush(1) or filled_from_day(connection):
            assert time.monotonic() < deadline
            time.sleep(0.05)
    writer.close()

    with closing(open_ledger(old)) as connection:
        assert rollup_differences(connection) == []
    assert writer.health()["last_error"] is None


def test_filling_tells_its_days(old: Path) -> None:
    """A person who opens an older ledger can have all of it filled, and sees how far it is."""
    days: list[str] = []

    assert (_fill.fill(old, days.append), _fill.fill(old)) == (10, 0)
    assert days == [f"2026-06-{day:02d}" for day in range(10, 0, -1)]
