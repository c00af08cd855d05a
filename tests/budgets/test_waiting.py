"""`Budget(wait_s=…)`: a call waits until running ones settle, in the order of arrival, and nothing stays of one that
gave up."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import pickle
import signal
import sqlite3
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest
from _asking import locked, until
from _keeping import Demand, Kept

from claudetrace._budgets._budget import Budget
from claudetrace._errors import BudgetExceeded, ClaudetraceError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from claudetrace._guard import Guard

USD = 10**12


def waits(name: str = "all", usd: Any = 10, wait_s: float = 30, **said: Any) -> Budget:
    return Budget(
        name, **{"usd": usd, "per": "total", "on_exceeded": "block", "wait_s": wait_s, "forecast": False, **said}
    )


@pytest.fixture
def kept(path: Path, guard: Guard) -> Iterator[Kept]:
    # Long enough for a machine that has much else to do.
    made = Kept([waits(wait_s=120), waits("user", usd=4, tags={"user": "*"})], path, guard=guard)
    yield made
    made.close()


@pytest.fixture
def brief(path: Path, guard: Guard) -> Iterator[Kept]:
    made = Kept([waits(wait_s=1)], path, guard=guard)
    yield made
    made.close()


def reserved(kept: Kept) -> list[tuple[str | None, int, int]]:
    """Of each budget and key that was used, the dollars that are set aside and spent."""
    return [(state.key, int(state.reserved_usd), int(state.spent_usd)) for state in kept.status()]


def queued(kept: Kept, number: int) -> None:
    """Returns once so many calls wait."""
    until(lambda: sum(len(queue) for queue in kept._admission.queues._queues.values()) == number)  # type: ignore[union-attr]


def test_a_call_waits_until_a_running_one_settles(kept: Kept) -> None:
    """It is admitted by the settlement, and knows how long it has waited; one that had room at once has not."""
    first = kept.ask(Demand("a", {}, 8 * USD))
    with ThreadPoolExecutor(1) as pool:
        second = pool.submit(kept.ask, Demand("b", {}, 5 * USD))
        queued(kept, 1)
        kept.end(first, 3 * USD)
        waited = second.result(30)

    assert first is not None
    assert waited is not None
    assert (first.waited_s, waited.waited_s is not None and 0 < waited.waited_s < 30) == (None, True)
    assert reserved(kept)[0] == (None, 5, 3)


async def test_two_hundred_tasks_are_admitted_in_order(kept: Kept) -> None:
    """Whatever they need, and however many have room at once, nobody passes another."""
    admitted: list[int] = []

    async def call(number: int) -> None:
        reservation = await kept.ask_async(Demand(f"c{number}", {}, (1 + number * 7 % 9) * USD))
        admitted.append(number)
        await asyncio.sleep(0)
        kept.end(reservation, 0)

    first = kept.ask(Demand("first", {}, 10 * USD))
    tasks = []
    for number in range(200):
        tasks.append(asyncio.create_task(call(number)))
        await asyncio.sleep(0)
    await asyncio.to_thread(queued, kept, 200)
    kept.end(first, 0)
    await asyncio.gather(*tasks)

    assert admitted == list(range(200))
    assert reserved(kept)[0] == (None, 0, 0)


async def test_two_hundred_cancelled_tasks_leave_nothing(kept: Kept) -> None:
    """No reservation, no queue and no task stays of them, and who comes after is admitted."""
    first = kept.ask(Demand("first", {}, 10 * USD))
    tasks = [asyncio.create_task(kept.ask_async(Demand(f"c{number}", {}, USD))) for number in range(200)]
    await asyncio.to_thread(queued, kept, 200)
    last = asyncio.create_task(kept.ask_async(Demand("last", {}, 10 * USD)))
    await asyncio.to_thread(queued, kept, 201)
    for task in tasks:
        task.cancel()
    done = await asyncio.gather(*tasks, return_exceptions=True)
    kept.end(first, 0)
    await last

    assert {type(each) for each in done} == {asyncio.CancelledError}
    assert reserved(kept)[0] == (None, 10, 0)
    assert kept._admission.queues._queues == {}  # type: ignore[union-attr]


def test_a_call_that_gives_up_while_it_is_admitted_gives_it_back(brief: Kept) -> None:
    """Whoever's time is up while the store admits it has nothing set aside in the end."""
    first = brief.ask(Demand("first", {}, 10 * USD))
    said: list[str] = []

    def call(number: int) -> None:
        reservation = brief.asked(Demand(f"c{number}", {}, 10 * USD))
        try:
            brief.admit(reservation)
            said.append("admitted")
        except BudgetExceeded:
            said.append("gave up")
        brief.end(reservation, 0)

    threads = [threading.Thread(target=call, args=(number,)) for number in range(20)]
    for thread in threads:
        thread.start()
    time.sleep(0.99)
    brief.end(first, 0)
    for thread in threads:
        thread.join()

    assert len(said) == 20
    assert reserved(brief)[0] == (None, 0, 0)


