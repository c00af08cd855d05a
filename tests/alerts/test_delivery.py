"""Delivery: each alert to each channel once, however often a channel fails and whoever dies."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import threading
import time
from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from claudetrace._alerts import _sender
from claudetrace._alerts._alert import Alert
from claudetrace._alerts._channels import Tried, channels, send_test
from claudetrace._alerts._sender import MOST_TRIES_OF_PROCESS, Sender
from claudetrace._budgets._budget import Budget
from claudetrace._guard import Guard
from tests.alerts._raiser import PACE
from tests.alerts._receiver import Receiver, until
from tests.budgets._keeping import Kept

ROOT = Path(__file__).resolve().parents[2]
SECRET = "s3cr3t-t0ken"
BUDGET = Budget("all", usd=10)


@pytest.fixture
def receiver():
    with Receiver() as running:
        yield running


@pytest.fixture
def store(tmp_path):
    return tmp_path / "ledger.db.budgets"


@pytest.fixture
def begin(store, monkeypatch):
    """Begins deliveries as processes would: each with a connection of its own to the one store."""
    running = []
    for name, seconds in PACE.items():
        monkeypatch.setattr(_sender, name, seconds)

    def begun(alert_to, *, stored=True):
        guard = Guard()
        keeper = Kept([BUDGET], store, guard=guard) if stored else None
        writer = keeper.writer if keeper else None
        sender = Sender(channels("alert_to", alert_to), guard=guard, writer=writer)
        sender.start()
        running.append((sender, keeper))
        return Process(sender, guard, keeper)

    yield begun
    for sender, keeper in running:
        sender.close()
        if keeper is not None:
            keeper.close()


class Process:
    def __init__(self, sender, guard, keeper):
        self.sender, self.guard, self.keeper = sender, guard, keeper
        self.outbox = keeper.outbox if keeper else None

    def raise_(self, number=0):
        alert = an_alert(number)
        self.sender.raise_alert(alert, f"m {number}")
        return alert

    @property
    def first(self):
        """The public name of its first channel."""
        return self.sender.threads[0].channel.name


def an_alert(number=0):
    message = f"Number {number}."
    return Alert(kind="spike", budget="all", spent_usd=Decimal("1.50"), at=datetime.now(UTC), message=message)


def ids(receiver):
    return Counter(json.loads(got.body)["id"] for got in receiver.got)


def messages(receiver):
    return Counter(json.loads(got.body)["message"] for got in receiver.got)


@pytest.mark.parametrize("stored", [True, False])
def test_every_channel_gets_each_alert_once(begin, receiver, stored):
    """Two webhooks and a callable get each alert once, with and without a store, all with one id."""
    given = []
    process = begin([f"http://{receiver.at}/a", f"http://{receiver.at}/b", given.append], stored=stored)
    alerts = [process.raise_(number) for number in range(3)]

    assert until(lambda: len(receiver.got) == 6 and len(given) == 3)
    process.sender.close()
    assert given == alerts
    assert messages(receiver) == {"Number 0.": 2, "Number 1.": 2, "Number 2.": 2}
    assert set(ids(receiver).values()) == {2}


@pytest.mark.parametrize("stored", [True, False])
def test_what_was_raised_while_a_webhook_was_down_arrives(begin, stored, caplog):
    """A webhook that is down gets each alert once it is back; that it failed is told once, without its secrets."""
    with Receiver() as gone:
        port = gone.port
    process = begin(f"http://127.0.0.1:{port}/{SECRET}", stored=stored)
    with caplog.at_level(logging.DEBUG):
        for number in range(3):
            process.raise_(number)
        name = process.first
        assert until(lambda: process.guard.failures[f"deliver alerts to {name}; it is tried again: DeliveryFailed"] > 4)
        with Receiver(port) as back:
            assert until(lambda: len(back.got) >= 3)
            process.sender.close()

    assert messages(back) == {"Number 0.": 1, "Number 1.": 1, "Number 2.": 1}
    warnings = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert warnings == [
        f"claudetrace could not deliver alerts to {name}; it is tried again: DeliveryFailed: the connection was refused"
    ]
    assert SECRET not in caplog.text


def test_an_alert_outlives_its_process(begin, store):
    """What a process raised and could not deliver, the next one that has this channel delivers, with the same id."""
    with Receiver() as gone:
        port = gone.port
    url = f"http://127.0.0.1:{port}/{SECRET}?token={SECRET}#secret={SECRET}"
    first = begin(url)
    stored_as = first.outbox.raise_alert(an_alert(), mark="m")
    first.sender.send(an_alert(), stored_as)
    assert until(lambda: first.guard.failures)
    first.sender.close()
    first.keeper.close()

    with Receiver(port) as back:
        second = begin(url)
        assert until(lambda: back.got)
        second.sender.close()
        assert ids(back) == {stored_as: 1}

    for path in store.parent.iterdir():
        if path.is_file():
            assert SECRET.encode() not in path.read_bytes()


def test_no_secret_is_in_a_file(begin, receiver, store):
    """While alerts go out, neither the store nor its log has anything of a URL but its channel's public name."""
    process = begin([f"http://u:{SECRET}@{receiver.at}/{SECRET}?{SECRET}#secret={SECRET}"])
    process.raise_()
    assert until(lambda: receiver.got)

    files = {path.name: path.read_bytes() for path in store.parent.iterdir() if path.is_file()}
    assert [name for name, content in files.items() if SECRET.encode() in content] == []
    assert any(process.first.encode() in content for content in files.values())


