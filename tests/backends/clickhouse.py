"""The collector's ClickHouse table, filled with records of real calls, against the ledger's own report.

Runs in an environment of its own with `chdb`, which is ClickHouse in a process; see `run.py`. The collector is played:
what it does with a record, `otel_row` does.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests"))

import anthropic  # noqa: E402 - the tests' own modules come from the path set above
import clickhouse_dashboard  # noqa: E402
import orjson  # noqa: E402
from chdb.session import Session  # noqa: E402
from telemetry.receiver import Log, Receiver  # noqa: E402

import claudetrace  # noqa: E402
from claudetrace._demo import _answers, _play, _wire  # noqa: E402
from claudetrace._demo._server import PlayServer  # noqa: E402
from claudetrace._ledger._spend import Spend  # noqa: E402

SQL = ROOT / "dashboards" / "clickhouse" / "spend.sql"
ALWAYS = {"since": "2020-01-01 00:00:00.000", "until": "2100-01-01 00:00:00.000"}
TAGS = ("user", "session", "feature", "customer", "prompt", "workflow", "it's", "none")
BATCH, RESULTS_OF_A_BATCH = "msgbatch_demo_1", 5
"""The demo's."""
AT_LEAST = {"unpriced_calls": 1, "lower_bound_calls": 1, "blocked_calls": 1, "sum_picousd": 2**63}
"""What the calls must hold, or the comparison proves little."""

_COMMON = """
    TraceId String,
    SpanId String,
    TraceFlags UInt8,
    SeverityText LowCardinality(String),
    SeverityNumber UInt8,
    ServiceName LowCardinality(String),
    Body String,
    ResourceSchemaUrl LowCardinality(String),
    ResourceAttributes Map(LowCardinality(String), String),
    ScopeSchemaUrl LowCardinality(String),
    ScopeName String,
    ScopeVersion LowCardinality(String),
    ScopeAttributes Map(LowCardinality(String), String),
    LogAttributes Map(LowCardinality(String), String),
"""
# Columns, types and order as in the exporter's templates for its default tables; codecs and most indexes left out.
TABLES = {
    "older": f"""CREATE TABLE otel_logs (
    Timestamp DateTime64(9),
    TimestampTime DateTime DEFAULT toDateTime(Timestamp),{_COMMON}
    INDEX idx_log_attr_key mapKeys(LogAttributes) TYPE bloom_filter(0.01) GRANULARITY 1
) ENGINE = MergeTree PARTITION BY toDate(TimestampTime)
PRIMARY KEY (ServiceName, TimestampTime) ORDER BY (ServiceName, TimestampTime, Timestamp)""",
    "newer": f"""CREATE TABLE otel_logs (
    Timestamp DateTime64(9),{_COMMON}
    EventName String,
    INDEX idx_log_attr_key mapKeys(LogAttributes) TYPE bloom_filter(0.01) GRANULARITY 1
) ENGINE = MergeTree PARTITION BY toDate(Timestamp)
ORDER BY (toStartOfFiveMinutes(Timestamp), ServiceName, Timestamp)""",
}


