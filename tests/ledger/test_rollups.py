"""The rollups are the sums of the calls, in SQL, whatever comes and goes."""

from __future__ import annotations

import json
import os
import sqlite3
from contextlib import closing
from dataclasses import replace
from datetime import date
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rows import row

from claudetrace._guard import Guard
from claudetrace._ledger import _rollups, _store
from claudetrace._ledger._forget import Whom, forget
from claudetrace._ledger._loader import LedgerWriter
from claudetrace._ledger._prune import prune, used_mb
from claudetrace._ledger._read import Ledger
from claudetrace._ledger._reprice import reprice
from claudetrace._ledger._rollups import Difference, rollup_differences
from claudetrace._ledger._schema import open_ledger
from claudetrace._ledger._store import Store
from tests.processes._running import wait_for

if TYPE_CHECKING:
    from collections.abc import Callable

    Query = Callable[..., list[Any]]

MEMORY = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
"""Where a hundred ledgers wait for no disk."""
NAMES = st.sampled_from(["", "a", "b", "(other)", "<img onerror>", "ü"]) | st.none()
COUNTS = st.none() | st.integers(0, 10**9)
TIMES = st.none() | st.floats(0, 10**6) | st.sampled_from([0, 1, 1024, 2.0**-9, 2.0**30, -1.0])
WRITES = json.dumps(
    [{"name": name, "model": "m", "picousd": 9 * 10**17 + 1} for name in ("input", "cache_write_5m", "cache_write_1h")]
)
ROWS = st.fixed_dictionaries(
    {},
    optional={
        "started_at": st.sampled_from(
            [f"2026-06-{day}T{hour}:59:59.999Z" for day in (14, 15) for hour in ("00", "23")]
        ),
        "call_id": st.sampled_from(["head", "tail"]),
        "model": NAMES,
        "feature": NAMES,
        "platform": st.sampled_from(["anthropic", "bedrock"]),
        "outcome": st.sampled_from(["ok", "error", "cancelled"]),
        "stop_reason": NAMES,
        "error_type": st.sampled_from([None, "overloaded_error", "BudgetExceeded"]),
        "duration_ms": st.none() | st.floats(0, 10**6),
        "response_ms": TIMES,
        "time_to_first_token_ms": TIMES,
        "output_tokens": COUNTS,
        "rate_limit": NAMES,
        "rate_limit_headroom": st.none() | st.floats(0, 1),
        "session_id": NAMES,
        "cache_write_5m_tokens": st.sampled_from([None, 0, 7]),
        "cache_write_1h_tokens": st.sampled_from([None, 3]),
        "cost_parts": st.sampled_from([None, "[]", WRITES]),
        "retries": COUNTS,
        "tool_calls": COUNTS,
        "input_tokens": COUNTS,
        "cache_read_tokens": COUNTS,
        "web_search_requests": COUNTS,
        "cost_picousd": st.none() | st.integers(0, 9 * 10**18),
        "cache_saved_picousd": st.none() | st.integers(-(9 * 10**18), 9 * 10**18),
        "cost_flags": st.sampled_from([None, "[]", '["billed_to_user_profile"]', '["partial_usage"]']),
        "usage_is_final": st.sampled_from([0, 1]),
        "user_id": NAMES,
        "customer": NAMES,
        "tags": st.none()
        | st.dictionaries(st.sampled_from(["team", "user", "a b"]), st.sampled_from(["x", "y", "z"])).map(json.dumps),
    },
)


def differences(db: Path) -> list[Any]:
    with closing(open_ledger(db)) as connection:
        return rollup_differences(connection)