def test_a_small_call_does_not_pass_a_large_one(brief: Kept) -> None:
    """There is room for the small one, and it waits; when the large one gives up, the small one is admitted."""
    brief.ask(Demand("first", {}, 5 * USD))
    order: list[str] = []

    def call(name: str, picousd: int) -> None:
        try:
            brief.ask(Demand(name, {}, picousd))
            order.append(name)
        except BudgetExceeded:
            order.append(f"{name} gave up")

    large = threading.Thread(target=call, args=("large", 9 * USD))
    large.start()
    queued(brief, 1)
    time.sleep(0.5)
    small = threading.Thread(target=call, args=("small", USD))
    small.start()
    large.join()
    small.join()

    assert order == ["large gave up", "small"]


def test_other_keys_and_budgets_pass(kept: Kept) -> None:
    """Who waits for one value of a tag holds up nobody of another, and nobody of a budget that has room."""
    first = kept.ask(Demand("first", {"user_id": "u1"}, 4 * USD))
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(kept.ask, Demand("second", {"user_id": "u1"}, 2 * USD))
        queued(kept, 1)
        kept.ask(Demand("third", {"user_id": "u2"}, 2 * USD))
        kept.ask(Demand("fourth", {}, USD))
        assert not waiting.done()
        kept.end(first, 0)
        waiting.result(30)

    assert sorted(reserved(kept), key=str) == [("u1", 2, 0), ("u2", 2, 0), (None, 5, 0)]


def test_what_is_spent_is_not_waited_for(kept: Kept) -> None:
    """A call that fits the limit no more is refused at once, before it waits or while it does, and so is all that is
    too large for the limit."""
    began = time.monotonic()
    first = kept.ask(Demand("first", {}, 10 * USD))
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(kept.ask, Demand("second", {}, 2 * USD))
        queued(kept, 1)
        kept.end(first, 9 * USD)
        with pytest.raises(BudgetExceeded) as caught:
            waiting.result(30)
        with pytest.raises(BudgetExceeded):
            kept.ask(Demand("third", {}, 2 * USD))
        with pytest.raises(BudgetExceeded) as too_large:
            kept.ask(Demand("fourth", {}, 11 * USD))

    assert (caught.value.retryable, caught.value.spent_usd, caught.value.retry_after_s) == (False, 9, None)
    assert (too_large.value.retryable, too_large.value.retry_after_s) == (False, None)
    assert time.monotonic() - began < 25


def test_what_cut_streams_hold_is_not_waited_for(path: Path, guard: Guard) -> None:
    """What is held for cut streams counts as spent: nobody waits for it."""
    kept = Kept([waits(cut_streams="bound")], path, guard=guard)
    cut = kept.ask(Demand("cut", {}, 8 * USD))
    assert cut is not None
    kept.end(cut, USD)
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE counters SET held_picousd = ?", (7 * USD,))
    with pytest.raises(BudgetExceeded) as caught:
        kept.ask(Demand("next", {}, 3 * USD))
    kept.close()

    assert (caught.value.retryable, caught.value.held_usd, caught.value.spent_usd) == (False, 7, 1)


def test_time_is_up(brief: Kept) -> None:
    """After `wait_s` the error says that it may be tried again, when about, and what running calls hold."""
    brief.ask(Demand("first", {}, 9 * USD))
    with pytest.raises(BudgetExceeded) as caught:
        brief.ask(Demand("second", {}, 2 * USD))
    error = pickle.loads(pickle.dumps(caught.value))

    assert (error.retryable, error.retry_after_s) == (True, 1.0)
    assert str(error) == (
        "budget 'all' has no room for this call, which may cost $2.00: running calls hold $9.00 of the $10.00; "
        "try again in about 1 s, or let it wait with wait_s="
    )


@pytest.mark.parametrize("on_store_error", ["open", "closed"])
def test_a_store_that_fails_answers_all_who_wait(on_store_error: str, path: Path, guard: Guard) -> None:
    """They are let through or stopped, as the budget says, at once and not when their time is up."""
    kept = Kept([waits(on_store_error=on_store_error, wait_s=600)], path, guard=guard)
    kept.ask(Demand("first", {}, 2 * USD))
    kept.ask(Demand("running", {}, 8 * USD))

    def call(number: int) -> str:
        try:
            kept.ask(Demand(f"c{number}", {}, (3 - number % 2) * USD))
        except BudgetExceeded as error:
            return type(error).__name__
        return "let through"

    with ThreadPoolExecutor(8) as pool:
        calls = [pool.submit(call, number) for number in range(8)]
        queued(kept, 8)
        with locked(path):
            said = {each.result(60) for each in calls}
    kept.close()

    # By what this process knows, there is no room for them.
    assert said == ({"BudgetExceeded"} if on_store_error == "open" else {"StoreUnusable"})