def test_a_new_channel_gets_what_is_raised_from_then_on(begin, receiver):
    """A channel that is added later is not flooded with what others have had."""
    first = begin(f"http://{receiver.at}/first")
    first.raise_(1)
    assert until(lambda: receiver.got)
    time.sleep(0.002)

    second = begin(f"http://{receiver.at}/second")
    second.raise_(2)
    assert until(lambda: len(receiver.got) == 3)
    assert sorted((got.path, json.loads(got.body)["message"]) for got in receiver.got) == [
        ("/first", "Number 1."),
        ("/first", "Number 2."),
        ("/second", "Number 2."),
    ]


def test_what_another_process_raised_is_not_for_this_ones_callable(begin, receiver):
    """A callable and the log get what their own process raised, a webhook what any did, once."""
    mine, others = [], []
    url = f"http://{receiver.at}/"
    process, other = begin([url, mine.append]), begin([url, others.append])
    alert = process.raise_()

    assert until(lambda: receiver.got and mine)
    process.sender.close()
    other.sender.close()
    assert (mine, others, len(receiver.got)) == ([alert], [], 1)


def test_a_channel_that_hangs_holds_up_no_other(begin, receiver):
    """While one channel does not answer, the others get theirs, and the end waits for it no longer than told."""
    with Receiver() as slow:
        slow.hangs = True
        process = begin([f"http://{slow.at}/", f"http://{receiver.at}/"], stored=False)
        process.raise_()

        assert until(lambda: receiver.got)
        process.sender.close(timeout_s=0.05)
        (lost,) = [reason for reason in process.guard.failures if "before the end" in reason]
        assert "127.0.0.1" in lost


def test_a_callable_that_raises_is_tried_again(begin):
    """A callable that raises is called again and again, some times and not for days; others have theirs."""
    calls, fine = [], []

    def fails(alert):
        calls.append(alert)
        raise LookupError("no such room")

    process = begin([fails, fine.append], stored=False)
    process.raise_()

    assert until(lambda: len(calls) == MOST_TRIES_OF_PROCESS and len(fine) == 1)
    assert until(lambda: any(reason.startswith("deliver an alert to") for reason in process.guard.failures))
    process.sender.close()
    assert len(calls) == MOST_TRIES_OF_PROCESS


def test_a_callable_that_fails_once_is_no_double_for_the_next(begin):
    """A failed alert does not keep the next ones back for ever, and comes when the callable takes it."""
    given, broken = [], [True]

    def picky(alert):
        if alert.message == "Number 0." and broken:
            broken.pop()
            raise ValueError
        given.append(alert.message)

    process = begin(picky, stored=False)
    for number in range(3):
        process.raise_(number)

    assert until(lambda: sorted(given) == ["Number 0.", "Number 1.", "Number 2."])


