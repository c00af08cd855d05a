"""The pages' queries answer what plain SQL over the raw calls answers, with every filter that they honour."""

from __future__ import annotations

import json
import math
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from dataclasses import asdict
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any

import anthropic
import pytest

import claudetrace
from claudetrace._demo import _answers
from claudetrace._demo._server import PlayServer
from claudetrace._guard import Guard
from claudetrace._ledger import _rollups
from claudetrace._ledger._rollups import rollup_differences
from claudetrace._ledger._store import Store

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT / "dashboards"), str(ROOT / "tests" / "bench")]

# ruff: noqa: E402 - found by the line above
from claudetrace_dashboards import _filters
from claudetrace_dashboards.queries import QUERIES, QUESTIONS, Filters, run
from claudetrace_dashboards.queries._readers import Sums, Times
from generate import LAST_DAY, Source

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
    "cost_by_service": ({"service": "COALESCE(service, '')"}, SPEND, "TRUE"),
    "cost_by_tag": ({"value": "COALESCE(user_id, '')"}, SPEND, "TRUE"),
    "kpi": ({}, KPI, "TRUE"),
    "cache_by_time": ({"period": PERIOD}, CACHE, "TRUE"),
    "cache_by_model": ({"model": MODEL}, CACHE, "TRUE"),
    "cache_by_feature": ({"feature": FEATURE}, CACHE, "TRUE"),
    "cache_by_tag": (
        {"value": "COALESCE(prompt, '')"},
        {n: s for n, s in CACHE.items() if "write_pico" not in n},
        "TRUE",
    ),
    "unpriced": ({"model": MODEL, "feature": FEATURE, "platform": "platform"}, SPEND, "TRUE"),
    "errors_by_type": ({"period": PERIOD, "reason": REASON}, RESPONSES, FAILED),
    "stop_reasons": ({"period": PERIOD, "reason": REASON}, RESPONSES, "outcome = 'ok'"),
    "outcomes": (
        {"period": PERIOD, "outcome": "outcome", "reason": f"IIF(outcome = 'ok', '', {REASON})"},
        OUTCOMES,
        "TRUE",
    ),
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
    "customer": "customer = :customer",
    "prompt": "prompt = :prompt",
    "service": "service = :service",
    "instance": "instance = :instance",
    "team": "(SELECT value FROM json_each(tags) WHERE key = 'team') = :team",
}
RANGES = (("2026-08-23", "2026-11-20"), ("2026-10-07", "2026-10-19"), ("2026-11-18", "2026-11-18"),
          ("2026-11-01", "2026-11-20T07"))  # fmt: skip


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


def asked_filters(ledger: sqlite3.Connection, seed: str, count: int = 14) -> Iterator[tuple[_filters.Filters, Any]]:
    """Random filters that some call has, in random ranges, and the same as values of columns."""
    random = Random(seed)
    rows = ledger.execute("SELECT *, tags ->> 'team' AS team FROM calls WHERE tags IS NOT NULL ORDER BY id").fetchall()
    yield _filters.Filters.read({"from": RANGES[0][0], "to": RANGES[0][1]}, now=LAST_DAY), {}
    for _ in range(count):
        row, (first, last) = random.choice(rows), random.choice(RANGES)
        base = {name: row[name] for name in ("model", "feature", "platform") if random.random() < 0.4}
        other = random.choice(
            ("", "", "user", "session", "customer", "prompt", "team", "user+team", "service", "user+instance")
        )
        values = {**base, **{name: row[COLUMNS.get(name, name)] for name in other.split("+") if name}}
        if None in values.values():
            continue
        tag = next((name for name in ("customer", "prompt", "team") if name in values), None)
        arguments = {name: value for name, value in values.items() if name != tag}
        arguments |= {"tag": f"{tag}:{values[tag]}"} if tag else {}
        filters = _filters.Filters.read({"range": "custom", "from": first, "to": last, **arguments}, now=LAST_DAY)
        assert not filters.problems
        yield filters, values


COLUMNS = {"user": "user_id", "session": "session_id"}


