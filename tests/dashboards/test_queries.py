"""The pages' queries answer what plain SQL over the raw calls answers, with every filter that they honour."""

from __future__ import annotations

import json
import math
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from decimal import Decimal
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anthropic
import pytest

import claudetrace
from claudetrace._demo import _answers
from claudetrace._demo._server import PlayServer
from claudetrace._guard import Guard
from claudetrace._ledger import _rollups
from claudetrace._ledger._proof import rollup_differences
from claudetrace._ledger._store import Store

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT / "dashboards"), str(ROOT / "tests" / "bench")]

# ruff: noqa: E402 - found by the line above
from claudetrace_dashboards.queries import QUERIES, Filters, run, statement
from generate import Source

if TYPE_CHECKING:
    from collections.abc import Iterator

# Dollars a million tokens as Anthropic publishes them: input, read, write for 5 minutes, for 1 hour, output.
PUBLISHED = {
    "claude-haiku-4-5": ("1", "0.10", "1.25", "2", "5"),
    "claude-sonnet-4-5": ("3", "0.30", "3.75", "6", "15"),
    "claude-opus-4-1": ("15", "1.50", "18.75", "30", "75"),
    "claude-opus-4-5": ("5", "0.50", "6.25", "10", "25"),
    "claude-sonnet-5": ("2", "0.20", "2.50", "4", "10"),
}
READ, WRITES = 1, (2, 3)


def charges(usage: str | None, model: str | None) -> list[list[tuple[int, int]]]:
    """The tokens of each class with their picodollars each: of the response, and of each compaction in it."""
    if usage is None or model not in PUBLISHED:
        return []
    rates = [int(Decimal(usd) * 10**6) for usd in PUBLISHED[model]]
    whole = json.loads(usage)
    found = []
    for part in (whole, *(each for each in whole.get("iterations", []) if each["type"] == "compaction")):
        hour = (part.get("cache_creation") or {}).get("ephemeral_1h_input_tokens", 0)
        short = (part.get("cache_creation_input_tokens") or 0) - hour
        read = part.get("cache_read_input_tokens") or 0
        found.append(list(zip((part["input_tokens"], read, short, hour, part["output_tokens"]), rates, strict=True)))
    return found


def cost_by_list(usage: str | None, model: str | None) -> int | None:
    return sum(n * rate for part in charges(usage, model) for n, rate in part)


def writes_by_list(usage: str | None, model: str | None) -> int:
    return sum(part[place][0] * part[place][1] for part in charges(usage, model) for place in WRITES)


def saved_by_list(usage: str | None, model: str | None) -> int:
    parts = charges(usage, model)
    return sum(part[place][0] * (part[0][1] - part[place][1]) for part in parts for place in (READ, *WRITES))


