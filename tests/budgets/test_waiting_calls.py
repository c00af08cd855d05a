"""Calls of the SDK under a budget with room for ten of their worst cases, of which sixteen run at once."""

from __future__ import annotations

import asyncio
import multiprocessing
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import anthropic
import pytest
from _asking import block, state, until

import claudetrace
from claudetrace._demo import _wire
from claudetrace._demo._server import Exchange, PlayServer
from claudetrace._instrument import running

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from claudetrace._demo._server import Received

SERVED = multiprocessing.get_context("forkserver")
# What takes seconds to import is imported once.
SERVED.set_forkserver_preload(["anthropic", "claudetrace._instrument", "claudetrace._budgets._budgets"])
ASK: dict[str, Any] = {
    "model": "claude-sonnet-5",
    "max_tokens": 44_900,
    "messages": [{"role": "user", "content": "Say hello."}],
}
HELLO = _wire.message("Hello.", _wire.usage(100, 600), model="claude-sonnet-5")
COST_USD = claudetrace.price(HELLO).usd
SAID = threading.Event()
"""Set when calls are to be answered."""


def answer(_: Received) -> bytes:
    assert SAID.wait(30)
    return _wire.json_bytes(HELLO)


@pytest.fixture
def server() -> Iterator[PlayServer]:
    SAID.clear()
    with PlayServer(Exchange(times=None, headers={"content-type": "application/json"}, body=answer)) as playing:
        yield playing
    SAID.set()


def wait_for_six(at_least_s: float = 0) -> None:
    """Six calls wait, so that the others can be answered."""
    queues = running()._parts.budgets._admission.queues  # type: ignore[union-attr]
    until(lambda: sum(map(len, queues._queues.values())) == 6)
    time.sleep(at_least_s)
    SAID.set()


def budget(wait_s: float) -> claudetrace.Budget:
    return block(usd=5, per="day", wait_s=wait_s)


def ask(url: str) -> None:
    """Makes one call, which may cost half a dollar."""
    with anthropic.Anthropic(api_key="k", base_url=url, max_retries=0, timeout=60) as client:
        client.messages.create(**ASK)


def test_sixteen_calls_that_wait_all_pass(
    server: PlayServer, start: Any, ledger: Callable[[], list[claudetrace.Call]]
) -> None:
    """All are answered, what is spent is what they cost, and their rows say how long they waited, apart from what they
    took."""
    start(budgets=[budget(30)])
    with ThreadPoolExecutor(16) as pool:
        asked = [pool.submit(ask, server.url) for _ in range(16)]
        wait_for_six(at_least_s=1)
        for each in asked:
            each.result(60)

    rows = ledger()
    waited: list[Any] = [row for row in rows if row.budget_wait_ms is not None]
    assert len(rows) == 16
    assert COST_USD is not None
    assert (state().spent_usd, state().reserved_usd) == (16 * COST_USD, 0)
    assert len(waited) == 6
    took_ms = (datetime.now(UTC) - min(row.started_at for row in rows)).total_seconds() * 1e3
    assert all(row.budget_wait_ms >= 990 for row in waited)
    assert all(row.budget_wait_ms + row.duration_ms < took_ms for row in waited)


async def test_sixteen_tasks_that_wait_all_pass(server: PlayServer, start: Any) -> None:
    """The same of an async client, while its event loop goes on."""
    start(budgets=[budget(30)])
    async with anthropic.AsyncAnthropic(api_key="k", base_url=server.url, max_retries=0, timeout=60) as client:
        asked = asyncio.gather(*(client.messages.create(**ASK) for _ in range(16)))
        await asyncio.to_thread(wait_for_six)
        await asked

    assert COST_USD is not None
    assert (state().spent_usd, state().reserved_usd) == (16 * COST_USD, 0)


def test_without_waiting_those_that_are_refused_may_try_again(
    server: PlayServer, start: Any, ledger: Callable[[], list[claudetrace.Call]]
) -> None:
    """With next to nothing spent, the error says that running calls hold the room, and when it may be tried again."""
    start(budgets=[budget(0)])

    refused: list[claudetrace.BudgetExceeded] = []

    def tried() -> None:
        try:
            ask(server.url)
        except claudetrace.BudgetExceeded as error:
            refused.append(error)

    with ThreadPoolExecutor(16) as pool:
        for _ in range(16):
            pool.submit(tried)
        until(lambda: len(refused) == 6)
        SAID.set()

    assert {error.retryable for error in refused} == {True}
    assert all("running calls hold $4.9" in str(error) for error in refused)
    assert all(1 <= (error.retry_after_s or 0) < 30 for error in refused)
    assert [row.budget_wait_ms for row in ledger()] == [None] * 16


def of_a_process(db: str, url: str) -> None:
    with claudetrace.instrument(db=db, budgets=[budget(30)], metrics=False, spans="off"), ThreadPoolExecutor(4) as pool:
        list(pool.map(ask, [url] * 4))


def test_calls_of_four_processes_wait_for_each_other(server: PlayServer, start: Any, db: Path) -> None:
    """All of them pass, and what is spent and set aside never passes the limit."""
    processes = [SERVED.Process(target=of_a_process, args=(str(db), server.url)) for _ in range(4)]
    for process in processes:
        process.start()
    until(lambda: len(server.requests) == 10)
    SAID.set()
    for process in processes:
        process.join(60)

    assert [process.exitcode for process in processes] == [0] * 4
    start(budgets=[budget(30)])
    assert COST_USD is not None
    assert (state().spent_usd, state().reserved_usd) == (16 * COST_USD, 0)
    assert len(server.requests) == 16
