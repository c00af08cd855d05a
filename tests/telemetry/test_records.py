"""Records: every row of the ledger arrives over OTLP, whatever happened to the receiver or the process meanwhile."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent import futures
from contextlib import closing, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import grpc
import pytest
from opentelemetry.proto.collector.logs.v1 import logs_service_pb2, logs_service_pb2_grpc

import claudetrace
from claudetrace._demo import _answers
from claudetrace._guard import Guard
from claudetrace._ledger import _outbox, _sender
from claudetrace._ledger._loader import LedgerWriter
from claudetrace._ledger._prune import Limits, forget, prune_chunk
from claudetrace._ledger._recover import load_orphans
from claudetrace._ledger._schema import open_ledger
from claudetrace._telemetry._lines import RecordLines
from claudetrace._telemetry._records import RecordExporter

from ._decode import Log, logs
from ._records import ROWS, record, row
from .receiver import Receiver

PROGRAM = Path(__file__).with_name("_records.py")
PATIENCE_S = 60
ASK: dict[str, Any] = {"model": "claude-sonnet-5", "max_tokens": 9, "messages": [{"role": "user", "content": "hi"}]}
PROTOCOLS = pytest.mark.parametrize("protocol", ["http", "grpc"])


@pytest.fixture
def protocol() -> str:
    return "http"


@pytest.fixture
def receiver(protocol: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Receiver]:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", {"http": "http/protobuf"}.get(protocol, protocol))
    # An exporter's own retries would go on for ten seconds; ours are what is tested.
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "1")
    with Receiver(protocol=protocol) as running:
        yield running


@pytest.fixture
def started(db: Path) -> Iterator[Callable[..., LedgerWriter]]:
    """Makes a writer that sends to a URL; it ends with the test."""
    writers: list[LedgerWriter] = []

    def start(url: str | None, **settings: Any) -> LedgerWriter:
        records = None if url is None else lambda: RecordExporter(url)
        writers.append(LedgerWriter(db, guard=settings.pop("guard", Guard()), records=records, **settings))
        return writers[-1]

    yield start
    for writer in writers:
        writer.close()


def ask(db: Path, sql: str, *values: Any) -> list[Any]:
    with closing(open_ledger(db)) as connection:
        connection.row_factory = sqlite3.Row
        return [dict(found) for found in connection.execute(sql, values)]


def ids(arrived: list[Log]) -> list[str]:
    return [log.attributes["claudetrace.id"] for log in arrived]


def run(what: str, db: Path, url: str, **how: Any) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "telemetry._records", what, str(db), url],
        cwd=PROGRAM.parents[1],
        text=True,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        **how,
    )


def told_by(process: subprocess.Popen[str]) -> list[str]:
    """What the program said until its end."""
    out, _ = process.communicate(timeout=PATIENCE_S)
    return out.split()


@PROTOCOLS
def test_a_record_is_the_row_of_the_ledger(receiver: Receiver, db: Path, started: Callable[..., LedgerWriter]) -> None:
    """Each column that is not NULL arrives as an attribute with the ledger's value, priced, at the call's time."""
    writer = started(receiver.url)
    writer.append(row(trace_id="ab" * 16, span_id="cd" * 8))
    assert writer.flush(PATIENCE_S)

    (arrived,) = receiver.logs
    (stored,) = ask(db, "SELECT * FROM calls")
    assert arrived.attributes == {f"claudetrace.{name}": value for name, value in stored.items() if value is not None}
    assert (stored["cost_picousd"], arrived.event_name, arrived.body) == (
        6_000_000_000,
        "claudetrace.call",
        "messages.create claude-sonnet-4-5 ok",
    )
    assert (arrived.trace_id, arrived.span_id, arrived.time_ns) == ("ab" * 16, "cd" * 8, 1_781_526_896_789_000_000)
    assert (arrived.scope.name, arrived.resource) == (
        "claudetrace",
        {"service.name": "tests", "deployment.environment.name": "staging", "service.instance.id": "host"},
    )


@PROTOCOLS
@pytest.mark.parametrize("fault", ["refuse", "503", "hang"])
def test_receiver_away_then_back(
    fault: Any, receiver: Receiver, db: Path, started: Callable[..., LedgerWriter], caplog: pytest.LogCaptureFixture
) -> None:
    """What is recorded while the receiver is away waits in the ledger, is told once, and arrives when it is back."""
    receiver.fault = fault
    writer = started(receiver.url)
    recorded = record(writer, ROWS)
    away = writer.flush(3), writer.flush(3)
    waiting = ask(db, "SELECT COUNT(*) AS n FROM unsent")
    receiver.fault = None

    assert (away, waiting) == ((False, False), [{"n": ROWS}])
    # The first try may still meet what was known of the receiver before.
    assert any(writer.flush(PATIENCE_S) for _ in range(3))
    # One that hung and was given up may be taken after all, so that it is there twice.
    assert sorted(set(ids(receiver.logs))) == recorded
    assert ask(db, "SELECT * FROM unsent") == []
    assert [each.name for each in caplog.records if each.levelname in ("WARNING", "ERROR")] == ["claudetrace"]


@PROTOCOLS
def test_killed_while_sending(receiver: Receiver, db: Path, started: Callable[..., LedgerWriter]) -> None:
    """Rows of a process that was killed while it sent them arrive from the next one, though it makes no call."""
    receiver.fault = "hang"
    with run("killed", db, receiver.url) as process:
        assert process.stdin
        assert receiver.wait_for(lambda r: r.requests, PATIENCE_S)
        recorded = told_by(process)
    receiver.fault = None
    started(receiver.url).send_left()

    assert receiver.wait_for(lambda r: set(ids(r.logs)) >= set(recorded), PATIENCE_S)
    assert len(recorded) == ROWS
    assert set(ids(receiver.logs)) == set(recorded)


def test_doubles_are_told_by_id(receiver: Receiver, db: Path, started: Callable[..., LedgerWriter]) -> None:
    """Rows whose acknowledgement was not written down are sent again, under the same ids and with the same values."""
    with run("flushed", db, receiver.url) as process:
        recorded = told_by(process)
    with closing(open_ledger(db)) as connection:
        connection.execute("INSERT INTO unsent (id) SELECT id FROM calls")
    writer = started(receiver.url)
    writer.send_left()
    assert writer.flush(PATIENCE_S)

    by_id: dict[str, list[dict[str, Any]]] = {}
    for log in receiver.logs:
        by_id.setdefault(log.attributes["claudetrace.id"], []).append(log.attributes)
    assert set(by_id) == set(recorded)
    assert all(first == second for first, second in by_id.values())


def test_two_processes_on_one_ledger(receiver: Receiver, db: Path) -> None:
    """Each row of processes that share a ledger arrives once, whichever of them sends it."""
    with run("flushed", db, receiver.url) as one, run("flushed", db, receiver.url) as other:
        recorded = told_by(one) + told_by(other)

    assert (one.returncode, other.returncode, len(recorded)) == (0, 0, 2 * ROWS)
    assert Counter(ids(receiver.logs)) == Counter(recorded)


@PROTOCOLS
def test_forks(receiver: Receiver, db: Path) -> None:
    """Rows of a process and of its children, forked while it sends, arrive once each."""
    with run("forks", db, receiver.url) as process:
        recorded = told_by(process)

    assert (process.returncode, len(recorded)) == (0, 5 * ROWS)
    assert Counter(ids(receiver.logs)) == Counter(recorded)


@PROTOCOLS
def test_forks_while_loading(receiver: Receiver, db: Path) -> None:
    """Children forked while what exports is being loaded, since rows waited from before, send theirs."""
    with run("killed_at_once", db, receiver.url) as process:
        recorded = told_by(process)
    with run("forks_while_loading", db, receiver.url) as process:
        recorded += told_by(process)

    assert (process.returncode, len(recorded)) == (0, 5 * ROWS)
    assert set(ids(receiver.logs)) == set(recorded)


@PROTOCOLS
def test_exit_sends_what_is_left(receiver: Receiver, db: Path) -> None:
    """A process that ends at once has sent its rows."""
    with run("ends", db, receiver.url) as process:
        recorded = told_by(process)

    assert (process.returncode, sorted(ids(receiver.logs))) == (0, recorded)


@PROTOCOLS
def test_exit_with_a_receiver_that_hangs(receiver: Receiver, db: Path, started: Callable[..., LedgerWriter]) -> None:
    """A process whose receiver never answers ends all the same, and its rows wait."""
    receiver.fault = "hang"
    with run("ends", db, receiver.url) as process:
        recorded = told_by(process)

    assert process.returncode == 0
    assert [found["id"] for found in ask(db, "SELECT id FROM unsent ORDER BY id")] == recorded


def test_orphan_adopted_by_a_process_without_records(
    receiver: Receiver, db: Path, started: Callable[..., LedgerWriter]
) -> None:
    """Rows that a killed process left in its journal are marked by whoever loads them, and sent by whoever sends."""
    with run("killed_at_once", db, receiver.url) as process:
        recorded = told_by(process)
    load_orphans(db, Guard())
    writer = started(None)
    record(writer, 1)
    writer.flush(PATIENCE_S)
    marked = [found["id"] for found in ask(db, "SELECT id FROM unsent ORDER BY id")]
    sender = started(receiver.url)
    sender.send_left()

    assert (marked, sender.flush(PATIENCE_S), sorted(ids(receiver.logs))) == (recorded, True, recorded)


def test_results_read_twice_are_sent_once(receiver: Receiver, started: Callable[..., LedgerWriter]) -> None:
    """A row that the ledger refuses as a double is no record."""
    writer = started(receiver.url)
    for _ in range(2):
        writer.append(row(operation="messages.batches.result", batch_id="b1", custom_id="c1"))
        assert writer.flush(PATIENCE_S)

    assert len(receiver.logs) == 1


def test_pruned_before_sent(receiver: Receiver, db: Path, started: Callable[..., LedgerWriter]) -> None:
    """Rows removed before they were sent are counted as lost records, and do not keep others waiting."""
    receiver.fault = "refuse"
    gone = started(receiver.url)
    record(gone, 3)
    gone.close()
    limits = Limits(retention_days=1, max_db_mb=None)
    with closing(open_ledger(db)) as connection:
        limits.enforce(connection)
        lost = _outbox.lost(connection), limits.lost_records
        while prune_chunk(connection):
            continue
    receiver.fault = None
    writer = started(receiver.url)
    (late,) = record(writer, 1)

    assert (lost, writer.flush(PATIENCE_S), ids(receiver.logs)) == ((3, 3), True, [late])


def test_row_removed_by_hand(receiver: Receiver, db: Path, started: Callable[..., LedgerWriter]) -> None:
    """A mark without its row keeps nobody waiting, and counts as lost."""
    with closing(open_ledger(db)) as connection:
        connection.execute("INSERT INTO unsent (id) VALUES ('0')")
    writer = started(receiver.url)
    recorded = record(writer, 1)

    assert (writer.flush(PATIENCE_S), ids(receiver.logs)) == (True, recorded)
    assert ask(db, "SELECT value FROM facts WHERE name = 'records_lost'") == [{"value": "1"}]


def test_forgotten_before_sent(receiver: Receiver, db: Path, started: Callable[..., LedgerWriter]) -> None:
    """A record that was not sent when its user was forgotten is sent without the user."""
    receiver.fault = "refuse"
    writer = started(receiver.url)
    writer.append(row(user_id="u-forgotten"))
    writer.flush(2)
    forget(db, "u-forgotten")
    receiver.fault = None

    assert writer.flush(PATIENCE_S)
    (arrived,) = receiver.logs
    assert "u-forgotten" not in str(arrived)


def test_without_a_ledger(receiver: Receiver, db: Path, started: Callable[..., LedgerWriter]) -> None:
    """A file that is only an outbox keeps rows until they are sent, also over a restart, and no longer."""
    receiver.fault = "refuse"
    first = started(receiver.url, only_outbox=True)
    recorded = record(first, 3)
    first.close()
    waiting = ask(db, "SELECT COUNT(*) AS n FROM calls")
    receiver.fault = None
    second = started(receiver.url, only_outbox=True)
    second.send_left()

    assert (waiting, second.flush(PATIENCE_S), sorted(ids(receiver.logs))) == ([{"n": 3}], True, recorded)
    assert [ask(db, f"SELECT * FROM {table}") for table in ("calls", "unsent", "rollup_hours", "rollup_tag_days")] == (
        [[]] * 4
    )


@pytest.mark.parametrize("ledger", [True, False], ids=["ledger", "no ledger"])
def test_records_of_calls(
    ledger: bool, receiver: Receiver, server: Any, client: Any, db: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`records="otlp"` sends a record of each call to `otlp`, in the trace of its span, with a ledger or without."""
    monkeypatch.setenv("CLAUDETRACE_DB", str(db))
    server.add(_answers.answer(times=None))
    with claudetrace.instrument(db=db if ledger else False, records="otlp", otlp=receiver.url, force=True) as running:
        for _ in range(3):
            client.messages.create(**ASK)
        assert running.flush(PATIENCE_S)

    assert sorted(log.trace_id for log in receiver.logs) == sorted(span.trace_id for span in receiver.spans)
    assert [log.attributes["claudetrace.operation"] for log in receiver.logs] == ["messages.create"] * 3
    assert db.exists() == ledger


