"""What a budget adds to a call: reserve and settle alone, on an event loop, among 64 callers, with many users."""

from __future__ import annotations

import asyncio
import multiprocessing
import random
import statistics
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

from _table import Row

from claudetrace._guard import Guard
from claudetrace._ids import uuid7

CALLS = 4_000
USERS = 100_000
PICOUSD = 10**9
PROCESSES, THREADS = 4, 16
CALL_S = 0.1


def budget_rows() -> list[Row]:
    """The figures of budgets that block."""
    return [*_alone_rows(), *_async_rows(), _crowd_row()]


def _keeper(folder: str | Path, **said: Any) -> Any:
    from claudetrace._budgets._budget import Budget
    from claudetrace._budgets._budgets import Budgets

    return Budgets(
        [Budget("bench", usd=10**6, on_exceeded="block", **said)], Path(folder) / "bench.budgets", guard=Guard()
    )


def _asked(kept: Any, **columns: Any) -> Any:
    from claudetrace._budgets._reservation import Reservation
    from claudetrace._pricing._upper_bound import Bound

    return Reservation(uuid7(time.time_ns()), columns, Bound(picousd=PICOUSD))


def _settle(kept: Any, reservation: Any) -> None:
    reservation.spent_picousd = PICOUSD // 2
    kept.settle(reservation)


def _fill(kept: Any) -> None:
    """Gives each of the users a counter with something spent."""
    from claudetrace._budgets._windows import window_of

    window = window_of("month", "UTC", time.time())
    sql = "INSERT INTO counters (budget_id, key, slot, ends, spent_picousd) VALUES (1, ?, ?, ?, 5)"
    rows = [(f"u{number}", window.slot, window.end) for number in range(USERS)]
    kept.writer.do(lambda store: store._work.connection.executemany(sql, rows), 60)


def _pairs(kept: Any, users: int, calls: int) -> list[float]:
    """Microseconds of a call's reserving and settling, for users one after the other."""
    taken = []
    for number in range(calls):
        reservation = _asked(kept, user_id=f"u{number * 7919 % users}")
        began = time.perf_counter_ns()
        kept.admit(reservation)
        _settle(kept, reservation)
        taken.append((time.perf_counter_ns() - began) / 1e3)
    return taken


def _alone_rows() -> list[Row]:
    one: list[float] = []
    many: list[float] = []
    with tempfile.TemporaryDirectory() as first, tempfile.TemporaryDirectory() as second:
        single, keyed = _keeper(first), _keeper(second, tags={"user": "*"})
        _fill(keyed)
        # In turns, so that the machine's load is the same for both.
        for _ in range(10):
            one += _pairs(single, 1, CALLS // 10)
            many += _pairs(keyed, USERS, CALLS // 10)
            single.tend()
            keyed.tend()
        single.close()
        keyed.close()
    alone, each = statistics.median(one), statistics.median(many)
    return [
        Row(what="budget, reserve and settle, p50", measured=alone, unit="µs", limit=250),
        Row(what="budget for each of 100,000 users, beside one", measured=each / alone, unit="×", limit=1.2),
    ]


def _async_rows() -> list[Row]:
    """How long a task waits for its reservation, and for how long the event loop is held up meanwhile."""
    taken: list[float] = []
    held: list[float] = []

    async def call(kept: Any) -> None:
        for _ in range(100):
            await asyncio.sleep(random.uniform(0.01, 0.03))
            began = time.perf_counter_ns()
            reservation = _asked(kept)
            await kept.admit_async(reservation)
            taken.append((time.perf_counter_ns() - began) / 1e3)
            begun = time.perf_counter_ns()
            _settle(kept, reservation)
            held.append((time.perf_counter_ns() - begun) / 1e6)

    async def watch(late: list[float]) -> None:
        while True:
            began = time.perf_counter()
            await asyncio.sleep(0.001)
            late.append((time.perf_counter() - began - 0.001) * 1e3)

    async def run(kept: Any, tasks: int) -> list[float]:
        late: list[float] = []
        watcher = asyncio.create_task(watch(late))
        await (asyncio.gather(*(call(kept) for _ in range(tasks))) if tasks else asyncio.sleep(2))
        watcher.cancel()
        return sorted(late)

    with tempfile.TemporaryDirectory() as folder:
        kept = _keeper(folder)
        kept.open()
        idle = asyncio.run(run(kept, 0))
        busy = asyncio.run(run(kept, 8))
        kept.close()
    added = busy[len(busy) // 2] - idle[len(idle) // 2]
    return [
        Row(what="budget, async reserve, p50 of 8 tasks", measured=statistics.median(taken), unit="µs", limit=400),
        Row(
            what="budget, event loop later by, p50",
            measured=max(0.0, added),
            unit="ms",
            limit=1,
            beside=f"p99 {busy[int(len(busy) * 0.99)]:.2f} ms, idle {idle[int(len(idle) * 0.99)]:.2f} ms",
        ),
    ]


def _caller(folder: str, out: Any) -> None:
    kept = _keeper(folder)
    taken: list[float] = []

    def call() -> None:
        for _ in range(40):
            reservation = _asked(kept)
            began = time.perf_counter_ns()
            kept.admit(reservation)
            taken.append((time.perf_counter_ns() - began) / 1e6)
            time.sleep(CALL_S * random.uniform(0.5, 1.5))
            _settle(kept, reservation)

    kept.open()
    threads = [threading.Thread(target=call) for _ in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    kept.close()
    out.put(taken)


def _crowd_row() -> Row:
    """The slowest hundredth of reservations by 64 callers in 4 processes, each call a tenth of a second long."""
    context = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as folder:
        out = context.Queue()
        processes = [context.Process(target=_caller, args=(folder, out)) for _ in range(PROCESSES)]
        for process in processes:
            process.start()
        taken = sorted(one for _ in processes for one in out.get())
        for process in processes:
            process.join()
    p99 = taken[int(len(taken) * 0.99)]
    beside = f"p50 {taken[len(taken) // 2]:.2f} ms, max {taken[-1]:.1f} ms"
    return Row(what="budget, reserve p99, 64 callers in 4 processes", measured=p99, unit="ms", limit=20, beside=beside)
