"""What a budget adds to a call, of a store in PostgreSQL beside the one in a file: alone, among 64 callers, from 16
processes, and with the server away."""

from __future__ import annotations

import multiprocessing
import sys
import tempfile
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from _postgres import Server

from claudetrace._budgets._budget import Budget
from claudetrace._budgets._budgets import Budgets
from claudetrace._budgets._postgres._schema import init
from claudetrace._budgets._postgres._url import ServerUrl
from claudetrace._budgets._records import StoreError
from claudetrace._budgets._reservation import Reservation
from claudetrace._guard import Guard
from claudetrace._ids import uuid7
from claudetrace._pricing._upper_bound import Bound

PICOUSD = 10**9
CALL_S = 0.1
PROCESSES, CALLERS, EACH = 16, 8, 25
SPAWN = multiprocessing.get_context("spawn")


def kept(place: Any) -> Budgets:
    said: dict[str, Any] = {"usd": 10**6, "on_exceeded": "block", "per": "total", "forecast": False}
    return Budgets([Budget("bench", **said)], ServerUrl(place) if "://" in str(place) else place, guard=Guard())


def call(budgets: Budgets, lasts_s: float) -> tuple[float, float]:
    """Milliseconds of reserving, and of settling until that is in the store."""
    reservation = Reservation(uuid7(time.time_ns()), {}, Bound(picousd=PICOUSD))
    began = time.perf_counter()
    budgets.admit(reservation)
    reserved = time.perf_counter()
    if lasts_s:
        time.sleep(lasts_s)
    reservation.spent_picousd, ended = PICOUSD // 2, time.perf_counter()
    budgets.settle(reservation)
    if not lasts_s:
        budgets.settle_all(10)
    return (reserved - began) * 1000, (time.perf_counter() - ended) * 1000


def quantiles(taken: list[float]) -> str:
    ordered = sorted(taken)
    return f"{ordered[len(ordered) // 2]:8.2f} {ordered[int(len(ordered) * 0.99)]:8.2f}"


def alone(place: Any) -> None:
    budgets = kept(place)
    taken = [call(budgets, 0) for _ in range(400)][100:]
    print(f"  reserve, alone                    {quantiles([each for each, _ in taken])}")
    print(f"  settle until it is in, alone      {quantiles([each for _, each in taken])}")
    taken = []

    def calls() -> None:
        taken.extend(call(budgets, CALL_S) for _ in range(8))

    on_threads(64, calls)
    print(f"  reserve, 64 callers, calls 0.1 s  {quantiles([each for each, _ in taken])}", flush=True)
    budgets.close()


def on_threads(callers: int, act: Any) -> None:
    threads = [threading.Thread(target=act) for _ in range(callers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def work(place: Any, barrier: Any) -> None:
    budgets = kept(place)
    for _ in range(10):
        with suppress(StoreError):
            budgets.open()
            break
    barrier.wait()
    on_threads(CALLERS, lambda: [call(budgets, 1e-6) for _ in range(EACH)])
    budgets.settle_all(60)
    barrier.wait()
    budgets.close()


def throughput(place: Any) -> None:
    barrier = SPAWN.Barrier(PROCESSES + 1)
    processes = [SPAWN.Process(target=work, args=(place, barrier)) for _ in range(PROCESSES)]
    for process in processes:
        process.start()
    barrier.wait()
    began = time.perf_counter()
    barrier.wait()
    took = time.perf_counter() - began
    for process in processes:
        process.join()
    print(
        f"  calls a second, {PROCESSES} processes of {CALLERS} threads: {PROCESSES * CALLERS * EACH / took:,.0f}",
        flush=True,
    )


def away(server: Server, place: str) -> None:
    budgets = kept(place)
    budgets.open()
    server.stop()
    taken = [call(budgets, 1e-6)[0] for _ in range(200)]
    print(f"  reserve, with the server gone     {quantiles(taken)}, at most {max(taken):.0f}")
    budgets.close()
    server.start()


def main() -> int:
    """Prints the figures: milliseconds, p50 and p99."""
    server = Server("fsync=on")
    try:
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "x.budgets"
            print("a file:")
            alone(file)
            throughput(file)
        for durable in (False, True):
            place = server.url(server.database())
            init(ServerUrl(place), durable=durable)
            print(f"PostgreSQL on loopback, durability {'on' if durable else 'off (the default)'}:")
            alone(place)
            throughput(place)
        away(server, place)
    finally:
        server.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