def test_one_bad_alert_blocks_no_other(begin, receiver):
    """An alert that a server refuses is tried again, and the alerts after it are delivered meanwhile."""
    process = begin(f"http://{receiver.at}/")
    receiver.status = 400
    process.raise_(0)
    assert until(lambda: receiver.refused)
    receiver.status = 200
    process.raise_(1)

    assert until(lambda: messages(receiver) == {"Number 0.": 1, "Number 1.": 1})


def test_what_is_too_old_is_given_up(begin, receiver, monkeypatch):
    """An alert that could not be delivered for days is not delivered any more."""
    monkeypatch.setattr(_sender, "GIVE_UP_S", 3600.0)
    process = begin(f"http://{receiver.at}/")
    old = replace(an_alert(0), at=datetime.now(UTC) - timedelta(hours=2))
    process.outbox.raise_alert(old, mark="old")
    process.raise_(1)

    assert until(lambda: receiver.got)
    process.sender.close()
    assert messages(receiver) == {"Number 1.": 1}


def test_a_lease_keeps_others_away_and_ends(begin, receiver):
    """What a process has claimed is nobody else's until its lease is over, as where the process died sending."""
    url = f"http://{receiver.at}/"
    name = channels("x", url)[0].name
    keeper = Kept([BUDGET], begin([]).keeper.path, guard=Guard())
    keeper.outbox.open_channel(name)
    stored_as = keeper.outbox.raise_alert(an_alert(), mark="m")

    assert keeper.outbox.claim(name, lease_s=0.5, max_age_s=60).id == stored_as
    assert keeper.outbox.claim(name, lease_s=0.5, max_age_s=60) is None
    begin(url)
    assert until(lambda: receiver.got)
    keeper.close()
    assert ids(receiver) == {stored_as: 1}


def test_sent_and_not_marked_is_not_sent_again(begin, receiver, monkeypatch):
    """Where the store cannot note that an alert was delivered, this process does not deliver it twice."""
    monkeypatch.setattr(_sender, "LEASE_S", 0.1)
    process = begin(f"http://{receiver.at}/")
    kept = process.keeper._store.mark_delivered
    tries, marked = [], []

    def fails_first(alert_id, channel):
        tries.append(alert_id)
        if len(tries) == 1:
            raise OSError("the disk is full")
        kept(alert_id, channel)
        marked.append(alert_id)

    process.keeper._store.mark_delivered = fails_first
    process.raise_()

    assert until(lambda: marked)
    assert len(receiver.got) == 1


