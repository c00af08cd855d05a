"""Each row of processes that fork, end or are killed arrives over OTLP, from them or from the next one."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from claudetrace._guard import Guard
from claudetrace._ledger._load import load_orphans
from claudetrace._ledger._loader import LedgerWriter
from claudetrace._telemetry import _exporters

from ._records import ROWS, record
from ._sending import PATIENCE_S, PROTOCOLS, ask, ids, run, told_by
from .receiver import Receiver


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


class _Away:
    """An exporter that is long in the making, and whose receiver does not answer."""

    minds_forks = False

    def __init__(self) -> None:
        LOADED.wait(PATIENCE_S)

    def send(self, rows: list[Any]) -> None:
        SENDING.set()
        ANSWERED.wait(PATIENCE_S)

    def close(self) -> None:
        """Nothing is open."""


LOADED, SENDING, ANSWERED = threading.Event(), threading.Event(), threading.Event()


def test_a_fork_waits_for_loading_and_not_for_the_receiver(db: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A fork that began while the exporter was being made does not wait for what it sends next."""
    monkeypatch.setattr(_exporters, "LOADING_S", PATIENCE_S)
    exporters = _exporters.Exporters(_Away, Guard())
    sender = threading.Thread(target=exporters.send, args=([],), daemon=True)
    sender.start()
    while not exporters._busy.locked():
        time.sleep(0)
    forker = threading.Thread(target=exporters.before_fork, daemon=True)
    forker.start()
    forker.join(0.2)
    LOADED.set()
    SENDING.wait(PATIENCE_S)
    forker.join(PATIENCE_S / 4)
    waits = forker.is_alive()
    ANSWERED.set()
    sender.join(PATIENCE_S)

    assert not waits
