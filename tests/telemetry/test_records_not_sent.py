"""Records that cannot be sent hold up no others, and are counted: refused, removed, forgotten, or without an SDK."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from threading import Lock
from typing import Any

import pytest

import claudetrace
from claudetrace._clock import WallClock
from claudetrace._guard import Guard
from claudetrace._ledger import _record_sender, _unsent
from claudetrace._ledger._forget import Whom, forget
from claudetrace._ledger._loader import LedgerWriter
from claudetrace._ledger._prune import Retention, prune_chunk
from claudetrace._ledger._schema import open_ledger
from claudetrace._ledger._store import Store
from claudetrace._telemetry import _records

from ._collectors import Refusing, refusing_http
from ._records import ROWS, record, row
from ._sending import PATIENCE_S, PROTOCOLS, ask, ids
from .receiver import Receiver


def test_pruned_before_sent(receiver: Receiver, db: Path, started: Callable[..., LedgerWriter]) -> None:
    """Rows removed before they were sent are counted as lost records, and do not keep others waiting."""
    receiver.fault = "refuse"
    gone = started(receiver.url)
    record(gone, 3)
    gone.close()
    store, guard = Store(db, Guard()), Guard()
    Retention(store, Lock(), guard, WallClock(guard), retention_days=1, max_db_mb=None).step()
    lost = _unsent.lost(store.connection()), guard.last_error
    while prune_chunk(store.connection()):
        continue
    store.close()
    receiver.fault = None
    writer = started(receiver.url)
    (late,) = record(writer, 1)

    assert (writer.flush(PATIENCE_S), ids(receiver.logs)) == (True, [late])
    assert lost[0] == 3
    assert "3 were not sent yet" in (lost[1] or "")


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
    forget(db, Whom("user", "u-forgotten"))
    receiver.fault = None

    assert writer.flush(PATIENCE_S)
    (arrived,) = receiver.logs
    assert "u-forgotten" not in str(arrived)


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
        # One flush tells of the refused record, the next has nothing to tell.
        assert writer.flush(PATIENCE_S) or writer.flush(PATIENCE_S)

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
        for _ in range(2 * _record_sender.STRIKES):
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


def test_an_old_sdk_is_refused_with_the_way_out(db: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where OpenTelemetry's SDK is too old for records, `instrument()` says so with the version that is needed."""
    monkeypatch.setattr(_records, "version", lambda _name: "1.38.0")

    with pytest.raises(claudetrace.ClaudetraceError, match=r"1\.39.*1\.38\.0"):
        claudetrace.instrument(db=db, records="otlp", force=True)