def _start(store, url, *, marks, seconds):
    command = [sys.executable, "-m", "tests.alerts._raiser", str(store), url, str(marks), str(seconds)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(
        command,
        cwd=ROOT,
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def _all_at_once(processes):
    for process in processes:
        assert process.stdout.readline() == "ready\n", process.stderr.read()
    for process in processes:
        process.stdin.write("go\n")
        process.stdin.flush()


def test_eight_processes_raise_and_one_alert_arrives(store, receiver):
    """Of eight processes that spend at once, each threshold is delivered once; so is each alert that all raise."""
    processes = [_start(store, f"http://{receiver.at}/", marks=5, seconds=1.0) for _ in range(8)]
    _all_at_once(processes)
    ended = [process.communicate(timeout=60) for process in processes]

    assert [process.returncode for process in processes] == [0] * 8, ended
    alerts = [json.loads(got.body) for got in receiver.got]
    told = Counter((alert["kind"], alert["threshold"] or alert["message"]) for alert in alerts)
    assert told == {
        ("threshold", 0.5): 1,
        ("threshold", 0.8): 1,
        **{("spike", f"Number {number}."): 1 for number in range(5)},
    }


def test_a_killed_process_leaves_its_alert_to_others(store, begin):
    """A process killed while a webhook was down has raised its alert for the others."""
    with Receiver() as gone:
        port = gone.port
    process = _start(store, f"http://127.0.0.1:{port}/", marks=1, seconds=60)
    _all_at_once([process])
    name = channels("x", f"http://127.0.0.1:{port}/")[0].name
    watching = Kept([BUDGET], store, guard=Guard())
    assert until(lambda: _tries(watching, name) >= 2)
    process.kill()
    process.communicate(timeout=30)
    watching.close()

    with Receiver(port) as back:
        begin(f"http://127.0.0.1:{port}/")
        # Where the kill came between the claim and the answer, the lease has to end first: here it is told to.
        _end_leases(store)
        assert until(lambda: back.got)
        assert messages(back) == {"Number 0.": 1}


def _tries(keeper, channel):
    import sqlite3

    with sqlite3.connect(keeper.path, timeout=10) as connection:
        found = connection.execute("SELECT MAX(tries) FROM deliveries WHERE channel = ?", (channel,)).fetchone()
    connection.close()
    return found[0] or 0


def _end_leases(store):
    import sqlite3

    with sqlite3.connect(store, timeout=10) as connection:
        connection.execute("UPDATE deliveries SET due_at = 0 WHERE delivered_at IS NULL")
    connection.close()


def test_a_forked_child_sends_nothing_of_its_parents(begin, receiver):
    """What waits at a fork is the parent's to send; the child's own alerts go out from the child."""
    process = begin(f"http://{receiver.at}/", stored=False)
    process.raise_(0)
    assert until(lambda: receiver.got)
    thread = process.sender.threads[0]
    thread.memory._waiting.append(None)  # what would be in the way
    pid = os.fork()
    if pid == 0:
        empty = thread.memory.is_empty
        process.raise_(1)
        process.sender.close(timeout_s=10)
        os._exit(0 if empty else 1)
    thread.memory._waiting.clear()

    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert messages(receiver) == {"Number 0.": 1, "Number 1.": 1}


def test_sending_waits_for_nothing(begin):
    """An alert is handed over while the channel is busy, from any thread."""
    busy, go_on = threading.Event(), threading.Event()

    def slow(_alert):
        busy.set()
        go_on.wait(30)

    process = begin(slow, stored=False)
    process.raise_(0)
    assert busy.wait(30)
    for number in range(100):
        process.raise_(number)

    assert not go_on.is_set()
    go_on.set()


def test_what_is_too_much_for_memory_is_told(begin, monkeypatch):
    """A channel that is busy keeps the newest alerts, and each one that it lets go of is counted."""
    monkeypatch.setattr(_sender, "MOST_WAITING", 2)
    busy, go_on, given = threading.Event(), threading.Event(), []

    def slow(alert):
        busy.set()
        go_on.wait(30)
        given.append(alert.message)

    process = begin(slow, stored=False)
    process.raise_(0)
    assert busy.wait(30)
    for number in range(1, 6):
        process.raise_(number)
    go_on.set()

    assert until(lambda: given == ["Number 0.", "Number 4.", "Number 5."])
    assert [count for reason, count in process.guard.failures.items() if reason.startswith("keep an alert")] == [3]


def test_a_test_alert_goes_through_every_channel(receiver):
    """`claudetrace budgets test NAME` sends one alert marked as a test, and says what came of it on each channel."""
    given = []

    def fails(_alert):
        raise LookupError("no such room")

    with Receiver() as down:
        down.status = 503
        to = [f"http://{receiver.at}/", f"http://{down.at}/{SECRET}", given.append, fails]
        named = channels("alert_to", to)
        tried = send_test(BUDGET, named, service="shop")

    assert tried == [
        Tried(channel=named[0].name, error=None),
        Tried(channel=named[1].name, error="the server answered 503"),
        Tried(channel=named[2].name, error=None),
        Tried(channel=named[3].name, error="LookupError: no such room"),
    ]
    told = json.loads(receiver.got[0].body)
    assert (told["test"], told["budget"], told["message"][:14]) == (True, "all", "This is a test")
    assert given[0].budget == "all"


def test_a_test_alert_does_not_wait_for_ever():
    """A channel that does not answer is reported as such."""
    let_go = threading.Event()
    (tried,) = send_test(BUDGET, channels("alert_to", lambda _alert: let_go.wait(30)), service="shop", timeout_s=0.05)
    let_go.set()

    assert tried.error == "no answer within 0.05 s"