ASK = {"model": "claude-sonnet-5", "max_tokens": 9, "messages": [{"role": "user", "content": "hi"}]}
SONNET = "claude-sonnet-4-5"
SPEND = {
    "calls": "COUNT(DISTINCT call_id)",
    "unpriced_calls": "SUM(cost_picousd IS NULL)",
    "lower_bound_calls": """SUM(
        cost_picousd IS NOT NULL AND (usage_is_final = 0 OR COALESCE(cost_flags, '') LIKE '%"retried_after_timeout"%')
    )""",
    "spend_picousd": "COALESCE(SUM(cost_by_list(usage, model)), 0)",
}
TOKENS = ("input_tokens", "cache_read_tokens", "cache_write_5m_tokens", "cache_write_1h_tokens")
CACHE = {
    "calls": SPEND["calls"],
    **{name: f"COALESCE(SUM({name}), 0)" for name in TOKENS},
    "cache_saved_picousd": "COALESCE(SUM(saved_by_list(usage, model)), 0)",
    "cache_write_picousd": "COALESCE(SUM(writes_by_list(usage, model)), 0)",
}
FAILED = "outcome = 'error' AND COALESCE(error_type, '') <> 'BudgetExceeded'"
KPI = {
    **SPEND,
    **CACHE,
    "responses": "COUNT(*)",
    "errors": f"SUM({FAILED})",
    "blocked_calls": "SUM(outcome = 'error' AND COALESCE(error_type, '') = 'BudgetExceeded')",
    "retries": "COALESCE(SUM(retries), 0)",
    "output_tokens": "COALESCE(SUM(output_tokens), 0)",
}
PERIOD = "SUBSTR(started_at, 1, :period_chars)"
REASON = "COALESCE(IIF(outcome = 'ok', stop_reason, error_type), '')"
RESPONSES = {"responses": "COUNT(*)", "calls": SPEND["calls"]}
OUTCOMES = {**RESPONSES, **{name: KPI[name] for name in ("errors", "blocked_calls", "retries", "lower_bound_calls")}}
MODEL, FEATURE = "COALESCE(model, '')", "COALESCE(feature, '')"
HEADROOM = {"least_headroom": "MIN(rate_limit_headroom)"}
# Each query with its keys and sums over `calls`, and which of them it is about.
PLAIN: dict[str, tuple[dict[str, str], dict[str, str], str]] = {
    "cost_by_time": ({"period": PERIOD, "model": MODEL}, SPEND, "TRUE"),
    "cost_by_model": ({"model": MODEL}, SPEND, "TRUE"),
    "cost_by_feature": ({"feature": FEATURE}, SPEND, "TRUE"),
    "cost_by_platform": ({"platform": "platform"}, SPEND, "TRUE"),
    "cost_by_operation": ({"operation": "operation"}, SPEND, "TRUE"),
    "cost_by_feature_and_model": ({"feature": FEATURE, "model": MODEL}, SPEND, "TRUE"),
    "cost_by_tag": ({"value": "user_id"}, SPEND, "user_id IS NOT NULL"),
    "cache_by_time": ({"period": PERIOD}, CACHE, "TRUE"),
    "cache_by_model": ({"model": MODEL}, CACHE, "TRUE"),
    "cache_by_feature": ({"feature": FEATURE}, CACHE, "TRUE"),
    "cache_by_tag": ({"value": "prompt"}, CACHE, "prompt IS NOT NULL"),
    "errors_by_type": ({"period": PERIOD, "reason": REASON}, RESPONSES, FAILED),
    "stop_reasons": ({"period": PERIOD, "reason": REASON}, RESPONSES, "outcome = 'ok'"),
    "outcomes": ({"period": PERIOD, "outcome": "outcome"}, OUTCOMES, "TRUE"),
    "headroom": (
        {"period": PERIOD, "rate_limit": "COALESCE(rate_limit, '')"},
        HEADROOM,
        "rate_limit_headroom IS NOT NULL",
    ),
}
CONDITIONS = {
    "model": f"{MODEL} = :model",
    "feature": f"{FEATURE} = :feature",
    "platform": "platform = :platform",
    "user": "user_id = :user",
    "session": "session_id = :session",
    "tag": "(SELECT value FROM json_each(tags) WHERE key = :tag_key) = :tag_value",
}
CUSTOMER = {"tag_key": "customer", "tag_value": "customer-00"}
RANGES = (("2026-08-23T00", "2026-11-21T00"), ("2026-10-07T00", "2026-10-20T00"), ("2026-11-18T00", "2026-11-19T00"))


@pytest.fixture(scope="module")
def ledger(tmp_path_factory: pytest.TempPathFactory) -> Iterator[sqlite3.Connection]:
    """Generated calls of 90 days, of which some users of each day are among the others, and real ones."""
    path = tmp_path_factory.mktemp("queries") / "ledger.db"
    with PlayServer() as server, claudetrace.instrument(db=path, force=True):
        server.add(_answers.answer(), _answers.answer())
        with anthropic.Anthropic(api_key="k", base_url=server.url) as client:
            client.messages.create(**ASK)
            with claudetrace.tag(user="u", session="s", feature="real", team="t"):
                client.messages.create(**ASK)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_rollups, "MAX_VALUES_A_DAY", 25)
        store = Store(path, Guard())
        for batch in Source(5000).batches():
            store.write(batch)
        store.close()
    with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as connection:
        connection.row_factory = sqlite3.Row
        for function in (cost_by_list, writes_by_list, saved_by_list):
            connection.create_function(function.__name__, 2, function, deterministic=True)
        yield connection


