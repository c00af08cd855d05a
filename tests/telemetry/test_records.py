"""Records: every row of the ledger arrives over OTLP, with its values, whatever happened to the receiver meanwhile."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

import claudetrace
from claudetrace._demo import _answers
from claudetrace._ledger._loader import LedgerWriter
from claudetrace._ledger._schema import open_ledger

from ._records import ROWS, record, row
from ._sending import PATIENCE_S, PROTOCOLS, ask, ids, run, told_by
from .receiver import Receiver

ASK: dict[str, Any] = {"model": "claude-sonnet-5", "max_tokens": 9, "messages": [{"role": "user", "content": "hi"}]}


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


def test_results_read_twice_are_sent_once(receiver: Receiver, started: Callable[..., LedgerWriter]) -> None:
    """A row that the ledger refuses as a double is no record."""
    writer = started(receiver.url)
    for _ in range(2):
        writer.append(row(operation="messages.batches.result", batch_id="b1", custom_id="c1"))
        assert writer.flush(PATIENCE_S)

    assert len(receiver.logs) == 1


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