def found(
    ledger: sqlite3.Connection, name: str, filters: _filters.Filters, kind: str = "", **more: str
) -> list[dict[str, Any]]:
    """The whole answer to a question of the pages."""
    reader = QUESTIONS[name]
    read = reader.read(ledger, reader.question(filters, **more), whole=True, **more)
    rows: list[dict[str, Any]] = (
        reader.shown(read, whole=True, kind=kind) if isinstance(reader, Sums | Times) else read
    ).rows
    return rows


def plain(
    ledger: sqlite3.Connection, filters: _filters.Filters, values: Any, keys: Any, sums: Any, about: str
) -> list[dict[str, Any]]:
    """The same in SQL over the calls."""
    columns = ", ".join(f"{sql} AS {name}" for name, sql in {**keys, **sums}.items())
    where = " AND ".join(
        [about, "started_at >= :since AND started_at < :until", *(CONDITIONS[each] for each in values)]
    )
    places = ", ".join(str(number + 1) for number in range(len(keys)))
    grouped = f"GROUP BY {places}" if keys else "HAVING COUNT(*) > 0"
    chars = 13 if filters.until - filters.since <= timedelta(hours=48) else 10
    bound = {**values, **filters.parameters(), "period_chars": chars} | values
    return [dict(row) for row in ledger.execute(f"SELECT {columns} FROM calls WHERE {where} {grouped}", bound)]


def by_key(rows: list[dict[str, Any]], keys: Any, sums: Any) -> dict[Any, dict[str, Any]]:
    return {tuple(row[key] for key in keys): {name: row[name] for name in sums} for row in rows}


@pytest.mark.parametrize("name", PLAIN)
def test_figures_equal_the_calls(name: str, ledger: sqlite3.Connection) -> None:
    """What a page adds up is what plain SQL over `calls` is, for random filters in any combination."""
    keys, sums, about = PLAIN[name]
    more = {"by": "user" if name == "cost_by_tag" else "prompt"} if name.endswith("_by_tag") else {}
    compared = 0
    for filters, values in asked_filters(ledger, name):
        expected = by_key(plain(ledger, filters, values, keys, sums, about), keys, sums)
        if name == "unpriced":
            expected = {key: row for key, row in expected.items() if row["unpriced_calls"] or row["lower_bound_calls"]}
        rows = found(ledger, name, filters, **more)
        if any(row["others"] for row in rows if "others" in row):
            # What is beyond a day's values is counted together. One that may have calls in it says so.
            total = sum(row["calls"] for row in rows)
            assert total == sum(row["calls"] for row in expected.values())
            rows = [row for row in rows if not row["others"] and not row["too_low"]]
            expected = {(row["value"],): expected[row["value"],] for row in rows}
        shown = by_key(rows, keys, sums)
        assert shown == expected or (not expected and not any(row.get("calls") for row in shown.values())), filters
        compared += len(expected)
    assert compared > 0


def test_values_of_a_tag_without_others(ledger: sqlite3.Connection) -> None:
    """Where no day has more values than are named, a tag's sums are exact, the most expensive first, and the calls
    without it are a row."""
    compared = 0
    for tag, column in (("customer", "customer"), ("team", "tags ->> 'team'"), ("prompt", "prompt")):
        for filters, values in asked_filters(ledger, tag, 8):
            rows = plain(ledger, filters, values, {"value": f"COALESCE({column}, '')"}, SPEND, "TRUE")
            expected = sorted(rows, key=lambda row: (-row["spend_picousd"], -row["calls"], not row["value"]))
            shown = found(ledger, "cost_by_tag", filters, by=tag)
            if not any(row["others"] for row in shown):
                assert [{name: row[name] for name in ("value", *SPEND)} for row in shown] == expected, filters
                compared += 1
    assert compared > 5


