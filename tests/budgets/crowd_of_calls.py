"""Processes full of calls of the SDK on one budget; each call is billed by the server that answers it."""

from __future__ import annotations

import asyncio
import random
import threading
import time
from typing import TYPE_CHECKING, Any

import anthropic

import claudetrace
from claudetrace._budgets._sqlite import _upkeep

if TYPE_CHECKING:
    from collections.abc import Callable

CAP_USD = 2
ASK: dict[str, Any] = {
    "model": "claude-sonnet-5",
    "max_tokens": 500,
    "messages": [{"role": "user", "content": "Say hello."}],
}
"""May cost at most $0.006, a 300th of the cap."""


def meter(db: str) -> None:
    _upkeep.GRACE_S = 0.5
    budget = claudetrace.Budget(
        "cap", usd=CAP_USD, per="total", on_exceeded="block", on_store_error="closed", thresholds=(), forecast=False
    )
    claudetrace.instrument(db=db, budgets=[budget], metrics=False, spans="off")


def _is_used_up(error: claudetrace.BudgetExceeded) -> bool:
    """Whether there is no room left even once all that runs has ended."""
    return error.spent_usd + (error.needed_usd or 0) > (error.limit_usd or 0)


def run_threads(db: str, url: str, callers: int) -> None:
    """Calls from so many threads until the budget is used up."""
    meter(db)
    client = anthropic.Anthropic(api_key="k", base_url=url, max_retries=0)

    def call_on() -> None:
        while True:
            try:
                if random.random() < 0.1:
                    with client.messages.stream(**ASK) as stream:
                        stream.until_done()
                else:
                    client.messages.create(**ASK)
            except claudetrace.BudgetExceeded as error:
                if _is_used_up(error):
                    return
                time.sleep(0.05)
            except anthropic.APIError:
                continue

    on_threads(callers, call_on)
    claudetrace.uninstrument()


def on_threads(callers: int, act: Callable[[], None]) -> None:
    """Acts on so many threads at once, to their end."""
    workers = [threading.Thread(target=act) for _ in range(callers)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()


def run_tasks(db: str, url: str, callers: int) -> None:
    """The same from so many tasks of one event loop, of which some are cancelled while they wait for leave."""
    meter(db)

    async def call_on(client: anthropic.AsyncAnthropic) -> None:
        while True:
            asked = asyncio.create_task(client.messages.create(**ASK))
            if random.random() < 0.03:
                await asyncio.sleep(0)
                asked.cancel()
            try:
                await asked
            except claudetrace.BudgetExceeded as error:
                if _is_used_up(error):
                    return
                await asyncio.sleep(0.05)
            except (anthropic.APIError, asyncio.CancelledError):
                continue

    async def all_of_them() -> None:
        async with anthropic.AsyncAnthropic(api_key="k", base_url=url, max_retries=0) as client:
            await asyncio.gather(*(call_on(client) for _ in range(callers)))

    asyncio.run(all_of_them())
    claudetrace.uninstrument()