def write(db: Path, rows: list[dict[str, Any]]) -> None:
    store = Store(db, Guard())
    store.write(rows)
    store.close()


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(batches=st.lists(st.lists(ROWS, max_size=8), max_size=4), heads=st.booleans())
def test_rollups_equal_calls(
    batches: list[list[dict[str, Any]]],
    heads: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """After any batches, through reprice, forget and prune, each rollup is the sum of its view."""
    monkeypatch.setattr(_rollups, "MAX_VALUES_A_DAY", 2)
    with TemporaryDirectory(dir=MEMORY) as folder:
        found = _differences_of(Path(folder) / "ledger.db", batches, heads=heads)

    assert found == [[], [], [], [], []]


def _differences_of(db: Path, batches: list[list[dict[str, Any]]], *, heads: bool) -> list[list[Difference]]:
    store = Store(db, Guard())
    for number, batch in enumerate(batches):
        store.write([row(**changes) for changes in batch] + ([row(id="head")] if heads and number == 1 else []))
    found = [rollup_differences(store.connection())]
    store.close()
    reprice(db, everything=True, apply=True)
    found.append(differences(db))
    forget(db, Whom("user", "a"))
    found.append(differences(db))
    write(db, [row(**changes) for batch in batches for changes in batch])
    found.append(differences(db))
    prune(db, date(2026, 6, 15))
    return [*found, differences(db)]


def test_a_difference_is_found(db: Path, query: Query) -> None:
    """A rollup that is off by one token is told, with its key and by how much."""
    write(db, [row()])
    with closing(sqlite3.connect(db)) as connection, connection:
        connection.execute("UPDATE rollup_hours SET input_tokens = input_tokens + 1")

    assert [(found.table, found.measures) for found in differences(db)] == [
        ("rollup_hours", {"input_tokens": 1}),
        ("rollup_days", {"input_tokens": -1}),
    ]


def test_a_session_and_a_headroom_that_differ_are_found(db: Path, query: Query) -> None:
    """A session that is off, one that has no calls and a headroom that was never seen are told with their keys."""
    write(db, [row(session_id="s1", rate_limit="tokens", rate_limit_headroom=0.5)])
    with closing(sqlite3.connect(db)) as connection, connection:
        connection.execute("UPDATE rollup_sessions SET tool_stops = 7")
        connection.execute("UPDATE rollup_headroom SET least_headroom = 0.4")

    hour = ("2026-06-15T12", "tokens", "anthropic", "claude-sonnet-4-5", "rerank")
    assert [(found.table, found.key) for found in differences(db)] == [
        ("rollup_headroom", hour),
        ("rollup_sessions", ("s1",)),
    ]


def test_calls_count_sdk_calls(db: Path, query: Query) -> None:
    """Two responses of one call are one call, also in two batches, and when the first row never came."""
    write(db, [row(id="a"), row(id="b", call_id="a")])
    write(db, [row(id="c", call_id="a"), row(id="d", call_id="gone"), row(id="e", call_id="gone")])

    assert query("SELECT SUM(responses), SUM(calls) FROM rollup_hours") == [(5, 2)]
    assert differences(db) == []


def test_the_same_rows_count_once(db: Path, query: Query) -> None:
    """Rows that the ledger has, by id or by batch and custom id, are stored and summed once."""
    result = {"batch_id": "b", "custom_id": "c", "operation": "messages.batches.result"}
    write(db, [row(id="1"), row(id="2", **result)])
    write(db, [row(id="1"), row(id="3", **result), row(id="4")])

    assert query("SELECT COUNT(*), (SELECT SUM(responses) FROM rollup_hours) FROM calls") == [(3, 3)]


def test_batch_results_take_the_tags_of_their_batch(db: Path, query: Query, monkeypatch: pytest.MonkeyPatch) -> None:
    """A result has the tags and the day's price of the call that made its batch, not of the one that read it."""
    asked: list[str] = []

    def reprice(row: dict[str, Any], created_at: str) -> dict[str, Any]:
        asked.append(created_at)
        return {**row, "cost_picousd": 7}

    monkeypatch.setattr(_store, "at_day_of_batch", reprice)
    store = Store(db, Guard())
    made = row(operation="messages.batches.create", batch_id="b", user_id="maker", tags='{"team":"a"}', feature=None)
    store.write([made, row(operation="messages.batches.result", batch_id="b", custom_id="1", user_id="reader")])
    store.close()
    store.write([row(operation="messages.batches.result", batch_id="b", custom_id="2", user_id="reader")])
    store.write([row(operation="messages.batches.result", batch_id="unknown", custom_id="2", user_id="reader")])
    store.close()
    results = "SELECT user_id, feature, tags, cost_picousd FROM calls WHERE custom_id IS NOT NULL ORDER BY rowid"

    assert query(results) == [
        ("maker", None, '{"team":"a"}', 7),
        ("maker", None, '{"team":"a"}', 7),
        ("reader", "rerank", '{"team":"search"}', 6_000_000_000),
    ]
    assert asked == [made["started_at"]] * 2


def test_values_beyond_a_thousand_are_other(db: Path, query: Query) -> None:
    """The first thousand users of a day are counted by name, by whichever process, and the rest together."""
    first, second = Store(db, Guard()), Store(db, Guard())
    for store, users in ((first, range(700)), (second, range(500, 1200)), (first, range(1100, 1300))):
        store.write([row(user_id=f"u{user}") for user in users])
    first.close()
    second.close()

    named = (
        "SELECT COUNT(DISTINCT value), SUM(responses) FROM rollup_tag_days WHERE tag = 'user' AND value <> '(other)'"
    )
    assert query(named) == [(1000, 1200)]
    assert query("SELECT SUM(responses) FROM rollup_tag_days WHERE tag = 'user' AND value = '(other)'") == [(400,)]
    assert differences(db) == []
    with Ledger(db) as ledger:
        assert ledger.spend(by=None, since=None, where={"user": "u1150"})[0].responses == 2
        assert ledger.spend(by=None, since=None, where={"user": "u600"})[0].responses == 2


def test_others_stay_others(db: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A user who was among the others of a day stays there when a place among the named becomes free."""
    monkeypatch.setattr(_rollups, "MAX_VALUES_A_DAY", 2)
    write(db, [row(user_id=user) for user in "abc"])
    forget(db, Whom("user", "a"))
    write(db, [row(user_id="c")])

    assert differences(db) == []


def part(quantity: int, rate: int | str, picousd: int) -> dict[str, Any]:
    return {"name": "input", "model": "m", "quantity": quantity, "rate_picousd": rate, "picousd": picousd}


@pytest.mark.parametrize(
    ("parts", "cost", "proven"),
    [
        ([part(3, 5, 15)], 15, True),
        ([part(3, 5, 15)], 16, False),
        ([part(3, 5, 16)], 16, False),
        ([part(1, "5/2", 2), part(3, "5/2", 8)], 10, True),
        ([part(1, "5/2", 3)], 3, False),
        ([part(1, "1/3", 0), part(2, "1/3", 1)], 1, True),
        ([part(10**9, "7500000001/1000", 7_500_000_001_000_000)], 7_500_000_001_000_000, True),
        ([part(10**12, 9 * 10**6, 9 * 10**18)], 9 * 10**18, True),
        ([part(10**12, "27000000/3", 9 * 10**18 + 1)], 9 * 10**18 + 1, False),
        ([part(10**12, 10**12, 5)], 5, False),
        ([part(1, "5/0", 3)], 3, False),
        ([part(1, "x", 3)], 3, False),
        ([], 0, True),
        ([], 1, False),
        ([], None, True),
    ],
)
def test_unproven_calls(parts: list[dict[str, Any]], cost: int | None, proven: bool, db: Path, query: Query) -> None:
    """The view shows exactly the calls whose cost is not the sum of parts that are quantity × rate, half-even."""
    write(db, [row(cost_parts=json.dumps(parts), cost_picousd=cost)])

    assert (query("SELECT COUNT(*) FROM unproven_calls") == [(0,)]) is proven


def test_spend_beyond_64_bits(db: Path) -> None:
    """Fifty million dollars are summed exactly, in rollups, views and the read side."""
    write(db, [row(cost_picousd=10**18 + 1, cache_saved_picousd=-(10**18) - 1, cost_parts=None) for _ in range(50)])
    with Ledger(db) as ledger:
        (total,) = ledger.spend(by=None, since=None)
        (of_session,) = ledger.spend(by="session", since=None)

    assert [str(total.cost_usd), str(total.cache_saved_usd)] == ["50000000.000000000050", "-50000000.000000000050"]
    assert replace(of_session, dimensions={}) == total


def test_prune_keeps_rollups(db: Path, query: Query) -> None:
    """Calls of the days before go, their sums stay, and from that day on both are equal."""
    days = [f"2026-06-{day}T12:00:00.000Z" for day in (13, 14, 15) for _ in range(150)]
    write(db, [row(started_at=day) for day in days])
    steps: list[int] = []

    assert prune(db, date(2026, 6, 15), progress=steps.append) == 300
    assert (steps, query("SELECT COUNT(*) FROM calls")) == ([200, 300], [(150,)])
    assert (query("SELECT SUM(responses) FROM rollup_hours"), differences(db)) == ([(450,)], [])
    assert prune(db, date(2026, 6, 15), everything=True) == 0
    assert (query("SELECT SUM(responses) FROM rollup_hours"), differences(db)) == ([(150,)], [])


def test_forgetting_a_call_whose_first_row_never_came(db: Path) -> None:
    """A call that is counted by a later row of it goes from the sums of a tag that is forgotten."""
    write(db, [row(), row(call_id="never came", user_id="a")])
    forget(db, Whom("user", "a"))

    assert differences(db) == []


def test_a_cut_response_is_completed_once(db: Path) -> None:
    """Two sources that tell the whole of one response at once complete its row, and sums, a single time."""
    message = {"message_id": "msg_cut", "session_id": "s"}
    cut = row(**message, source="agent_sdk", output_tokens=1, usage_is_final=0, cost_picousd=1, cost_parts=None)
    with closing(Store(db, Guard())) as store:
        store.write([cut])
        store.write([row(**message, source="agent_sdk"), row(**message, source="claude_code")])
        told = store.connection().execute("SELECT id, output_tokens, usage_is_final FROM calls").fetchall()
        differences = rollup_differences(store.connection())

    assert (told, differences) == ([(cut["id"], 200, 1)], [])


def test_prune_between_the_rows_of_a_call(db: Path) -> None:
    """A call of which only the first row is pruned still counts on the day of the other."""
    write(
        db,
        [row(id="a", started_at="2026-06-14T23:59:59.999Z"), row(call_id="a", started_at="2026-06-15T00:00:01.000Z")],
    )
    prune(db, date(2026, 6, 15))

    assert differences(db) == []


def test_limits(db: Path, query: Query) -> None:
    """Beyond the limits the oldest rows go, chunk by chunk, and are counted."""
    write(db, [row(started_at=f"2026-06-15T12:00:{n // 100:02d}.{n % 100:03d}Z") for n in range(1000)])
    with closing(open_ledger(db)) as connection:
        pruned = _pruned_until(lambda: used_mb(connection) <= 0.5, LedgerWriter(db, guard=Guard(), max_db_mb=0.5))
    ((left, oldest),) = query("SELECT COUNT(*), MIN(started_at) FROM calls")

    assert (left + pruned, 0 < left < 1000, differences(db)) == (1000, True, [])
    assert oldest == f"2026-06-15T12:00:{(1000 - left) // 100:02d}.{(1000 - left) % 100:03d}Z"
    rows = partial(query, "SELECT COUNT(*) FROM calls")
    assert _pruned_until(lambda: rows() == [(0,)], LedgerWriter(db, guard=Guard(), retention_days=1)) == left


def _pruned_until(condition: Callable[[], bool], writer: LedgerWriter) -> int:
    writer.begin()
    wait_for(condition, 10)
    writer.close()
    return int(writer.health()["pruned"])


def test_forget(db: Path, query: Query) -> None:
    """Nothing in the file tells any more which calls were a user's, and every sum without the user is the same."""
    secret = "user-of-whom-nothing-is-to-stay"
    told = {"user_id": secret, "session_id": f"s-{secret}", "tags": json.dumps({"mail": secret}), "customer": "acme"}
    write(db, [row(**told) for _ in range(250)] + [row(user_id="u2")])
    before = query("SELECT * FROM rollup_hours")

    assert forget(db, Whom("user", secret)) == 250
    assert (query("SELECT * FROM rollup_hours"), differences(db)) == (before, [])
    assert query("SELECT COUNT(*), COUNT(user_id), COUNT(session_id), COUNT(customer) FROM calls") == [(251, 1, 0, 250)]
    assert [path.name for path in db.parent.rglob("*") if path.is_file() and secret.encode() in path.read_bytes()] == []


def test_sqlite_3_37_gets_no_whole_real(db: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It refuses one where a STRICT table has generated columns: next to it is as good, and is in the sums as well."""
    monkeypatch.setattr(sqlite3, "sqlite_version_info", (3, 37, 2))
    with closing(Store(db, Guard())) as store:
        store.write([row(duration_ms=1000.0, rate_limit_headroom=1.0, rate_limit="tokens"), row(duration_ms=0)])
        sql = "SELECT duration_ms, rate_limit_headroom FROM calls ORDER BY rowid"
        told = store.connection().execute(sql).fetchall()
        differences = rollup_differences(store.connection())

    assert not any(value.is_integer() for each in told for value in each if value is not None)
    assert [tuple(value and round(value, 6) for value in each) for each in told] == [(1000.0, 1.0), (0.0, None)]
    assert differences == []
