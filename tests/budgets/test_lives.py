"""Meters with budgets that begin, end, are replaced and forked."""

from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anthropic
import pytest
from _asking import ASK, COST_USD, HELLO, block, state, states, until

import claudetrace
from claudetrace._demo import _answers

if TYPE_CHECKING:
    from claudetrace._demo._server import PlayServer


def _held() -> tuple[int, int]:
    """Threads and open files of this process, once what is dropped is collected."""
    gc.collect()
    return len(list(Path("/proc/self/task").iterdir())), len(list(Path("/proc/self/fd").iterdir()))


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="threads are counted in /proc")
def test_meters_come_and_go_and_leave_nothing_behind(server: PlayServer, start: Any) -> None:
    """Ten times begun, replaced and ended, a process has the threads and files that it had after the first."""
    server.add(_answers.answer(HELLO, times=None))

    def once() -> None:
        for force in (False, True):
            start(budgets=[block(usd=5 + force)], alert_to=[print])
            # A client of its own: the server has a thread for each connection.
            with anthropic.Anthropic(api_key="k", base_url=server.url) as client:
                client.messages.create(**ASK)
        claudetrace.uninstrument()

    once()
    once()
    until(lambda: len(server._http._open) == 0)
    before = _held()
    for _ in range(10):
        once()

    until(lambda: _held()[0] <= before[0] and _held()[1] <= before[1])


def test_an_equal_instrument_gives_the_running_one_and_another_is_refused(start: Any, db: Path) -> None:
    """Equal budgets are no other setting; other budgets are, and the error says so."""
    first = start(budgets=[block()])
    assert claudetrace.instrument(db=db, budgets=[block()]) is first
    assert claudetrace.instrument() is first
    with pytest.raises(claudetrace.ClaudetraceError, match="budgets"):
        claudetrace.instrument(db=db, budgets=[block(usd=7)])


def test_a_call_that_runs_while_the_meter_is_replaced_is_charged_once(
    client: anthropic.Anthropic, server: PlayServer, start: Any
) -> None:
    """A stream begun under one meter and read under the next leaves nothing reserved."""
    start(budgets=[block()])
    server.add(_answers.stream(HELLO))
    stream = client.messages.create(**ASK, stream=True)
    start(budgets=[block(usd=5)])
    assert len(list(stream)) > 3

    until(lambda: state().reserved_calls == 0)
    assert (state().spent_usd, state().spent_calls) == (COST_USD, 1)


def test_what_was_spent_until_budgets_began_is_in_them(
    client: anthropic.Anthropic, server: PlayServer, start: Any
) -> None:
    """A meter without budgets is replaced by one with them: what it had not written yet counts as well."""
    start()
    server.add(_answers.answer(HELLO, times=None))
    client.messages.create(**ASK)
    start(budgets=[block()])

    assert (state(flush=False).spent_usd, state(flush=False).spent_calls) == (COST_USD, 1)


def test_calls_amid_a_replacement_count_once(server: PlayServer, start: Any, ledger: Any) -> None:
    """Threads that call while budgets begin, change and change again are charged what the ledger says."""
    start()
    server.add(_answers.answer(HELLO, times=None))
    enough = threading.Event()

    def call_on() -> None:
        with anthropic.Anthropic(api_key="k", base_url=server.url, max_retries=0) as client:
            while not enough.is_set():
                client.messages.create(**ASK)

    callers = [threading.Thread(target=call_on) for _ in range(4)]
    for caller in callers:
        caller.start()
    try:
        for number in range(3):
            seen = len(server.requests)
            until(lambda seen=seen: len(server.requests) > seen + 10)
            start(budgets=[block(), block("later", usd=700 + number)])
    finally:
        enough.set()
        for caller in callers:
            caller.join()

    until(lambda: all(each.reserved_calls == 0 for each in states()))
    calls = len(ledger())
    assert calls == len(server.requests)
    assert [(each.spent_calls, each.spent_usd) for each in states()] == [(calls, calls * COST_USD)] * 2


FORKS = """
import os, sys
import anthropic, claudetrace
def ask(client):
    messages = [{"role": "user", "content": "Say hello."}]
    return client.messages.create(model="claude-sonnet-5", max_tokens=100, messages=messages)
budget = claudetrace.Budget("cap", max_calls=7, per="total", thresholds=(), on_exceeded="block")
claudetrace.instrument(db=sys.argv[1], budgets=[budget])
ask(anthropic.Anthropic(api_key="k", base_url=sys.argv[2], max_retries=0))
children = []
for _ in range(3):
    child = os.fork()
    if not child:
        client, stopped = anthropic.Anthropic(api_key="k", base_url=sys.argv[2], max_retries=0), 0
        for _ in range(3):
            try:
                ask(client)
            except claudetrace.BudgetExceeded:
                stopped += 1
        os._exit(stopped)
    children.append(child)
stopped = sum(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children)
print(stopped)
"""