def filter_sets(ledger: sqlite3.Connection) -> list[dict[str, str]]:
    """Every combination of the base filters, alone and with a user, a tag or a session."""
    base = {"model": SONNET, "feature": "support-chat", "platform": "anthropic"}
    ((session, user),) = ledger.execute(
        "SELECT session_id, user_id FROM calls WHERE feature = 'support-chat' AND session_id IS NOT NULL "
        f"AND model = '{SONNET}' AND started_at < '2026-11-21' GROUP BY session_id ORDER BY COUNT(*) DESC LIMIT 1"
    ).fetchall()
    others = [{}, {"user": user}, {"user": "user-1500@example.com"}, {"tag_key": "team", "tag_value": "support"}]
    others += [{"session": session}, {"session": session, "user": user, "tag_key": "env", "tag_value": "production"}]
    narrow = [dict(some) for count in range(4) for some in combinations(base.items(), count)]
    return [{**one, **other} for one in narrow for other in others] + [{"feature": ""}, {"feature": "no-such"}]


def plain(ledger: sqlite3.Connection, name: str, asked: Any, filters: Filters) -> list[dict[str, Any]]:
    keys, sums, about = PLAIN[name]
    conditions = [CONDITIONS[each] for each in sorted(filters.given() - asked.unheard)]
    columns = ", ".join(f"{sql} AS {name}" for name, sql in {**keys, **sums}.items())
    where = " AND ".join([about, "started_at >= :since AND started_at < :until", *conditions])
    places = ", ".join(str(number + 1) for number in range(len(keys)))
    sql = f"SELECT {columns} FROM calls WHERE {where} GROUP BY {places}"
    values = {**asked.parameters, "since": asked.since, "until": asked.until}
    return [dict(row) for row in ledger.execute(sql, values)]


def by_key(rows: list[dict[str, Any]], keys: Any) -> dict[Any, dict[str, Any]]:
    return {tuple(row[key] for key in keys): row for row in rows}


def _parted(found: dict[Any, dict[str, Any]]) -> tuple[dict[Any, dict[str, Any]], dict[Any, dict[str, Any]]]:
    """The values that are marked as too low, and those that are not; without what is counted together."""
    parts: tuple[dict[Any, dict[str, Any]], dict[Any, dict[str, Any]]] = ({}, {})
    for key, row in found.items():
        plain_row = {name: value for name, value in row.items() if name not in ("others", "too_low")}
        if not row["others"]:
            parts[not row["too_low"]][key] = plain_row
    return parts


@pytest.mark.parametrize("name", PLAIN)
def test_sums_equal_the_calls(name: str, ledger: sqlite3.Connection) -> None:
    """A query that adds up is what plain SQL over `calls` is, for each filter that it honours and any combination."""
    compared = 0
    for what in filter_sets(ledger):
        for since, until in RANGES:
            filters = Filters(since=since, until=until, **what)
            asked = statement(name, filters)
            if asked.unheard:
                continue
            expected = by_key(plain(ledger, name, asked, filters), PLAIN[name][0])
            found = by_key(run(ledger, name, filters), PLAIN[name][0])
            if name.endswith("_by_tag"):
                # What is beyond a day's values is counted together, and fifty values are shown. One that may have
                # calls among those says so; all others are exact.
                assert sum(row["calls"] for row in found.values()) <= sum(row["calls"] for row in expected.values())
                (marked, found) = _parted(found)
                assert all(row["calls"] <= expected[key]["calls"] for key, row in marked.items())
                expected = {key: expected[key] for key in found}
            assert found == expected, (what, since)
            compared += len(found)
    assert compared > 0


def test_the_figures_and_the_period_before(ledger: sqlite3.Connection) -> None:
    """The row of figures has the sums of the range and of as long a time before it."""
    for what in filter_sets(ledger):
        filters = Filters(since="2026-10-20T00", until="2026-11-03T00", **what)
        found = {row.pop("period"): row for row in run(ledger, "kpi", filters)}
        for period, since, until in (("now", filters.since, filters.until), ("before", "2026-10-06T00", filters.since)):
            conditions = [CONDITIONS[each] for each in filters.given()]
            columns = ", ".join(f"{sql} AS {name}" for name, sql in KPI.items())
            where = " AND ".join(["started_at >= :since AND started_at < :until", *conditions])
            values = {**statement("kpi", filters).parameters, "since": since, "until": until}
            (expected,) = ledger.execute(f"SELECT {columns} FROM calls WHERE {where}", values)
            assert found.get(period) == (dict(expected) if expected["calls"] else None), (what, period)


