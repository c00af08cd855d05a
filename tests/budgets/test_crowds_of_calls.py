"""A budget holds for calls of the SDK, whoever makes them, however many, and whatever becomes of them."""

from __future__ import annotations

import json
import multiprocessing
import random
import sqlite3
import threading
import time
from contextlib import closing
from typing import TYPE_CHECKING, Any

import crowd_of_calls
import pytest
from _asking import state, until
from crowd_of_calls import CAP_USD

import claudetrace
from claudetrace._budgets._sqlite import _upkeep
from claudetrace._demo import _wire
from claudetrace._demo._server import Exchange, PlayServer

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from claudetrace._demo._server import Received

SPAWN = multiprocessing.get_context("spawn")
PROCESSES, KILLS = 4, 2


class Bill:
    """What the API has charged: answers of 5 to 100 % of what a call may cost."""

    def __init__(self) -> None:
        self.picousd = 0
        self._lock = threading.Lock()

    def answer(self, _: Received) -> bytes:
        whole = self._message()
        return _wire.json_bytes(whole)

    def stream(self, _: Received) -> list[bytes]:
        return _wire.sse(_wire.stream_events(self._message()))

    def _message(self) -> Any:
        time.sleep(random.uniform(0, 0.02))
        counts = _wire.usage(random.randrange(1, 10), random.randrange(20, 490))
        whole = _wire.message("Hello.", counts, model="claude-sonnet-5")
        cost = claudetrace.price(whole).usd
        assert cost is not None
        with self._lock:
            self.picousd += int(cost * 10**12)
        return whole


def _fails(_: Any) -> bool:
    return random.random() < 0.03


@pytest.mark.parametrize(("run", "callers"), [(crowd_of_calls.run_threads, 16), (crowd_of_calls.run_tasks, 64)])
def test_a_budget_holds_for_calls_of_four_processes(
    db: Path, start: Any, monkeypatch: pytest.MonkeyPatch, run: Callable[..., None], callers: int
) -> None:
    """What the server has billed and what the budget says is spent stay within the cap, at least 97 % of which is
    used, with errors, cancelled calls and SIGKILLs among them; nothing is reserved at the end."""
    bill = Bill()
    refused = _wire.json_bytes(_wire.error("overloaded_error"))
    json_type, sse_type = {"content-type": "application/json"}, {"content-type": "text/event-stream"}
    with PlayServer(
        Exchange(times=None, when=_fails, status=529, headers=json_type, body=refused),
        Exchange(times=None, when=lambda ask: bool(ask) and ask.get("stream"), headers=sse_type, body=bill.stream),
        Exchange(times=None, headers=json_type, body=bill.answer),
    ) as server:

        def begin() -> Any:
            process = SPAWN.Process(target=run, args=(str(db), server.url, callers))
            process.start()
            return process

        processes = [begin() for _ in range(PROCESSES)]
        for kill in range(KILLS):
            until(lambda least=100 * (kill + 1): len(server.requests) > least)  # type: ignore[misc]
            victim = processes.pop(0)
            victim.kill()
            victim.join()
            processes.append(begin())
        for process in processes:
            process.join(120)
            assert process.exitcode == 0
        assert server.failures == []

    monkeypatch.setattr(_upkeep, "GRACE_S", 0.0)
    crowd_of_calls.meter(str(db))
    until(lambda: state(flush=False).reserved_calls == 0)
    now = state(flush=False)
    claudetrace.uninstrument()

    assert bill.picousd <= now.spent_usd * 10**12 <= CAP_USD * 10**12
    assert now.spent_usd >= CAP_USD * 0.97
    assert now.reserved_usd == 0
    with closing(sqlite3.connect(f"{db}.budgets")) as connection:
        assert connection.execute("SELECT COUNT(*) FROM charges WHERE owner IS NOT NULL").fetchone() == (0,)
    with closing(sqlite3.connect(db)) as connection:
        (ledgers,) = connection.execute("SELECT SUM(spend_picousd) FROM calls").fetchone()
    assert ledgers <= now.spent_usd * 10**12, json.dumps([ledgers, str(now.spent_usd)])