def test_lines_of_calls(client: Any, server: Any, db: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """`records="stdout"` writes a line of each call."""
    server.add(_answers.answer(times=None))
    with claudetrace.instrument(db=db, records="stdout", force=True) as running:
        client.messages.create(**ASK)
        assert running.flush(PATIENCE_S)

    (line,) = capfd.readouterr().out.splitlines()
    (stored,) = ask(db, "SELECT id, cost_usd FROM calls")
    assert stored.items() <= json.loads(line).items()


class Refusing:
    """A receiver that refuses a request for what it holds, as its `rule` says."""

    def __init__(self, rule: Callable[[list[Log]], bool]) -> None:
        self.rule = rule
        self.logs: list[Log] = []
        self.requests = 0

    def takes(self, request: Any) -> bool:
        arrived = list(logs(request))
        self.requests += 1
        if self.rule(arrived):
            return False
        self.logs += arrived
        return True


@contextmanager
def refusing_http(receiver: Refusing) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            taken = receiver.takes(logs_service_pb2.ExportLogsServiceRequest.FromString(body))
            self.send_response(200 if taken else 400)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            """Quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()


@contextmanager
def refusing_grpc(receiver: Refusing) -> Iterator[str]:
    class Servicer(logs_service_pb2_grpc.LogsServiceServicer):
        def Export(self, request: Any, context: Any) -> Any:  # noqa: N802 - gRPC's name
            if not receiver.takes(request):
                context.abort(grpc.StatusCode.INVALID_ARGUMENT, "not that one")
            return logs_service_pb2.ExportLogsServiceResponse()

    server = grpc.server(futures.ThreadPoolExecutor(2))
    logs_service_pb2_grpc.add_LogsServiceServicer_to_server(Servicer(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield f"http://127.0.0.1:{port}"
    server.stop(None).wait()


@pytest.fixture
def refusing(protocol: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", {"http": "http/protobuf"}.get(protocol, protocol))
    return {"http": refusing_http, "grpc": refusing_grpc}[protocol]


@PROTOCOLS
def test_record_that_is_never_taken(refusing: Any, db: Path, started: Callable[..., LedgerWriter]) -> None:
    """A record that the receiver refuses holds up no other; it is set aside with the reason, counted and told."""
    bad = row()
    receiver, guard = Refusing(lambda arrived: bad["id"] in ids(arrived)), Guard()
    with refusing(receiver) as url:
        writer = started(url, guard=guard)
        writer.append(bad)
        recorded = record(writer, ROWS)
        while not writer.health()["refused"]:
            assert receiver.requests < 500
            writer.flush(PATIENCE_S)
            recorded += record(writer, 1)
        assert writer.flush(PATIENCE_S)

    assert Counter(ids(receiver.logs)) == Counter(recorded)
    (aside,) = ask(db, "SELECT * FROM unsent")
    assert (aside["id"], "400" in aside["refused"] or "INVALID_ARGUMENT" in aside["refused"]) == (bad["id"], True)
    assert any(failure.startswith("send every record") for failure in guard.failures)


def test_row_that_is_no_record(receiver: Receiver, db: Path, started: Callable[..., LedgerWriter]) -> None:
    """A row whose values OTLP cannot carry holds up no other, and waits where it can be seen."""
    writer = started(receiver.url)
    bad = row(trace_id="no hex", span_id="neither")
    writer.append(bad)
    recorded = record(writer, ROWS)
    writer.flush(PATIENCE_S)

    assert sorted(ids(receiver.logs)) == recorded
    assert ask(db, "SELECT id FROM unsent") == [{"id": bad["id"]}]


@PROTOCOLS
def test_receiver_that_takes_nothing(refusing: Any, db: Path, started: Callable[..., LedgerWriter]) -> None:
    """Where everything is refused no record is set aside: it is the receiver, and all arrives when it is put right."""
    receiver = Refusing(lambda _: True)
    with refusing(receiver) as url:
        writer = started(url)
        recorded = record(writer, 30)
        for _ in range(2 * _sender.STRIKES):
            assert not writer.flush(PATIENCE_S)
        receiver.rule = lambda _: False
        assert writer.flush(PATIENCE_S)

    assert (sorted(ids(receiver.logs)), ask(db, "SELECT * FROM unsent")) == (recorded, [])


def test_large_batches_are_halved(started: Callable[..., LedgerWriter]) -> None:
    """A receiver with a limit on the size of a request gets smaller ones, and that is no failure."""
    receiver, guard = Refusing(lambda arrived: len(arrived) > 7), Guard()
    with refusing_http(receiver) as url:
        writer = started(url, guard=guard)
        recorded = record(writer, 100)
        assert writer.flush(PATIENCE_S)

    assert (sorted(ids(receiver.logs)), guard.failures) == (recorded, {})


def test_lines_on_stdout(capfd: pytest.CaptureFixture[str]) -> None:
    """Each row is one line of JSON under the ledger's names, with JSON columns as objects and the cost as a number."""
    priced = row(cost_picousd=6_000_000_000, cost_parts="[]", cost_flags='["partial_usage"]')
    RecordLines(Guard()).write([priced, row(user_id=None)])

    first, second = (json.loads(line) for line in capfd.readouterr().out.splitlines())
    assert first == priced | {
        "event": "claudetrace.call",
        "usage": json.loads(priced["usage"]),
        "cost_parts": [],
        "cost_flags": ["partial_usage"],
        "tags": {"team": "search"},
        "cost_usd": 0.006,
        "spend_picousd": 6_000_000_000,
    }
    assert "user_id" not in second


def test_stdout_put_in_place_of_another(capsys: pytest.CaptureFixture[str]) -> None:
    """Lines go where `print` goes, also where that is no file."""
    RecordLines(Guard()).write([row()])

    assert json.loads(capsys.readouterr().out)["event"] == "claudetrace.call"


def test_stdout_that_nobody_reads() -> None:
    """A closed stdout is told once, and the process ends as if nothing had been written."""
    program = (
        "import sys; sys.path.insert(0, '.');"
        "from telemetry._records import row;"
        "from claudetrace._guard import Guard; from claudetrace._telemetry._lines import RecordLines;"
        "sys.stdin.read(); lines = RecordLines(Guard()); lines.write([row(), row()]); lines.write([row()])"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program],
        cwd=PROGRAM.parents[1],
        env={name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdout
        assert process.stdin
        assert process.stderr
        process.stdout.close()
        process.stdin.close()
        said = process.stderr.read().decode()

    assert (process.returncode, said.count("stdout")) == (0, 1), said


def test_an_old_sdk_is_refused_with_the_way_out(
    db: Path, started: Callable[..., LedgerWriter], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where OpenTelemetry's SDK is too old for records, rows wait in the ledger and the reason names the version."""
    from opentelemetry.sdk import _logs

    monkeypatch.delattr(_logs, "ReadableLogRecord")
    writer = started("http://127.0.0.1:9")
    record(writer, 1)

    assert (writer.flush(PATIENCE_S), ask(db, "SELECT COUNT(*) AS n FROM unsent")) == (False, [{"n": 1}])
    writer.close()
    assert "1.39" in (writer.health()["last_error"] or "")
