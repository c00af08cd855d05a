"""What becomes of budgets when their server crashes, is replaced by an older copy, hangs, or is away."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from _asking import until
from _serving import Served
from test_store import USD, ask, row, spent

from claudetrace._budgets._budget import Budget
from claudetrace._budgets._postgres import _schema
from claudetrace._budgets._postgres._url import ServerUrl
from claudetrace._errors import BudgetExceeded, ClaudetraceError

if TYPE_CHECKING:
    from collections.abc import Callable

    from _postgres import Server

TOTAL: dict[str, Any] = {"usd": 100, "per": "total", "on_exceeded": "block", "thresholds": (), "forecast": False}


def sums(pod: Served) -> Any:
    """As `spent`, `None` while the server does not answer."""
    with suppress(ClaudetraceError):
        pod.tend()
        return spent(pod)


def crash(server: Server) -> None:
    server.stop(signal.SIGQUIT)
    server.start()


def test_what_a_crash_loses_is_sent_again_before_anything_new(host: Callable[..., Served], server: Server) -> None:
    """Reservations of calls that run and what was settled in the last minute, by each host that has them."""
    pods = [host(Budget("b", **TOTAL)) for _ in range(2)]
    for pod in pods:
        ask(pod, f"warm-{id(pod)}", 1)
    server.execute("CHECKPOINT")
    running = [ask(pods[0], f"open-{number}", 20) for number in range(3)]
    pods[1].end(ask(pods[1], "ended", 10), 10 * USD)
    assert pods[1].flush(10)
    crash(server)
    with pytest.raises(BudgetExceeded):
        ask(pods[0], "too much", 39)
    pods[1].tend()
    pods[0].end(running[0], USD)

    assert spent(pods[0]) == [(None, 11, 42, 2)]


def test_an_older_copy_has_what_is_in_memory_and_the_rest_from_rows(
    host: Callable[..., Served], server: Server
) -> None:
    """After a failover, and after a backup is restored: what no host keeps any more, the ledger's rows bring back."""
    pod = host(Budget("b", **TOTAL))
    pod.end(ask(pod, "before", 1), USD)
    assert pod.flush(10)
    server.stop()
    copy = server.folder / "copy"
    shutil.copytree(server.data, copy, symlinks=True, copy_function=shutil.copy2)
    server.start()
    for name in ("kept", "forgotten"):
        pod.end(ask(pod, name, 5), 5 * USD)
    assert pod.flush(10)
    running = ask(pod, "open", 7)
    server.stop()
    shutil.rmtree(server.data)
    shutil.copytree(copy, server.data, symlinks=True)
    shutil.rmtree(copy)
    if os.geteuid() == 0:
        subprocess.run(["chown", "-R", "nobody", server.data], check=True)
    server.data.chmod(0o700)
    server.start()
    ended = pod.store._ended
    while any(step.call == "forgotten" for _, step in ended):
        ended.pop()

    pod.tend()
    assert spent(pod) == [(None, 6, 7, 2)]
    for _ in range(2):
        pod.put([row(name, usd) for name, usd in (("before", 1), ("kept", 5), ("forgotten", 5))])
    pod.end(running, 7 * USD)
    assert spent(pod) == [(None, 18, 0, 4)]


def test_a_server_that_hangs_costs_one_time_out(host: Callable[..., Served], server: Server) -> None:
    """Of many calls one waits for it, a second and a bit; the others go on at once, and all is counted afterwards."""
    pod = host(Budget("b", **TOTAL))
    pod.end(ask(pod, "a", 1), USD)
    assert pod.flush(10)
    pids = [pid for (pid,) in server.execute("SELECT pid FROM pg_stat_activity WHERE pid IS NOT NULL")]
    for pid in (*pids, server.pid):
        os.kill(pid, signal.SIGSTOP)
    try:
        took = []
        calls = []
        for number in range(20):
            began = time.monotonic()
            calls.append(ask(pod, f"c{number}", 1))
            took.append(time.monotonic() - began)
    finally:
        for pid in (*pids, server.pid):
            os.kill(pid, signal.SIGCONT)
    for call in calls:
        pod.end(call, USD)
    waited = [each for each in took if each > 0.5]
    until(lambda: sums(pod) == [(None, 21, 0, 21)])
    assert len(waited) == 1
    assert waited[0] < 3


def test_a_server_that_dies_in_mid_traffic_and_comes_back(host: Callable[..., Served], server: Server) -> None:
    """It is not only looked at when a program starts: meanwhile calls go on within what is known, and are counted."""
    pod = host(Budget("b", **{**TOTAL, "usd": 10}))
    pod.end(ask(pod, "a", 6), 6 * USD)
    assert pod.flush(10)
    server.stop()
    away = ask(pod, "away", 3)
    with pytest.raises(BudgetExceeded):
        ask(pod, "too much", 2)
    pod.end(away, USD)
    server.start()
    pod.tend()
    with pytest.raises(BudgetExceeded):
        ask(pod, "b", 4)
    ask(pod, "c", 3)

    assert spent(pod) == [(None, 7, 3, 2)]


def test_old_and_new_programs_run_side_by_side(host: Callable[..., Served], database: str) -> None:
    """What a later release makes leaves the functions that this one calls; this one does not undo it."""
    pod = host(Budget("b", **TOTAL))
    ask(pod, "a", 1)
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute("UPDATE claudetrace.meta SET version = version + 1")
        connection.execute("ALTER TABLE claudetrace.charges ADD COLUMN later text")
    ask(pod, "b", 1)
    with pytest.raises(ClaudetraceError, match="newest release"):
        _schema.init(ServerUrl(database))

    assert spent(pod) == [(None, 0, 2, 0)]


def test_init_may_be_run_at_any_time(host: Callable[..., Served], database: str) -> None:
    """Amid traffic, and it changes nothing that is there."""
    pod = host(Budget("b", **TOTAL))
    ask(pod, "a", 1)
    assert _schema.init(ServerUrl(database)) == _schema.init(ServerUrl(database))
    ask(pod, "b", 1)

    assert spent(pod) == [(None, 0, 2, 0)]


def test_durable_stores_lose_nothing_in_a_crash(host: Callable[..., Served], server: Server, database: str) -> None:
    """As `init --durable` makes them: also what no host can send again."""
    _schema.init(ServerUrl(database), durable=True)
    pod = host(Budget("b", **TOTAL))
    ask(pod, "a", 3)
    pod.store.open.clear()
    crash(server)

    assert spent(pod) == [(None, 0, 3, 0)]
