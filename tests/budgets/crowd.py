"""Processes full of callers on one budget, for the proof that it holds. Each bills, then settles, as a call does."""

from __future__ import annotations

import asyncio
import os
import random
import sqlite3
import threading
import time
from contextlib import closing
from pathlib import Path
from typing import Any

from _keeping import Demand, Kept

from claudetrace._budgets._budget import Budget
from claudetrace._budgets._sqlite import _upkeep
from claudetrace._errors import BudgetExceeded
from claudetrace._guard import Guard
from claudetrace._ids import uuid7

USD = 10**12
CAP_USD = 5
LARGEST = CAP_USD * USD // 400


def budget(on_store_error: Any = "closed") -> Budget:
    return Budget("cap", usd=CAP_USD, per="total", on_exceeded="block", on_store_error=on_store_error)


def keeper(path: Path, on_store_error: Any = "closed") -> Kept:
    """A keeper that is tended, as the loader's thread does, and waits for no journal of the dead."""
    _upkeep.GRACE_S = 0.0
    kept = Kept([budget(on_store_error)], path, guard=Guard())

    def tend() -> None:
        while True:
            time.sleep(0.1)
            kept.tend()

    threading.Thread(target=tend, daemon=True).start()
    return kept


class Bills:
    """What the API has charged, in a file that outlives a SIGKILL."""

    def __init__(self, folder: Path) -> None:
        self._fd = os.open(folder / f"bill-{os.getpid()}-{time.time_ns()}", os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def add(self, picousd: int) -> None:
        os.write(self._fd, b"%d\n" % picousd)


def billed(folder: Path) -> int:
    return sum(int(line) for bill in folder.glob("bill-*") for line in bill.read_text().split())


def outcome(estimate: int) -> tuple[int, int | None]:
    """What a call of that estimate is billed, and what is settled: errors are free, cancelled streams a part."""
    kind = random.random()
    if kind < 0.05:
        return 0, 0
    actual = int(estimate * random.uniform(0.05, 1))
    return actual, (None if kind < 0.08 else actual)


def over(error: BudgetExceeded) -> bool:
    """Whether there is no room left even once all that runs has ended."""
    return error.spent_usd + (error.needed_usd or 0) > (error.limit_usd or 0)


def an_estimate() -> int:
    return random.randrange(LARGEST // 10, LARGEST)


def run_threads(folder: str, threads: int, pause_s: float, on_store_error: Any = "closed") -> None:
    """Calls from so many threads until the budget is used up."""
    kept, bills = keeper(Path(folder) / "x.budgets", on_store_error), Bills(Path(folder))

    def call_on() -> None:
        while True:
            estimate = an_estimate()
            try:
                reservation = kept.ask(Demand(uuid7(time.time_ns()), {}, estimate))
            except BudgetExceeded as error:
                if over(error):
                    return
                time.sleep(pause_s)
                continue
            time.sleep(random.uniform(0, 2 * pause_s))
            actual, said = outcome(estimate)
            bills.add(actual)
            assert reservation is not None
            kept.end(reservation, said)

    workers = [threading.Thread(target=call_on) for _ in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    kept.close()


def run_tasks(folder: str, tasks: int, pause_s: float) -> None:
    """The same from so many tasks of one event loop, of which some are cancelled."""
    kept, bills = keeper(Path(folder) / "x.budgets"), Bills(Path(folder))

    async def call_on() -> None:
        while True:
            estimate = an_estimate()
            asked = asyncio.create_task(kept.ask_async(Demand(uuid7(time.time_ns()), {}, estimate)))
            if random.random() < 0.03:
                await asyncio.sleep(0)
                asked.cancel()
            try:
                reservation = await asked
            except asyncio.CancelledError:
                continue
            except BudgetExceeded as error:
                if over(error):
                    return
                await asyncio.sleep(pause_s)
                continue
            await asyncio.sleep(random.uniform(0, 2 * pause_s))
            actual, said = outcome(estimate)
            bills.add(actual)
            assert reservation is not None
            kept.end(reservation, said)

    async def all_of_them() -> None:
        await asyncio.gather(*(call_on() for _ in range(tasks)))

    asyncio.run(all_of_them())
    kept.close()


def run_check_then_add(folder: str, threads: int, pause_s: float) -> None:
    """What others do: look at the sum, and add to it when the call has ended."""
    db = Path(folder) / "check.db"

    def execute(sql: str, *values: Any) -> list[Any]:
        with closing(sqlite3.connect(db, timeout=30, isolation_level=None)) as connection:
            return connection.execute(sql, values).fetchall()

    def call_on() -> None:
        while True:
            estimate = an_estimate()
            if execute("SELECT v FROM spent")[0][0] + estimate > CAP_USD * USD:
                return
            time.sleep(random.uniform(0, 2 * pause_s))
            execute("UPDATE spent SET v = v + ?", outcome(estimate)[0])

    workers = [threading.Thread(target=call_on) for _ in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