def test_forked_children_share_the_budget(server: PlayServer, db: Path, start: Any) -> None:
    """One call of a parent and nine of its children, which end without a word: seven are answered."""
    server.add(_answers.answer(HELLO, times=None))
    ran = _run(FORKS, str(db), server.url)

    assert (ran.stdout.strip(), ran.stderr) == ("3", "")
    assert len(server.requests) == 7
    start(budgets=[block(max_calls=7)])
    until(lambda: (state().spent_usd, state().reserved_calls) == (7 * COST_USD, 0))


DIES = """
import os, signal, sys, threading
import anthropic, claudetrace
claudetrace.instrument(db=sys.argv[1], budgets=[claudetrace.Budget("cap", usd=5, per="total", on_exceeded="block")])
client = anthropic.Anthropic(api_key="k", base_url=sys.argv[2], max_retries=0)
ask = dict(model="claude-sonnet-5", max_tokens=100, messages=[{"role": "user", "content": "Say hello."}])
for _ in range(5):
    client.messages.create(**ask)
print("answered", flush=True)
client.messages.create(**ask, system="wait")
"""


def test_what_a_killed_process_had_reserved_is_charged_and_its_rows_once(
    server: PlayServer, db: Path, start: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Five calls in the journal count once at their cost, the sixth, whose end nobody saw, at its estimate."""
    from claudetrace._budgets._sqlite import _upkeep

    monkeypatch.setattr(_upkeep, "GRACE_S", 0.0)
    server.add(_answers.answer(HELLO, when=lambda ask: "system" in ask, delay_s=60))
    server.add(_answers.answer(HELLO, times=None))
    with subprocess.Popen(
        [sys.executable, "-c", DIES, str(db), server.url], stdout=subprocess.PIPE, env=_environment()
    ) as process:
        until(lambda: len(server.requests) == 6)
        process.send_signal(signal.SIGKILL)
    start(budgets=[block(usd=5)])

    until(lambda: state().reserved_calls == 0)
    now = state()
    assert now.spent_calls == 6
    assert 7 * COST_USD < now.spent_usd < 9 * COST_USD, "the estimate is 2.5 times what a call costs"


ENDS = """
import sys, time
import anthropic, claudetrace
claudetrace.instrument(
    db=sys.argv[1],
    budgets=[claudetrace.Budget("cap", usd=5, per="total", on_exceeded="block")],
    alert_to=["http://127.0.0.1:9/nobody"],
)
client = anthropic.Anthropic(api_key="k", base_url=sys.argv[2], max_retries=0)
client.messages.create(model="claude-sonnet-5", max_tokens=100, messages=[{"role": "user", "content": "Say hello."}])
"""


def test_a_process_that_just_ends_leaves_nothing_reserved(server: PlayServer, db: Path) -> None:
    """The store says so at once, without another process that puts it in order."""
    server.add(_answers.answer(HELLO, times=None))
    assert _run(ENDS, str(db), server.url).stderr == ""

    import sqlite3
    from contextlib import closing

    with closing(sqlite3.connect(f"{db}.budgets")) as connection:
        assert connection.execute("SELECT COUNT(*) FROM charges WHERE owner IS NOT NULL").fetchone() == (0,)
        assert connection.execute("SELECT SUM(spent_calls), SUM(reserved_calls) FROM counters").fetchone() == (1, 0)


def test_budgets_begun_by_many_threads_at_once_are_one(server: PlayServer, start: Any) -> None:
    """The first calls of a process, all at the same moment, find one store and one owner."""
    start(budgets=[block(max_calls=8)])
    server.add(_answers.answer(HELLO, times=None))
    client = anthropic.Anthropic(api_key="k", base_url=server.url, max_retries=0)
    together = threading.Barrier(16)

    def ask(_: int) -> bool:
        together.wait()
        try:
            client.messages.create(**ASK)
        except claudetrace.BudgetExceeded:
            return False
        return True

    with ThreadPoolExecutor(16) as pool:
        assert sum(pool.map(ask, range(16))) == 8
    assert (state().spent_calls, state().reserved_calls) == (8, 0)


def _environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}


def _run(program: str, *args: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", program, *args],
        capture_output=True,
        text=True,
        timeout=60,
        env=_environment(),
        check=True,
    )