def test_values_of_a_tag_without_others(ledger: sqlite3.Connection) -> None:
    """Where no day has more values than are named, a tag's sums are exact and the dearest come first, in any range."""
    compared = 0
    for tag, column in (("customer", "customer"), ("team", "tags ->> 'team'")):
        for since, until in (*RANGES, ("2026-09-01T00", "2026-09-02T00"), ("2026-09-02T00", "2026-09-17T00")):
            filters = Filters(since=since, until=until, model=SONNET)
            sql = (
                f"SELECT {column} AS value, SUM(spend_picousd), COUNT(*) FROM calls WHERE started_at >= ? "
                f"AND started_at < ? AND model = ? AND value IS NOT NULL GROUP BY 1"
            )
            rows = [tuple(row) for row in ledger.execute(sql, (since, until, SONNET))]
            expected = sorted(rows, key=lambda row: (-row[1], row[0]))[:50]
            found = [(r["value"], r["spend_picousd"], r["calls"]) for r in run(ledger, "cost_by_tag", filters, by=tag)]
            shown = {value for value, _, _ in found}
            if "(other)" not in shown:
                assert found == expected, (tag, since)
                compared += 1
            elif len(shown) < 50:
                assert sum(spend for _, spend, _ in found) == sum(spend for _, spend, _ in rows)
    assert compared > 5


@pytest.mark.parametrize("kind", ["duration_ms", "time_to_first_token_ms", "output_tokens_per_s"])
def test_percentiles_are_within_the_bound(kind: str, ledger: sqlite3.Connection) -> None:
    """p50, p95 and p99 are within 2.2 % of the values of those ranks among the raw calls, with each filter."""
    value = "output_tokens * 1000.0 / response_ms" if kind == "output_tokens_per_s" else kind
    for what in filter_sets(ledger):
        filters = Filters(since="2026-09-01T00", until="2026-11-01T00", **what)
        asked = statement("latency_by_model", filters, kind=kind)
        if asked.unheard:
            continue
        conditions = [CONDITIONS[each] for each in filters.given()]
        where = " AND ".join(["started_at >= :since AND started_at < :until AND outcome = 'ok'", *conditions])
        sql = f"SELECT {MODEL}, {value} AS v FROM calls WHERE {where} AND v IS NOT NULL ORDER BY v"
        exact: dict[str, list[float]] = {}
        for model, each in ledger.execute(sql, asked.parameters):
            exact.setdefault(model, []).append(each)
        found = {row["model"]: row for row in run(ledger, "latency_by_model", filters, kind=kind)}
        assert {model: row["responses"] for model, row in found.items()} == {m: len(v) for m, v in exact.items()}
        for model, values in exact.items():
            for percent in (50, 95, 99):
                rank = math.ceil(percent * len(values) / 100)
                assert found[model][f"p{percent}"] == pytest.approx(values[rank - 1], rel=0.022), (what, model)


def test_the_dearest_sessions(ledger: sqlite3.Connection) -> None:
    """The sessions that began in the range come dearest first, whole, and with a filter those that have such a call."""
    for what in ({}, {"feature": "code-review"}, {"platform": "vertex"}, {"model": "no-such"}):
        filters = Filters(since="2026-10-01T00", until="2026-11-01T00", **what)
        having = "".join(f" AND SUM({CONDITIONS[each]}) > 0" for each in what)
        sql = f"""
            SELECT session_id, COUNT(DISTINCT call_id), SUM(spend_picousd), SUM(stop_reason IS 'tool_use')
            FROM calls WHERE session_id IS NOT NULL GROUP BY session_id
            HAVING MIN(started_at) >= '2026-10-01' AND MIN(started_at) < '2026-11-01'{having}
            ORDER BY 3 DESC, 1 LIMIT 20
        """
        expected = [tuple(row) for row in ledger.execute(sql, statement("kpi", filters).parameters)]
        found = run(ledger, "dearest_sessions", filters)
        assert [(r["session_id"], r["calls"], r["spend_picousd"], r["tool_stops"]) for r in found] == expected


def test_tool_loops(ledger: sqlite3.Connection) -> None:
    """Sessions with ten or more stops for a tool come with how their prompt grew, the longest first."""
    sql = """
        SELECT session_id, SUM(stop_reason = 'tool_use') AS stops,
            MAX(COALESCE(input_tokens, 0) + COALESCE(cache_read_tokens, 0) + COALESCE(cache_write_5m_tokens, 0))
        FROM calls WHERE session_id IS NOT NULL AND outcome <> 'error' GROUP BY session_id HAVING stops >= 10
        ORDER BY 2 DESC, 1 LIMIT 20
    """
    found = run(ledger, "tool_loops", Filters(since=RANGES[0][0], until=RANGES[0][1]))

    expected = [tuple(row) for row in ledger.execute(sql)]
    assert [(row["session_id"], row["tool_stops"], row["most_prompt_tokens"]) for row in found] == expected
    assert expected


