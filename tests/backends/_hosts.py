"""Processes of several hosts that call the SDK under one budget in a database, for `fleet.py`."""

from __future__ import annotations

import asyncio
import os
import random
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anthropic

import claudetrace
from claudetrace._budgets._postgres import _store

CAP_USD = 4
MODEL = "claude-sonnet-5"
ASK: dict[str, Any] = {"model": MODEL, "max_tokens": 500, "messages": [{"role": "user", "content": "Say hello."}]}
"""May cost at most $0.006."""
LEASE_S = 5.0


def budget() -> claudetrace.Budget:
    """Holds also for streams that are cut, and where the database is away."""
    return claudetrace.Budget(
        "cap",
        usd=CAP_USD,
        per="total",
        on_exceeded="block",
        on_store_error="closed",
        cut_streams="bound",
        forecast=False,
    )


def meter(folder: str, store: str) -> None:
    """This process on the host whose folder that is, with leases that are soon over."""
    _store.LEASE_S = LEASE_S
    _store.SWEEP["grace_s"], _store.SWEEP_S = 0.5, 1.0
    os.environ["OTEL_RESOURCE_ATTRIBUTES"] = f"host.name={Path(folder).name}"
    claudetrace.instrument(
        db=f"{folder}/ledger.db", budgets=[budget()], budget_store=store, metrics=False, spans="off", alert_to=["log"]
    )


def is_used_up(error: claudetrace.BudgetExceeded) -> bool:
    """Whether there is no room left even once all that runs has ended."""
    held = error.held_usd or 0
    return error.needed_usd is not None and error.spent_usd + held + error.needed_usd > (error.limit_usd or 0)


def run_threads(folder: str, store: str, url: str, callers: int) -> None:
    """Calls from so many threads until the budget is used up."""
    meter(folder, store)
    client = anthropic.Anthropic(api_key="k", base_url=url, max_retries=0)

    def call_on() -> None:
        while True:
            try:
                if random.random() < 0.1:
                    with client.messages.create(**ASK, stream=True) as stream:
                        list(stream)
                else:
                    client.messages.create(**ASK)
            except claudetrace.BudgetExceeded as error:
                if is_used_up(error):
                    return
                time.sleep(0.05)
            except anthropic.APIError:
                continue

    on_threads(callers, call_on)
    claudetrace.uninstrument()


def on_threads(callers: int, act: Callable[[], None]) -> None:
    workers = [threading.Thread(target=act) for _ in range(callers)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()


def run_tasks(folder: str, store: str, url: str, callers: int) -> None:
    """The same from so many tasks of one event loop, of which some are cancelled while they wait for leave."""
    meter(folder, store)

    async def call_on(client: anthropic.AsyncAnthropic) -> None:
        while True:
            asked = asyncio.create_task(client.messages.create(**ASK))
            if random.random() < 0.03:
                await asyncio.sleep(0)
                asked.cancel()
            try:
                await asked
            except claudetrace.BudgetExceeded as error:
                if is_used_up(error):
                    return
                await asyncio.sleep(0.05)
            except (anthropic.APIError, asyncio.CancelledError):
                continue

    async def all_of_them() -> None:
        async with anthropic.AsyncAnthropic(api_key="k", base_url=url, max_retries=0) as client:
            await asyncio.gather(*(call_on(client) for _ in range(callers)))

    asyncio.run(all_of_them())
    claudetrace.uninstrument()