def test_a_new_window_lets_them_in(path: Path, guard: Guard) -> None:
    """Who waits when the window ends counts in the next one."""
    now = [1_800_000_000.0]
    kept = Kept([waits(per="hour")], path, guard=guard, clock=lambda: now[0])
    kept.ask(Demand("first", {}, 10 * USD))
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(kept.ask, Demand("second", {}, 2 * USD))
        queued(kept, 1)
        now[0] += 3600
        waiting.result(30)
    told = reserved(kept)
    kept.close()

    assert told == [(None, 2, 0)]


async def test_a_sync_call_on_an_event_loop_does_not_wait(kept: Kept) -> None:
    """It would hold up the loop, on which running calls may have to settle: it is refused as without `wait_s`."""
    kept.ask(Demand("first", {}, 9 * USD))
    with pytest.raises(BudgetExceeded) as caught:
        kept.ask(Demand("second", {}, 2 * USD))

    assert caught.value.retryable


async def test_ten_thousand_wait(kept: Kept) -> None:
    """All are admitted, as running ones settle."""
    first = kept.ask(Demand("first", {}, 10 * USD))

    async def call(number: int) -> None:
        reservation = await kept.ask_async(Demand(f"c{number}", {}, USD // 100))
        kept.end(reservation, 1)

    tasks = []
    for number in range(10_000):
        tasks.append(asyncio.create_task(call(number)))
        if number % 100 == 0:
            # Else the loop would leave the store no time.
            await asyncio.sleep(0.02)
    await asyncio.to_thread(queued, kept, 10_000)
    kept.end(first, 0)
    await asyncio.gather(*tasks)

    (state, *_) = kept.status()
    assert (state.reserved_usd, state.spent_calls) == (0, 10_001)


def of_a_process(path: str, name: str, hold_s: float) -> None:
    from pathlib import Path

    from claudetrace._guard import Guard

    kept = Kept([waits()], Path(path), guard=Guard())
    reservation = kept.ask(Demand(f"{name}{os.getpid()}", {}, 10 * USD))
    time.sleep(hold_s)
    kept.end(reservation, 0)  # type: ignore[arg-type]
    kept.close()


def test_other_processes_make_room(kept: Kept, path: Path) -> None:
    """What settles in another process is seen here, though it wakes nobody."""
    spawn = multiprocessing.get_context("spawn")
    other = spawn.Process(target=of_a_process, args=(str(path), "other", 1.0))
    other.start()
    until(lambda: reserved(kept)[0] == (None, 10, 0))
    waited = kept.ask(Demand("here", {}, 10 * USD))
    other.join()

    assert waited is not None
    assert waited.waited_s is not None


def test_a_process_that_is_killed_while_it_waits_leaves_nothing(kept: Kept, path: Path) -> None:
    """What waited had set nothing aside."""
    first = kept.ask(Demand("first", {}, 10 * USD))
    spawn = multiprocessing.get_context("spawn")
    other = spawn.Process(target=of_a_process, args=(str(path), "other", 0))
    other.start()
    time.sleep(1.5)
    os.kill(other.pid or 0, signal.SIGKILL)
    other.join()
    kept.end(first, 0)

    assert reserved(kept)[0] == (None, 0, 0)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded")
def test_a_fork_while_calls_wait(kept: Kept) -> None:
    """The child has no queue and no waiter of the parent's, whose calls go on."""
    first = kept.ask(Demand("first", {}, 10 * USD))
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(kept.ask, Demand("second", {}, 2 * USD))
        queued(kept, 1)
        child = os.fork()
        if not child:
            os._exit(len(kept._admission.queues._queues))  # type: ignore[union-attr]
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        kept.end(first, 0)
        waiting.result(30)

    assert reserved(kept)[0] == (None, 2, 0)


@pytest.mark.parametrize("wait_s", [-1, float("nan"), float("inf"), "1", True, 86_401])
def test_a_wait_that_cannot_be_is_refused(wait_s: Any) -> None:
    """The error names it and what can be."""
    with pytest.raises(ClaudetraceError, match=r"wait_s=.* cannot be used: give seconds from 0 to 86,400"):
        Budget("all", usd=1, wait_s=wait_s)


def test_a_run_does_not_wait() -> None:
    """Its calls are in one process, and mostly one after the other."""
    with pytest.raises(ClaudetraceError, match="the calls of a run do not wait"):
        Budget(usd=1, per="run", wait_s=1)