def test_a_session_and_a_call(ledger: sqlite3.Connection) -> None:
    """A session's calls come in their order with the cost so far, and a call with its parts, which add up to it."""
    sql = "SELECT session_id FROM rollup_sessions ORDER BY calls DESC LIMIT 1"
    ((session,),) = ledger.execute(sql).fetchall()
    filters = Filters(since="0001-01-01T00", until="9999-12-27T00", session=session)
    calls = run(ledger, "session_calls", filters)
    (whole,) = ledger.execute("SELECT SUM(spend_picousd) FROM calls WHERE session_id = ?", (session,)).fetchone()
    priced = next(row for row in calls if row["cost_picousd"])
    (call,) = run(ledger, "call", filters, id=priced["id"])
    parts = run(ledger, "call_parts", filters, id=priced["id"])

    assert [row["started_at"] for row in calls] == sorted(row["started_at"] for row in calls)
    assert (calls[-1]["running_picousd"], call["cost_picousd"]) == (whole, priced["cost_picousd"])
    assert sum(part["part_picousd"] for part in parts) == call["cost_picousd"]


def test_what_is_not_honoured_is_told() -> None:
    """A query says which filters it leaves out, and answers whole days where its sums are by day."""
    hours = {"since": "2026-11-20T05", "until": "2026-11-21T05"}
    assert statement("errors_by_type", Filters(**hours, user="u")).unheard == {"user"}
    assert statement("kpi", Filters(**hours, user="u", **CUSTOMER)).unheard == {"user"}
    assert statement("kpi", Filters(**hours, user="u", session="s", **CUSTOMER)).unheard == set()
    assert statement("kpi", Filters(**hours, tag_key="user", tag_value="u")).parameters["user"] == "u"
    by_day = statement("kpi", Filters(**hours, user="u"))
    assert (by_day.since, by_day.until) == ("2026-11-20T00", "2026-11-22T00")
    with pytest.raises(TypeError):
        statement("kpi", Filters(**hours), by="user")


def test_every_query_answers_on_an_empty_ledger(tmp_path: Path) -> None:
    """A ledger without a call gives no rows, and no error."""
    store = Store(tmp_path / "empty.db", Guard())
    filters = Filters(since=RANGES[0][0], until=RANGES[0][1], session="s", user="u")

    assert {name: run(store.connection(), name, filters) for name in QUERIES} == {name: [] for name in QUERIES}
    store.close()


WRITER = """
import sys, time
from pathlib import Path
from claudetrace._guard import Guard
from claudetrace._ledger._loader import LedgerWriter
sys.path.insert(0, sys.argv[3])
from generate import Source
writer = LedgerWriter(Path(sys.argv[1]), guard=Guard())
for batch in Source(3000, int(sys.argv[2])).batches():
    for row in batch:
        writer.append(row)
assert writer.flush(60), writer.health()
writer.close()
assert writer.health()["last_error"] is None, writer.health()
"""


def test_queries_while_three_processes_write(tmp_path: Path) -> None:
    """Every query answers while three processes write at full speed, without a lock's error on either side."""
    path = tmp_path / "ledger.db"
    Store(path, Guard()).connection()
    command = [sys.executable, "-c", WRITER, str(path)]
    writers = [
        subprocess.Popen([*command, str(seed), str(ROOT / "tests" / "bench")], stderr=subprocess.PIPE)
        for seed in range(3)
    ]
    filters, rounds = Filters(since=RANGES[0][0], until=RANGES[0][1]), 0
    while any(writer.poll() is None for writer in writers) or not rounds:
        with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True, timeout=1)) as connection:
            for name in QUERIES:
                run(connection, name, filters)
        rounds += 1
        time.sleep(0.01)
    told = [(writer.wait(), (writer.stderr.read() if writer.stderr else b"").decode()) for writer in writers]
    for writer in writers:
        if writer.stderr:
            writer.stderr.close()

    assert told == [(0, "")] * 3
    with closing(sqlite3.connect(path)) as connection:
        (calls,) = connection.execute("SELECT COUNT(*) FROM calls").fetchone()
        assert run(connection, "kpi", filters)[0]["calls"] == calls >= 9000
        assert rollup_differences(connection) == []