def main() -> int:
    """Compares both forms of the table; 1 if a number differs."""
    with TemporaryDirectory() as folder, Receiver() as collector:
        ledger = Path(folder) / "ledger.db"
        make_calls(ledger, Path(folder) / "other.db", collector)
        records = list(collector.logs)
        expected = reported(ledger)
        with claudetrace.Ledger(ledger) as opened:
            blocked = opened.spend(by=(), since="all").total.blocked_calls
        wrong = 0
        for form, table in TABLES.items():
            with Session(str(Path(folder) / form)) as clickhouse:
                again = [*records[::2], *records[::3]]
                found = queried(clickhouse, table, [*records, *again])
                asked, unlike = clickhouse_dashboard.differences(clickhouse, ledger)
            for each in unlike:
                print(f"{form} table, dashboard, {each}")
            wrong += len(unlike)
            expected["doubles"] = {"": {"records_again": len(again), "results_again": RESULTS_OF_A_BATCH}}
            differing = [name for name in expected if found.get(name) != expected[name]]
            for name in differing:
                print(f"{form} table, {name}:\n  ClickHouse {found.get(name)}\n  ledger     {expected[name]}")
            wrong += len(differing)
    total = expected["total"][""]
    held = {**total, "blocked_calls": blocked}
    for name, least in AT_LEAST.items():
        if held[name] < least:
            print(f"the calls hold too little: {name} is {held[name]}, less than {least}")
            wrong += 1
    reports = f"{len(expected)} reports and {asked} queries of the dashboard"
    print(f"{len(records)} records, {total['sum_picousd']} picodollars, {reports}, {wrong} differ")
    return int(wrong > 0)


def make_calls(db: Path, other_db: Path, collector: Receiver) -> None:
    """The demo's calls and what it lacks, in the ledger `db`; then another machine reads the batch's results again."""
    with recording(db, collector):
        _play.play()
        with PlayServer() as server, anthropic.Anthropic(api_key="k", base_url=server.url, max_retries=0) as client:
            huge = _wire.message("…", _wire.usage(1, 100_000_000_000), model=_play.OPUS)
            server.add(*[_answers.answer(huge) for _ in range(5)])
            for _ in range(5):
                ask(client, _play.OPUS)
            server.add(_answers.answer(_wire.message("Hi.", model="claude-unheard-of-9")))
            with claudetrace.tag(**{"it's": 'a "quoted" \\ tag, with ünïcode\tand a tab'}):
                ask(client, "claude-unheard-of-9")
            server.add(_answers.failure(529, "overloaded_error"))
            ask(client, _play.HAIKU)
            with suppress(claudetrace.BudgetExceeded), claudetrace.tag(run="r1", customer="acme"):
                ask(client, _play.HAIKU)
    with recording(other_db, collector), PlayServer() as server:
        results = {f"ticket-{number}": _wire.message("billing", model=_play.HAIKU) for number in range(1, 6)}
        server.add(*_answers.batch(BATCH, results))
        with anthropic.Anthropic(api_key="k", base_url=server.url) as client:
            assert len(list(client.messages.batches.results(BATCH))) == RESULTS_OF_A_BATCH


class recording:  # noqa: N801 - reads as a verb where it is used
    """Sends records of the block's calls to `collector`, and waits until each row of `db` is there."""

    def __init__(self, db: Path, collector: Receiver) -> None:
        self.db, self.collector = db, collector

    def __enter__(self) -> None:
        stops = claudetrace.Budget("none", usd="1E-9", tags={"run": "*"}, on_exceeded="block", untagged="ignore")
        settings = {"otlp": self.collector.url, "records": "otlp", "budgets": [stops], "alert_to": [repr]}
        claudetrace.instrument(db=self.db, force=True, **settings)

    def __exit__(self, *_: object) -> None:
        claudetrace.flush(timeout_s=30)
        with claudetrace.Ledger(self.db) as opened:
            rows = {call.id for call in opened.calls(limit=100_000)}
        came = self.collector.wait_for(lambda it: rows <= {log.attributes["claudetrace.id"] for log in it.logs}, 30)
        claudetrace.uninstrument()
        assert came, f"records of {len(rows)} rows were to come; {len(self.collector.logs)} came"


def ask(client: anthropic.Anthropic, model: str) -> None:
    with suppress(anthropic.APIStatusError):
        client.messages.create(model=model, max_tokens=9, messages=[{"role": "user", "content": "hi"}])


def reported(db: Path) -> dict[str, dict[str, dict[str, int]]]:
    """The ledger's reports: for each, the sums by key."""
    with claudetrace.Ledger(db) as ledger:
        by = {"total": None, "day": "day", "model": "model", **{tag: f"tag:{tag}" for tag in TAGS}}
        return {
            name: {spend.key or "": sums(spend) for spend in ledger.spend(by=group, since="2020-01-01")}
            for name, group in by.items()
        }


