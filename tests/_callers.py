"""Callers of the SDK that go on until a budget is used up: so many threads, or so many tasks of one event loop."""

from __future__ import annotations

import asyncio
import random
import threading
import time
from collections.abc import Callable
from typing import Any

import anthropic

import claudetrace

ASK: dict[str, Any] = {
    "model": "claude-sonnet-5",
    "max_tokens": 500,
    "messages": [{"role": "user", "content": "Say hello."}],
}
"""May cost at most $0.006."""


def is_used_up(error: claudetrace.BudgetExceeded) -> bool:
    """Whether there is no room left even once all that runs has ended."""
    held = error.held_usd or 0
    return error.needed_usd is not None and error.spent_usd + held + error.needed_usd > (error.limit_usd or 0)


def run_threads(url: str, callers: int) -> None:
    """Calls and streams from so many threads, then ends the meter."""
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
    """Acts on so many threads at once, to their end."""
    workers = [threading.Thread(target=act) for _ in range(callers)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()


def run_tasks(url: str, callers: int) -> None:
    """The same from so many tasks of one event loop, of which some are cancelled while they wait for leave."""

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
