"""Sinks: the calls of this process, off the caller's thread, and no failure of theirs reaches a caller."""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence
from pathlib import Path

import anthropic
import pytest

import claudetrace

from ._api import numbers, rows, say


class Keep:
    """Keeps what it gets, and on which thread."""

    def __init__(self) -> None:
        self.calls: list[claudetrace.Call] = []
        self.threads: set[int] = set()
        self.closed = 0

    def write(self, calls: Sequence[claudetrace.Call]) -> None:
        self.threads.add(threading.get_ident())
        self.calls.extend(calls)

    def close(self) -> None:
        self.closed += 1


class Raise(Keep):
    def write(self, calls: Sequence[claudetrace.Call]) -> None:
        raise RuntimeError("the sink is full")

    def close(self) -> None:
        raise RuntimeError("the sink is stuck")


@pytest.mark.parametrize("ledger", [True, False])
def test_a_sink_gets_each_call_once_off_the_callers_thread(ledger: bool, client: anthropic.Anthropic, db: Path) -> None:
    """With a ledger and without, the sink has the calls in order, as the ledger has them, and is closed once."""
    sink = Keep()
    with claudetrace.instrument(db=db if ledger else False, sinks=(sink,)) as running:
        for number in range(20):
            say(client, number)
        assert running.flush(timeout_s=30)
        delivered = list(sink.calls)

    assert [call.tags["number"] for call in delivered] == [str(number) for number in range(20)]
    assert threading.get_ident() not in sink.threads
    assert (sink.closed, sink.calls) == (1, delivered)
    if ledger:
        # Calls of one millisecond have no order in the ledger.
        assert sorted(rows(db), key=lambda call: call.id) == sorted(delivered, key=lambda call: call.id)


def test_what_comes_just_before_the_end_is_delivered_before_the_sink_is_closed(
    client: anthropic.Anthropic, db: Path
) -> None:
    """`uninstrument()` delivers what is pending, then closes."""
    sink = Keep()
    with claudetrace.instrument(db=db, sinks=[sink]):
        say(client, 1)

    assert (len(sink.calls), sink.closed) == (1, 1)


def test_a_sink_that_raises_is_counted_and_stops_nobody(
    client: anthropic.Anthropic, db: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The ledger and the sink after it get every call; the failure is logged once and counted each time."""
    kept = Keep()
    with claudetrace.instrument(db=db, sinks=(Raise(), kept)) as running:
        for number in range(3):
            say(client, number)
            assert running.flush(timeout_s=30)
    failures = running.health.failures

    assert (numbers(db), len(kept.calls), kept.closed) == (["0", "1", "2"], 3, 1)
    assert failures == {"write to a sink: RuntimeError": 3, "close a sink: RuntimeError": 1}
    assert caplog.messages == [
        "claudetrace could not write to a sink: RuntimeError: the sink is full",
        "claudetrace could not close a sink: RuntimeError: the sink is stuck",
    ]


def test_a_sink_may_end_the_meter_while_it_is_closed(db: Path) -> None:
    """A sink that calls `uninstrument()` and `flush()` from its own `close()` waits for nobody."""

    class Ends(Keep):
        def close(self) -> None:
            claudetrace.uninstrument()
            claudetrace.flush()
            super().close()

    sink = Ends()
    ended = threading.Thread(target=claudetrace.instrument(db=db, sinks=(sink,)).uninstrument, daemon=True)
    ended.start()
    ended.join(10)

    assert (ended.is_alive(), sink.closed) == (False, 1)


def test_a_sink_gets_no_calls_of_other_processes(client: anthropic.Anthropic, db: Path) -> None:
    """Rows that a dead process left in the journal go to the ledger, and to no sink of another process."""
    sink = Keep()
    child = os.fork()
    if not child:
        try:
            claudetrace.instrument(db=db)
            with anthropic.Anthropic(api_key="k", base_url=str(client.base_url), max_retries=0) as own:
                say(own, "child")
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    with claudetrace.instrument(db=db, sinks=(sink,)) as running:
        say(client, "parent")
        assert running.flush(timeout_s=30)

    assert sorted(map(str, numbers(db))) == ["child", "parent"]
    assert [call.tags["number"] for call in sink.calls] == ["parent"]


def test_a_sink_that_goes_over_to_the_next_meter_stays_open(client: anthropic.Anthropic, db: Path) -> None:
    """Replacing the meter closes the sinks that it had and the next one has not, and no other."""
    kept, left = Keep(), Keep()
    claudetrace.instrument(db=db, sinks=(kept, left))

    claudetrace.instrument(db=db, sinks=(kept,), tags={"team": "search"}, force=True)
    say(client, 1)
    claudetrace.uninstrument()

    assert (kept.closed, left.closed, len(kept.calls)) == (1, 1, 1)