@pytest.mark.parametrize("kind", ["duration_ms", "time_to_first_token_ms", "output_tokens_per_s"])
@pytest.mark.parametrize("name", ["latency_by_model", "latency_by_time", "latency_kpi"])
def test_percentiles_are_within_the_bound(kind: str, name: str, ledger: sqlite3.Connection) -> None:
    """p50, p95 and p99 are within 2.2 % of the values of those ranks among the calls, with random filters."""
    value = "output_tokens * 1000.0 / response_ms" if kind == "output_tokens_per_s" else kind
    key = {"latency_by_model": MODEL, "latency_by_time": "SUBSTR(started_at, 1, 10)"}.get(name, "'now'")
    for filters, values in asked_filters(ledger, kind + name, 8):
        sums = {"values_": f"JSON_GROUP_ARRAY({value}) FILTER (WHERE {value} IS NOT NULL)"}
        rows = plain(ledger, filters, values, {"key": key}, sums, "outcome = 'ok' AND output_tokens IS NOT NULL")
        exact = {row["key"]: sorted(json.loads(row["values_"])) for row in rows}
        shown = {row.get("period", row.get("model")): row for row in found(ledger, name, filters, kind=kind)}
        assert {each: row["responses"] for each, row in shown.items()} == {k: len(v) for k, v in exact.items() if v}
        for each, ranked in exact.items():
            for percent in (50, 95, 99) if ranked else ():
                rank = math.ceil(percent * len(ranked) / 100)
                assert shown[each][f"p{percent}"] == pytest.approx(ranked[rank - 1], rel=0.022), (filters, each)


def test_the_dearest_sessions(ledger: sqlite3.Connection) -> None:
    """The sessions that began in the range come dearest first, whole, and with a filter those that have such a call."""
    ((user,),) = ledger.execute("SELECT MIN(user_id) FROM calls WHERE SUBSTR(started_at, 1, 10) = '2026-10-09'")
    tag = {"tag_key": "customer", "tag_value": "customer-00"}
    for what in ({}, {"feature": "code-review"}, {"platform": "vertex"}, {"model": "no-such"}, {"user": user}, tag):
        filters = Filters(since="2026-10-01T00", until="2026-11-01T00", **what)
        conditions = {**CONDITIONS, "tag_key": "customer = :tag_value", "tag_value": "TRUE"}
        having = "".join(f" AND SUM({conditions[each]}) > 0" for each in what)
        sql = f"""
            SELECT session_id, COUNT(DISTINCT call_id), SUM(spend_picousd), SUM(stop_reason IS 'tool_use')
            FROM calls WHERE session_id IS NOT NULL GROUP BY session_id
            HAVING MIN(started_at) >= '2026-10-01' AND MIN(started_at) < '2026-11-01'{having}
            ORDER BY 3 DESC, 1 LIMIT 20
        """
        expected = [tuple(row) for row in ledger.execute(sql, asdict(filters))]
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
    found = run(ledger, "tool_loops", Filters(since="2026-08-23T00", until="2026-11-21T00"))

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


def test_every_query_answers_on_an_empty_ledger(tmp_path: Path) -> None:
    """A ledger without a call gives no rows, and no error."""
    store = Store(tmp_path / "empty.db", Guard())
    filters = Filters(since="2026-08-23T00", until="2026-11-21T00", session="s", user="u")

    assert {name: run(store.connection(), name, filters) for name in QUERIES} == {name: [] for name in QUERIES}
    everything = _filters.Filters.read({})
    for name in QUESTIONS.keys() - {"kpi"}:
        assert found(store.connection(), name, everything, by="team") == []
    store.close()


EVERYTHING = _filters.Filters.read({"from": "2026-08-01", "to": "2026-11-30"})
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
    filters, rounds = Filters(since="2026-08-23T00", until="2026-11-21T00"), 0
    while any(writer.poll() is None for writer in writers) or not rounds:
        with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True, timeout=1)) as connection:
            for name in QUERIES:
                run(connection, name, filters)
            for name in QUESTIONS:
                found(connection, name, EVERYTHING, by="team")
        rounds += 1
        time.sleep(0.01)
    told = [(writer.wait(), (writer.stderr.read() if writer.stderr else b"").decode()) for writer in writers]
    for writer in writers:
        if writer.stderr:
            writer.stderr.close()

    assert told == [(0, "")] * 3
    with closing(sqlite3.connect(path)) as connection:
        (calls,) = connection.execute("SELECT COUNT(*) FROM calls").fetchone()
        (kpi,) = found(connection, "kpi", EVERYTHING)
        assert kpi["calls"] == calls >= 9000
        assert rollup_differences(connection) == []