def sums(spend: Spend) -> dict[str, int]:
    names = ("calls", "responses", "unpriced_calls", "lower_bound_calls")
    return {**{name: getattr(spend, name) for name in names}, "sum_picousd": spend.spend_picousd}


def queried(clickhouse: Session, table: str, records: Iterable[Log]) -> dict[str, dict[str, dict[str, int]]]:
    """The same reports by the queries of `spend.sql`."""
    clickhouse.query("CREATE DATABASE records")
    clickhouse.query("USE records")
    clickhouse.query(table)
    lines = b"\n".join(orjson.dumps(otel_row(log, events="EventName" in table)) for log in records)
    clickhouse.query(f"INSERT INTO otel_logs FORMAT JSONEachRow\n{lines.decode()}")
    queries = statements(SQL.read_text())
    clickhouse.query(queries["calls"])
    asked = {"day": ("spend_by_day", {}), "model": ("spend_by_model", {})}
    asked |= {tag: ("spend_by_tag", {"tag": tag}) for tag in TAGS}
    found = {}
    for name, (query, parameters) in asked.items():
        rows = clickhouse.query(queries[query], "JSONEachRow", params={**ALWAYS, **parameters})
        found[name] = dict(map(keyed, map(orjson.loads, str(rows).splitlines())))
    (doubles,) = str(clickhouse.query(queries["doubles"], "JSONEachRow")).splitlines()
    found["doubles"] = {"": {name: int(count) for name, count in orjson.loads(doubles).items()}}
    every = found["day"].values()
    found["total"] = {"": {name: sum(day[name] for day in every) for name in next(iter(every))}}
    return found


def keyed(row: dict[str, Any]) -> tuple[str, dict[str, int]]:
    """A row of a report by its first column, with its dollars checked against its picodollars."""
    key, *_ = row
    value = str(row.pop(key))
    usd = str(row.pop("spend_usd"))
    counts = {name: int(count) for name, count in row.items()}
    assert usd_of(counts["sum_picousd"]) == usd, (counts["sum_picousd"], usd)
    return value, counts


def usd_of(picousd: int) -> str:
    """As ClickHouse writes a `Decimal`: without zeros at its end."""
    whole, rest = divmod(picousd, 10**12)
    return f"{whole}.{rest:012}".rstrip("0").rstrip(".")


def statements(sql: str) -> dict[str, str]:
    """The statements of a file by the names that stand above them."""
    parts = [part.split("\n", 1) for part in sql.split("-- name: ")[1:]]
    return {name.strip(): body.strip().rstrip(";") for name, body in parts}


def otel_row(log: Log, *, events: bool) -> dict[str, Any]:
    """The row that the collector's exporter makes of a record."""
    row = {
        "Timestamp": f"{log.time_ns // 10**9}.{log.time_ns % 10**9:09}",
        "TraceId": log.trace_id,
        "SpanId": log.span_id,
        "SeverityNumber": log.severity,
        "ServiceName": log.resource.get("service.name", ""),
        "Body": as_text(log.body),
        "ResourceAttributes": texts(log.resource),
        "ScopeName": log.scope.name,
        "ScopeVersion": log.scope.version,
        "LogAttributes": texts(log.attributes),
    }
    return {**row, "EventName": log.event_name} if events else row


def texts(attributes: dict[str, Any]) -> dict[str, str]:
    return {name: as_text(value) for name, value in attributes.items()}


def as_text(value: Any) -> str:
    """As the collector's `AsString` writes a value: JSON for all but a string, and nothing for none."""
    if value is None or isinstance(value, str):
        return value or ""
    return orjson.dumps(value).decode()


if __name__ == "__main__":
    sys.exit(main())
